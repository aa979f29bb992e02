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

// agentLogs is how the agent opens logs.
type agentLogs interface {
	Logs(ctx context.Context, namespace, member string, o client.LogOptions) (io.ReadCloser, error)
}

type agentKeeperLogs interface {
	Logs(ctx context.Context, namespace, member, process string, o keeper.LogOptions) (io.ReadCloser, error)
}

// localAgent gives the API what only this node's agent can read.
type localAgent struct{ a *agent.Agent }

var _ server.Agent = localAgent{}

func (a localAgent) Usage(ctx context.Context, namespace, volume string) (int64, error) {
	return a.a.Usage(ctx, namespace, volume)
}

// Logs opens a member's log. An init step may be named with or without init-.
func (a localAgent) Logs(ctx context.Context, namespace, member string, o client.LogOptions) (io.ReadCloser, error) {
	switch l := any(a.a).(type) {
	case agentLogs:
		return l.Logs(ctx, namespace, member, o)
	case agentKeeperLogs:
		return logsByKeeper(ctx, l, namespace, member, o)
	}
	return nil, spec.Errorf(spec.CodeInternal, "this agent has no logs")
}

func logsByKeeper(ctx context.Context, a agentKeeperLogs, namespace, member string, o client.LogOptions) (io.ReadCloser, error) {
	if o.Tail == 0 {
		if o.Follow {
			return nil, spec.Errorf(spec.CodeInvalid, "cannot follow a log from its end: ask for at least one line of it (tail=1)")
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	ko := keeper.LogOptions{Previous: o.Previous, Tail: max(o.Tail, 0), Follow: o.Follow}
	r, err := a.Logs(ctx, namespace, member, o.Process, ko)
	if err != nil && spec.CodeOf(err) == spec.CodeNotFound && o.Process != "" && !strings.HasPrefix(o.Process, "init-") {
		if step, serr := a.Logs(ctx, namespace, member, "init-"+o.Process, ko); serr == nil {
			return step, nil
		}
	}
	return r, err
}
