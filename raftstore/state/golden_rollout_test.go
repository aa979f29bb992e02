package state_test

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// rolloutStory goes on with the story after n entries: a rollout is paused, resumed,
// undone, and rolled back by itself; what images meant is kept with a revision.
func rolloutStory(n, epoch uint64) []state.Command {
	one, none := 1, 0
	resolved := func(word string) spec.Template {
		return spec.Template{Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Image: word, Command: []string{"/bin/" + word}}}}}
	}
	put := func(word string, change func(*state.PutSet)) *state.PutSet {
		c := &state.PutSet{
			Namespace: "default", Name: "roll", UID: "r1", Rules: state.RulesNow, Template: resolved(word),
			Spec: spec.StatefulSetSpec{
				Replicas: &one, ServiceName: "roll", Network: spec.Network{Mode: spec.NetworkMember}, RevisionHistoryLimit: &none,
				Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Image: word}}},
			},
		}
		if change != nil {
			change(c)
		}
		return c
	}
	auto := func(c *state.PutSet) { c.Spec.AutoRollback = true }
	seen := func(epoch uint64, phase string) state.MemberReport {
		run := phase == spec.MemberRunning
		return state.MemberReport{Namespace: "default", Set: "roll", Seen: state.Observation{Epoch: epoch, Phase: phase, Ready: run, Started: run, Steady: run}}
	}
	back := func(change func(*state.UndoRollout)) *state.UndoRollout {
		c := &state.UndoRollout{Namespace: "default", Name: "roll", Revision: resolved("a").Hash(), Auto: true, Message: "no progress"}
		change(c)
		return c
	}
	return []state.Command{
		put("a", nil),
		&state.Reserve{Namespace: "default", Set: "roll", IfGeneration: 1, Slots: []state.Slot{{UID: "ru", Node: "n4", IP: "127.64.0.40"}}},
		&state.StartMember{Namespace: "default", Set: "roll", Revision: resolved("a").Hash(), IfGeneration: n + 2},
		&state.Report{Node: "n4", Run: "r1", Seq: 1, Members: []state.MemberReport{seen(epoch+1, spec.MemberRunning)}},
		&state.MarkFormed{Namespace: "default", Name: "roll", IfGeneration: 1},
		&state.PauseRollout{Namespace: "default", Name: "roll", Paused: true},
		&state.PauseRollout{Namespace: "default", Name: "roll", Paused: true},               // again: nothing changes
		&state.PauseRollout{Namespace: "default", Name: "roll", Paused: true, IfVersion: 1}, // refused: changed since
		put("b", auto),
		back(func(c *state.UndoRollout) { c.IfGeneration = 3 }), // refused: paused
		&state.PauseRollout{Namespace: "default", Name: "roll"},
		back(func(c *state.UndoRollout) { c.IfGeneration = 3 }),                  // refused: changed since
		back(func(c *state.UndoRollout) { c.Revision = "nope"; c.Auto = false }), // refused: no such revision
		back(func(c *state.UndoRollout) { c.Name = "web"; c.Revision = "nope" }), // refused: no such set, or being deleted
		put("c", auto), // b is forgotten: nobody runs it, and nothing is to be kept
		back(func(c *state.UndoRollout) { c.Revision = resolved("b").Hash() }), // refused: not the one that all ran
		back(func(c *state.UndoRollout) { c.IfGeneration = 5 }),
		back(func(c *state.UndoRollout) { c.IfGeneration = 6 }), // there already: nothing changes
		put("c", nil),
		back(func(c *state.UndoRollout) { c.Auto = false }),
	}
}

// rolloutPrograms: what an older version stored of a template with images is not enough
// to go back to.
func rolloutPrograms() []state.Command {
	one := 1
	put := func(image, command string) *state.PutSet {
		p := spec.Process{Name: "main", Exec: spec.Exec{Image: image, Command: []string{command}}}
		return &state.PutSet{
			Namespace: "default", Name: "older", UID: "o1", Template: spec.Template{Processes: []spec.Process{p}},
			Spec: spec.StatefulSetSpec{Replicas: &one, ServiceName: "older", Network: spec.Network{Mode: spec.NetworkMember}, Processes: []spec.Process{p}},
		}
	}
	undo := func(image, command string) *state.UndoRollout {
		return &state.UndoRollout{Namespace: "default", Name: "older", Revision: put(image, command).Template.Hash()}
	}
	return []state.Command{
		put("img", "/bin/a"), put("", "/bin/b"), put("", "/bin/c"),
		undo("img", "/bin/a"), // refused: what it was made from is not known
		undo("", "/bin/b"),
	}
}

func rollouts(n, epoch uint64) []state.Command {
	return append(rolloutStory(n, epoch), rolloutPrograms()...)
}
