package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// Hooks run beside the steps of their member, one at a time: a long one keeps nobody from
// refreshing files or restarting another process. preStop alone is part of a step, the stop.

// call is a hook whose time has come.
type call struct {
	hook, process string
	exec          execID        // of postStart and preStop
	run           uint64        // what the log named it; 0: it did not ask
	leaver        *state.Leaver // of afterLeave
	joining       string        // of onJoin: the member's uid
	output        *[]byte       // where it goes, if it is asked for
	peers         uint64        // of onPeersChanged: what is to be told
}

// execID names one exec of a process.
type execID struct {
	Epoch uint64    `json:"epoch"`
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

func execOf(s keeper.Status) execID { return execID{s.Epoch, s.PID, s.StartedAt.UTC().Round(0)} }

// is tells whether it names the same exec, though it went through a file.
func (e execID) is(o execID) bool {
	return e.Epoch == o.Epoch && e.PID == o.PID && e.PID != 0 && e.Since.Equal(o.Since)
}

// calling is the hook under way.
type calling struct {
	call
	cancel context.CancelFunc
}

// called is how a call ended.
type called struct {
	call
	status spec.HookStatus
}

// nextCall is the hook of the member that is due, if any.
func (r *runtime) nextCall(now time.Time) (call, bool) {
	m, t := r.part.Member, r.part.Template
	if m == nil || t == nil || m.Wish != state.WishRun || r.prepared == nil || r.prepared.epoch != m.Epoch || now.Before(r.callRetry) {
		return call{}, false
	}
	for _, proc := range t.Processes {
		p := r.procs[proc.Name]
		if p != nil && p.wantsPost() {
			return call{hook: spec.HookPostStart, process: proc.Name, exec: p.exec}, true
		}
	}
	if c, ok := r.asksFor(m, t); ok {
		return c, true
	}
	return r.peersCall(t, now)
}

// asksFor is the hook that the log asks for and that this node has not run yet, if any.
func (r *runtime) asksFor(m *state.Member, t *spec.Template) (call, bool) {
	a := m.Asked
	if a == nil || !m.Runs(a.Hook) || !t.Hooked(a.Hook) {
		return call{}, false
	}
	main := t.Processes[0].Name
	if old, ok := r.prepared.runs[a.Hook]; ok && old.Run == a.Run {
		r.noteHook(old) // by an earlier agent, that ended before it had told
	}
	if r.hooks[hookKey(a.Hook, main)].Run == a.Run {
		return call{}, false
	}
	return call{hook: a.Hook, process: main, run: a.Run, leaver: a.Leaver}, true
}

func hookKey(hook, process string) string { return hook + "/" + process }

// over tells whether what a call is for has passed.
func (r *runtime) over(c call) bool {
	if c.run != 0 {
		m := r.part.Member
		return m == nil || m.Asked == nil || m.Asked.Run != c.run
	}
	p := r.procs[c.process]
	return p == nil || !p.exec.is(c.exec)
}

// callHooks begins the hook that is due, and ends one that is for nobody any more.
func (a *Agent) callHooks(ctx context.Context, r *runtime, set *crowd, now time.Time) {
	if r.calling != nil {
		if r.over(r.calling.call) {
			r.calling.cancel()
		}
		return
	}
	c, due := r.nextCall(now)
	if !due {
		return
	}
	cctx, cancel := context.WithCancel(ctx)
	r.calling = &calling{c, cancel}
	j := a.job(r, Step{Process: c.process, Epoch: r.assigned.epoch}, set)
	a.log.Debug("hook", "namespace", r.key.Namespace, "member", r.key.Name(), "hook", c.hook, "process", c.process)
	a.steps.Go(func() {
		defer cancel()
		o := outcome{key: j.key, assigned: j.assigned, called: &called{call: c}}
		o.called.status, o.err = j.hook(cctx, c)
		a.box.finished(o)
	})
}

// called takes over how a hook ended.
func (a *Agent) called(o outcome, now time.Time) {
	r, c := a.runtime(o.key), o.called
	r.calling = nil
	switch {
	case o.assigned != r.assigned || r.over(c.call):
		return
	case o.err != nil:
		r.callFailures++
		if c.hook == spec.HookPostStart {
			r.procs[c.process].postTrouble = o.err.Error()
		}
		r.callRetry = now.Add(backoff(r.callFailures, 100*time.Millisecond, 5*time.Second))
		if r.callFailures == 1 && !errors.Is(o.err, context.Canceled) {
			a.log.Warn("cannot run a hook; it is tried again", "namespace", r.key.Namespace, "member", r.key.Name(), "hook", c.hook, "err", o.err)
		}
		return
	}
	r.callFailures, r.callRetry = 0, time.Time{}
	r.noteHook(c.status)
	switch p := r.procs[c.process]; c.hook {
	case spec.HookPostStart:
		p.posted(c.status, now)
	case spec.HookPeersChanged:
		r.peersTold(p, c, now)
	}
}

// noteHook keeps how a hook went, to tell.
func (r *runtime) noteHook(s spec.HookStatus) {
	if s.Name == "" {
		return
	}
	if r.hooks == nil {
		r.hooks = map[string]spec.HookStatus{}
	}
	r.hooks[hookKey(s.Name, s.Process)] = s
}

// hookList is what is told of hooks.
func (r *runtime) hookList() []spec.HookStatus {
	var out []spec.HookStatus
	for _, k := range slices.Sorted(maps.Keys(r.hooks)) {
		out = append(out, r.hooks[k])
	}
	return out
}

// wantsPost tells whether postStart is due for the present exec.
func (p *procRuntime) wantsPost() bool { return p.pid != 0 && p.pending && p.postFailed == "" }

// posted notes how postStart went. A process whose hook fails again and again is restarted ever
// more rarely: the keeper's own pauses grow only with lives that are short.
func (p *procRuntime) posted(s spec.HookStatus, now time.Time) {
	p.postTrouble = ""
	if s.State == spec.HookSucceeded {
		p.pending, p.postFailures = false, 0
		return
	}
	p.postFailed = s.Message
	p.postFailures++
	p.postKill = now
	if p.postFailures > 1 {
		p.postKill = now.Add(backoff(p.postFailures-1, time.Second, time.Minute))
	}
}

// hook runs a hook to its end, retries included. The error tells that it could not be run, or
// that its outcome could not be noted: it says nothing of the hook.
func (j job) hook(ctx context.Context, c call) (spec.HookStatus, error) {
	r, err := j.renderAgain()
	if err != nil {
		return spec.HookStatus{}, err
	}
	return j.runHook(ctx, c, r.starts[c.process], r.facts[c.process])
}

func (j job) runHook(ctx context.Context, c call, start keeper.Start, f *template.Facts) (spec.HookStatus, error) {
	h := j.hookOf(c)
	if h.Signal != "" {
		return j.sendSignal(ctx, c, h.Signal)
	}
	if c.leaver != nil {
		f = f.WithLeaver(j.leaverFacts(*c.leaver))
	}
	do, err := j.deedOf(c, h, start.Exec, f)
	if err != nil {
		return hookEnd(c, 0, err), nil
	}
	attempts, err := j.tries(ctx, c, h, do, start.Lock)
	if err != nil && !failedHook(err) {
		return spec.HookStatus{}, err
	}
	status := hookEnd(c, attempts, err)
	return status, j.remember(func(m *memory) {
		if err == nil {
			delete(m.Attempts, attemptKey(c))
		}
		switch {
		case c.run != 0:
			m.Runs[c.hook] = status
		case c.hook == spec.HookPostStart && err == nil:
			m.Hooked[c.process] = c.exec
		case c.hook == spec.HookPeersChanged && err == nil:
			m.Peers[c.process] = m.Peers[c.process].told(c)
		case c.hook == spec.HookOnJoin && err == nil:
			m.Joined = c.joining
		}
	})
}

// hookOf is the hook that a call is about.
func (j job) hookOf(c call) spec.Hook {
	for _, p := range j.part.Template.Processes {
		if p.Name == c.process {
			return p.Hooks[c.hook]
		}
	}
	return spec.Hook{}
}

// leaverFacts are what a template may know of a member that is gone.
func (j job) leaverFacts(l state.Leaver) template.Member {
	k := j.key
	return memberFacts(j.part.Service, j.part.Cluster.Zone, &state.Member{Namespace: k.Namespace, Set: k.Set, Ordinal: l.Ordinal, IP: l.IP, Node: l.Node, Ports: l.Ports})
}

// attemptKey is what counts the tries of a hook.
func attemptKey(c call) string { return "hook " + c.hook + " " + c.process }

// tries runs a hook and its retries, with growing pauses, and tells how often it was tried.
func (j job) tries(ctx context.Context, c call, h spec.Hook, do deed, lock string) (attempts int, err error) {
	run := keeper.Run{
		Member: j.key.String(), Process: c.process, Exec: do.exec, Timeout: spec.DefaultHookTimeout.D(), MaxOutput: maxInitOutput, Fence: j.part.fenced(),
	}
	if h.Timeout != nil {
		run.Timeout = h.Timeout.D()
	}
	if c.joining != "" || c.hook == spec.HookPosition { // part of a start, like init steps
		run.Epoch, run.Lock, run.Decided = j.step.Epoch, lock, j.decided
	}
	for try := 0; try <= h.Retries; try++ {
		if try > 0 && !pause(ctx, backoff(try, 100*time.Millisecond, 5*time.Second)) {
			return attempts, ctx.Err()
		}
		if err := j.remember(func(m *memory) { m.Attempts[attemptKey(c)]++; attempts = m.Attempts[attemptKey(c)] }); err != nil {
			return attempts, err
		}
		if do.ask != nil {
			if err = do.get(ctx, c.hook, run.Timeout); err == nil || !failedHook(err) {
				return attempts, err
			}
			continue
		}
		run.Env = withVar(do.exec.Env, "SUP_ATTEMPT", strconv.Itoa(attempts))
		err = j.try(ctx, trial{
			what: "hook " + c.hook, log: j.part.Template.HookLog(c.process, c.hook), reason: HookFailed, attempt: attempts,
			secret: secretProcess(j.part.Template, c.process), run: run, output: c.output,
		})
		if err == nil || !failedHook(err) {
			return attempts, err
		}
	}
	return attempts, err
}

// onJoin runs the main process's onJoin hook before the first start of a member in a set that is
// formed, if there is anybody to join. That it has succeeded is noted in the member's volumes under its uid: one that was
// removed and returns joins again.
func (j job) onJoin(ctx context.Context, r *rendering) (status spec.HookStatus, err error) {
	t, m := j.part.Template, j.part.Member
	if !m.Joining || !t.Hooked(spec.HookOnJoin) || m.Bootstrap && !j.hasOld() {
		return status, nil
	}
	if done, err := j.joined(m.UID); err != nil || done {
		return status, err
	}
	main := t.Processes[0].Name
	j.progress(1, "hook %s runs", spec.HookOnJoin)
	status, err = j.runHook(ctx, call{hook: spec.HookOnJoin, process: main, joining: m.UID}, r.starts[main], r.facts[main])
	switch {
	case err != nil:
		return status, err
	case status.State == spec.HookFailed:
		return status, failf(OnJoinFailed, "%s", status.Message)
	}
	for _, vol := range j.part.Volumes {
		if err := j.a.o.Pool.OnceDone(claimMade(j.part, vol.Template), joinStep(m.UID)); err != nil {
			return status, err
		}
	}
	return status, nil
}

// hasOld tells whether another member of the set has run before, and has its data.
func (j job) hasOld() bool {
	return slices.ContainsFunc(j.crowd.members, func(o *state.Member) bool {
		return o.Ordinal != j.part.Member.Ordinal && o.Epoch != 0 && !o.Joining
	})
}

func joinStep(uid string) string { return spec.HookOnJoin + "@" + uid }

// joined tells whether onJoin has succeeded in this life of the member.
func (j job) joined(uid string) (bool, error) {
	if len(j.part.Volumes) == 0 {
		m, err := j.recall()
		return err == nil && m.Joined == uid, err
	}
	return j.onceDone(joinStep(uid))
}

// failedHook tells whether an error is the hook's own.
func failedHook(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && f.Reason == HookFailed
}

func hookEnd(c call, attempts int, err error) spec.HookStatus {
	s := spec.HookStatus{Name: c.hook, Process: c.process, Run: c.run, State: spec.HookSucceeded, Attempts: attempts, At: time.Now().UTC().Round(0)}
	if err != nil {
		s.State, s.Message = spec.HookFailed, oneLine(err.Error())
	}
	return s
}

// secretProcess tells whether the process of that name knows secrets, which its output may show.
func secretProcess(t *spec.Template, name string) bool {
	i := slices.IndexFunc(t.Processes, func(p spec.Process) bool { return p.Name == name })
	return i >= 0 && knowsSecret(t.Processes[i].Exec, t.Processes[i].Files)
}
