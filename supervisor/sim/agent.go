package sim

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// agent is one run of a host's agent, by the book. It touches nothing before its
// View has reached the index of a first answer of the leader: what a daemon finds
// on its disk may be older than what it has done.
type agent struct {
	h   *host
	old bool // of a version that promises no fences, and reports none
	run string
	seq uint64

	registered bool
	registerAt time.Duration
	beatAt     time.Duration
	until      time.Duration // end of the lease
	index      uint64        // the leader's, in the newest answer
	synced     bool

	acked   map[string]any // what the leader is known to have of each subject
	waiting *state.Report
	said    map[string]any // by the report that waits for its answer
	sentAt  time.Duration
}

func newAgent(h *host) *agent {
	return &agent{h: h, old: h.w.chance(0.1), run: h.w.uid("run"), until: -1, acked: map[string]any{}, registerAt: -1, beatAt: -1}
}

// leased takes an answer to a heartbeat.
func (a *agent) leased(until time.Duration, index uint64) {
	if a.h.w.lateLease {
		until = a.h.w.now + lease
	}
	a.h.until = max(a.h.until, until)
	a.until, a.index = max(a.until, until), max(a.index, index)
}

func (h *host) tickAgent() {
	if !h.up || h.agent == nil || h.paused {
		return
	}
	a, w := h.agent, h.w
	if h.gone || h.view.Cluster.Forgot(h.id) != nil {
		h.bury()
		return
	}
	if n := h.view.Node(h.name); !a.registered || n != nil && n.Run != a.run && h.view.Index >= a.index && a.index > 0 {
		a.register()
	}
	if w.now-a.beatAt >= heartbeat || a.beatAt < 0 {
		a.beatAt = w.now
		sent, run := w.now, a.run
		w.send(&message{kind: "heartbeat of " + h.name, from: h, arrive: func() { w.hear(h, run, sent) }})
	}
	if w.now < a.until && h.view.Index >= a.index {
		a.synced = true
	}
	if !a.synced && !w.hasty {
		return
	}
	a.match()
	a.report()
}

func (a *agent) register() {
	h, w := a.h, a.h.w
	if a.registerAt >= 0 && w.now-a.registerAt < resend {
		return
	}
	a.registerAt = w.now
	c := &state.RegisterNode{Node: state.Node{
		Name: h.name, ID: h.id, Run: a.run, API: h.name + ":1", Raft: h.name + ":2", HostIP: "127.0.0.1", Machine: "m", Root: true,
		Fences: !a.old, Boot: fmt.Sprint(h.boots),
	}}
	w.send(&message{kind: "register " + h.name + " " + a.run, from: h, arrive: func() {
		w.request("agent:"+h.name, c, func(res state.Result) {
			if res.Err != nil && res.Err.Reason == state.NodeForgotten {
				h.gone = true
			}
			if res.Err == nil && h.agent == a {
				a.registered = true
			}
		})
	}})
}

// request hands a command to whoever leads; none: it is lost.
func (w *World) request(who string, c state.Command, done func(state.Result)) {
	if w.lead != nil {
		w.lead.propose(&proposal{entry: w.entry(who, c), done: done})
	}
}

// match makes the host look like the View.
func (a *agent) match() {
	h := a.h
	stale := false
	for _, id := range sortedKeys(h.procs) {
		p := h.procs[id]
		m := h.own(id)
		over := m == nil || p.epoch < m.Epoch || p.epoch == m.Epoch && m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped
		stale = stale || over
		switch {
		case over && h.w.careless:
		case over || p.epoch == m.Epoch && m.Stopping():
			h.stop(p)
		case m != nil && !p.stopping:
			a.fence(p, m)
		}
	}
	for m := range h.view.NodeMembers(h.name) {
		if m.Wish == state.WishReserved || m.Wish == state.WishRun {
			h.makeDirs(m)
		}
		if m.Wish == state.WishRun && !m.Held && h.procs[identity(m)] == nil && (!stale || h.w.careless) {
			a.start(m)
		}
	}
	for v := range h.view.Volumes("") {
		if v.Node == h.name {
			h.tidy(v)
		}
	}
}

// own returns the View's member of an identity if it lives on this host, or nil.
func (h *host) own(id string) *state.Member {
	for m := range h.view.NodeMembers(h.name) {
		if identity(m) == id {
			return m
		}
	}
	return nil
}

func identity(m *state.Member) string { return key(m.Namespace, m.Set, m.Ordinal) }

func key(ns, set string, ordinal int) string {
	return fmt.Sprintf("%s/%s", ns, spec.MemberName(set, ordinal))
}

