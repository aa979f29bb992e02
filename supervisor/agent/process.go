package agent

import (
	"context"
	"reflect"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
)

// procRuntime is what the loop remembers of one process.
type procRuntime struct {
	epoch     uint64
	pid       int
	since     time.Time // the keeper's StartedAt: with the pid, one exec
	probes    probes    // that watch was made from
	watch     *probe.Watch
	cancel    context.CancelFunc
	invalid   string   // why the probes cannot be run
	restarted bool     // the keeper was asked to, for this exec
	failed    *Failure // the probe for which it was: told until the next exec

	exec         execID    // the same, as it is noted
	looked       bool      // it is known whether postStart is due for this exec
	pending      bool      // it is, and has not succeeded
	postTrouble  string    // why it cannot be run
	postFailed   string    // why it failed
	postFailures int       // in a row, over restarts in place
	postKill     time.Time // when it is restarted for that

	peersRetry    time.Time // onPeersChanged has failed; not before
	peersFailures int

	started, ready bool
	role           string
	mayStop        string // the answer; "" counts as unknown
	whyNot         string
	message        string
	readySince     time.Time
	steady         bool // as an earlier agent reported
	restarts       int
	crashes        []time.Time
	seeded         bool
}

// probes are those that a process's template has, by kind.
type probes map[probe.Kind]*spec.Probe

// probesOf are the probes of a process of the member's.
func (p Part) probesOf(proc spec.Process) probes {
	out := probes{}
	for _, k := range proc.Probes() {
		if *k.At != nil {
			out[probe.Kind(k.Name)] = *k.At
		}
	}
	delete(out, probe.MayStop)
	if name, ask := p.mayStop(); name == proc.Name {
		out[probe.MayStop] = ask
	}
	return out
}

// dead is why a probe or hook wants the process restarted.
func (p *procRuntime) dead(now time.Time) (d Death, ok bool) {
	if p.restarted {
		return d, false
	}
	if p.postFailed != "" && !now.Before(p.postKill) {
		return Death{Why: p.postFailed}, true
	}
	if p.watch == nil {
		return d, false
	}
	f := p.watch.State().Failed
	if f == nil {
		return d, false
	}
	return Death{Why: string(f.Kind) + " probe failed: " + orWord(f.Message, "no details"), Stop: f.Stop}, true
}

func (p *procRuntime) sight() ProcessSight {
	s := ProcessSight{
		Started: p.started, Ready: p.ready, Role: p.role, Message: p.message, ReadySince: p.readySince,
		Crashes: p.crashes, Steady: p.steady,
	}
	switch {
	case p.postFailed != "":
		s.Reason, s.Message = PostStartFailed, p.postFailed+"; it is restarted"
	case p.pending:
		s.Reason, s.Message = PostStartPending, "its postStart hook has not ended yet"+because(p.postTrouble)
	case p.invalid != "":
		s.Reason, s.Message = ProbeInvalid, p.invalid
	case p.failed != nil:
		s.Reason, s.Message = p.failed.Reason, p.failed.Message
	}
	return s
}

// judged is why a process's probe has it restarted, nil while none does.
func judged(w *probe.Watch) *Failure {
	f := w.State().Failed
	if f == nil {
		return nil
	}
	reason := LivenessFailed
	if f.Kind == probe.Startup {
		reason = StartupFailed
	}
	return failf(reason, "its %s probe failed, it is restarted: %s", f.Kind, orWord(f.Message, "no details"))
}

// end stops the process's probes.
func (p *procRuntime) end() {
	if p.cancel != nil {
		p.cancel()
	}
	p.watch, p.cancel, p.probes, p.invalid = nil, nil, nil, ""
}

// follow brings what is known of each process up to the keeper's records, and its
// probes to the template.
func (a *Agent) follow(ctx context.Context, r *runtime, now time.Time) {
	m, t := r.part.Member, r.part.Template
	records := r.records(now)
	wanted := map[string]bool{}
	if m != nil && t != nil {
		for _, proc := range t.Processes {
			s, ok := record(records, proc.Name)
			if !ok || s.Epoch != m.Epoch {
				continue
			}
			wanted[proc.Name] = true
			p := r.procs[proc.Name]
			if p == nil || p.epoch != s.Epoch {
				if p != nil {
					p.end()
				}
				p = &procRuntime{epoch: s.Epoch}
				r.procs[proc.Name] = p
			}
			a.followOne(ctx, r, proc, p, s, now)
		}
	}
	for name, p := range r.procs {
		if !wanted[name] {
			p.end()
			delete(r.procs, name)
		}
	}
	if m != nil && t != nil {
		r.followConsent(now)
	}
	r.startTimes(now)
}

