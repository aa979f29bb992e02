package plan_test

import (
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// shape makes web have these volumes, and a service.
func (b *bench) shape(service string, volumes ...string) *spec.Error {
	b.t.Helper()
	return b.set(3, "a", func(s *spec.StatefulSetSpec) {
		s.ServiceName, s.Volumes = service, nil
		for _, v := range volumes {
			s.Volumes = append(s.Volumes, spec.VolumeSpec{Name: v, Size: "1Gi"})
		}
	})
}

func (b *bench) mustShape(service string, volumes ...string) {
	b.t.Helper()
	if err := b.shape(service, volumes...); err != nil {
		b.t.Fatal(err)
	}
}

// phases are those of web-1's volumes, and which of them the member has.
func (b *bench) phases(name string) string {
	b.t.Helper()
	v := b.v.Volume("default", name)
	if v == nil {
		return "none"
	}
	out := v.Phase
	for _, own := range b.v.MemberVolumes(v.Namespace, v.Set, v.Ordinal) {
		if own == v {
			out += " held"
		}
	}
	return out
}

func (b *bench) wantPhase(name, want string) {
	b.t.Helper()
	if got := b.phases(name); got != want {
		b.t.Errorf("%s is %s, want %s", name, got, want)
	}
}

// An added volume is a member's from its next start on; a dropped one is retained then, and
// comes back as the same directory. Members are restarted for both, one at a time.
func TestVolumesAreAddedAndDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.mustShape("web", "data")
	b.live()
	first, data := b.v.Set("default", "web").Revision, b.v.Volume("default", "data-web-1").UID

	b.mustShape("web", "data", "logs")
	b.wantPhase("logs-web-1", "Pending held")
	b.expect("stop 2 Rollout")
	b.live()
	b.all("a")
	logs := b.v.Volume("default", "logs-web-1")
	if m := b.v.Member("default", "web", 1); logs.Node != m.Node || !logs.Added || m.Fresh || m.Joining || m.VolumesState != "new" {
		t.Errorf("volume %+v of member %+v", logs, m)
	}
	if b.v.Volume("default", "data-web-1").UID != data {
		t.Error("another data directory")
	}

	b.mustShape("web", "data")
	if got := b.v.Set("default", "web").Revision; got != first {
		t.Errorf("revision %s, want the first, %s, again", got, first)
	}
	b.expect("stop 2 Rollout")
	b.say(spec.MemberStopped, 2)
	b.wantPhase("logs-web-2", "Bound held") // what has stopped may start as it was
	b.expect("start 2")
	b.wantPhase("logs-web-2", "Retained")
	b.wantPhase("logs-web-1", "Bound held") // it runs, and may write there
	if err := b.apply(&state.ReleaseVolume{Namespace: "default", Name: "logs-web-1", At: b.now}); err == nil || err.Reason != "VolumeInUse" {
		t.Errorf("a directory in use is released: %v", err)
	}
	b.live()
	b.wantPhase("logs-web-1", "Retained")

	b.mustShape("web", "logs", "data")
	b.wantPhase("logs-web-1", "Bound held")
	b.live()
	b.all("a")
	if again := b.v.Volume("default", "logs-web-1"); again.UID != logs.UID || !again.Returned {
		t.Errorf("volume %+v, want %+v again", again, logs)
	}
}

// Undoing the drop of a volume gives the directories back, to those that lost them too.
func TestUndoBringsVolumesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.mustShape("web", "data", "logs")
	b.live()
	uids := [2]string{b.v.Volume("default", "logs-web-0").UID, b.v.Volume("default", "logs-web-2").UID}
	b.mustShape("web", "data")
	b.settle()
	b.say(spec.MemberStopped, 2)
	b.settle()
	b.say(spec.MemberRunning, 2)
	b.wantPhase("logs-web-2", "Retained")
	b.do(&state.UndoRollout{Namespace: "default", Name: "web", Revision: b.v.Set("default", "web").Current, UID: "x"})
	if stops := b.live(); len(stops) == 0 || len(stops) > 2 {
		t.Errorf("stops %v, want those that were touched", stops)
	}
	b.all("a")
	if got := [2]string{b.v.Volume("default", "logs-web-0").UID, b.v.Volume("default", "logs-web-2").UID}; got != uids {
		t.Errorf("directories %v, want %v", got, uids)
	}
	if s := b.v.Set("default", "web"); len(s.Spec.Volumes) != 2 || s.Spec.Volumes[1].Size != "1Gi" {
		t.Errorf("the definition has %+v", s.Spec.Volumes)
	}
}

