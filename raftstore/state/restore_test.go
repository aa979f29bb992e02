package state_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// saved is the View that a story's restore brings back: a fixed file, for two versions
// of gzip need not write the same bytes.
func saved() *state.RestoreCluster {
	b, err := os.ReadFile(filepath.Join("testdata", "saved.supd"))
	if err != nil {
		panic(err)
	}
	// The payload stands between the head's line and the checksum's.
	lines := bytes.SplitN(b, []byte("\n"), 3)
	return &state.RestoreCluster{Snapshot: lines[2][:len(lines[2])-66], Incarnation: "i2", IfIncarnation: "i1"}
}

// TestSavedFile writes the file that the story restores, where it is missing.
func TestSavedFile(t *testing.T) {
	path := filepath.Join("testdata", "saved.supd")
	if _, err := os.Stat(path); err == nil || !*update {
		return
	}
	var b bytes.Buffer
	if err := storyBefore(t).WriteFile(&b, state.SnapshotMeta{Time: at(0), Version: "test", Node: "n1", Term: 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// storyBefore is a small View of the story's cluster.
func storyBefore(t *testing.T) *state.View {
	t.Helper()
	v := state.New()
	for i, c := range prologue() {
		v, _ = v.Apply(uint64(i+1), state.Entry{At: at(i + 1), Who: "unix:root", Cmd: c})
	}
	return v
}

func prologue() []state.Command {
	two := 2
	return []state.Command{
		&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"},
		&state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.1", API: "127.0.0.1:1", Raft: "127.0.0.1:2", HostIP: "127.0.0.1", Machine: "m", Run: "r1"}},
		&state.PutSet{
			Namespace: "default", Name: "db", UID: "d1", Spec: spec.StatefulSetSpec{
				Replicas: &two, ServiceName: "db", PodManagementPolicy: spec.Parallel,
				Network: spec.Network{Mode: spec.NetworkMember}, Volumes: []spec.VolumeSpec{{Name: "data"}},
				VolumeRetention: spec.VolumeRetention{WhenScaled: spec.Retain, WhenDeleted: spec.Delete},
			},
			Template: spec.Template{Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"/bin/db"}}}}},
		},
		&state.Reserve{Namespace: "default", Set: "db", IfGeneration: 1, Slots: []state.Slot{
			{Ordinal: 0, UID: "u0", Node: "n1", IP: "127.64.0.20", VolumeUIDs: map[string]string{"data": "w0"}},
			{Ordinal: 1, UID: "u1", Node: "n1", IP: "127.64.0.21", VolumeUIDs: map[string]string{"data": "w1"}},
		}},
		&state.StartMember{Namespace: "default", Set: "db", Ordinal: 0, Revision: dbRevision(), Bootstrap: true, IfGeneration: 4},
		&state.StartMember{Namespace: "default", Set: "db", Ordinal: 1, Revision: dbRevision(), IfGeneration: 4},
		&state.Report{Node: "n1", Run: "r1", Seq: 1, Members: []state.MemberReport{dbSeen(0, 1), dbSeen(1, 2)}, Volumes: []state.VolumeReport{
			{Namespace: "default", Name: "data-db-0", UID: "w0", Event: state.VolumeMade, Path: "/d"},
			{Namespace: "default", Name: "data-db-1", UID: "w1", Event: state.VolumeMade, Path: "/e"},
		}},
	}
}

func dbRevision() string {
	return spec.Template{Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"/bin/db"}}}}}.Hash()
}

func dbSeen(o int, epoch uint64) state.MemberReport {
	return state.MemberReport{Namespace: "default", Set: "db", Ordinal: o, Seen: state.Observation{Epoch: epoch, Phase: spec.MemberRunning, Ready: true, Started: true, Steady: true}}
}

func do(t *testing.T, v *state.View, cmds ...state.Command) *state.View {
	t.Helper()
	for _, c := range cmds {
		var res state.Result
		v, res = v.Apply(v.Index+1, state.Entry{At: at(int(v.Index) + 1), Who: "unix:root", Cmd: c})
		if res.Err != nil {
			t.Fatalf("%s: %v", state.Kind(c), res.Err)
		}
	}
	return v
}

func restore(t *testing.T, v, s *state.View) *state.View {
	t.Helper()
	c, err := state.NewRestore(s, v.Cluster.Incarnation+"+", v.Cluster.Incarnation)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := state.Encode(state.Entry{At: at(int(v.Index)), Cmd: c})
	if err != nil {
		t.Fatal(err)
	}
	e, err := state.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, v, e.Cmd)
}

