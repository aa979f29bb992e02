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

// rolloutShape: volumes are added, grown and dropped, and the service is another.
func rolloutShape(n, epoch uint64) []state.Command {
	one := 1
	put := func(rules int, service string, volumes ...spec.VolumeSpec) *state.PutSet {
		processes := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"/bin/s"}}}}
		return &state.PutSet{
			Namespace: "default", Name: "form", UID: "f1", Rules: rules, Template: spec.Template{Processes: processes},
			Spec: spec.StatefulSetSpec{Replicas: &one, ServiceName: service, Network: spec.Network{Mode: spec.NetworkMember}, Volumes: volumes, Processes: processes},
		}
	}
	volume := func(name, size string) spec.VolumeSpec { return spec.VolumeSpec{Name: name, Size: spec.Quantity(size)} }
	first := put(1, "form").Template.Hash()
	shaped := func(service string, volumes ...spec.VolumeSpec) string {
		t := put(1, service).Template
		t.Shape = &spec.Shape{Service: service, Volumes: volumes}
		return t.Hash()
	}
	stopped := func(epoch uint64) state.MemberReport {
		return state.MemberReport{Namespace: "default", Set: "form", Seen: state.Observation{Epoch: epoch, Phase: spec.MemberStopped}}
	}
	both := shaped("form", volume("data", ""), volume("logs", ""))
	return []state.Command{
		put(1, "form", volume("data", "1Gi")),
		&state.Reserve{Namespace: "default", Set: "form", IfGeneration: 1, Slots: []state.Slot{{UID: "fu", Node: "n4", IP: "127.64.0.50", VolumeUIDs: map[string]string{"data": "fv"}}}},
		&state.StartMember{Namespace: "default", Set: "form", Revision: first, IfGeneration: n + 2},
		put(0, "form", volume("data", "1Gi"), volume("logs", "")), // refused: by older rules volumes are fixed
		put(1, "form", volume("logs", ""), volume("data", "2Gi")),
		put(1, "form", volume("data", "1Gi"), volume("logs", "")), // refused: smaller
		&state.DeleteMember{Namespace: "default", Set: "form"},
		&state.Report{Node: "n4", Run: "r1", Seq: 2, Members: []state.MemberReport{stopped(epoch + 1)}},
		&state.StartMember{Namespace: "default", Set: "form", Revision: both, IfEpoch: epoch + 1, IfGeneration: n + 7, Ports: map[string]int{"client": 7000}},
		put(1, "gate", volume("data", "2Gi")),
		&state.ReleaseVolume{Namespace: "default", Name: "logs-form-0"}, // refused: the present start may use it
		&state.DeleteMember{Namespace: "default", Set: "form"},
		&state.Report{Node: "n4", Run: "r1", Seq: 3, Members: []state.MemberReport{stopped(epoch + 2)}},
		&state.StartMember{Namespace: "default", Set: "form", Revision: shaped("gate", volume("data", "")), IfEpoch: epoch + 2, IfGeneration: n + 12},
		&state.SetCurrent{Namespace: "default", Name: "form", Revision: shaped("gate", volume("data", "")), IfGeneration: 3},
		&state.UndoRollout{Namespace: "default", Name: "form", Revision: both, UID: "f2"},
		&state.ReleaseVolume{Namespace: "default", Name: "logs-form-0"}, // refused: it has it back
		&state.UndoRollout{Namespace: "default", Name: "form", Revision: first, UID: "f3"},
	}
}

func rollouts(n, epoch uint64) []state.Command {
	all := append(rolloutStory(n, epoch), rolloutPrograms()...)
	return append(all, rolloutShape(n+uint64(len(all)), epoch+1)...)
}
