package state_test

import (
	"maps"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func drainStop(v *state.View, budget int) *state.StopMember {
	m := v.Member("default", "web", 0)
	return &state.StopMember{
		Namespace: "default", Set: "web", Why: state.WhyDrain, Budget: budget, IfEpoch: m.Epoch, IfGeneration: m.Generation,
	}
}

func refusedAs(t *testing.T, v *state.View, c state.Command, reason string) {
	t.Helper()
	if _, res := v.Apply(v.Index+1, entry(c)); res.Err == nil || res.Err.Reason != reason {
		t.Errorf("%s: got %v, want it refused as %s", state.Kind(c), res.Err, reason)
	}
}

// A stop for a drain needs a node that is being drained and a budget; what was stopped
// is started there no more before the node is uncordoned.
func TestDrain(t *testing.T) {
	t.Parallel()
	v := running(t)
	refusedAs(t, v, drainStop(v, 1), "Stale")
	v = apply(t, v, &state.DrainNode{Name: "n1"})
	if n := v.Node("n1"); !n.Cordoned || !n.Draining || v.Drained(n) {
		t.Fatalf("node after the drain was asked for: %+v", n)
	}
	refusedAs(t, v, drainStop(v, 0), "Invalid")
	refusedAs(t, v, drainStop(v, state.OnlyUnready), "Stale")
	v = apply(t, v, drainStop(v, 1))
	if v.Drained(v.Node("n1")) {
		t.Error("the node is called drained before its keeper has reported the member gone")
	}
	v = apply(t, v, report(2, 1, state.Observation{Epoch: 1, Phase: spec.MemberStopped}))
	if !v.Drained(v.Node("n1")) {
		t.Error("the node is not called drained though all is gone")
	}
	m := v.Member("default", "web", 0)
	if ok, reason, _ := v.Healthy(m); ok || reason != "Drained" {
		t.Errorf("the member is healthy=%t %s, want Drained", ok, reason)
	}
	start := &state.StartMember{Namespace: "default", Set: "web", Revision: m.Revision, IfEpoch: m.Epoch, IfGeneration: m.Generation}
	refusedAs(t, v, start, "Stale")
	// Supd's restart on the node takes nothing back.
	v = apply(t, v, &state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.id", Run: "r2", Machine: "m", HostIP: "127.0.0.1"}})
	refusedAs(t, v, start, "Stale")
	v = apply(t, v, &state.CordonNode{Name: "n1"})
	if n := v.Node("n1"); n.Cordoned || n.Draining || !n.DrainSince.IsZero() || n.DrainWho != "" {
		t.Errorf("node after uncordon: %+v", n)
	}
	apply(t, v, start)
}

// Two members cannot be stopped for drains of two nodes, nor for a drain and a rollout:
// there is one budget.
func TestDrainSharesTheBudget(t *testing.T) {
	t.Parallel()
	v := pair(t)
	v = apply(t, v, &state.DrainNode{Name: "n1"})
	v = apply(t, v, &state.DrainNode{Name: "n2"})
	one := v.Member("default", "web", 1)
	stop := func(ordinal int, budget int) *state.StopMember {
		m := v.Member("default", "web", ordinal)
		return &state.StopMember{Namespace: "default", Set: "web", Ordinal: ordinal, Why: state.WhyDrain, Budget: budget, IfEpoch: m.Epoch, IfGeneration: m.Generation}
	}
	v = apply(t, v, stop(1, 1))
	refusedAs(t, v, stop(0, 1), "Budget")
	v = apply(t, v, &state.Report{Node: one.Node, Run: "r", Seq: 2, Members: []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: 1, Seen: state.Observation{Epoch: one.Epoch, Phase: spec.MemberStopped}}}})
	refusedAs(t, v, stop(0, 1), "Budget") // what is drained away is unavailable, whatever the cause
	apply(t, v, stop(0, 2))
}

// A stopped member without directories leaves a node that is drained; one with
// directories, one that still runs, and one of a node that is not drained don't.
func TestDrainedMemberMayBePlacedElsewhere(t *testing.T) {
	t.Parallel()
	v := pair(t)
	place := func() *state.Place {
		m := v.Member("default", "web", 0)
		return &state.Place{Namespace: "default", Set: "web", IfGeneration: m.Generation, Slot: state.Slot{UID: "x", Node: "n2", IP: m.IP}}
	}
	refusedAs(t, v, place(), "Stale")
	v = apply(t, v, &state.DrainNode{Name: "n1"})
	refusedAs(t, v, place(), "Stale")
	v = apply(t, v, drainStop(v, 1))
	refusedAs(t, v, place(), "Stale")
	v = apply(t, v, &state.Report{Node: "n1", Run: "r", Seq: 2, Members: []state.MemberReport{{Namespace: "default", Set: "web", Seen: state.Observation{Epoch: 1, Phase: spec.MemberStopped}}}})
	was := v.Member("default", "web", 0)
	v = apply(t, v, place())
	m := v.Member("default", "web", 0)
	if m.Node != "n2" || m.IP != was.IP || m.UID != was.UID || m.Epoch != was.Epoch || !m.MayStart() {
		t.Errorf("after its new place: %+v, was %+v", m, was)
	}
	v = apply(t, v, &state.StartMember{Namespace: "default", Set: "web", Revision: m.Revision, IfEpoch: m.Epoch, IfGeneration: m.Generation})
	if e := v.Member("default", "web", 0).Epoch; e <= was.Epoch {
		t.Errorf("epoch %d after its start elsewhere, it was %d", e, was.Epoch)
	}
}

