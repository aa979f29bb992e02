package supervisor

import (
	"context"
	"io"
	"strings"

	"supd/supervisor/agent"
	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// localAgent gives the API what only this node's agent can read.
type localAgent struct{ *agent.Agent }

var _ server.Agent = localAgent{}

// Logs opens a member's log. An init step may be named with or without init-.
func (a localAgent) Logs(ctx context.Context, namespace, member string, o client.LogOptions) (io.ReadCloser, error) {
	if o.Tail == 0 {
		if o.Follow {
			return nil, spec.Errorf(spec.CodeInvalid, "cannot follow a log from its end: ask for at least one line of it (tail=1)")
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	ko := keeper.LogOptions{Previous: o.Previous, Tail: max(o.Tail, 0), Follow: o.Follow}
	r, err := a.Agent.Logs(ctx, namespace, member, o.Process, ko)
	if err != nil && spec.CodeOf(err) == spec.CodeNotFound && o.Process != "" && !strings.HasPrefix(o.Process, "init-") {
		if step, serr := a.Agent.Logs(ctx, namespace, member, "init-"+o.Process, ko); serr == nil {
			return step, nil
		}
	}
	return r, err
}
