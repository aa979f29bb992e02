package state_test

import (
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// A stop that was planned for a reason which is gone when it commits would take a
// member down for nothing: the shutdown was called off, the rollout taken back.
func TestStopIsRefusedWhenItsReasonIsGone(t *testing.T) {
	t.Parallel()
	v := running(t)
	m := v.Member("default", "web", 0)
	for _, why := range []string{state.WhyShutdown, "Rollout", "Restart"} {
		_, res := v.Apply(v.Index+1, entry(&state.StopMember{
			Namespace: "default", Set: "web", Ordinal: 0, Why: why, IfEpoch: m.Epoch, IfGeneration: m.Generation,
		}))
		if res.Err == nil || res.Err.Reason != "Stale" {
			t.Errorf("a stop for a %s that nobody wants: got %v, want it refused as stale", why, res.Err)
		}
	}
}

// While members are leaving, a change that takes no more of them away is not gated.
func TestOnlyFewerReplicasAreGated(t *testing.T) {
	t.Parallel()
	v := running(t)
	v = apply(t, v, &state.ScaleSet{Namespace: "default", Name: "web", Replicas: 0})
	v = apply(t, v, &state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 0})
	if ok, _, _ := v.Healthy(v.Member("default", "web", 0)); ok {
		t.Fatal("web-0 is healthy after its deletion")
	}
	apply(t, v, &state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2})
}

// Who leaves and is down is started again: the gate of its removal wants it healthy.
func TestLeavingMemberMayStart(t *testing.T) {
	t.Parallel()
	v := running(t)
	v = apply(t, v, &state.ScaleSet{Namespace: "default", Name: "web", Replicas: 0})
	v = apply(t, v, &state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 0})
	v = apply(t, v, report(2, 1, state.Observation{Epoch: 1, Phase: spec.MemberStopped}))
	m := v.Member("default", "web", 0)
	apply(t, v, &state.StartMember{Namespace: "default", Set: "web", Ordinal: 0, Revision: m.Revision, IfEpoch: m.Epoch, IfGeneration: m.Generation})
}

// running is a cluster of one node with one healthy member.
func running(t *testing.T) *state.View {
	t.Helper()
	one := 1
	procs := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"sleep", "inf"}}}}
	tpl := spec.Template{Processes: procs}
	v := state.New()
	for _, c := range []state.Command{
		&state.InitCluster{ID: "c", Incarnation: "1", Plan: "loopback", PlanCIDR: "127.80.0.0/20", Zone: spec.ClusterZone},
		&state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.id", Run: "r", Machine: "m", HostIP: "127.0.0.1"}},
		&state.PutSet{Namespace: "default", Name: "web", UID: "u", Spec: spec.StatefulSetSpec{Replicas: &one, ServiceName: "web", Processes: procs}, Template: tpl},
		&state.Reserve{Namespace: "default", Set: "web", IfGeneration: 1, Slots: []state.Slot{{UID: "m0", Node: "n1", IP: "127.80.0.16"}}},
		&state.StartMember{Namespace: "default", Set: "web", Revision: tpl.Hash(), IfGeneration: 4},
		report(1, 1, state.Observation{Epoch: 1, Phase: spec.MemberRunning, Started: true, Ready: true, Steady: true}),
	} {
		v = apply(t, v, c)
	}
	return v
}

func report(seq, epoch uint64, seen state.Observation) *state.Report {
	seen.Epoch = epoch
	return &state.Report{Node: "n1", Run: "r", Seq: seq, Members: []state.MemberReport{{Namespace: "default", Set: "web", Seen: seen}}}
}

func entry(c state.Command) state.Entry {
	return state.Entry{At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Who: "test", Cmd: c}
}

func apply(t *testing.T, v *state.View, c state.Command) *state.View {
	t.Helper()
	next, res := v.Apply(v.Index+1, entry(c))
	if res.Err != nil {
		t.Fatalf("%T is refused: %v", c, res.Err)
	}
	return next
}
