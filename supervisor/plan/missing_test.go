package plan_test

import (
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// TestMissingDirectoryGivenUp: a directory that its node answers for and does not find is given up by name; its member is asked to
// stop, and has a new one only when its node has said that it has stopped. Nobody is vouched for.
func TestMissingDirectoryGivenUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.running(2)
	m := b.member(1)
	gone := &state.AbandonVolume{Namespace: "default", Name: "data-web-1", Missing: true}
	if err := b.apply(gone); err == nil {
		t.Fatal("a directory that nobody misses was given up")
	}
	old := b.v.Volume("default", "data-web-1")
	b.seq[m.Node]++
	b.do(&state.Report{Node: m.Node, Run: "r", Seq: b.seq[m.Node], Volumes: []state.VolumeReport{{
		Namespace: "default", Name: "data-web-1", UID: old.UID, Event: state.VolumeTrouble, Reason: state.VolumeMissing,
	}}})
	if err := b.apply(&state.AbandonVolume{Namespace: "default", Name: "data-web-1"}); err == nil || err.Reason != "NodeNotLost" {
		t.Fatalf("as if its node were lost: %v", err)
	}
	b.do(gone)
	if v := b.v.Volume("default", "data-web-1."+old.UID[:min(8, len(old.UID))]); v == nil || v.Phase != spec.VolumeAbandoned {
		t.Errorf("it is not kept by another name: %+v", v)
	}
	if m := b.member(1); m.Wish != state.WishStop || m.Down() {
		t.Errorf("it counts as %+v", m)
	}
	if did := b.settle(); len(did) > 0 {
		t.Errorf("before it has stopped: %v", did)
	}
	b.say(spec.MemberStopped, 1)
	did := b.settle()
	if strings.Join(did, ", ") != "TakeOver, start 1" || b.member(1).Epoch <= m.Epoch {
		t.Errorf("it does not start again: %v, %+v", did, b.member(1))
	}
	if v := b.v.Volume("default", "data-web-1"); v == nil || v.UID == old.UID || b.member(1).VolumesState != "new" {
		t.Errorf("its new directory: %+v", v)
	}
}

// TestUnplacedHoldsScaleDown: a wanted ordinal without a place is unhealthy like any other. While it is not accepted as lost
// the removal of others waits, and says for whom; accepted, it holds nobody.
func TestUnplacedHoldsScaleDown(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	from := func(start int) func(*spec.StatefulSetSpec) {
		return func(s *spec.StatefulSetSpec) {
			s.PodManagementPolicy, s.Placement.MaxPerNode = spec.Parallel, 2
			s.Ordinals = &spec.Ordinals{Start: start}
		}
	}
	if err := b.set(2, "a", from(1)); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.say(spec.MemberRunning, 1, 2)
	b.settle()
	if err := b.set(3, "a", from(0)); err != nil {
		t.Fatal(err)
	}
	b.expect()
	down := &state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2}
	if err := b.apply(down); err == nil {
		t.Fatal("a set is made smaller while web-0 has no place")
	}
	down.AcceptUnhealthy = []string{"web-0"}
	b.do(down)
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	b.expect("drop 2", "reserve 0@n1", "start 0")
}

// TestUnplacedIsSaid: one that lost its place while others leave is named.
func TestUnplacedIsSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	b.running(2)
	if err := b.set(1, "a", func(s *spec.StatefulSetSpec) {
		s.Ordinals, s.Placement.MaxPerNode = &spec.Ordinals{Start: 2}, 2
	}); err != nil {
		t.Fatal(err)
	}
	b.expect()
	if got := b.waits(); got != "web-2 NoNode, web-1 ScaleDownBlocked" {
		t.Errorf("waits: %q", got)
	}
	if w := b.plan().Waits[1]; !strings.Contains(w.Message, "web-2: it has no place yet") {
		t.Errorf("it says %q", w.Message)
	}
}
