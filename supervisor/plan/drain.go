package plan

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// draining tells whether a member's node is being drained: it is stopped there, and
// not started again before the node is uncordoned.
func (p *planner) draining(m *state.Member) bool {
	n := p.v.Node(m.Node)
	return n != nil && n.Draining
}

// drain stops members of nodes that are being drained, from high to low, within the
// budget that all voluntary downtime shares; who serves nobody is stopped at once. Who is
// down and has no directories there gets a place elsewhere; the others keep theirs.
func (p *planner) drain(w *world) {
	budget := MaxUnavailable(w.s)
	for i := len(w.members) - 1; i >= 0; i-- {
		m := w.members[i]
		if !p.draining(m) || m == w.going || p.recreates(w, m) {
			continue
		}
		switch {
		case m.Wish == state.WishStop && m.Down():
			p.leave(w, m)
		case m.Wish != state.WishRun:
		case !p.nodeReady(m):
			p.wait(w.s, m.Name(), "NodeLost", "is stopped for the drain when its node %s answers again%s", m.Node, p.away(w, m))
		case !m.Ready():
			p.propose(p.stop(w, m, state.WhyDrain, state.OnlyUnready))
		case p.mayTakeDown(w, m, budget):
			if p.consents(w, m, "is stopped for the drain of node "+m.Node) {
				p.propose(p.stop(w, m, state.WhyDrain, budget))
				w.down[m.Ordinal] = true
			}
		default:
			p.wait(w.s, m.Name(), "DrainBudget", "is stopped for the drain of node %s when fewer than %d members are unavailable (%s); a larger maxUnavailable lets more be down at once", m.Node, budget, p.firstDown(w, w.down))
		}
	}
}

// recreates: the Recreate strategy stops the member, with all others of its revision.
func (p *planner) recreates(w *world, m *state.Member) bool {
	return w.s.Spec.UpdateStrategy.Type == spec.Recreate && w.s.Paused == nil && w.s.Wants(m.Ordinal) && m.Wish == state.WishRun &&
		!m.MayStart() && w.s.Behind(m)
}

// mayTakeDown tells whether one more may be made unavailable, after all that this plan
// takes down already. Nobody while new ordinals get their places: scaling goes first, and the
// next plan knows which of them start.
func (p *planner) mayTakeDown(w *world, m *state.Member, budget int) bool {
	if w.down == nil {
		w.down = p.down(w)
	}
	return !w.placing && (len(w.down) < budget || w.down[m.Ordinal] && len(w.down) <= budget)
}

// leave finds a stopped member without directories another place; one with directories
// waits for its own.
func (p *planner) leave(w *world, m *state.Member) {
	if !p.v.MayLeave(w.s, m) {
		p.wait(w.s, m.Name(), "Drained", "is stopped and keeps its place: its node %s is drained, and its directories are there (supctl node uncordon %s)", m.Node, m.Node)
		return
	}
	if slot, ok := p.slot(w, m.Ordinal, nil, m.Node); ok {
		p.propose(&state.Place{Namespace: m.Namespace, Set: m.Set, IfGeneration: m.Generation, Slot: slot})
	}
}
