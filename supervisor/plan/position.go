package plan

import (
	"maps"
	"slices"
	"time"

	"supd/raftstore/state"
)

// cold tells whether all of a formed set is down whose members can tell their positions. Then
// nobody starts before all have told: who started without would wait for the others, and they for him.
// A member whose node does not answer is waited for. That the log has one running is not enough,
// for after a power cut it has so of all, until their nodes, if they come back, have told.
func (p *planner) cold(w *world) bool {
	if !p.v.TellsPositions(w.s) {
		return false
	}
	down := false
	for _, m := range w.members {
		if m.Wish == state.WishRun && m.MayRun() && p.nodeReady(m) && !p.unsettled(m) {
			return false
		}
		down = down || m.Epoch != 0 && !m.MayRun()
	}
	return down
}

// startCold has those that are down tell their position, and when all have, lets them go, the
// highest first.
func (p *planner) startCold(w *world) {
	var waits *state.Member
	for _, m := range w.members {
		switch {
		case m.Wish == state.WishGone || m.Epoch == 0 || m.Left():
			continue
		case m.MayStart() && p.nodeReady(m) && !p.draining(m) && p.v.HasPosition(w.s, m):
			if c := p.startOf(w, m); c != nil {
				p.propose(&state.StartHeld{
					Namespace: c.Namespace, Set: c.Set, Ordinal: c.Ordinal, Revision: c.Revision,
					IfEpoch: c.IfEpoch, IfGeneration: c.IfGeneration, Fence: c.Fence, Ports: c.Ports,
				})
			}
		}
		if _, ok := m.Position(); (!ok || !p.nodeReady(m)) && waits == nil && (p.v.HasPosition(w.s, m) || m.MayRun()) {
			waits = m
		}
	}
	if waits != nil {
		p.waitPosition(w, waits)
		return
	}
	c := &state.LetGo{Namespace: w.s.Meta.Namespace, Set: w.s.Meta.Name, Epochs: map[int]uint64{}}
	high := int64(0)
	for _, m := range w.members {
		n, ok := m.Position()
		if !ok {
			continue
		}
		c.Epochs[m.Ordinal] = m.Epoch
		if p.v.HasPosition(w.s, m) && (c.Bootstrap == nil || n > high) {
			o := m.Ordinal
			c.Bootstrap, high = &o, n
		}
	}
	if c.Bootstrap != nil {
		p.propose(c)
		return
	}
	p.wait(w.s, w.s.Meta.Name, "PositionWaits", "is down, and none of its members has the data that it wrote")
}

// waitPosition says for whom a cold start waits.
func (p *planner) waitPosition(w *world, m *state.Member) {
	switch n := p.v.Node(m.Node); {
	case !p.nodeReady(m):
		state := "gone"
		if n != nil {
			state = n.State
		}
		p.wait(w.s, m.Name(), "PositionWaits", "all of the set is down, and it may have the newest data: its node %s is %s, so nobody is started", m.Node, state)
	case p.draining(m):
		p.wait(w.s, m.Name(), "PositionWaits", "all of the set is down, and it may have the newest data: its node %s is being drained (supctl node uncordon %s)", m.Node, m.Node)
	case m.MayRun() && p.unsettled(m):
		p.wait(w.s, m.Name(), "PositionWaits", "all others of the set are down: waits until its node %s tells whether this one runs", m.Node)
	case m.Stopping():
		p.wait(w.s, m.Name(), "PositionWaits", "all of the set is going down: waits until it has stopped on node %s", m.Node)
	default:
		reason, message := "PositionWaits", m.Seen.Message
		switch {
		case m.Seen.Epoch != m.Epoch || message == "":
			message = "its node runs the position hook"
		case m.Seen.Reason == "PositionFailed":
			reason = m.Seen.Reason
		}
		p.wait(w.s, m.Name(), reason, "all of the set is down: the one with the newest data goes first, and this one has not told its position yet (%s)", message)
	}
}

// waitFirst says for whom those wait that run and are not ready after all were down: for the one that goes
// first, whose place nobody takes, for it may have taken writes; or, if there is none, for each other.
func (p *planner) waitFirst(w *world) {
	if !p.v.TellsPositions(w.s) {
		return
	}
	var first *state.Member
	var waiting []*state.Member
	since := time.Time{}
	for _, m := range w.wanted {
		switch {
		case m.Ready() && p.nodeReady(m):
			return
		case m.Bootstrap && !m.WasAvailable:
			first = m
		case m.Wish == state.WishRun && m.MayRun() && p.nodeReady(m):
			waiting = append(waiting, m)
			if m.UnreadySince.After(since) {
				since = m.UnreadySince
			}
		}
	}
	switch at := since.Add(brokenAfter); {
	case first != nil:
		for _, m := range waiting {
			p.wait(w.s, m.Name(), "BootstrapWaits", "waits until %s, which goes first with the newest data, is available (%s)", first.Name(), p.why(w, first))
		}
	case len(waiting) < 2:
	case p.now.Before(at):
		p.again(at)
	default:
		p.wait(w.s, w.s.Meta.Name, "NobodyFirst", "has no member that is ready, and none goes first: %s may wait for each other (supctl restart %s begins anew)", names(waiting), w.s.Meta.Name)
	}
}

// letGo lets held members start when somebody runs again, or nobody asks for positions any more;
// then the lowest goes first, as in sets without.
func (p *planner) letGo(w *world) {
	c := &state.LetGo{Namespace: w.s.Meta.Namespace, Set: w.s.Meta.Name, Epochs: map[int]uint64{}}
	for _, m := range w.members {
		if m.Held && m.Wish == state.WishRun {
			c.Epochs[m.Ordinal] = m.Epoch
		}
	}
	if len(c.Epochs) == 0 {
		return
	}
	if !slices.ContainsFunc(w.members, (*state.Member).MayRun) {
		first := slices.Min(slices.Collect(maps.Keys(c.Epochs)))
		c.Bootstrap = &first
	}
	p.propose(c)
}