// start starts a member: under a good lease, with a View as new as the leader's,
// for an epoch that was neither given up nor started here before.
func (a *agent) start(m *state.Member) {
	h, w, id := a.h, a.h.w, identity(m)
	if m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped {
		return // its end is known: it gets a new epoch
	}
	if w.now >= a.until || h.view.Index < a.index || h.gaveUp[id] >= m.Epoch || h.started[id] >= m.Epoch {
		return
	}
	rev := h.view.Revision(m.Namespace, m.Set, m.Revision)
	if rev == nil {
		w.check.fail("S7", "%s is to start %s with revision %s, which is not in its View", h.name, id, m.Revision)
		return
	}
	p := &process{identity: id, epoch: m.Epoch, first: w.now}
	main := rev.Template.Processes[0]
	p.kind, p.probed, p.coy, p.willingAt = main.Command[0], main.Readiness != nil, main.MayStop != nil, w.now
	p.fence = a.wantsFence(m) || m.Fence && !a.old
	if p.fence && w.now >= h.until-killBefore {
		return // the keeper refuses it
	}
	for _, v := range h.view.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		d := h.dirs[v.UID]
		if d != nil {
			d.missed = d.away
		}
		if d == nil || d.away || d.trashed || v.Phase != spec.VolumeBound && v.Phase != spec.VolumePending || d.claim > m.Epoch {
			return
		}
		p.dirs = append(p.dirs, d)
	}
	p.exec(w)
	h.procs[id], h.started[id] = p, m.Epoch
	w.say("%s starts %s (epoch %d, %s)", h.name, id, m.Epoch, p.kind)
	w.check.started(h, p)
	for _, d := range p.dirs {
		d.claim, d.used = m.Epoch, true
	}
}

// makeDirs makes the directories of a member's new volumes. One that was made
// before and is missing is trouble, never made again.
func (h *host) makeDirs(m *state.Member) {
	for _, v := range h.view.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if v.Node == h.name && !v.Made && h.dirs[v.UID] == nil && v.Phase == spec.VolumePending {
			h.dirs[v.UID] = &dir{uid: v.UID, identity: identity(m), template: v.Template}
			h.w.check.made(h, h.dirs[v.UID])
		}
	}
}

// tidy moves a released directory into the trash, back, or away for good.
func (h *host) tidy(v *state.Volume) {
	d := h.dirs[v.UID]
	if d != nil && d.away {
		return
	}
	if d != nil && v.Phase == spec.VolumeAbandoned {
		d.marked = true
	}
	if d == nil || v.Phase != spec.VolumeReleasing {
		return
	}
	for _, p := range h.procs {
		if slices.Contains(p.dirs, d) {
			return // its locks are held
		}
	}
	switch {
	case v.Emptying:
		h.w.check.emptied(h, d)
		delete(h.dirs, v.UID)
	case v.Undo && d.trashed:
		d.trashed = false
	case !v.Undo && !d.trashed:
		d.trashed = true
		h.w.check.trashed(h, d)
	}
}

// report tells what changed since the leader is known to have heard.
func (a *agent) report() {
	h, w := a.h, a.h.w
	if !a.registered || a.waiting != nil && w.now-a.sentAt < resend {
		return
	}
	a.doubt()
	say := map[string]any{}
	r := &state.Report{Node: h.name, Run: a.run, Seq: a.seq + 1}
	for m := range h.view.NodeMembers(h.name) {
		seen, ok := a.observe(m)
		if id := identity(m); ok && !reflect.DeepEqual(a.acked[id], seen) {
			say[id] = seen
			r.Members = append(r.Members, state.MemberReport{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Seen: seen})
		}
	}
	for v := range h.view.Volumes("") {
		if event := h.volumeEvent(v); v.Node == h.name && event != "" && a.acked[v.UID] != any(event+fmt.Sprint(v.Generation)) {
			say[v.UID] = event + fmt.Sprint(v.Generation)
			x := state.VolumeReport{Namespace: v.Namespace, Name: v.Name(), UID: v.UID, Event: event, Path: "/" + v.UID}
			if event == state.VolumeTrouble {
				x.Path, x.Reason, x.Message = "", state.VolumeMissing, "it is not there"
			}
			r.Volumes = append(r.Volumes, x)
		}
	}
	if len(say) == 0 {
		return
	}
	a.seq++
	a.waiting, a.said, a.sentAt = r, say, w.now
	w.send(&message{kind: fmt.Sprintf("report %d of %s", r.Seq, h.name), from: h, arrive: func() {
		w.request("agent:"+h.name, r, func(res state.Result) {
			w.send(&message{kind: "report's answer to " + h.name, to: h, arrive: func() { a.answered(r, say, res) }})
		})
	}})
}