// Below the partition members keep what their revision names, through restarts.
func TestDroppedVolumeBelowThePartition(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	part := func(volumes ...string) func(*spec.StatefulSetSpec) {
		return func(s *spec.StatefulSetSpec) {
			s.UpdateStrategy = spec.UpdateStrategy{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{Partition: 2}}
			s.Volumes = nil
			for _, v := range volumes {
				s.Volumes = append(s.Volumes, spec.VolumeSpec{Name: v})
			}
		}
	}
	b.mustSet(3, "a", part("data", "logs"))
	b.live()
	uid := b.v.Volume("default", "logs-web-1").UID
	b.mustSet(3, "a", part("data"))
	b.live()
	b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 1})
	b.live()
	b.wantPhase("logs-web-1", "Bound held")
	b.wantPhase("logs-web-2", "Retained")
	if b.v.Volume("default", "logs-web-1").UID != uid {
		t.Error("another directory")
	}
	// Scaled away and back it has it again.
	for _, n := range []int{1, 3} {
		b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: n})
		b.live()
	}
	b.all("a")
	b.wantPhase("logs-web-1", "Bound held")
}

// A revision that needs a directory that was dropped and released is not started: the
// member stays as it is, and the plan says why.
func TestDroppedAndReleasedIsNotGoneBackTo(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.mustShape("web", "data", "logs")
	b.live()
	b.mustShape("web", "data")
	b.settle()
	b.say(spec.MemberStopped, 2)
	b.settle()
	b.say(spec.MemberRunning, 2)
	b.do(&state.ReleaseVolume{Namespace: "default", Name: "logs-web-2", At: b.now})
	old := b.v.Set("default", "web").Current
	if err := b.apply(&state.UndoRollout{Namespace: "default", Name: "web", Revision: old, UID: "x"}); err == nil || err.Reason != "VolumeReleasing" {
		t.Errorf("undo: %v", err)
	}
	if err := b.set(3, "a", func(s *spec.StatefulSetSpec) {
		s.UpdateStrategy = spec.UpdateStrategy{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{Partition: 3}}
		s.Volumes = []spec.VolumeSpec{{Name: "data"}}
	}); err != nil {
		t.Fatal(err)
	}
	b.do(&state.Restart{Namespace: "default", Set: "web", Ordinals: []int{2}})
	b.expect()
	if got := b.waits(); !strings.Contains(got, "web-2 VolumeDropped") {
		t.Errorf("waits: %q", got)
	}
}

// Volumes grow and do not shrink, and the kind of network stays.
func TestWhatCannotBeChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.mustShape("web", "data")
	b.live()
	size := func(q spec.Quantity) func(*spec.StatefulSetSpec) {
		return func(s *spec.StatefulSetSpec) { s.Volumes[0].Size = q }
	}
	b.mustSet(3, "a", size("2Gi"))
	b.expect()
	if got := b.v.Volume("default", "data-web-1").Size; got != "2Gi" {
		t.Errorf("size %s", got)
	}
	if err := b.set(3, "a", size("1Gi")); err == nil || err.Reason != "FixedField" || !strings.Contains(err.Message, "smaller") {
		t.Errorf("shrinking: %v", err)
	}
	if err := b.set(3, "a", func(s *spec.StatefulSetSpec) { s.Network.Mode = spec.NetworkNode }); err == nil || err.Reason != "FixedField" || !strings.Contains(err.Message, "another address") {
		t.Errorf("network mode: %v", err)
	}
}

// A changed service is rolled; until all follow, every member has both names.
func TestServiceIsChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.mustShape("web", "data")
	b.live()
	b.mustShape("front", "data")
	b.expect("stop 2 Rollout")
	b.say(spec.MemberStopped, 2)
	b.settle()
	b.say(spec.MemberRunning, 2)
	b.settle()
	for name, want := range map[string]int{"web": 1, "front": 1, "other": 0} {
		if got := len(b.v.Governs("default", name)); got != want {
			t.Errorf("%s governs %d sets, want %d", name, got, want)
		}
	}
	if a, z := b.v.FQDN(b.v.Member("default", "web", 0)), b.v.FQDN(b.v.Member("default", "web", 2)); !strings.HasPrefix(a, "web-0.web.") || !strings.HasPrefix(z, "web-2.front.") {
		t.Errorf("names %s, %s", a, z)
	}
	b.live()
	b.all("a")
	if len(b.v.Governs("default", "web")) != 0 || b.v.Service("default", "web") != nil || b.v.Service("default", "front") == nil {
		t.Error("the old service is still there, or the new one is not")
	}
}

// Policy and retention are followed at once, by nobody's restart.
func TestPolicyAndRetentionRestartNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	if err := b.set(3, "a", func(s *spec.StatefulSetSpec) {
		s.PodManagementPolicy, s.VolumeRetention.WhenScaled = spec.Parallel, spec.Delete
		s.MinReady, s.OnNodeLoss = spec.Duration(1), spec.Fence
	}); err != nil {
		t.Fatal(err)
	}
	b.expect()
}