// TestRestoreOfThePresentChangesNobody: epochs leap, and that is all.
func TestRestoreOfThePresentChangesNobody(t *testing.T) {
	t.Parallel()
	s := storyBefore(t)
	v := restore(t, s, s)
	if v.Cluster.Epoch != s.Cluster.Epoch+1<<32 || v.Cluster.Incarnation == s.Cluster.Incarnation {
		t.Errorf("epoch %d, incarnation %s", v.Cluster.Epoch, v.Cluster.Incarnation)
	}
	for m := range s.Members("") {
		if v.Member(m.Namespace, m.Set, m.Ordinal) != m {
			t.Errorf("member %s was changed", m.Name())
		}
	}
	for x := range s.Volumes("") {
		if v.Volume(x.Namespace, x.Name()) != x {
			t.Errorf("volume %s was changed", x.Name())
		}
	}
	if a, b := v.Set("default", "db"), s.Set("default", "db"); a != b {
		t.Errorf("the set was changed: %+v, %+v", a, b)
	}
}

// TestRestoreKeepsWhatRuns: wishes go back; members keep node and epoch, however the
// snapshot had them.
func TestRestoreKeepsWhatRuns(t *testing.T) {
	t.Parallel()
	s := storyBefore(t)
	m := s.Member("default", "db", 0)
	v := do(t, s,
		&state.Restart{Namespace: "default", Set: "db"},
		&state.StopMember{Namespace: "default", Set: "db", Ordinal: 0, Why: "Restart", IfEpoch: m.Epoch, IfGeneration: m.Generation},
		&state.Report{Node: "n1", Run: "r1", Seq: 2, Members: []state.MemberReport{{Namespace: "default", Set: "db", Seen: state.Observation{Epoch: 1, Phase: spec.MemberStopped}}}},
	)
	v = do(t, v, &state.StartMember{Namespace: "default", Set: "db", Ordinal: 0, Revision: dbRevision(), IfEpoch: 1, IfGeneration: v.Member("default", "db", 0).Generation},
		&state.ScaleSet{Namespace: "default", Name: "db", Replicas: 3})
	v = do(t, v, &state.Reserve{Namespace: "default", Set: "db", IfGeneration: 2, Slots: []state.Slot{
		{Ordinal: 2, UID: "u2", Node: "n1", IP: "127.64.0.22", VolumeUIDs: map[string]string{"data": "w2"}},
	}})
	one := 1
	later := *v.Set("default", "db")
	v = do(t, v, &state.PutSet{
		Namespace: "default", Name: "late", UID: "l1", Template: spec.Template{Processes: []spec.Process{{Name: "main"}}},
		Spec: spec.StatefulSetSpec{Replicas: &one, ServiceName: "late", VolumeRetention: spec.VolumeRetention{WhenDeleted: spec.Delete}},
	})
	r := restore(t, v, s)
	if got := r.Member("default", "db", 0); got != v.Member("default", "db", 0) || got.Epoch != 3 {
		t.Errorf("db-0 is %+v", got)
	}
	if got := r.Member("default", "db", 2); got == nil {
		t.Error("db-2 was made after the snapshot: it must be stopped in order, not forgotten")
	}
	set := r.Set("default", "db")
	if set.Replicas() != 2 || set.Meta.Generation <= later.Meta.Generation || set.Spec.VolumeRetention.WhenDeleted != spec.Retain {
		t.Errorf("the set is %+v", set)
	}
	if late := r.Set("default", "late"); late == nil || !late.Deleting || late.Spec.VolumeRetention.WhenDeleted != spec.Retain {
		t.Errorf("the set made later is %+v", late)
	}
}

// TestRestoreOfADirectoryThatIsGone: its record is back, so nobody makes an empty one
// in its place; one in the trash comes back.
func TestRestoreOfADirectoryThatIsGone(t *testing.T) {
	t.Parallel()
	s := storyBefore(t)
	v := do(t, s, &state.ScaleSet{Namespace: "default", Name: "db", Replicas: 0, Silent: nil})
	for _, o := range []int{1, 0} {
		m := v.Member("default", "db", o)
		v = do(t, v, &state.StopMember{Namespace: "default", Set: "db", Ordinal: o, Gone: true, Why: "ScaleDown", IfEpoch: m.Epoch, IfGeneration: m.Generation},
			&state.Report{Node: "n1", Run: "r1", Seq: uint64(9 - o), Members: []state.MemberReport{{Namespace: "default", Set: "db", Ordinal: o, Seen: state.Observation{Epoch: m.Epoch, Phase: spec.MemberStopped}}}})
		v = do(t, v, &state.DropMember{Namespace: "default", Set: "db", Ordinal: o, IfEpoch: m.Epoch, IfGeneration: v.Member("default", "db", o).Generation})
	}
	trashed := func(name, uid, event string, seq uint64) *state.Report {
		return &state.Report{Node: "n1", Run: "r1", Seq: seq, Volumes: []state.VolumeReport{{Namespace: "default", Name: name, UID: uid, Event: event}}}
	}
	v = do(t, v, &state.ReleaseVolume{Namespace: "default", Name: "data-db-0", At: at(0)}, trashed("data-db-0", "w0", state.VolumeTrashed, 10))
	v = do(t, v, &state.EmptyVolume{Namespace: "default", Name: "data-db-0", UID: "w0", IfGeneration: v.Volume("default", "data-db-0").Generation}, trashed("data-db-0", "w0", state.VolumeEmptied, 11))
	v = do(t, v, &state.ReleaseVolume{Namespace: "default", Name: "data-db-1", At: at(3600)}, trashed("data-db-1", "w1", state.VolumeTrashed, 12))
	if v.Volume("default", "data-db-0") != nil {
		t.Fatal("data-db-0 is still there")
	}
	r := restore(t, v, s)
	if vol := r.Volume("default", "data-db-0"); vol == nil || vol.UID != "w0" || !vol.Made || vol.Phase != spec.VolumeRetained {
		t.Errorf("data-db-0 is %+v", vol)
	}
	if vol := r.Volume("default", "data-db-1"); vol == nil || vol.Phase != spec.VolumeReleasing || !vol.Undo {
		t.Errorf("data-db-1 is %+v", vol)
	}
	for range r.Members("") {
		t.Error("a restore makes no members: the planner does")
	}
}