// pair is a cluster of two nodes with one healthy member on each, without directories.
func pair(t *testing.T) *state.View {
	t.Helper()
	two := 2
	procs := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"sleep", "inf"}}}}
	tpl := spec.Template{Processes: procs}
	well := func(node string, ordinal int, epoch uint64) *state.Report {
		return &state.Report{Node: node, Run: "r", Seq: 1, Members: []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: ordinal, Seen: state.Observation{Epoch: epoch, Phase: spec.MemberRunning, Started: true, Ready: true, Steady: true}}}}
	}
	v := state.New()
	for _, c := range []state.Command{
		&state.InitCluster{ID: "c", Incarnation: "1", Plan: "loopback", PlanCIDR: "127.80.0.0/20", Zone: spec.ClusterZone},
		&state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.id", Run: "r", Machine: "m", HostIP: "127.0.0.1"}},
		&state.RegisterNode{Node: state.Node{Name: "n2", ID: "n2.id", Run: "r", Machine: "m", HostIP: "127.0.0.1"}},
		&state.PutSet{Namespace: "default", Name: "web", UID: "u", Spec: spec.StatefulSetSpec{Replicas: &two, ServiceName: "web", Processes: procs}, Template: tpl},
		&state.Reserve{Namespace: "default", Set: "web", IfGeneration: 1, Slots: []state.Slot{{UID: "m0", Node: "n1", IP: "127.80.0.16"}, {Ordinal: 1, UID: "m1", Node: "n2", IP: "127.80.0.17"}}},
		&state.StartMember{Namespace: "default", Set: "web", Revision: tpl.Hash(), IfGeneration: 5},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 1, Revision: tpl.Hash(), IfGeneration: 5},
		well("n1", 0, 1), well("n2", 1, 2),
	} {
		v = apply(t, v, c)
	}
	return v
}

// Labels by command win over the node's own, for good; one that is set to what the
// node brings is its own again.
func TestLabelNode(t *testing.T) {
	t.Parallel()
	v := running(t)
	register := func(labels map[string]string) *state.RegisterNode {
		return &state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.id", Run: "r", Machine: "m", HostIP: "127.0.0.1", Labels: labels}}
	}
	for i, step := range []struct {
		do   state.Command
		want map[string]string
	}{
		{register(map[string]string{"zone": "a", "disk": "ssd"}), map[string]string{"zone": "a", "disk": "ssd"}},
		{&state.LabelNode{Name: "n1", Set: map[string]string{"zone": "b", "rack": "1"}}, map[string]string{"zone": "b", "disk": "ssd", "rack": "1"}},
		{register(map[string]string{"zone": "c", "disk": "ssd"}), map[string]string{"zone": "b", "disk": "ssd", "rack": "1"}},
		{&state.LabelNode{Name: "n1", Remove: []string{"disk", "rack"}}, map[string]string{"zone": "b"}},
		{register(map[string]string{"zone": "c", "disk": "hdd"}), map[string]string{"zone": "b"}},
		{&state.LabelNode{Name: "n1", Set: map[string]string{"zone": "c", "disk": "hdd"}}, map[string]string{"zone": "c", "disk": "hdd"}},
		{register(map[string]string{"zone": "d"}), map[string]string{"zone": "d"}},
	} {
		v = apply(t, v, step.do)
		if got := v.Node("n1").Labels; !maps.Equal(got, step.want) {
			t.Errorf("step %d: labels %v, want %v", i, got, step.want)
		}
	}
	if n := v.Node("n1"); n.Own != nil || n.Given != nil || n.Masked != nil {
		t.Errorf("nothing is set by command any more: %+v", n)
	}
}

// While the brake is on nothing that acts passes; wishes do.
func TestFrozen(t *testing.T) {
	t.Parallel()
	v := running(t)
	m := v.Member("default", "web", 0)
	next, _ := v.Apply(v.Index+1, state.Entry{At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Who: "unix:root", Why: "storage", Cmd: &state.SetFrozen{Frozen: true}})
	v = next
	if f := v.Cluster.Frozen; f == nil || f.Who != "unix:root" || f.Why != "storage" || f.Since.IsZero() {
		t.Fatalf("frozen: %+v", f)
	}
	refusedAs(t, v, &state.DeleteMember{Namespace: "default", Set: "web"}, "Frozen")
	refusedAs(t, v, &state.StopMember{Namespace: "default", Set: "web", Why: "Restart", IfEpoch: m.Epoch, IfGeneration: m.Generation}, "Frozen")
	v = apply(t, v, &state.Restart{Namespace: "default", Set: "web"})
	v = apply(t, v, &state.ScaleSet{Namespace: "default", Name: "web", Replicas: 3})
	v = apply(t, v, &state.DrainNode{Name: "n1"})
	v = apply(t, v, &state.SetNode{Name: "n1", State: spec.NodeSuspect, Reason: "silent", IfGeneration: v.Node("n1").Generation})
	v = apply(t, v, &state.SetStopping{Stopping: true})
	m = v.Member("default", "web", 0)
	apply(t, v, &state.StopMember{Namespace: "default", Set: "web", Why: state.WhyShutdown, IfEpoch: m.Epoch, IfGeneration: m.Generation})
	v = apply(t, v, &state.SetFrozen{})
	if v.Cluster.Frozen != nil {
		t.Error("still frozen")
	}
}
