package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// Deadlines of one step.
const (
	keeperTimeout = 15 * time.Second
	startTimeout  = time.Minute
	diskTimeout   = 5 * time.Minute
)

// job does one step. It sees only what it was given: the runtime is the loop's.
type job struct {
	a        *Agent
	key      Key
	part     Part
	print    uint64
	crowd    *crowd
	step     Step
	assigned assignment
	decided  time.Duration // when the step was, on Options.Clock
	record   keeper.Status // of the step's process
	memory   *sync.Mutex   // guards the member's memory
	peers    uint64        // that the member was prepared with
}

func (j job) do(ctx context.Context) outcome {
	switch j.step.Do {
	case DoPrepare, DoPosition, DoAdopt, DoRefresh, DoStart:
		defer j.a.turns.take(ctx)()
	case DoStop, DoGiveUp, DoForget, DoRestart, DoUpdate, DoClean:
	}
	o := outcome{key: j.key, step: j.step, assigned: j.assigned, exec: execOf(j.record)}
	k, member, process := j.a.o.Keeper, j.key.String(), j.step.Process
	short, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	switch j.step.Do {
	case DoStop:
		o.hook, o.err = j.stop(ctx)
	case DoGiveUp:
		o.err = k.GiveUp(short, member, j.step.Epoch, j.locks()...)
	case DoForget:
		o.err = k.Forget(short, member, process)
	case DoRestart:
		o.hook, o.err = j.restart(ctx)
	case DoUpdate:
		o.told, o.err = j.update(short)
	case DoStart:
		o.told, o.err = j.start(ctx)
	case DoPrepare:
		o.prepared, o.hook, o.err = j.prepare(ctx)
	case DoPosition:
		o.position, o.hook, o.err = j.tellPosition(ctx)
	case DoAdopt, DoRefresh:
		o.prepared, o.told, o.err = j.adopt(ctx)
	case DoClean:
		o.err = j.clean()
	default:
		panic(fmt.Sprintf("agent: no code for step %q", j.step.Do))
	}
	return o
}

// locks are the lock files that the member's processes hold while they run, as far as they are beside its volumes. A
// keeper that has lost its records finds by them what runs.
func (j job) locks() []string {
	if j.part.Template == nil {
		return nil
	}
	var paths []string
	for _, vol := range j.part.Volumes { // which of them it was depends on those that there were at the start
		dir, err := j.a.o.Pool.Where(claimOf(j.part, vol))
		if err != nil { // it has no place, so nothing was started in it
			continue
		}
		for _, p := range j.part.Template.Processes {
			paths = append(paths, dir.Lock(p.Name))
		}
	}
	return paths
}

// process is the template's process of the step.
func (j job) process() (spec.Process, bool) {
	if j.part.Template != nil {
		for _, p := range j.part.Template.Processes {
			if p.Name == j.step.Process {
				return p, true
			}
		}
	}
	return spec.Process{}, false
}

func (j job) start(ctx context.Context) (map[string]keeper.Settings, error) {
	r, err := j.renderAgain()
	if err != nil {
		return nil, err
	}
	s, ok := r.starts[j.step.Process]
	if !ok {
		return nil, failf(CannotStart, "the revision has no process %s", j.step.Process)
	}
	proc, _ := j.process()
	s.Decided = j.decided
	if err := freePorts(ctx, j.part, proc); err != nil {
		return nil, err
	}
	told := map[string]keeper.Settings{proc.Name: s.Settings}
	// Noted before the start: after it nothing must fail.
	err = j.remember(func(m *memory) {
		m.Settings[proc.Name] = s.Settings
		m.Peers[proc.Name] = peersMark{Epoch: s.Epoch, Start: j.peers}
	})
	if err != nil {
		return nil, err
	}
	sctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = j.a.o.Keeper.Start(sctx, s)
	if _, ok := errors.AsType[*keeper.ErrExec](err); ok {
		// Nothing was started. A record of it would look like one that a boot has ended, and cost the member its epoch.
		err = errors.Join(err, j.a.o.Keeper.Forget(sctx, s.Member, s.Process))
	}
	return told, err
}

func (j job) update(ctx context.Context) (map[string]keeper.Settings, error) {
	proc, ok := j.process()
	if !ok {
		return nil, nil
	}
	s := settingsOf(j.part, proc, j.a.o.LogMax)
	if _, hooked := proc.Hooks[spec.HookPreStop]; hooked {
		r, err := j.renderAgain()
		if err != nil {
			return nil, err
		}
		s.PreStop = r.starts[proc.Name].PreStop
	}
	if err := j.a.o.Keeper.Update(ctx, j.key.String(), proc.Name, s); err != nil {
		return nil, err
	}
	return map[string]keeper.Settings{proc.Name: s}, j.remember(func(m *memory) { m.Settings[proc.Name] = s })
}

// progress tells the loop what a long step is at: the n-th part of it.
func (j job) progress(n int, format string, args ...any) {
	p := progress{n, fmt.Sprintf(format, args...)}
	j.a.box.finished(outcome{key: j.key, step: j.step, assigned: j.assigned, progress: &p})
}