func (a *Agent) followOne(ctx context.Context, r *runtime, proc spec.Process, p *procRuntime, s keeper.Status, now time.Time) {
	p.countCrashes(s, now)
	if s.State != keeper.Running || s.PID == 0 {
		p.end()
		p.pid, p.started, p.steady, p.exec, p.pending = 0, false, false, execID{}, false
		p.postFailed, p.postKill = "", time.Time{}
		p.forgetAnswers()
		p.setReady(false, now)
		return
	}
	seed := (*probe.Seed)(nil)
	if p.pid != s.PID || !p.since.Equal(s.StartedAt) {
		p.end()
		p.pid, p.since, p.restarted, p.failed, p.message = s.PID, s.StartedAt, false, nil, ""
		p.started, p.steady = false, false
		p.exec, p.looked, p.pending, p.postFailed, p.postKill = execOf(s), false, false, "", time.Time{}
		p.forgetAnswers()
		p.setReady(false, now)
		if !p.seeded {
			name, _ := r.part.mayStop()
			seed = p.seed(r.part.Member, proc, name == proc.Name, now)
		}
		p.looked = seed != nil && seed.Started
		p.seeded = true
	}
	if !p.awaitsPost(proc, r.prepared, now) {
		return
	}
	want := r.part.probesOf(proc)
	if ask := want[probe.MayStop]; ask != nil && r.prepared != nil && !r.prepared.asks(proc.Name, ask) {
		delete(want, probe.MayStop) // not known until it is rendered, in a moment: nobody answers an older question
	}
	switch {
	case len(want) == 0:
		p.end()
		p.started, p.message = true, ""
		p.forgetAnswers()
		p.setReady(true, now)
		return
	case r.prepared == nil:
		return // its addresses and environment are not known yet: it stays as it was seen last
	case p.watch != nil && reflect.DeepEqual(p.probes, want):
	case p.invalid != "" && reflect.DeepEqual(p.probes, want):
		return
	default:
		if p.watch != nil && !reflect.DeepEqual(p.probes[probe.MayStop], want[probe.MayStop]) {
			p.mayStop, p.whyNot = "", "" // it is another question now
		}
		if seed == nil && (p.started || p.ready) {
			seed = &probe.Seed{Started: p.started, Ready: p.ready, Role: p.role, MayStop: p.mayStop == spec.Yes}
		}
		p.end()
		a.watch(ctx, r, proc, p, want, probe.Options{Started: p.since, Seed: seed, Word: wordOf(s.Notify)})
	}
	if p.watch == nil {
		return
	}
	if r.part.Member.Stopping() {
		p.watch.Stop()
	}
	p.watch.Tell(wordOf(s.Notify))
	p.failed = judged(p.watch)
	st := p.watch.State()
	p.started, p.message, p.role = st.Started, st.Message, st.Role
	if st.Asked {
		p.mayStop, p.whyNot = spec.No, st.WhyNot
		if st.MayStop {
			p.mayStop = spec.Yes
		}
	}
	p.setReady(st.Ready, now)
}

// awaitsPost tells whether a process counts as more than running: its postStart hook has
// succeeded, or it had none when it was started (one added later is for later starts). As long as
// it is not known what an earlier agent did, it stays as it was seen.
func (p *procRuntime) awaitsPost(proc spec.Process, done *prepared, now time.Time) bool {
	if _, hooked := proc.Hooks[spec.HookPostStart]; !p.looked {
		switch {
		case !hooked:
		case done == nil || done.epoch != p.epoch:
			return false
		default:
			p.pending = !done.hooked[proc.Name].is(p.exec)
		}
		p.looked = true
	} else if !hooked {
		p.pending, p.postFailed = false, ""
	}
	if !p.pending {
		return true
	}
	p.end()
	p.started, p.message = false, ""
	p.forgetAnswers()
	p.setReady(false, now)
	return false
}

// forgetAnswers: what another exec has said is not this one's word.
func (p *procRuntime) forgetAnswers() { p.role, p.mayStop, p.whyNot = "", "", "" }

// followConsent notes what the member says on whether it may be stopped, and since when.
func (r *runtime) followConsent(now time.Time) {
	seen := r.part.Member.Seen
	name, ask := r.part.mayStop()
	if ask == nil {
		r.consent = spec.Consent{}
		return
	}
	answer, why := spec.Unknown, "it has not been asked yet"
	if p := r.procs[name]; p == nil || p.pid == 0 {
		why = "process " + name + " does not run"
	} else if p.mayStop != "" {
		answer, why = p.mayStop, p.whyNot
	}
	switch {
	case r.consent.Answer == answer:
	case r.consent.Answer == "" && seen.Epoch == r.part.Member.Epoch && seen.MayStop != nil && seen.MayStop.Answer == answer:
		r.consent = *seen.MayStop // of an earlier agent
	default:
		at := now.UTC().Round(0)
		r.consent = spec.Consent{Answer: answer, Since: &at, Message: oneLine(why)}
	}
}

