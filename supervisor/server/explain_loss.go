package server

import (
	"slices"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// forgetOption says what giving a machine up does, and its risk.
func forgetOption(node string) string {
	return "if the machine never comes back: supctl node forget " + node +
		" (members without volumes start elsewhere, those with volumes wait until each volume is abandoned; risk: if it runs on, cut off, members with onNodeLoss Keep are there twice until it hears of it)"
}

// abandonOption says what giving a directory up does, and its risk.
func abandonOption(vol *state.Volume) string {
	return "give its data up: " + abandonCommand(vol) +
		" (it starts elsewhere with an empty directory; risk: what is on the old one is missing, and if it runs on, cut off, it is there twice)"
}

func abandonCommand(vol *state.Volume) string {
	return withNamespace("supctl volume abandon "+vol.Name(), vol.Namespace)
}

// explainTied says how an ordinal that waits for its directory's node gets out of that.
func explainTied(x *client.Explanation, v *state.View, s *state.Set, ordinal int) {
	for _, vs := range s.Spec.Volumes {
		vol := v.Volume(s.Meta.Namespace, spec.VolumeName(vs.Name, s.Meta.Name, ordinal))
		if vol == nil {
			continue
		}
		n := v.Node(vol.Node)
		if n != nil && n.State != spec.NodeLost {
			continue
		}
		if option := abandonOption(vol); !slices.Contains(x.Details, option) {
			x.Details = append(x.Details, option)
		}
		if n == nil {
			x.Rule = "a member with volumes never moves by itself; its directory is on a machine that was forgotten"
			x.Next, x.Command = "that machine never comes back by itself: it starts elsewhere when the directory is given up by its name", abandonCommand(vol)
		}
	}
}

// firstOptions are the ways out when the member that goes first after all were down does not get well.
func firstOptions(v *state.View, s *state.Set, m *state.Member) (out []string) {
	if s == nil || !m.Bootstrap || m.WasAvailable || !v.TellsPositions(s) {
		return nil
	}
	out = append(out, "all of the set was down, and it goes first, for its data is the newest: the others wait for it")
	restart := withNamespace("supctl restart "+s.Meta.Name, m.Namespace)
	if n := v.Node(m.Node); n == nil || n.State == spec.NodeLost {
		return append(out, "if it never comes back: give its data up as said below, then "+restart+" (the next in line goes first; risk: what only this one had written is missing)")
	}
	for _, vol := range v.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if vol.Path != "" {
			out = append(out, "if its data is spoilt: move it out of "+vol.Path+", so that its position hook finds none, then "+restart+" (the next in line goes first; risk: what only this one had written is missing)")
		}
	}
	return out
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
			out = append(out, abandonOption(vol))
		}
	}
	return append(out, withNamespace("or do without it: supctl scale "+m.Set+" --replicas N --accept-unhealthy "+m.Name(), m.Namespace)+" (for the highest ordinals; its identity stays taken until its node is back or forgotten)")
}
