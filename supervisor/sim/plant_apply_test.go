package sim

import (
	"bytes"
	"slices"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func plantsInApply() []plant {
	return []plant{
		{name: "a stop asked for counts as a stop", by: []string{"S1", "S11"}, apply: believesStop(false)},
		{name: "a record goes before its process", by: []string{"S1"}, apply: believesStop(true)},
		{name: "scale-down without a gate", by: []string{"S5"}, apply: ungated},
		{name: "two ordinals get one directory", by: []string{"S2", "S3"}, apply: sharesVolumes},
		{name: "a held volume may be released", by: []string{"S3"}, apply: releasesHeld},
		{name: "a release cannot be taken back", by: []string{"S3"}, apply: forgetsUndo},
		{name: "a volume comes back elsewhere", by: []string{"S4"}, apply: movesVolumes},
		{name: "epochs do not grow", by: []string{"S2"}, apply: reusesEpochs},
		{name: "reports count twice", by: []string{"S5"}, apply: takesOldReports},
		{name: "Apply looks at something else than the log", by: []string{"S14"}, apply: flaky()},
		{name: "a member is taken over before its node is lost", by: []string{"S1"}, apply: takesOverEarly, plan: suspectsAreLost},
		{name: "a member is taken over that is not fenced", by: []string{"S1"}, apply: fencesAll, plan: takesOverAll},
		{name: "a volume is abandoned in reach", by: []string{"S3"}, apply: abandonsAll},
		{name: "a node in use is forgotten", by: []string{"S1"}, apply: forgetsAll},
		{name: "a restore gives epochs again", by: []string{"S2"}, apply: restoresEpochs},
		{name: "a restore restarts who runs", by: []string{"S10"}, from: 40, apply: restoresByRestart},
		{name: "who is asked to leave has left", by: []string{"hooks"}, apply: believesHook, hooks: true},
		{name: "a pause is not kept", wide: true, from: 30, by: []string{"pause", "S11"}, apply: pausesNothing},
		{name: "what is dropped from a definition is released", wide: true, by: []string{"S3"}, apply: releasesDropped},
		{name: "a dropped directory is made anew when it comes back", wide: true, from: 41, by: []string{"S1", "S4"}, apply: forgetsDropped},
		{name: "the lowest goes first whatever it has", by: []string{"position"}, apply: believesFirst, plan: lowestFirst, hooks: true},
		{name: "a no in the log is passed over", by: []string{"S15"}, apply: asksNobody, world: func(w *World) { w.busy, w.rough, w.coy = 0.25, 1, true }},
		{name: "the budget is not checked", by: []string{"S8", "S15"}, apply: overspends, plan: restartsAll},
	}
}

// believesStop makes Apply take the wish to stop for the stop itself.
func believesStop(gone bool) func(*state.View, uint64, state.Entry) (*state.View, state.Result) {
	return func(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
		next, res := v.Apply(i, e)
		c, ok := e.Cmd.(*state.StopMember)
		if !ok || res.Err != nil || c.Gone != gone {
			return next, res
		}
		m := next.Member(c.Namespace, c.Set, c.Ordinal)
		n := next.Node(m.Node)
		next, _ = next.Apply(i, state.Entry{At: e.At, Cmd: &state.Report{Node: n.Name, Run: n.Run, Seq: n.Seq + 1, Members: []state.MemberReport{{
			Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Seen: state.Observation{Epoch: m.Epoch, Phase: spec.MemberStopped},
		}}}})
		return next, res
	}
}

// believesHook makes Apply take the wish for a hook for its success.
func believesHook(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	c, ok := e.Cmd.(*state.AskHook)
	if !ok || res.Err != nil {
		return next, res
	}
	m := next.Member(c.Namespace, c.Set, c.Ordinal)
	n, seen := next.Node(m.Node), m.Seen
	seen.Epoch, seen.Hooks = m.Epoch, []spec.HookStatus{{Name: c.Hook, Run: m.Asked.Run, State: spec.HookSucceeded}}
	next, _ = next.Apply(i, state.Entry{At: e.At, Cmd: &state.Report{Node: n.Name, Run: n.Run, Seq: n.Seq + 1, Members: []state.MemberReport{{
		Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Seen: seen,
	}}}})
	return next, res
}

// believesFirst makes Apply take whoever is to go first for the one with the newest data.
func believesFirst(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.LetGo); ok && c.Bootstrap != nil {
		x := *c
		var best *state.Member
		for _, m := range v.SetMembers(c.Namespace, c.Set) {
			n, told := m.Position()
			if !told || !v.HasPosition(v.Set(c.Namespace, c.Set), m) {
				continue
			}
			if best != nil {
				if high, _ := best.Position(); high >= n {
					continue
				}
			}
			best = m
		}
		if best != nil {
			x.Bootstrap = &best.Ordinal
		}
		e.Cmd = &x
	}
	return v.Apply(i, e)
}

