package sim

import (
	"maps"
	"slices"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

func plantsInPlan() []plant {
	return []plant{
		{name: "new ordinals do not wait", by: []string{"rule 1"}, plan: startsAll},
		{name: "what never was available waits for the budget", by: []string{"S7"}, plan: waitsInstead(func(_ *state.View, c state.Command) bool {
			x, ok := c.(*state.StopMember)
			return ok && x.Budget == state.OnlyUnready
		})},
		{name: "who leaves is not repaired", by: []string{"S9", "S7"}, from: 40, plan: waitsInstead(func(v *state.View, c state.Command) bool {
			x, ok := c.(*state.StartMember)
			return ok && !v.Set(x.Namespace, x.Set).Wants(x.Ordinal)
		})},
		{name: "repair waits for the health of others", by: []string{"S9"}, plan: waitsInstead(repairsBesideSick)},
		{name: "waits are not told", by: []string{"S11"}, plan: func(_ *state.View, out plan.Plan) plan.Plan {
			out.Waits = nil
			return out
		}},
		{name: "a wait has no reason", by: []string{"S11"}, plan: func(_ *state.View, out plan.Plan) plan.Plan {
			for i := range out.Waits {
				out.Waits[i].Reason = ""
			}
			return out
		}},
		{name: "a removal is forgotten", by: []string{"S7", "S11"}, plan: without(func(_ *state.View, c state.Command) bool {
			_, ok := c.(*state.DropMember)
			return ok
		})},
		{name: "what is to do after a member is forgotten", by: []string{"S7", "S11"}, hooks: true, plan: without(func(_ *state.View, c state.Command) bool {
			x, ok := c.(*state.AskHook)
			return ok && x.Hook == spec.HookAfterLeave
		})},
		{name: "a raised partition takes back what was updated", by: []string{"S10"}, plan: takesBack},
		{name: "members are restarted for the sake of it", by: []string{"S6"}, plan: restless},
		{name: "the service lists who is on a suspect node", by: []string{"S12"}, resolve: listsAllReady},
		{name: "agents act on an old View after a restart", by: []string{"S13", "S3"}, world: func(w *World) { w.hasty = true }},
		{name: "a fence is reported that the keeper does not have", by: []string{"S1"}, world: func(w *World) { w.trusting, w.plain, w.rough, w.busy = true, true, 1, 0.25 }},
		{name: "a lease counts from its answer", by: []string{"S1"}, world: func(w *World) { w.lateLease, w.slow, w.plain, w.rough = true, true, true, 1 }},
		{name: "the keeper does not end what is fenced", by: []string{"S1"}, from: 190, world: func(w *World) { w.lenient = true }},
		{name: "a yes of long ago is enough", by: []string{"S7", "S15"}, world: func(w *World) { w.gullible, w.coy, w.busy = true, true, 0.25 }},
		{name: "what is stale is not stopped first", by: []string{"S1", "S2", "S7"}, from: 50, world: func(w *World) { w.careless = true }},
	}
}

// without leaves commands out of the plan.
func without(which func(*state.View, state.Command) bool) func(*state.View, plan.Plan) plan.Plan {
	return func(v *state.View, out plan.Plan) plan.Plan {
		out.Commands = slices.DeleteFunc(out.Commands, func(c state.Command) bool { return which(v, c) })
		return out
	}
}

// lowestFirst has the lowest of those that are let go go first.
func lowestFirst(_ *state.View, out plan.Plan) plan.Plan {
	for i, c := range out.Commands {
		if x, ok := c.(*state.LetGo); ok && x.Bootstrap != nil {
			y := *x
			lowest := slices.Min(slices.Collect(maps.Keys(x.Epochs)))
			y.Bootstrap = &lowest
			out.Commands[i] = &y
		}
	}
	return out
}

// waitsInstead leaves commands out of the plan, and says that it waits.
func waitsInstead(which func(*state.View, state.Command) bool) func(*state.View, plan.Plan) plan.Plan {
	return func(v *state.View, out plan.Plan) plan.Plan {
		out.Commands = slices.DeleteFunc(out.Commands, func(c state.Command) bool {
			if !which(v, c) {
				return false
			}
			w := plan.Wait{Wait: spec.Wait{Reason: "Others", Message: "waits until the others are well"}}
			switch x := c.(type) {
			case *state.StopMember:
				w.Namespace, w.Set, w.Subject = x.Namespace, x.Set, spec.MemberName(x.Set, x.Ordinal)
			case *state.StartMember:
				w.Namespace, w.Set, w.Subject = x.Namespace, x.Set, spec.MemberName(x.Set, x.Ordinal)
			}
			out.Waits = append(out.Waits, w)
			return true
		})
		return out
	}
}

// restartsAll stops everything that is due at once.
func restartsAll(v *state.View, out plan.Plan) plan.Plan {
	for m := range v.Members("") {
		s := v.Set(m.Namespace, m.Set)
		if s != nil && !s.Deleting && s.Wants(m.Ordinal) && (s.Behind(m) || m.RestartUpTo >= m.Epoch) && m.Wish == state.WishRun {
			out.Commands = append(out.Commands, &state.StopMember{
				Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Why: "Rollout", IfEpoch: m.Epoch, IfGeneration: m.Generation,
			})
		}
	}
	return out
}

// takesBack has who is below the partition follow it.
func takesBack(v *state.View, out plan.Plan) plan.Plan {
	for m := range v.Members("") {
		s := v.Set(m.Namespace, m.Set)
		if s != nil && s.Wants(m.Ordinal) && s.Outdated(m) && !s.Behind(m) && m.Ready() {
			out.Commands = append(out.Commands, &state.StopMember{
				Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Why: "Rollout", IfEpoch: m.Epoch, IfGeneration: m.Generation,
				IfSet: s.Meta.Generation, Budget: plan.MaxUnavailable(s),
			})
		}
	}
	return out
}

func startsAll(v *state.View, out plan.Plan) plan.Plan {
	for m := range v.Members("") {
		if s := v.Set(m.Namespace, m.Set); m.Wish == state.WishReserved && s != nil {
			out.Commands = append(out.Commands, &state.StartMember{
				Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Revision: s.Wanted(m.Ordinal), IfEpoch: m.Epoch, IfGeneration: m.Generation,
			})
		}
	}
	return out
}

func repairsBesideSick(v *state.View, c state.Command) bool {
	s, ok := c.(*state.StartMember)
	if !ok || s.IfEpoch == 0 {
		return false
	}
	for _, m := range v.SetMembers(s.Namespace, s.Set) {
		if healthy, _, _ := v.Healthy(m); !healthy && m.Ordinal < s.Ordinal {
			return true
		}
	}
	return false
}

// restless deletes a member now and then.
func restless(v *state.View, out plan.Plan) plan.Plan {
	for m := range v.Members("") {
		if m.Ready() && v.Index%4 == 0 && len(out.Commands) == 0 {
			out.Commands = append(out.Commands, &state.DeleteMember{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal})
		}
	}
	return out
}

// listsAllReady does not look at nodes.
func listsAllReady(was resolver) resolver {
	return func(v *state.View, name string) (ips []string) {
		for s := range v.Sets("") {
			if name != spec.ServiceFQDN(s.Spec.ServiceName, s.Meta.Namespace, v.Cluster.Zone) {
				continue
			}
			for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
				if m.Ready() {
					ips = append(ips, m.IP)
				}
			}
			return ips
		}
		return was(v, name)
	}
}

