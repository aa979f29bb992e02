package plan_test

import (
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// crowd brings up a set whose members are all on n1.
func crowd(t *testing.T, replicas int, change func(*spec.StatefulSetSpec)) *bench {
	t.Helper()
	b := newBench(t, "n1")
	b.mustSet(replicas, "a", change)
	for o := range replicas {
		b.settle()
		b.say(spec.MemberRunning, o)
	}
	b.settle()
	return b
}

func noVolumes(s *spec.StatefulSetSpec) { s.Volumes = nil }

// The highest goes first; what is stopped and keeps its place is unavailable, so the
// next waits; who is sick is not protected; uncordon brings all back at once.
func TestDrainKeepsTheBudget(t *testing.T) {
	t.Parallel()
	b := crowd(t, 3, nil)
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 2 Drain")
	if got := b.waits(); got != "web-2 Stopping, web-1 DrainBudget, web-0 DrainBudget" {
		t.Errorf("waits: %q", got)
	}
	b.say(spec.MemberStopped, 2)
	b.expect()
	if got := b.waits(); got != "web-2 Drained, web-1 DrainBudget, web-0 DrainBudget" {
		t.Errorf("waits: %q", got)
	}
	b.say(spec.MemberFailed, 0)
	b.expect("stop 0 Drain")
	b.say(spec.MemberStopped, 0)
	b.expect()
	if b.v.Drained(b.v.Node("n1")) {
		t.Error("drained while web-1 runs")
	}
	b.do(&state.CordonNode{Name: "n1"})
	b.expect("start 0", "start 2")
}

// A wider budget empties the node.
func TestDrainWithAWideBudget(t *testing.T) {
	t.Parallel()
	b := crowd(t, 3, func(s *spec.StatefulSetSpec) {
		s.UpdateStrategy.RollingUpdate = &spec.RollingUpdateOptions{MaxUnavailable: "2"}
	})
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 2 Drain", "stop 1 Drain")
	b.say(spec.MemberStopped, 2)
	b.say(spec.MemberStopped, 1)
	b.expect()
}

// A set of one has a budget of one: it is stopped.
func TestDrainOfOne(t *testing.T) {
	t.Parallel()
	b := crowd(t, 1, nil)
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 0 Drain")
	b.say(spec.MemberStopped, 0)
	b.expect()
	if !b.v.Drained(b.v.Node("n1")) {
		t.Error("not drained")
	}
}

// Rollout and drain share the budget, and a member that is drained is not restarted too.
func TestDrainAndRolloutShareTheBudget(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.mustSet(3, "b", nil)
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 0 Drain")
	b.say(spec.MemberStopped, 0)
	b.expect()
	if got := b.waits(); got != "web-0 Drained, web-2 Budget" {
		t.Errorf("waits: %q", got)
	}
	b.do(&state.CordonNode{Name: "n1"})
	b.expect("start 0")
	b.say(spec.MemberRunning, 0)
	b.expect("stop 2 Rollout")
}

// Without directories a member starts elsewhere, when it has stopped: not before.
func TestDrainedMemberStartsElsewhere(t *testing.T) {
	t.Parallel()
	b := crowd(t, 2, noVolumes)
	b.do(&state.RegisterNode{Node: state.Node{Name: "n2", ID: "n2.1", HostIP: "127.0.0.1", Machine: "m", Run: "r"}})
	was := b.v.Member("default", "web", 1)
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 1 Drain")
	b.expect()
	b.say(spec.MemberStopped, 1)
	b.expect("Place", "start 1")
	m := b.v.Member("default", "web", 1)
	if m.Node != "n2" || m.IP != was.IP || m.UID != was.UID || m.Epoch <= was.Epoch {
		t.Errorf("started as %+v, was %+v", m, was)
	}
	b.say(spec.MemberRunning, 1)
	b.expect("stop 0 Drain")
	b.say(spec.MemberStopped, 0)
	b.expect("Place", "start 0")
	if !b.v.Drained(b.v.Node("n1")) {
		t.Error("not drained")
	}
	b.do(&state.CordonNode{Name: "n1"})
	b.expect() // nobody moves back
}

// With no other node it waits, says so, and comes back.
func TestDrainedMemberWithoutAPlace(t *testing.T) {
	t.Parallel()
	b := crowd(t, 1, noVolumes)
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 0 Drain")
	b.say(spec.MemberStopped, 0)
	b.expect()
	if got := b.waits(); got != "web-0 NoNode" {
		t.Errorf("waits: %q", got)
	}
	b.do(&state.CordonNode{Name: "n1"})
	b.expect("start 0")
}

// A node that does not answer is not told to stop what may serve on.
func TestDrainOfASilentNode(t *testing.T) {
	t.Parallel()
	b := crowd(t, 1, nil)
	b.do(&state.SetNode{Name: "n1", State: spec.NodeSuspect, Reason: "silent", IfGeneration: b.v.Node("n1").Generation})
	b.do(&state.DrainNode{Name: "n1"})
	b.expect()
	if got := b.waits(); got != "web-0 NodeLost, web-0 NodeLost" {
		t.Errorf("waits: %q", got)
	}
}

// A host that boots while it is drained starts nothing.
func TestDrainedHostBoots(t *testing.T) {
	t.Parallel()
	b := crowd(t, 1, nil)
	b.do(&state.DrainNode{Name: "n1"})
	b.say(spec.MemberStopped, 0) // nobody asked for it: the host went down
	b.expect("stop 0 Drain")
	b.expect()
	if !b.v.Drained(b.v.Node("n1")) {
		t.Error("not drained")
	}
}

// A set is not made smaller while a member is drained away, unless it is named.
func TestScaleDownWhileDrained(t *testing.T) {
	t.Parallel()
	b := crowd(t, 2, nil)
	b.do(&state.DrainNode{Name: "n1"})
	b.expect("stop 1 Drain")
	b.say(spec.MemberStopped, 1)
	if err := b.apply(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1}); err == nil || err.Reason != "Unhealthy" {
		t.Errorf("scale-down with a drained member: %v", err)
	}
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1, AcceptUnhealthy: []string{"web-1"}})
	b.expect("stop 1 ScaleDown", "drop 1", "stop 0 Drain") // the budget is free again
}

// While the cluster is frozen the plan is empty and says what waits.
func TestFrozen(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.running(2)
	b.do(&state.SetFrozen{Frozen: true})
	b.do(&state.Restart{Namespace: "default", Set: "web"})
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 3})
	b.expect()
	if got := b.waits(); got != "web Frozen, web-1 Frozen, web-0 Budget" {
		t.Errorf("waits: %q", got)
	}
	// What users are shown is the same.
	if p := plan.MakeSet(b.v, b.v.Set("default", "web"), b.now, plan.Facts{UID: func() string { return "u" }}); len(p.Commands) > 0 || len(p.Waits) != 3 {
		t.Errorf("for one set: %+v", p)
	}
	b.do(&state.SetStopping{Stopping: true}) // a shutdown is not held up
	b.expect("stop 1 Shutdown")
	b.do(&state.SetStopping{})
	b.say(spec.MemberStopped, 1)
	b.expect()
	b.do(&state.SetFrozen{})
	b.expect("reserve 2@n1", "start 1")
}