// ungated names every member as accepted.
func ungated(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	all := func(ns, set string) (out []string) {
		for _, m := range v.SetMembers(ns, set) {
			out = append(out, m.Name())
		}
		return out
	}
	switch c := e.Cmd.(type) {
	case *state.ScaleSet:
		x := *c
		x.AcceptUnhealthy = all(c.Namespace, c.Name)
		e.Cmd = &x
	case *state.PutSet:
		x := *c
		x.AcceptUnhealthy = all(c.Namespace, c.Name)
		e.Cmd = &x
	}
	return v.Apply(i, e)
}

// sharesVolumes gives a new volume the uid of another on the same node.
func sharesVolumes(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.Reserve); ok {
		x := *c
		x.Slots = slices.Clone(c.Slots)
		for j, slot := range x.Slots {
			for vol := range v.Volumes("") {
				if vol.Node == slot.Node && slot.VolumeUIDs["data"] != "" {
					x.Slots[j].VolumeUIDs = map[string]string{"data": vol.UID}
					break
				}
			}
		}
		e.Cmd = &x
	}
	return v.Apply(i, e)
}

// releasesHeld takes any volume for a retained one.
func releasesHeld(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.ReleaseVolume); ok {
		if vol := v.Volume(c.Namespace, c.Name); vol != nil && vol.Phase == spec.VolumeBound {
			v = edit(v, vol.UID, `"phase":"Bound"`, `"phase":"Retained"`)
		}
	}
	return v.Apply(i, e)
}

// forgetsUndo accepts an undo and does nothing.
func forgetsUndo(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	if _, ok := e.Cmd.(*state.UndoRelease); ok && res.Err == nil {
		unchanged := *v
		unchanged.Index = i
		return &unchanged, res
	}
	return next, res
}

// movesVolumes forgets where a retained directory is.
func movesVolumes(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	c, ok := e.Cmd.(*state.DropMember)
	if !ok || res.Err != nil {
		return next, res
	}
	for vol := range next.Volumes(c.Namespace) {
		for n := range next.Nodes() {
			if vol.Set == c.Set && vol.Ordinal == c.Ordinal && vol.Phase == spec.VolumeRetained && n.Name != vol.Node {
				return edit(next, vol.UID, `"node":"`+vol.Node+`"`, `"node":"`+n.Name+`"`), res
			}
		}
	}
	return next, res
}

// reusesEpochs gives an epoch twice.
func reusesEpochs(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	if _, ok := e.Cmd.(*state.StartMember); ok && res.Err == nil && i%3 == 0 {
		back := *next
		back.Cluster.Epoch = v.Cluster.Epoch
		return &back, res
	}
	return next, res
}

// restoresEpochs leaves the epochs as they are.
func restoresEpochs(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	if _, ok := e.Cmd.(*state.RestoreCluster); ok && res.Err == nil {
		back := *next
		back.Cluster.Epoch = v.Cluster.Epoch
		return &back, res
	}
	return next, res
}

// restoresByRestart has all members of a set restarted by a restore.
func restoresByRestart(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	if _, ok := e.Cmd.(*state.RestoreCluster); ok && res.Err == nil {
		again := e
		again.Cmd = &state.Restart{Namespace: namespace, Set: "a"}
		next, _ = next.Apply(i, again)
	}
	return next, res
}

// takesOldReports numbers every report of the present run as the next.
func takesOldReports(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.Report); ok {
		if n := v.Node(c.Node); n != nil && n.Run == c.Run && c.Seq <= n.Seq {
			x := *c
			x.Seq = n.Seq + 1
			e.Cmd = &x
		}
	}
	return v.Apply(i, e)
}

// flaky stands for a clock, a map's order or the environment in Apply.
func flaky() func(*state.View, uint64, state.Entry) (*state.View, state.Result) {
	calls := 0
	return func(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
		calls++
		if calls%97 == 0 {
			e.Why = "a roll of dice"
		}
		return v.Apply(i, e)
	}
}

// overspends drops the budget from every stop.
func overspends(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.StopMember); ok {
		x := *c
		x.Budget = 0
		e.Cmd = &x
	}
	return v.Apply(i, e)
}

func asksNobody(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.StopMember); ok {
		x := *c
		x.IfMayStop = false
		e.Cmd = &x
	}
	return v.Apply(i, e)
}

// edit changes one object of a View, found by a word in it, through its snapshot.
func edit(v *state.View, word, from, to string) *state.View {
	return editLines(v, `{"t":"volume"`, word, from, to)
}