func TestRestoreRefusals(t *testing.T) {
	t.Parallel()
	s := storyBefore(t)
	c, err := state.NewRestore(s, "i9", "other")
	if err != nil {
		t.Fatal(err)
	}
	if _, res := s.Apply(s.Index+1, state.Entry{At: at(9), Cmd: c}); res.Err == nil || res.Err.Reason != "Stale" {
		t.Errorf("another incarnation: %v", res.Err)
	}
	other := do(t, state.New(), &state.InitCluster{ID: "c2", Incarnation: "i1", Plan: "none", Zone: "z"})
	c.IfIncarnation = "i1"
	if _, res := other.Apply(other.Index+1, state.Entry{At: at(9), Cmd: c}); res.Err == nil || res.Err.Reason != "AnotherCluster" {
		t.Errorf("another cluster: %v", res.Err)
	}
	c.Snapshot = c.Snapshot[:20]
	raw, err := state.Encode(state.Entry{At: at(9), Cmd: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Decode(raw); err == nil {
		t.Error("a snapshot that is cut off was decoded")
	}
}

func TestSnapshotFile(t *testing.T) {
	t.Parallel()
	s := storyBefore(t)
	var b bytes.Buffer
	if err := s.WriteFile(&b, state.SnapshotMeta{Time: at(1), Term: 3, Version: "x", Node: "n1"}); err != nil {
		t.Fatal(err)
	}
	v, meta, err := state.ReadFile(bytes.NewReader(b.Bytes()))
	if err != nil || v.Hash() != s.Hash() || meta.Hash != s.Hash() || meta.Index != s.Index || meta.Term != 3 || meta.ClusterID != "c1" {
		t.Fatalf("%+v, %v", meta, err)
	}
	for i := range b.Len() {
		if i%7 != 0 && i > 200 && i < b.Len()-100 {
			continue
		}
		bad := bytes.Clone(b.Bytes())
		bad[i] ^= 1
		if _, _, err := state.ReadFile(bytes.NewReader(bad)); !errors.Is(err, state.ErrBadFile) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, _, err := state.ReadFile(bytes.NewReader(b.Bytes()[:i])); !errors.Is(err, state.ErrBadFile) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	if !strings.HasPrefix(b.String(), "supd-snapshot/1\n{\"clusterID\":\"c1\"") {
		t.Errorf("begins %q", b.String()[:60])
	}
}

// TestRestoreLeavesTheAbandoned: what was given up since keeps its record, and comes back under no other name.
func TestRestoreLeavesTheAbandoned(t *testing.T) {
	t.Parallel()
	before := storyBefore(t)
	v := do(t, before,
		&state.SetNode{Name: "n1", State: spec.NodeSuspect, IfGeneration: before.Node("n1").Generation})
	v = do(t, v, &state.SetNode{Name: "n1", State: spec.NodeLost, IfGeneration: v.Node("n1").Generation})
	v = do(t, v, &state.AbandonVolume{Namespace: "default", Name: "data-db-1"})
	if v.Volume("default", "data-db-1") != nil || v.Volume("default", "data-db-1.w1") == nil {
		t.Fatal("the volume is not abandoned")
	}
	v = restore(t, v, before)
	if again := v.Volume("default", "data-db-1"); again != nil {
		t.Errorf("the abandoned directory is %s as data-db-1 again, uid %s", again.Phase, again.UID)
	}
	if kept := v.Volume("default", "data-db-1.w1"); kept == nil || kept.Phase != spec.VolumeAbandoned {
		t.Errorf("the record of the abandoned directory is %+v", kept)
	}
}
