package state_test

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// hookStory goes on with the story after n entries, when epoch was the last one given: a set
// whose hooks are asked for by the log is formed, and one member leaves.
func hookStory(n, epoch uint64) []state.Command {
	two := 2
	tpl := spec.Template{Processes: []spec.Process{{
		Name: "main", Exec: spec.Exec{Command: []string{"/bin/h"}},
		Hooks: spec.Hooks{
			spec.HookOnFormed: {Command: []string{"/form"}}, spec.HookOnLeave: {Command: []string{"/leave"}}, spec.HookAfterLeave: {Command: []string{"/after"}},
			spec.HookPosition: {Command: []string{"/position"}},
		},
	}}}
	set := spec.StatefulSetSpec{Replicas: &two, ServiceName: "hook", Network: spec.Network{Mode: spec.NetworkNode}, OnNodeLoss: spec.Keep, Processes: tpl.Processes}
	node := state.Node{Name: "n5", ID: "n5.1", API: "127.0.0.1:1", Raft: "127.0.0.1:2", HostIP: "127.0.0.1", Machine: "m", Run: "r1"}
	slot := func(o int) state.Slot {
		return state.Slot{Ordinal: o, UID: "h" + string(rune('0'+o)), Node: "n5", IP: "127.0.0.1"}
	}
	seen := func(o int, epoch uint64, phase string, hooks ...spec.HookStatus) state.MemberReport {
		run := phase == spec.MemberRunning
		return state.MemberReport{Namespace: "default", Set: "hook", Ordinal: o, Seen: state.Observation{Epoch: epoch, Phase: phase, Ready: run, Started: run, Steady: run, Hooks: hooks}}
	}
	ran := func(hook string, run uint64, result, message string) spec.HookStatus {
		return spec.HookStatus{Name: hook, Process: "main", State: result, Run: run, Attempts: 1, Message: message, At: at(int(run))}
	}
	ask := func(o int, hook string, epoch, generation, set uint64) *state.AskHook {
		return &state.AskHook{Namespace: "default", Set: "hook", Ordinal: o, Hook: hook, Leaver: 1, IfEpoch: epoch, IfGeneration: generation, IfSet: set}
	}
	report := func(seq uint64, members ...state.MemberReport) *state.Report {
		return &state.Report{Node: "n5", Run: "r1", Seq: seq, Members: members}
	}
	e0, e1 := epoch+1, epoch+2
	return []state.Command{
		&state.RegisterNode{Node: node},
		&state.PutSet{Namespace: "default", Name: "hook", UID: "k1", Spec: set, Template: tpl},
		&state.Reserve{Namespace: "default", Set: "hook", IfGeneration: 1, Slots: []state.Slot{slot(0), slot(1)}},
		&state.StartMember{Namespace: "default", Set: "hook", Ordinal: 0, Revision: tpl.Hash(), IfGeneration: n + 3},
		&state.StartMember{Namespace: "default", Set: "hook", Ordinal: 1, Revision: tpl.Hash(), IfGeneration: n + 3},
		report(1, seen(0, e0, spec.MemberRunning), seen(1, e1, spec.MemberRunning)),
		ask(0, spec.HookOnFormed, e0, n+4, 1),
		ask(0, spec.HookOnFormed, e0, n+4, 1),                                           // refused: it has not answered
		&state.MarkFormed{Namespace: "default", Name: "hook", IfGeneration: 1},          // refused: the hook first
		report(2, seen(0, e0, spec.MemberRunning, ran("onFormed", n+6, "Failed", "x"))), // of another run: no answer
		report(3, seen(0, e0, spec.MemberRunning, ran("onFormed", n+7, "Failed", "not all answer"))),
		ask(0, spec.HookOnFormed, e0, n+4, 1),
		report(4, seen(0, e0, spec.MemberRunning, ran("onFormed", n+12, "Succeeded", ""))),
		ask(0, spec.HookOnFormed, e0, n+4, 1), // refused: done
		&state.MarkFormed{Namespace: "default", Name: "hook", IfGeneration: 1},
		ask(1, spec.HookOnLeave, e1, n+5, 1), // refused: wanted
		&state.ScaleSet{Namespace: "default", Name: "hook", Replicas: 1},
		&state.StopMember{Namespace: "default", Set: "hook", Ordinal: 1, Gone: true, Why: "ScaleDown", IfEpoch: e1, IfGeneration: n + 5}, // refused: onLeave first
		ask(1, spec.HookOnLeave, e1, n+5, 2),
		report(5, seen(1, e1, spec.MemberRunning, ran("onLeave", n+19, "Succeeded", ""))),
		&state.StopMember{Namespace: "default", Set: "hook", Ordinal: 1, Gone: true, Why: "ScaleDown", IfEpoch: e1, IfGeneration: n + 5},
		&state.ScaleSet{Namespace: "default", Name: "hook", Replicas: 2},
		&state.KeepMember{Namespace: "default", Set: "hook", Ordinal: 1, IfEpoch: e1, IfGeneration: n + 21}, // refused: it has left
		report(6, seen(1, e1, spec.MemberStopped)),
		&state.DropMember{Namespace: "default", Set: "hook", Ordinal: 1, IfEpoch: e1, IfGeneration: n + 21},
		ask(0, spec.HookAfterLeave, e0, n+4, 3),
		report(7, seen(0, e0, spec.MemberRunning, ran("afterLeave", n+26, "Succeeded", ""))),
		ask(0, spec.HookAfterLeave, e0, n+4, 3), // refused: done
		// All go down, and the newest data goes first.
		&state.StartMember{Namespace: "default", Set: "hook", Ordinal: 0, Revision: tpl.Hash(), IfEpoch: e0, IfGeneration: n + 4}, // refused: it runs
		report(8, seen(0, e0, spec.MemberStopped)),
		&state.Reserve{Namespace: "default", Set: "hook", IfGeneration: 3, Slots: []state.Slot{slot(1)}},
		&state.StartHeld{Namespace: "default", Set: "hook", Ordinal: 0, Revision: tpl.Hash(), IfEpoch: e0, IfGeneration: n + 4},
		&state.StartHeld{Namespace: "default", Set: "hook", Ordinal: 1, Revision: tpl.Hash(), IfGeneration: n + 31},
		letGo(0, map[int]uint64{0: e1 + 1, 1: e1 + 2}), // refused: not told yet
		report(9, telling(seen(0, e1+1, spec.MemberStarting), 7), telling(seen(1, e1+2, spec.MemberStarting), 9)),
		letGo(0, map[int]uint64{0: e1 + 1, 1: e1 + 2}),  // refused: not the highest
		letGo(1, map[int]uint64{1: e1 + 2}),             // refused: hook-0 is left out
		letGo(-1, map[int]uint64{0: e1 + 1, 1: e1 + 2}), // refused: nobody runs
		letGo(1, map[int]uint64{0: e1 + 1, 1: e1 + 2}),
		letGo(1, map[int]uint64{0: e1 + 1, 1: e1 + 2}), // refused: done
	}
}

func letGo(bootstrap int, epochs map[int]uint64) *state.LetGo {
	c := &state.LetGo{Namespace: "default", Set: "hook", Epochs: epochs}
	if bootstrap >= 0 {
		c.Bootstrap = &bootstrap
	}
	return c
}

// telling is a report with a position.
func telling(r state.MemberReport, position int64) state.MemberReport {
	r.Seen.Position = &position
	return r
}