func suspectsAreLost(v *state.View, out plan.Plan) plan.Plan {
	for m := range v.Members("") {
		if n := v.Node(m.Node); n != nil && n.State == spec.NodeSuspect && m.Fenced() {
			out.Commands = append(out.Commands, takeOverOf(v, m)...)
		}
	}
	return out
}

// takesOverAll takes over whoever is on a lost node and has no volumes.
func takesOverAll(v *state.View, out plan.Plan) plan.Plan {
	for m := range v.Members("") {
		s, n := v.Set(m.Namespace, m.Set), v.Node(m.Node)
		if s != nil && n != nil && n.State == spec.NodeLost && len(s.Spec.Volumes) == 0 {
			out.Commands = append(out.Commands, takeOverOf(v, m)...)
		}
	}
	return out
}

// takeOverOf is the take-over of a member by any node that is ready.
func takeOverOf(v *state.View, m *state.Member) []state.Command {
	if m.Epoch == 0 || m.Wish == state.WishGone {
		return nil
	}
	for n := range v.Nodes() {
		if n.State == spec.NodeReady && !n.Cordoned {
			return []state.Command{&state.TakeOver{
				Namespace: m.Namespace, Set: m.Set, IfEpoch: m.Epoch, IfGeneration: m.Generation, IfNode: v.Node(m.Node).Generation,
				Slot: state.Slot{Ordinal: m.Ordinal, UID: m.UID, Node: n.Name, IP: m.IP, Ports: m.Ports},
			}}
		}
	}
	return nil
}
