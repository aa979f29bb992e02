package agent

import (
	"context"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// deed is what a hook does, rendered: a command as its process is run, or a request.
type deed struct {
	exec keeper.Exec
	ask  probe.Check // nil: a command
}

func (j job) deedOf(c call, h spec.Hook, x keeper.Exec, f *template.Facts) (deed, error) {
	if h.HTTP == nil {
		x, err := hookExec(h, x, f)
		return deed{exec: x}, err
	}
	r := hookResolve(f)
	r.Secret = secretProcess(j.part.Template, c.process)
	ask, err := probe.New(&spec.Probe{HTTP: h.HTTP}, r)
	if err != nil {
		return deed{}, failf(HookFailed, "its request: %v", err)
	}
	return deed{ask: ask}, nil
}

// hookResolve resolves the templates and the port of a hook's request.
func hookResolve(f *template.Facts) probe.Resolve {
	return probe.Resolve{
		Text: func(src string) (string, error) { return template.Render(src, f) },
		Port: func(p spec.IntOrString) (int, error) { return template.Port(p, f) },
		Host: f.Member.IP,
	}
}

// get asks once. A Failure with reason HookFailed is the answer's, or that there was none.
func (d deed) get(ctx context.Context, hook string, timeout time.Duration) error {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res := d.ask.Check(asking)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !res.OK:
		return failf(HookFailed, "hook %s: %s", hook, res.Message)
	}
	return nil
}

// hookExec is a process's own exec with the hook's command.
func hookExec(h spec.Hook, x keeper.Exec, f *template.Facts) (keeper.Exec, error) {
	x.Argv = nil
	for _, src := range h.Command {
		s, err := template.Render(src, f)
		if err != nil {
			return x, failf(HookFailed, "its command: %v", err)
		}
		x.Argv = append(x.Argv, s)
	}
	return x, nil
}
