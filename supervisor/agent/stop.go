package agent

import (
	"context"
	"errors"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// stopMark notes when the stop of an exec began: a hook that is run again after a restart of
// supd gets no more time.
type stopMark struct {
	Exec execID    `json:"exec"`
	At   time.Time `json:"at"`
	Done bool      `json:"done,omitempty"`
}

// left is what a stop has left of its timeout at now. The clock may have been set meanwhile.
func (s stopMark) left(timeout time.Duration, now time.Time) time.Duration {
	return min(max(timeout-now.Sub(s.At), 0), timeout)
}

// stop runs the preStop hook of a process, if it has one, and asks the keeper to stop it within
// what is left of the stop timeout.
func (j job) stop(ctx context.Context) (spec.HookStatus, error) {
	k, member, process := j.a.o.Keeper, j.key.String(), j.step.Process
	status, left, err := j.preStop(ctx, true)
	if err != nil {
		return status, err
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	if proc, ok := j.process(); ok && left >= 0 {
		s := settingsOf(j.part, proc, j.a.o.LogMax)
		s.StopTimeout = left
		if err := k.Update(ctx, member, process, s); err != nil {
			return status, err
		}
	}
	return status, k.Stop(ctx, member, process)
}

// restart has a process started anew in place because a probe or hook asks for it.
func (j job) restart(ctx context.Context) (spec.HookStatus, error) {
	proc, ok := j.process()
	if !ok {
		return spec.HookStatus{}, failf(CannotStart, "the revision has no process %s", j.step.Process)
	}
	status, left, err := j.preStop(ctx, false)
	if err != nil {
		return status, err
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	if left < 0 {
		left = j.stopTimeout(proc)
	} else if same, err := j.stillRuns(ctx); err != nil || !same {
		return status, err // it has ended meanwhile, and is started again by itself
	}
	return status, j.a.o.Keeper.Restart(ctx, j.key.String(), proc.Name, left, j.step.Why)
}

// stopTimeout is what the process of the step gets to stop: a probe that has it restarted may have one of its own.
func (j job) stopTimeout(proc spec.Process) time.Duration {
	if j.step.Stop > 0 {
		return j.step.Stop
	}
	return settingsOf(j.part, proc, j.a.o.LogMax).StopTimeout
}

// preStop runs the preStop hook of the step's process. left is what remains of the stop timeout;
// negative: there is no hook to run. A hook that fails delays nothing, and is told. final: the
// process is not to be started again when the hook ends it.
func (j job) preStop(ctx context.Context, final bool) (status spec.HookStatus, left time.Duration, err error) {
	proc, ok := j.process()
	h, hooked := proc.Hooks[spec.HookPreStop]
	m := j.part.Member
	if !ok || !hooked || m == nil || j.record.Epoch != m.Epoch || j.record.State != keeper.Running {
		return status, -1, nil
	}
	c := call{hook: spec.HookPreStop, process: proc.Name, exec: execOf(j.record)}
	timeout := j.stopTimeout(proc)
	mark := stopMark{}
	err = j.remember(func(m *memory) {
		if mark = m.Stops[proc.Name]; !mark.Exec.is(c.exec) {
			mark = stopMark{Exec: c.exec, At: time.Now()}
		}
		m.Stops[proc.Name] = mark
	})
	if err != nil {
		return status, 0, err
	}
	if left = mark.left(timeout, time.Now()); !mark.Done && left > 0 {
		if status, err = j.runPreStop(ctx, c, h, left, final); err != nil {
			return status, 0, err
		}
		err = j.remember(func(m *memory) {
			mark.Done = true
			m.Stops[proc.Name] = mark
			delete(m.Attempts, attemptKey(c))
		})
	}
	return status, max(mark.left(timeout, time.Now()), min(keeper.LeastGrace, timeout)), err
}

// runPreStop runs the hook for at most left. An error means that the stop is to be tried again.
func (j job) runPreStop(ctx context.Context, c call, h spec.Hook, left time.Duration, final bool) (spec.HookStatus, error) {
	r, err := j.renderAgain()
	if err != nil {
		return hookEnd(c, 0, err), nil
	}
	do, err := j.deedOf(c, h, r.starts[c.process].Exec, r.facts[c.process])
	if err != nil {
		return hookEnd(c, 0, err), nil
	}
	if final {
		if err := j.lastLife(ctx, r.starts[c.process].PreStop); err != nil {
			return spec.HookStatus{}, err
		}
	}
	hctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	if h.Timeout == nil || h.Timeout.D() > left {
		d := spec.Duration(left)
		h.Timeout = &d
	}
	attempts, err := j.tries(hctx, c, h, do, "")
	switch {
	case ctx.Err() != nil:
		return spec.HookStatus{}, ctx.Err()
	case hctx.Err() != nil:
		err = failf(HookFailed, "hook %s did not end within the stop timeout", c.hook)
	case err != nil:
		if same, lerr := j.stillRuns(ctx); lerr == nil && !same {
			err = nil // it has ended the process, and with that itself
		}
	}
	return hookEnd(c, attempts, err), nil
}

// keeperPreStop is the preStop hook as the keeper runs it where it stops the process alone, at the host's shutdown: as it is
// now, once. One that can't be rendered fails when it is run here, and is told then; nor does
// the keeper ask by https.
func keeperPreStop(proc spec.Process, f *template.Facts) *keeper.PreStop {
	h, ok := proc.Hooks[spec.HookPreStop]
	if !ok {
		return nil
	}
	p := &keeper.PreStop{Env: []string{"SUP_ATTEMPT=1"}}
	if h.HTTP != nil {
		to, request, err := probe.PlainGet(h.HTTP, hookResolve(f))
		if err != nil {
			return nil
		}
		p.Get = &keeper.Get{To: to, Request: request}
	} else {
		x, err := hookExec(h, keeper.Exec{}, f)
		if err != nil {
			return nil
		}
		p.Argv = x.Argv
	}
	if h.Timeout != nil {
		p.Timeout = h.Timeout.D()
	}
	return p
}

// lastLife has the keeper not start the process again if it exits while preStop runs.
func (j job) lastLife(ctx context.Context, preStop *keeper.PreStop) error {
	proc, _ := j.process()
	s := settingsOf(j.part, proc, j.a.o.LogMax)
	s.PreStop = preStop // a shutdown may cut the hook off, with supd
	s.NeverOn = make([]int, 256)
	for i := range s.NeverOn {
		s.NeverOn[i] = i
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	return j.a.o.Keeper.Update(ctx, j.key.String(), proc.Name, s)
}

// stillRuns tells whether the exec that the step is about is alive.
func (j job) stillRuns(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	t, err := j.a.o.Keeper.List(ctx, 0)
	s, ok := t.Find(j.key.String(), j.step.Process)
	if errors.Is(err, keeper.ErrNotFound) {
		err = nil
	}
	return ok && s.State == keeper.Running && execOf(s).is(execOf(j.record)), err
}
