package agent

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// outcome is how a step ended.
type outcome struct {
	key      Key
	step     Step
	assigned assignment
	err      error
	prepared *prepared
	told     map[string]keeper.Settings
	progress *progress       // not the end: what a long step is at
	hook     spec.HookStatus // that was part of it, if it has a name
	called   *called         // it is the end of a hook, not of a step
	position *int64
	exec     execID // that the step was about
}

// progress says which part of a long step is under way.
type progress struct {
	n    int
	text string
}

// loop looks at the newest View, acts, and sleeps until something changes.
func (a *Agent) loop(ctx context.Context) error {
	defer a.steps.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.findTraces()
	tableKnown := false
	for {
		changed := a.o.Views.Changed()
		v, now := a.o.Views.View(), time.Now()
		post := a.box.take()
		tableKnown = tableKnown || post.table != nil
		next := a.pass(ctx, v, now, post, tableKnown)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case <-a.box.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// findTraces remembers the members that have left something below run/, so that
// it is cleaned up when they are gone.
func (a *Agent) findTraces() {
	spaces, err := os.ReadDir(a.runDir())
	for _, ns := range spaces {
		members, err := os.ReadDir(filepath.Join(a.runDir(), ns.Name()))
		if err != nil {
			a.log.Warn("cannot look for what members have left", "err", err)
		}
		for _, m := range members {
			if k, ok := keyOf(ns.Name() + "/" + m.Name()); ok && m.IsDir() {
				a.runtime(k).traces = true
			}
		}
	}
	if err != nil {
		a.log.Warn("cannot look for what members have left", "err", err)
	}
}

func (a *Agent) runDir() string { return filepath.Join(a.o.DataDir, "run") }

func (a *Agent) runtime(k Key) *runtime {
	r := a.members[k]
	if r == nil {
		r = newRuntime(k)
		r.logMax = a.o.LogMax
		a.members[k] = r
	}
	return r
}

// pass visits every member that something may have changed for and tells how long
// to sleep at most.
func (a *Agent) pass(ctx context.Context, v *state.View, now time.Time, post mail, tableKnown bool) time.Duration {
	a.decided = a.o.Clock()
	fresh := a.lease.fresh(v.Index)
	if !fresh.Forgotten && len(v.Cluster.Forgotten) > 0 && v.Cluster.Forgot(a.o.Self().ID) != nil {
		// Its name may be another machine's by now: nothing is started on that one's behalf.
		fresh = Fresh{Caught: true, Forgotten: true}
	}
	fresh.Caught = fresh.Caught && tableKnown
	fresh.Start = fresh.Start && tableKnown
	fresh.Fence = fresh.Fence && tableKnown
	if post.table != nil {
		a.takeTable(*post.table, post.dirty)
	}
	for _, o := range post.done {
		a.finish(o, now)
		post.dirty[o.key] = true
	}
	if v.Index != a.lastIndex || a.sets == nil {
		a.takeView(v, post.dirty)
		a.lastIndex = v.Index
	}
	const idle = 30 * time.Second
	sleep := idle
	a.noteStale(v, now, post.dirty, fresh)
	if left := a.staleHolds(now); left > 0 {
		fresh.Start, sleep = false, min(sleep, left)
	}
	all := fresh != a.lastFresh
	a.lastFresh = fresh
	for k := range a.stale { // before anything else
		a.visit(ctx, a.runtime(k), v, now, fresh)
		delete(post.dirty, k)
	}
	for k, r := range a.members {
		due := !r.wakeAt.IsZero() && !now.Before(r.wakeAt)
		if all || due || post.dirty[k] {
			a.visit(ctx, r, v, now, fresh)
		}
		if !r.wakeAt.IsZero() {
			sleep = min(sleep, r.wakeAt.Sub(now))
		}
	}
	if !a.settled && fresh.Caught {
		if a.settled = a.hasTold(v, now, fresh); a.settled {
			a.lease.settle()
		} else {
			sleep = min(sleep, 50*time.Millisecond)
		}
	}
	return max(sleep, time.Millisecond)
}

// hasTold tells whether the log knows who has ended here while no agent looked.
func (a *Agent) hasTold(v *state.View, now time.Time, fresh Fresh) bool {
	for _, r := range a.members {
		m := r.part.Member
		if m != nil && m.Epoch != 0 && m.Wish == state.WishRun && r.givenUp < m.Epoch && lost(r.part, r.facts(now, fresh)) != "" {
			return false
		}
	}
	return a.said.allSaid(v, now)
}

// takeTable gives each member its records and marks those that differ.
func (a *Agent) takeTable(t keeper.Table, dirty map[Key]bool) {
	byMember := map[Key][]keeper.Status{}
	for _, s := range t.Processes {
		k, ok := keyOf(s.Member)
		if !ok {
			a.log.Error("the keeper has a member of no name of ours; it is left alone", "member", s.Member)
			continue
		}
		byMember[k] = append(byMember[k], s)
	}
	for k, records := range byMember {
		r := a.runtime(k)
		if r.keeperHooks != t.Hooks || !slices.EqualFunc(r.table, records, func(a, b keeper.Status) bool { return a == b }) {
			r.table, r.keeperHooks = records, t.Hooks
			dirty[k] = true
		}
	}
	for k, r := range a.members {
		if len(r.table) > 0 && byMember[k] == nil {
			r.table = nil
			dirty[k] = true
		}
	}
}

// takeView marks the members whose part of the View has changed.
func (a *Agent) takeView(v *state.View, dirty map[Key]bool) {
	c := v.Cluster // a copy: whoever holds on to it does not hold all of the View
	a.cluster = &c
	sets := map[setKey]setView{}
	here := map[Key]bool{}
	for m := range v.NodeMembers(a.o.Node) {
		k := keyOfMember(m)
		here[k] = true
		sk := setKey{k.Namespace, k.Set}
		if _, ok := sets[sk]; !ok {
			sets[sk] = setViewOf(v, sk, a.sets[sk])
		}
		r := a.runtime(k)
		if r.part.Member != m || r.print != sets[sk].print || r.part.Set != sets[sk].set ||
			r.part.Revision != v.Revision(k.Namespace, k.Set, m.Revision) {
			dirty[k] = true
		}
	}
	for k, r := range a.members {
		if !here[k] && (r.part.Member != nil || len(r.table) == 0) {
			dirty[k] = true
		}
	}
	a.sets = sets
}

// visit brings one member's runtime up to date, begins its next step, and tells
// the reporter what is seen.
func (a *Agent) visit(ctx context.Context, r *runtime, v *state.View, now time.Time, fresh Fresh) {
	sk := setKey{r.key.Namespace, r.key.Set}
	set, ok := a.sets[sk]
	if !ok {
		set = setViewOf(v, sk, setView{})
	}
	part := partOf(v, a.cluster, a.o.Node, r.key, set)
	if fresh.Forgotten {
		part.Member, part.Volumes = nil, nil
	}
	r.assign(part, set.print)
	r.part.bound = bound(r.part.Member, r.records(now))
	if fresh.Caught {
		// Not before: probes of what was found running begin from what was last
		// reported of it, and an old View may not have that report yet.
		a.follow(ctx, r, now)
		a.callHooks(ctx, r, set.crowd, now)
	}
	if r.busy == nil {
		facts := r.facts(now, fresh)
		if r.failure != nil && settled(r.part, facts) {
			r.failure = nil
		}
		if steps := Diff(r.part, facts); len(steps) > 0 {
			a.begin(ctx, r, steps[0], set.crowd)
		} else if m := r.part.Member; m == nil && len(facts.Records) == 0 && fresh.Caught && !r.traces && r.calling == nil {
			delete(a.members, r.key)
			a.said.forget(r.key)
			return
		}
	}
	r.wakeAt = time.Time{}
	r.wake(now, r.retry)
	r.wake(now, r.callRetry)
	for _, p := range r.procs {
		r.wake(now, p.postKill)
		r.wake(now, p.peersRetry)
	}
	for _, at := range r.asked {
		r.wake(now, at.Add(askAgain))
	}
	for _, o := range r.overlay {
		r.wake(now, o.until.Add(time.Millisecond))
	}
	if !fresh.Caught {
		return
	}
	obs, next, ok := Observe(r.part, r.sight(now))
	if ok {
		a.said.member(r.key, obs, now)
		r.wake(now, next)
	} else if r.part.Member == nil || r.part.Member.Epoch == 0 {
		a.said.forget(r.key)
	}
	a.warnAbove(r, now)
}

// wake asks for another visit at a time, if that is to come.
func (r *runtime) wake(now, at time.Time) {
	if at.After(now) && (r.wakeAt.IsZero() || at.Before(r.wakeAt)) {
		r.wakeAt = at
	}
}

// warnAbove says once that a member runs with a higher epoch than the log knows.
func (a *Agent) warnAbove(r *runtime, now time.Time) {
	m := r.part.Member
	high := m != nil && m.Epoch > 0 && above(r.records(now), m.Epoch)
	if high && !r.warned {
		a.log.Error("a member runs with a higher epoch than the log knows; it is left alone",
			"namespace", r.key.Namespace, "member", r.key.Name(), "epoch", m.Epoch)
	}
	r.warned = high
}

// begin starts a step in a goroutine of its own.
func (a *Agent) begin(ctx context.Context, r *runtime, s Step, c *crowd) {
	sctx, cancel := context.WithCancel(ctx)
	r.busy = &busy{step: s, cancel: cancel}
	j := a.job(r, s, c)
	a.log.Debug("step", "namespace", r.key.Namespace, "member", r.key.Name(), "step", s.String())
	a.steps.Go(func() {
		defer cancel()
		a.box.finished(j.do(sctx))
	})
}

// job is a step of a member, with all that it is told.
func (a *Agent) job(r *runtime, s Step, c *crowd) job {
	rec, _ := record(r.records(time.Now()), s.Process)
	j := job{
		a: a, key: r.key, part: r.part, print: r.print, crowd: c, step: s, assigned: r.assigned, decided: a.decided,
		record: rec, memory: r.memory,
	}
	if r.prepared != nil {
		j.peers = r.prepared.peers
	}
	return j
}

// finish takes the outcome of a step over.
func (a *Agent) finish(o outcome, now time.Time) {
	if o.called != nil {
		a.called(o, now)
		return
	}
	r := a.runtime(o.key)
	current := o.assigned == r.assigned
	if o.progress != nil {
		if current {
			r.progress = *o.progress
			if r.failure != nil && r.progress.n > r.failedAt {
				r.failure = nil // what had failed before has succeeded now
			}
		}
		return
	}
	r.busy = nil
	if o.assigned.epoch == r.assigned.epoch {
		r.noteHook(o.hook)
	}
	if o.err != nil {
		if !current || errors.Is(o.err, context.Canceled) {
			return
		}
		a.failed(r, o, now)
		return
	}
	r.failure, r.aside, r.failures, r.retry = nil, nil, 0, time.Time{}
	r.effect(o, current, now)
}

// effect notes what a step that succeeded has changed.
func (r *runtime) effect(o outcome, current bool, now time.Time) {
	switch o.step.Do {
	case DoStop:
		if current {
			r.asked[o.step.Process] = now
		}
	case DoGiveUp:
		if o.step.Epoch >= r.givenUp {
			r.givenUp, r.givenUpWhy = o.step.Epoch, o.step.Why
		}
	case DoForget:
		delete(r.asked, o.step.Process)
		r.forgot(o.step, now)
	case DoPrepare, DoAdopt, DoRefresh:
		r.traces, r.progress, r.failedAt = true, progress{}, 0
		if current || r.assigned.epoch == o.assigned.epoch {
			r.prepared = o.prepared
			maps.Copy(r.peers, o.prepared.marks)
			r.takeTold(o.told)
		}
	case DoStart:
		if current && r.prepared != nil {
			r.peers[o.step.Process] = peersMark{Epoch: o.step.Epoch, Start: r.prepared.peers}
		}
		r.overlie(overlay{until: now.Add(overlayFor), status: keeper.Status{
			Member: r.key.String(), Process: o.step.Process, Epoch: o.step.Epoch, State: keeper.Starting,
			Fence: o.told[o.step.Process].Fence, PreStop: o.told[o.step.Process].PreStop != nil,
		}})
		r.takeTold(o.told)
	case DoRestart:
		if p := r.procs[o.step.Process]; p != nil && p.exec.is(o.exec) { // it may have ended by itself, in a preStop hook
			p.restarted = true
		}
	case DoUpdate:
		r.updated = now
		r.takeTold(o.told)
	case DoPosition:
		r.traces, r.progress, r.failedAt = true, progress{}, 0
		if r.assigned.epoch == o.assigned.epoch {
			r.position = o.position
		}
	case DoClean:
		r.traces = false
	}
}

// forgot notes that the keeper's record of a process is gone, before the table shows it.
func (r *runtime) forgot(s Step, now time.Time) {
	r.overlie(overlay{
		gone: true, until: now.Add(overlayFor), status: keeper.Status{Process: s.Process, Epoch: s.Epoch},
	})
}

// failed notes a failure and when to try again: never given up, ever more rarely.
func (a *Agent) failed(r *runtime, o outcome, now time.Time) {
	f := failureOf(o.err)
	if errors.Is(o.err, keeper.ErrNotFound) && (o.step.Do == DoStop || o.step.Do == DoForget || o.step.Do == DoRestart || o.step.Do == DoUpdate) {
		// The table will show that it is gone.
		r.retry = now.Add(100 * time.Millisecond)
		return
	}
	if errors.Is(o.err, keeper.ErrGivenUp) && (o.step.Do == DoStart || o.step.Do == DoPrepare || o.step.Do == DoPosition) {
		// Given up by an earlier run of the agent, or the keeper knows a higher one.
		if o.step.Epoch >= r.givenUp {
			r.givenUp, r.givenUpWhy = o.step.Epoch, KeeperLost
		}
		return
	}
	if _, ok := errors.AsType[*keeper.ErrExec](o.err); ok && o.step.Do == DoStart {
		r.forgot(o.step, now)
	}
	r.failures++
	first, most := time.Second, 30*time.Second
	switch f.Reason {
	case StillLocked, StillRunning, KeeperDown, NoLease:
		first, most = 100*time.Millisecond, 5*time.Second
	}
	r.retry = now.Add(backoff(r.failures, first, most))
	before := r.failure
	if o.step.aside() {
		before = r.aside
	}
	if before == nil || *before != *f {
		a.log.Warn("cannot do a step for a member; it is tried again", "namespace", r.key.Namespace, "set", r.key.Set,
			"member", r.key.Name(), "step", o.step.String(), "reason", f.Reason, "err", o.err)
	}
	if r.progress.n > 0 {
		r.failedAt = r.progress.n
	}
	r.progress = progress{}
	if o.step.aside() {
		r.aside = f
	} else {
		r.failure = f
	}
}