// doubt: whether a report without an answer has been heard is not known, so what the
// leader has of its subjects is not known either.
func (a *agent) doubt() {
	if a.waiting == nil {
		return
	}
	for k := range a.said {
		delete(a.acked, k)
	}
	a.waiting = nil
}

func (a *agent) answered(r *state.Report, say map[string]any, res state.Result) {
	if a.h.agent != a || a.waiting != r {
		return
	}
	a.waiting = nil
	if res.Err != nil {
		a.registered, a.acked = false, map[string]any{} // somebody took the node's name for another run
		return
	}
	for k, v := range say {
		a.acked[k] = v
	}
}

// observe is what the agent has to say of a member's present epoch.
func (a *agent) observe(m *state.Member) (state.Observation, bool) {
	h, id := a.h, identity(m)
	seen := state.Observation{Epoch: m.Epoch}
	p := h.procs[id]
	switch {
	case m.Epoch == 0:
		return seen, false
	case m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped:
		return seen, false
	case p == nil && (m.Stopping() || h.started[id] >= m.Epoch || h.gaveUp[id] >= m.Epoch):
		// Stopped as asked, or gone with the host: for good.
		h.gaveUp[id] = max(h.gaveUp[id], m.Epoch)
		seen.Phase = spec.MemberStopped
	case p == nil && m.Held && a.synced && h.w.now < a.until:
		seen.Phase, seen.Position = spec.MemberStarting, h.position(m)
		if m.Seen.Epoch == m.Epoch && m.Seen.Position != nil {
			seen.Position = m.Seen.Position
		}
	case p == nil:
		return seen, false
	case p.epoch != m.Epoch:
		return seen, false
	case p.stopping:
		seen.Phase = spec.MemberStopping
	default:
		seen.Phase, seen.Started = spec.MemberRunning, true
		seen.Fenced = !a.old && (p.fence || h.w.trusting && a.wantsFence(m))
		seen.Ready, seen.Steady, seen.Restarts = p.ready(h.w.now), p.steady(h.w.now), len(p.crashes)
		seen.MayStop = a.consent(m, p)
		seen.StartedAt = birth.Add(p.first)
		seen.StartedOK = birth.Add(p.began)
		seen.Hooks = h.asked(m)
		if !seen.Ready {
			seen.Reason, seen.Message = "ProbeFailed", "its readiness probe does not pass"
		}
	}
	return seen, true
}

// volumeEvent is what the View does not know of a directory yet, or "".
func (h *host) volumeEvent(v *state.Volume) string {
	d := h.dirs[v.UID]
	switch {
	case d != nil && d.away:
		if d.missed && v.Reason == "" && v.Phase == spec.VolumeBound {
			return state.VolumeTrouble
		}
	case d != nil && v.Reason != "" && v.Phase == spec.VolumeBound:
		return state.VolumeMade // it is back
	case v.Phase == spec.VolumeAbandoned && !v.Marked && (d == nil || d.marked):
		return state.VolumeMarked
	case v.Phase == spec.VolumeReleasing && v.Emptying && d == nil:
		return state.VolumeEmptied
	case v.Phase == spec.VolumeReleasing && v.Undo && (d == nil || !d.trashed):
		return state.VolumeRestored
	case v.Phase == spec.VolumeReleasing && !v.Undo && !v.Trashed && (d == nil || d.trashed):
		return state.VolumeTrashed
	case !v.Made && d != nil && (v.Phase == spec.VolumePending || v.Phase == spec.VolumeRetained):
		return state.VolumeMade
	}
	return ""
}

// killBefore is how long before the lease's end the keeper kills what is fenced.
const killBefore = time.Second

// wantsFence tells whether the set, as this host's View has it, asks for fences.
func (a *agent) wantsFence(m *state.Member) bool {
	s := a.h.view.Set(m.Namespace, m.Set)
	return s != nil && s.Spec.OnNodeLoss == spec.Fence
}

// fence tells the keeper of a set that has come to ask for fences. It is never taken back
// while the epoch lives, but by an old version, which promises nothing.
func (a *agent) fence(p *process, m *state.Member) {
	h, w := a.h, a.h.w
	want := a.wantsFence(m)
	switch {
	case a.old && !want:
		p.fence = false
	case want && !p.fence && !w.trusting && w.now < h.until-killBefore && w.chance(0.5):
		p.fence = true
		w.say("%s fences %s (epoch %d)", h.name, p.identity, p.epoch)
	}
}

// bury ends all that runs on a host that was forgotten, and marks its directories.
func (h *host) bury() {
	if !h.gone {
		h.w.say("%s learns that it was forgotten", h.name)
	}
	h.gone = true
	for _, id := range sortedKeys(h.procs) {
		h.stop(h.procs[id])
	}
	for _, uid := range sortedKeys(h.dirs) {
		h.dirs[uid].marked = true
	}
}