// editLines changes the lines of a View's snapshot that begin with one word and hold another.
func editLines(v *state.View, begin, word, from, to string) *state.View {
	var b bytes.Buffer
	if err := v.WriteSnapshot(&b); err != nil {
		panic(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, begin) && strings.Contains(l, word) {
			lines[i] = strings.Replace(l, from, to, 1)
		}
	}
	out, err := state.ReadSnapshot(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		panic(err)
	}
	return out
}

// editNode changes a node of a View as editing its snapshot would.
func editNode(v *state.View, name, from, to string) *state.View {
	return editLines(v, `{"t":"node","k":"`+name+`"`, "", from, to)
}

// takesOverEarly takes a suspect node for a lost one.
func takesOverEarly(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.TakeOver); ok {
		if m := v.Member(c.Namespace, c.Set, c.Slot.Ordinal); m != nil {
			return suspectAsLost(v, m, func(v *state.View) (*state.View, state.Result) { return v.Apply(i, e) })
		}
	}
	return v.Apply(i, e)
}

// suspectAsLost applies something while a member's suspect node counts as lost.
func suspectAsLost(v *state.View, m *state.Member, apply func(*state.View) (*state.View, state.Result)) (*state.View, state.Result) {
	n := v.Node(m.Node)
	if n == nil || n.State != spec.NodeSuspect {
		return apply(v)
	}
	next, res := apply(editNode(v, n.Name, `"state":"Suspect"`, `"state":"Lost"`))
	return editNode(next, n.Name, `"state":"Lost"`, `"state":"Suspect"`), res
}

// fencesAll takes every member for fenced, and every set without volumes for one that asks for it.
func fencesAll(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.TakeOver); ok {
		k := `"k":"` + c.Namespace + "/" + c.Set
		v = editLines(v, `{"t":"member"`, k, `"restarts"`, `"fenced":true,"restarts"`)
		v = editLines(v, `{"t":"member"`, k, `"phase":"Running"`, `"fenced":true,"phase":"Running"`)
		v = editLines(v, `{"t":"set"`, k, `"onNodeLoss":"Keep"`, `"onNodeLoss":"Fence"`)
	}
	return v.Apply(i, e)
}

// abandonsAll does not look at nodes.
func abandonsAll(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.AbandonVolume); ok {
		if vol := v.Volume(c.Namespace, c.Name); vol != nil && v.Node(vol.Node) != nil {
			was := v.Node(vol.Node).State
			next, res := editNode(v, vol.Node, `"state":"`+was+`"`, `"state":"Lost"`).Apply(i, e)
			return editNode(next, vol.Node, `"state":"Lost"`, `"state":"`+was+`"`), res
		}
	}
	return v.Apply(i, e)
}

// forgetsAll takes every node for a lost one.
func forgetsAll(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	if c, ok := e.Cmd.(*state.ForgetNode); ok {
		if n := v.Node(c.Name); n != nil {
			v = editNode(v, n.Name, `"state":"`+n.State+`"`, `"state":"Lost"`)
		}
	}
	return v.Apply(i, e)
}

// pausesNothing takes a pause for nothing.
func pausesNothing(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	if c, ok := e.Cmd.(*state.PauseRollout); ok && res.Err == nil && c.Paused {
		next, _ = next.Apply(i, state.Entry{At: e.At, Cmd: &state.PauseRollout{Namespace: c.Namespace, Name: c.Name}})
	}
	return next, res
}

// dropped are the retained directories of an ordinal that has just been started.
func dropped(v *state.View, e state.Entry, res state.Result) (out []*state.Volume) {
	c, ok := e.Cmd.(*state.StartMember)
	if !ok || res.Err != nil {
		return nil
	}
	for vol := range v.Volumes(c.Namespace) {
		if vol.Set == c.Set && vol.Ordinal == c.Ordinal && vol.Phase == spec.VolumeRetained && vol.Made {
			out = append(out, vol)
		}
	}
	return out
}

func releasesDropped(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	for _, vol := range dropped(next, e, res) {
		next, _ = next.Apply(i, state.Entry{At: e.At, Cmd: &state.ReleaseVolume{Namespace: vol.Namespace, Name: vol.Name(), At: e.At}})
	}
	return next, res
}

// forgetsDropped gives them up, as if their node were lost.
func forgetsDropped(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) {
	next, res := v.Apply(i, e)
	for _, vol := range dropped(next, e, res) {
		was := next.Node(vol.Node).State
		set := func(to string) {
			next, _ = next.Apply(i, state.Entry{At: e.At, Cmd: &state.SetNode{Name: vol.Node, State: to, IfGeneration: next.Node(vol.Node).Generation}})
		}
		set(spec.NodeSuspect)
		set(spec.NodeLost)
		next, _ = next.Apply(i, state.Entry{At: e.At, Cmd: &state.AbandonVolume{Namespace: vol.Namespace, Name: vol.Name()}})
		set(was)
	}
	return next, res
}
