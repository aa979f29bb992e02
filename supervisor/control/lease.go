package control

import (
	"fmt"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// leases is the leader's account of one term: when it last heard of each node, and
// what follows. It is plain arithmetic over the times it is given.
type leases struct {
	lease time.Duration
	// lost is the silence after which nothing fenced can run on a node.
	lost time.Duration
	// began is when the term's barrier was passed; settled, when no lease that an
	// earlier leader grants late can begin any more.
	began, settled time.Time
	nodes          map[string]*nodeLease
}

type nodeLease struct {
	heard time.Time // newest heartbeat; zero: none in this term
	// index is what the node had applied when it sent that.
	index uint64
	seed  bool // it holds the cluster's secret
	// unsettled: its agent has not said yet whom it has found running.
	unsettled bool
	// leaving: the node has announced that its supd restarts.
	leaving bool
	// losing: Lost is proposed and its fate not known; no heartbeat is answered.
	losing bool
}

func newLeases(lease, staleness time.Duration, now time.Time) leases {
	return leases{
		lease: lease, lost: lease + lease/100 + Margin,
		began: now, settled: now.Add(staleness),
		nodes: map[string]*nodeLease{},
	}
}

func (l *leases) node(name string) *nodeLease {
	n := l.nodes[name]
	if n == nil {
		n = &nodeLease{}
		l.nodes[name] = n
	}
	return n
}

// hear notes a heartbeat when it comes in, whether or not it can be answered: what
// is noted in vain only makes the leader wait longer. It returns why the heartbeat
// must not be answered, or "".
func (l *leases) hear(h client.Heartbeat, now time.Time) (refusal string) {
	n := l.node(h.Node)
	if n.losing {
		return "it is being declared lost"
	}
	if now.After(n.heard) {
		n.heard = now
	}
	n.leaving, n.index, n.seed, n.unsettled = h.Leaving, h.Index, h.Seed, h.Unsettled
	return ""
}

// voterLag is how many entries a server may be behind and yet get a vote: those are
// sent within a heartbeat.
const voterLag = 500

// caughtUp tells whether a node's last heartbeat said that it follows well enough to vote.
func (l *leases) caughtUp(name string, index uint64) bool {
	n := l.nodes[name]
	return n != nil && n.index+voterLag >= index
}

// quiet is how long nothing was heard of a node, at most since the term began.
func (l *leases) quiet(name string, now time.Time) time.Duration {
	return now.Sub(l.since(name))
}

func (l *leases) since(name string) time.Time {
	if n := l.nodes[name]; n != nil && n.heard.After(l.began) {
		return n.heard
	}
	return l.began
}

// silent tells whether a node has not been heard within the last second.
func (l *leases) silent(name string, now time.Time) bool {
	n := l.nodes[name]
	return n == nil || n.heard.IsZero() || now.Sub(n.heard) > time.Second
}

// unsettled tells whether it is not known what runs on a node: it is silent, or its agent has just begun.
func (l *leases) unsettled(name string, now time.Time) bool {
	return l.silent(name, now) || l.nodes[name].unsettled
}

// until is when the lease ends that the newest heartbeat got, as the node may
// count it at most.
func (l *leases) until(name string) (time.Time, bool) {
	n := l.nodes[name]
	if n == nil || n.heard.IsZero() {
		return time.Time{}, false
	}
	return n.heard.Add(l.lease), true
}

// lostAt is when nothing fenced can run any more on a node that stays silent.
func (l *leases) lostAt(name string) time.Time {
	from := l.since(name)
	if from.Before(l.settled) {
		from = l.settled
	}
	return from.Add(l.lost)
}

// suspectAt is when a node that stays silent turns suspect.
func (l *leases) suspectAt(name string, dead bool) time.Time {
	n := l.nodes[name]
	switch {
	case n != nil && n.leaving:
		return n.heard.Add(l.lease)
	case dead:
		return l.since(name).Add(HintAfter)
	}
	return l.since(name).Add(SuspectAfter)
}

// verdict is a change of a node's state to propose.
type verdict struct {
	Node, State, Reason string
	Generation          uint64
}

// judge says which nodes' states are to change at now, and when to look again.
// dead is gossip's word. Nodes whose loss is under way are passed over.
func (l *leases) judge(v *state.View, now time.Time, dead func(name string) bool) (out []verdict, next time.Time) {
	soon := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for n := range v.Nodes() {
		mine := l.node(n.Name)
		if mine.losing {
			continue
		}
		say := func(to, reason string) {
			out = append(out, verdict{Node: n.Name, State: to, Reason: reason, Generation: n.Generation})
		}
		quiet := l.quiet(n.Name, now).Round(100 * time.Millisecond)
		heard := !mine.heard.IsZero() && !mine.leaving && now.Sub(mine.heard) < HintAfter
		suspect := l.suspectAt(n.Name, dead(n.Name))
		switch {
		case n.State != spec.NodeReady && heard:
			say(spec.NodeReady, "it answers again")
		case n.State == spec.NodeReady && !now.Before(suspect):
			say(spec.NodeSuspect, suspicion(mine.leaving, dead(n.Name), quiet))
		case n.State == spec.NodeSuspect && !now.Before(l.lostAt(n.Name)):
			say(spec.NodeLost, fmt.Sprintf("it has been silent for %s, longer than its lease of %s and a margin", quiet, l.lease))
		case n.State == spec.NodeReady:
			soon(suspect)
			if !mine.leaving {
				soon(l.since(n.Name).Add(HintAfter)) // gossip may have spoken by then
			}
		case n.State == spec.NodeSuspect:
			soon(l.lostAt(n.Name))
		}
	}
	return out, next
}

func suspicion(leaving, dead bool, quiet time.Duration) string {
	switch {
	case leaving:
		return fmt.Sprintf("it announced a restart and did not come back for %s", quiet)
	case dead:
		return fmt.Sprintf("gossip calls it dead, and it has been silent for %s", quiet)
	}
	return fmt.Sprintf("it has been silent for %s", quiet)
}
