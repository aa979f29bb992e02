package sim

import (
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// leader is one term of leadership. Entries it takes commit in order; when it is
// deposed, a prefix of the rest commits before its successor's barrier, what follows
// never does.
type leader struct {
	host  *host
	term  uint64
	since time.Duration
	queue []*proposal
	// planned proposals whose fate is not known; no new plan before it is.
	planned int
	// losing nodes have a SetNode Lost under way: they get no lease.
	losing  map[string]int
	leases  map[string]time.Duration
	heard   map[string]time.Duration
	judging map[string]bool
	words   map[plan.Ask]*word
}

// proposal is an entry on its way to the log.
type proposal struct {
	entry state.Entry
	// stray entries come from a planner that does not know the present.
	stray bool
	done  func(state.Result)
	// settled runs when the fate is known, committed or not.
	settled func()
}

func (l *leader) propose(p *proposal) { l.queue = append(l.queue, p) }

// elect makes a leader when there is none and a majority can talk.
func (w *World) elect() {
	if w.lead != nil && w.check.forgotten[w.lead.host.id] {
		w.depose("its host was forgotten")
	}
	if w.lead != nil && !w.lead.host.talks() {
		w.depose("its host is gone")
	}
	if w.lead != nil || !w.quorum() || !w.calm && w.chance(0.5) {
		return
	}
	var can []*host
	for _, h := range w.hosts {
		if h.talks() && !w.check.forgotten[h.id] {
			can = append(can, h)
		}
	}
	h := can[w.rng.IntN(len(can))]
	w.terms++
	w.lead = &leader{
		host: h, term: w.terms, since: w.now, losing: map[string]int{}, leases: map[string]time.Duration{},
		heard: map[string]time.Duration{}, judging: map[string]bool{}, words: map[plan.Ask]*word{},
	}
	w.say("leader: %s, term %d", h.name, w.terms)
	h.catchUp(len(w.log)) // its barrier: it answers nobody before
	if !w.booted {
		w.booted = true
		w.lead.propose(&proposal{entry: w.entry("boot", &state.InitCluster{
			ID: "c0ffee", Incarnation: "1", Plan: "loopback", PlanCIDR: "127.80.0.0/20", Zone: spec.ClusterZone,
		})})
	}
}

// quorum tells whether a majority of hosts can talk to each other.
func (w *World) quorum() bool {
	n, all := 0, 0
	for _, h := range w.hosts {
		if w.check.forgotten[h.id] {
			continue
		}
		all++
		if h.talks() {
			n++
		}
	}
	return n > all/2
}

// depose ends the leadership; part of what it had taken still commits.
func (w *World) depose(why string) {
	l := w.lead
	if l == nil {
		return
	}
	w.say("deposed: %s, %s", l.host.name, why)
	keep := 0
	if len(l.queue) > 0 && w.quorum() {
		keep = w.rng.IntN(len(l.queue) + 1)
	}
	for i, p := range l.queue {
		switch {
		case i < keep:
			w.append(p)
		default:
			w.say("lost with the leader: %s", name(p.entry.Cmd))
			w.mayComeLate(p.entry)
		}
	}
	w.lead = nil
	if l.host.view != nil && w.chance(0.5) {
		// It plans once more before it knows.
		for _, c := range w.plan(l, l.host.view).Commands {
			w.mayComeLate(state.Entry{Who: "plan", Cmd: c})
		}
	}
}

// mayComeLate remembers a planned command for a stray arrival. What leaders say of
// nodes never leaves them: Raft itself keeps those from committing late.
func (w *World) mayComeLate(e state.Entry) {
	if e.Who != "plan" {
		return
	}
	w.late = append(w.late, e.Cmd)
	if len(w.late) > 60 {
		w.late = w.late[20:]
	}
}

func (w *World) entry(who string, c state.Command) state.Entry {
	at := birth.Add(w.now)
	if w.lead != nil {
		at = w.lead.host.clock()
	}
	return state.Entry{At: at, Who: who, Cmd: c}
}

// commit lets the leader's oldest entries reach the log.
func (w *World) commit() {
	for w.lead != nil && len(w.lead.queue) > 0 && w.quorum() && (w.calm || w.chance(0.85)) {
		p := w.lead.queue[0]
		w.lead.queue = w.lead.queue[1:]
		w.append(p)
	}
}

// append puts an entry into the log, for good.
func (w *World) append(p *proposal) {
	b, err := state.Encode(p.entry)
	if err != nil {
		w.check.fail("S14", "cannot encode %s: %v", name(p.entry.Cmd), err)
		return
	}
	w.log = append(w.log, b)
	res := w.check.commit(b, p.stray)
	if w.lead != nil {
		w.lead.host.catchUp(len(w.log))
	}
	if p.done != nil {
		p.done(res)
	}
	if p.settled != nil {
		p.settled()
	}
	if p.entry.Who == "plan" && w.chance(0.1) {
		w.mayComeLate(p.entry)
	}
}

// tickLeader is the control loop: judge nodes, then plan.
func (w *World) tickLeader() {
	l := w.lead
	if l == nil || !l.host.talks() {
		return
	}
	l.host.catchUp(len(w.log))
	w.judge(l)
	if l.planned > 0 || len(l.queue) > 0 && w.calm {
		return
	}
	out := w.plan(l, l.host.view)
	w.waits = out.Waits
	w.check.planned(l.host, out)
	l.ask(w, out.Asks)
	for _, c := range out.Commands {
		l.planned++
		l.propose(&proposal{entry: w.entry("plan", c), settled: func() { l.planned-- }})
	}
	if len(w.late) > 0 && !w.calm && w.chance(0.15) {
		c := w.late[w.rng.IntN(len(w.late))]
		l.propose(&proposal{entry: w.entry("plan", c), stray: true})
	}
}

func (w *World) plan(l *leader, v *state.View) plan.Plan {
	now := l.host.clock()
	if now.Before(v.Cluster.Now) {
		now = v.Cluster.Now
	}
	return w.m.Plan(v, now, plan.Facts{
		Silent: l.silent(w), UID: func() string { return w.uid("u") }, Since: birth.Add(l.since + l.host.skew), MayStop: l.said(w),
	})
}

func (l *leader) silent(w *World) func(string) bool {
	return func(node string) bool {
		at, ok := l.heard[node]
		return !ok || w.now-at > silentAfter
	}
}

// judge proposes node states: Suspect after silence, Lost after the lease, Ready
// when a node is heard again.
func (w *World) judge(l *leader) {
	for n := range l.host.view.Nodes() {
		heard, ok := l.heard[n.Name]
		if !ok {
			heard = l.since
		}
		until, ok := l.leases[n.Name]
		if first := l.since + lease*101/100 + leaseMargin; !ok || until < first {
			until = first
		}
		to, why := "", ""
		switch quiet := w.now - heard; {
		case n.State == spec.NodeReady && quiet > suspectAfter:
			to, why = spec.NodeSuspect, "no heartbeat"
		case n.State == spec.NodeSuspect && w.now > until:
			to, why = spec.NodeLost, "its lease has ended"
		case n.State != spec.NodeReady && heard > l.since && quiet < silentAfter:
			to, why = spec.NodeReady, "it is back"
		}
		if to == "" || l.judging[n.Name] {
			continue
		}
		l.judging[n.Name] = true
		if to == spec.NodeLost {
			l.losing[n.Name]++
		}
		l.propose(&proposal{
			entry: w.entry("control", &state.SetNode{Name: n.Name, State: to, Reason: why, IfGeneration: n.Generation}),
			settled: func() {
				l.judging[n.Name] = false
				if to == spec.NodeLost {
					l.losing[n.Name]--
				}
			},
		})
	}
}

// hear takes a heartbeat and answers it, if the node may have a lease.
func (w *World) hear(from *host, run string, sent time.Duration) {
	l := w.lead
	if l == nil || l.host.view == nil {
		return
	}
	if l.host.view.Cluster.Forgot(from.id) != nil {
		w.send(&message{kind: "bad news to " + from.name, from: l.host, to: from, arrive: func() { from.gone = true }})
		return
	}
	n := l.host.view.Node(from.name)
	if n != nil && n.ID != from.id {
		return
	}
	l.heard[from.name] = w.now
	if n == nil || n.State == spec.NodeLost || l.losing[from.name] > 0 {
		return
	}
	l.leases[from.name] = w.now + lease*101/100 + leaseMargin
	index := l.host.view.Index
	w.send(&message{kind: "answer to " + from.name, from: l.host, to: from, arrive: func() {
		if a := from.agent; a != nil && a.run == run {
			a.leased(sent+lease, index)
		}
	}})
}
