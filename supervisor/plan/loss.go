package plan

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// takeOver gives members another place that ran and lost theirs: their node is Lost or
// forgotten, or one of their volumes was abandoned. It does so only where nobody runs
// them any more; for whom, and for what, the others wait is said in repair.
func (p *planner) takeOver(w *world) {
	var sofar []state.Slot
	for _, m := range w.members {
		if m.Epoch == 0 || m.Wish == state.WishGone || !p.v.Over(w.s, m) || !p.v.Homeless(w.s, m) {
			continue
		}
		if w.moving == nil {
			w.moving = map[int]bool{}
		}
		w.moving[m.Ordinal] = true
		slot, ok := p.slot(w, m.Ordinal, sofar, "")
		if !ok {
			continue // slot has said what it waits for
		}
		sofar = append(sofar, slot)
		c := &state.TakeOver{Namespace: m.Namespace, Set: m.Set, IfEpoch: m.Epoch, IfGeneration: m.Generation, Slot: slot}
		if n := p.v.Node(m.Node); n != nil {
			c.IfNode = n.Generation
		}
		p.propose(c)
	}
}

// waitNode says what a member waits for that may run on a node that does not answer.
func (p *planner) waitNode(w *world, m *state.Member) {
	n := p.v.Node(m.Node)
	fence := w.s.Spec.OnNodeLoss == spec.Fence
	switch {
	case n != nil && n.State == spec.NodeSuspect && fence && !p.v.HasVolumes(w.s, m.Ordinal) && m.Fenced():
		p.wait(w.s, m.Name(), "NodeSuspect", "its node %s does not answer; it is taken over when that node is Lost, which is when its lease has ended what runs there", m.Node)
	case fence && p.v.HasVolumes(w.s, m.Ordinal):
		p.wait(w.s, m.Name(), "VolumeNodeLost", "its node %s, where its data is, does not answer; whether it runs is not known, so nobody else may start it", m.Node)
	case fence:
		p.wait(w.s, m.Name(), "NotFenced", "its node %s does not answer, and never said that this start of it ends with the lease; so nobody else may start it", m.Node)
	default:
		p.wait(w.s, m.Name(), "NodeLost", "its node %s does not answer; whether it runs is not known, so nobody else may start it", m.Node)
	}
}
