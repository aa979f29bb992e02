package server

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// forgetOption says what giving a machine up does, and its risk.
func forgetOption(node string) string {
	return "if the machine never comes back: supctl node forget " + node +
		" (members without volumes start elsewhere, those with volumes wait until each volume is abandoned; risk: if it runs on, cut off, members with onNodeLoss Keep are there twice until it hears of it)"
}

// lossOptions are the ways out for a member whose node is Lost or forgotten, with the
// commands and their risk, the harmless one first.
func lossOptions(v *state.View, s *state.Set, m *state.Member) (out []string) {
	n := v.Node(m.Node)
	if s == nil || n != nil && n.State != spec.NodeLost {
		return nil
	}
	if n != nil {
		out = append(out, "bring node "+n.Name+" back: supd there goes on by itself; no risk")
	}
	if n != nil && v.Over(s, m) && m.Epoch != 0 {
		return append(out, "or wait: it is not running any more and is started on another node that fits")
	}
	if n != nil && s.Spec.OnNodeLoss == spec.Fence && len(s.Spec.Volumes) > 0 {
		out = append(out, "onNodeLoss Fence does not help a member with volumes: its data is on the lost node")
	}
	if n != nil {
		out = append(out, forgetOption(n.Name))
	}
	for _, vol := range v.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if vol.Node == m.Node {
			out = append(out, withNamespace("give its data up: supctl volume abandon "+vol.Name(), vol.Namespace)+
				" (it starts elsewhere with an empty directory; risk: what is on the old one is missing, and if it runs on, cut off, it is there twice)")
		}
	}
	return append(out, withNamespace("or do without it: supctl scale "+m.Set+" --replicas N --accept-unhealthy "+m.Name(), m.Namespace)+" (for the highest ordinals; its identity stays taken until its node is back or forgotten)")
}