// seed takes over what an earlier agent reported of the very same exec.
func (p *procRuntime) seed(m *state.Member, proc spec.Process, asked bool, now time.Time) *probe.Seed {
	if m.Seen.Epoch != m.Epoch {
		return nil
	}
	for _, ps := range m.Seen.Processes {
		if ps.Name == proc.Name && ps.PID == p.pid && ps.PID != 0 {
			p.started, p.steady = ps.Started, m.Seen.Steady && ps.Ready
			p.setReady(ps.Ready, now)
			seed := &probe.Seed{Started: ps.Started, Ready: ps.Ready}
			if proc.Role != nil {
				p.role, seed.Role = m.Seen.Role, m.Seen.Role
			}
			if c := m.Seen.MayStop; asked && c != nil && c.Answer != spec.Unknown {
				p.mayStop, p.whyNot, seed.MayStop = c.Answer, c.Message, c.Answer == spec.Yes
			}
			return seed
		}
	}
	return nil
}

func (p *procRuntime) setReady(ready bool, now time.Time) {
	if ready && !p.ready {
		p.readySince = now
	}
	if !ready {
		p.steady = false
	}
	p.ready = ready
}

// countCrashes notes restarts in place since the last look.
func (p *procRuntime) countCrashes(s keeper.Status, now time.Time) {
	n := s.Restarts
	if s.State == keeper.Backoff {
		n++ // the one that is about to come
	}
	at := s.LastExit.At
	if at.IsZero() {
		at = now
	}
	for i := p.restarts; i < n && i < p.restarts+2; i++ {
		p.crashes = append(p.crashes, at)
	}
	p.restarts = max(p.restarts, n)
	if len(p.crashes) > 2 {
		p.crashes = p.crashes[len(p.crashes)-2:]
	}
}

// startTimes notes when the epoch's first process was started, and when all had
// passed their startup.
func (r *runtime) startTimes(now time.Time) {
	m, t := r.part.Member, r.part.Template
	if m == nil || t == nil || m.Epoch == 0 {
		return
	}
	if m.Seen.Epoch == m.Epoch && r.startedAt.IsZero() {
		r.startedAt, r.startedOK = m.Seen.StartedAt, m.Seen.StartedOK
	}
	all := true
	for _, proc := range t.Processes {
		p := r.procs[proc.Name]
		if p == nil || !p.started {
			all = false
		}
		if p != nil && !p.since.IsZero() && (r.startedAt.IsZero() || p.since.Before(r.startedAt)) && m.Seen.Epoch != m.Epoch {
			r.startedAt = p.since.UTC().Round(0)
		}
	}
	if all && r.startedOK.IsZero() {
		r.startedOK = now.UTC().Round(0)
	}
}

// wordOf is what the keeper heard of a process, for its probes.
func wordOf(n keeper.NotifyStatus) probe.Word {
	return probe.Word{
		Ready: n.Ready, Reloading: n.Reloading, Stopping: n.Stopping, Extending: n.Extending, Text: n.Text,
		Watched: n.Watched, Missed: n.Missed, Trigger: n.Trigger,
	}
}

// watch begins to run a process's probes.
func (a *Agent) watch(ctx context.Context, r *runtime, proc spec.Process, p *procRuntime, want probes, o probe.Options) {
	p.probes = want
	o.Checks, o.Probes = probe.Checks{}, probe.Probes{}
	for _, kind := range probe.Kinds() {
		if want[kind] == nil {
			continue
		}
		check, err := r.prepared.probes[proc.Name].check(kind, want[kind])
		if err != nil && kind == probe.MayStop { // of another revision than what runs
			check, err = probe.Unasked(err), nil
		}
		if err != nil {
			p.invalid = err.Error()
			return
		}
		o.Checks[kind], o.Probes[kind] = check, probe.TimingOf(want[kind])
	}
	p.invalid = ""
	key := r.key
	o.OnChange = func(probe.State) { a.box.poke(key) }
	w := probe.NewWatch(o)
	wctx, cancel := context.WithCancel(ctx)
	p.watch, p.cancel = w, cancel
	a.watches.add(key, proc.Name, p.epoch, w)
	a.steps.Go(func() {
		defer a.watches.drop(key, w)
		if err := w.Run(wctx); err != nil {
			a.log.Error("the probes of a process ended", "namespace", key.Namespace, "member", key.Name(), "err", err)
		}
	})
}
