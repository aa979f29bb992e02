package state_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// story is a life in which every command occurs, with what each is for.
func story() []state.Command {
	three, two := 3, 2
	tpl := func(word string) spec.Template {
		return spec.Template{Processes: []spec.Process{{
			Name: "main", Exec: spec.Exec{Command: []string{"/bin/" + word}},
			Ports: []spec.Port{{Name: "client", Port: 2379}},
		}}}
	}
	set := spec.StatefulSetSpec{
		Replicas: &three, ServiceName: "web", PodManagementPolicy: spec.OrderedReady,
		Network:   spec.Network{Mode: spec.NetworkMember},
		Volumes:   []spec.VolumeSpec{{Name: "data", Size: "1Gi"}},
		Processes: tpl("a").Processes,
	}
	set2 := set
	set2.Replicas = &two
	node := func(name string) state.Node {
		return state.Node{Name: name, ID: name + ".1", API: "127.0.0.1:1", Raft: "127.0.0.1:2", HostIP: "127.0.0.1", Machine: "m", Run: "r1"}
	}
	slot := func(o int) state.Slot {
		return state.Slot{
			Ordinal: o, UID: fmt.Sprintf("u%d", o), Node: "n1", IP: fmt.Sprintf("127.64.0.1%d", o),
			Ports: map[string]int{"client": 2379}, VolumeUIDs: map[string]string{"data": fmt.Sprintf("v%d", o)},
		}
	}
	seen := func(o int, epoch uint64, phase string) state.MemberReport {
		run := phase == spec.MemberRunning
		return state.MemberReport{Namespace: "default", Set: "web", Ordinal: o, Seen: state.Observation{Epoch: epoch, Phase: phase, Ready: run, Started: run, Steady: run}}
	}
	made := func(o int, event string) state.VolumeReport {
		return state.VolumeReport{Namespace: "default", Name: spec.VolumeName("data", "web", o), UID: fmt.Sprintf("v%d", o), Event: event, Path: "/d"}
	}
	all := []state.Command{
		&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"},
		&state.RegisterNode{Node: node("n1")},
		&state.RegisterNode{Node: node("n2")},
		&state.SetNode{Name: "n2", State: spec.NodeSuspect, Reason: "silent", IfGeneration: 1},
		&state.CordonNode{Name: "n2", Cordon: true},
		&state.PutProgram{Namespace: "default", Name: "mysql:5.7", UID: "p1", Spec: spec.ProgramSpec{Command: []string{"mariadbd"}}},
		&state.PutService{Namespace: "default", Name: "web", UID: "s1"},
		&state.PutSet{Namespace: "default", Name: "web", UID: "w1", Spec: set, Template: tpl("a")},
		&state.Reserve{Namespace: "default", Set: "web", IfGeneration: 1, Slots: []state.Slot{slot(0), slot(1), slot(2)}},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 0, Revision: tpl("a").Hash(), Bootstrap: true, IfGeneration: 9},
		&state.Report{Node: "n1", Run: "r1", Seq: 1, Members: []state.MemberReport{seen(0, 1, spec.MemberRunning)}, Volumes: []state.VolumeReport{made(0, state.VolumeMade), made(2, state.VolumeMade)}},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 1, Revision: tpl("a").Hash(), IfGeneration: 9},
		&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2},                                         // refused: web-1 starts
		&state.ReleaseVolume{Namespace: "default", Name: "data-web-0"},                                          // refused: in use
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 2, Revision: tpl("a").Hash(), IfEpoch: 9}, // refused: stale
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 2, Revision: tpl("a").Hash(), IfGeneration: 9},
		&state.Report{Node: "n1", Run: "r1", Seq: 2, Members: []state.MemberReport{seen(1, 2, spec.MemberRunning), seen(2, 3, spec.MemberRunning)}},
		&state.Report{Node: "n1", Run: "r1", Seq: 2}, // refused: said before
		&state.MarkFormed{Namespace: "default", Name: "web", IfGeneration: 1},
		&state.PutSet{Namespace: "default", Name: "web", UID: "x", Spec: set2, Template: tpl("b"), Silent: []string{"web-1"}}, // refused: silent
		&state.PutSet{Namespace: "default", Name: "web", UID: "x", Spec: set2, Template: tpl("b")},
		&state.StopMember{Namespace: "default", Set: "web", Ordinal: 2, Gone: true, Why: "ScaleDown", IfEpoch: 3, IfGeneration: 16},
		&state.DropMember{Namespace: "default", Set: "web", Ordinal: 2, IfEpoch: 3, IfGeneration: 22}, // refused: still runs
		&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 3},
		&state.KeepMember{Namespace: "default", Set: "web", Ordinal: 2, IfEpoch: 3, IfGeneration: 22},
		&state.Report{Node: "n1", Run: "r1", Seq: 3, Members: []state.MemberReport{seen(2, 3, spec.MemberStopped)}},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 2, Revision: tpl("b").Hash(), IfEpoch: 3, IfGeneration: 25},
		&state.Report{Node: "n1", Run: "r1", Seq: 4, Members: []state.MemberReport{seen(2, 4, spec.MemberRunning)}},
		&state.StopMember{Namespace: "default", Set: "web", Ordinal: 1, Why: "Rollout", Budget: 1, IfEpoch: 2, IfGeneration: 12},
		&state.StopMember{Namespace: "default", Set: "web", Ordinal: 0, Why: "Rollout", Budget: 1, IfEpoch: 1, IfGeneration: 10}, // refused: budget
		&state.Report{Node: "n1", Run: "r1", Seq: 5, Members: []state.MemberReport{seen(1, 2, spec.MemberStopped)}},
		&state.Restart{Namespace: "default", Set: "web", Ordinals: []int{2}},
		&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 0},
		&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 2},
		&state.Report{Node: "n1", Run: "r1", Seq: 6, Members: []state.MemberReport{seen(0, 1, spec.MemberStopped), seen(2, 4, spec.MemberStopped)}},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 0, Revision: tpl("b").Hash(), IfEpoch: 1, IfGeneration: 33},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 1, Revision: tpl("b").Hash(), IfEpoch: 2, IfGeneration: 29},
		&state.StartMember{Namespace: "default", Set: "web", Ordinal: 2, Revision: tpl("b").Hash(), IfEpoch: 4, IfGeneration: 34},
		&state.SetCurrent{Namespace: "default", Name: "web", Revision: tpl("b").Hash(), IfGeneration: 3},
		&state.Report{Node: "n1", Run: "r1", Seq: 7, Members: []state.MemberReport{seen(0, 5, spec.MemberRunning), seen(1, 6, spec.MemberRunning), seen(2, 7, spec.MemberRunning)}},
		&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2},
		&state.StopMember{Namespace: "default", Set: "web", Ordinal: 2, Gone: true, Why: "ScaleDown", IfEpoch: 7, IfGeneration: 38},
		&state.Report{Node: "n1", Run: "r1", Seq: 8, Members: []state.MemberReport{seen(2, 7, spec.MemberStopped)}},
		&state.DropMember{Namespace: "default", Set: "web", Ordinal: 2, IfEpoch: 7, IfGeneration: 42},
		&state.ReleaseVolume{Namespace: "default", Name: "data-web-2", At: at(45 + 3600)},
		&state.EmptyVolume{Namespace: "default", Name: "data-web-2", UID: "v2", IfGeneration: 45}, // refused: not trashed
		&state.UndoRelease{Namespace: "default", Name: "data-web-2"},
		&state.Report{Node: "n1", Run: "r1", Seq: 9, Volumes: []state.VolumeReport{made(2, state.VolumeRestored)}},
		&state.ReleaseVolume{Namespace: "default", Name: "data-web-2", At: at(0)},
		&state.Report{Node: "n1", Run: "r1", Seq: 10, Volumes: []state.VolumeReport{made(2, state.VolumeTrashed)}},
		&state.EmptyVolume{Namespace: "default", Name: "data-web-2", UID: "v2", IfGeneration: 49},
		&state.Report{Node: "n1", Run: "r1", Seq: 11, Volumes: []state.VolumeReport{made(2, state.VolumeEmptied)}},
		&state.SetStopping{Stopping: true},
		&state.SetStopping{Stopping: false},
		&state.DeleteService{Namespace: "default", Name: "web"}, // refused: in use
		&state.DeleteProgram{Namespace: "default", Name: "mysql:5.7"},
		&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 3},
		&state.Reserve{Namespace: "default", Set: "web", IfGeneration: 5, Slots: []state.Slot{slot(2)}},
		&state.Place{Namespace: "default", Set: "web", IfGeneration: 58, Slot: slot(2)},
		&state.DeleteSet{Namespace: "default", Name: "web"},
		&state.DropSet{Namespace: "default", Name: "web", IfGeneration: 6}, // refused: members left
		&state.LabelNode{Name: "n1", Set: map[string]string{"zone": "a", "disk": "slow"}},
		&state.LabelNode{Name: "n1", Remove: []string{"disk"}},
		&state.DrainNode{Name: "n1"},
		&state.StopMember{Namespace: "default", Set: "web", Ordinal: 1, Why: state.WhyDrain, Budget: 1, IfEpoch: 6, IfGeneration: 37},
		&state.StopMember{Namespace: "default", Set: "web", Ordinal: 0, Why: state.WhyDrain, Budget: 1, IfEpoch: 5, IfGeneration: 36}, // refused: budget
		&state.SetFrozen{Frozen: true},
		&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 0}, // refused: frozen
		&state.SetFrozen{},
		&state.CordonNode{Name: "n1"},
		// Nodes are let in by a token.
		&state.AddJoinToken{ID: "t1", Hash: "h1", Uses: 1, Expires: at(36000)},
		&state.AddJoinToken{ID: "t2", Hash: "h2", Uses: 2, Expires: at(36000)},
		&state.AddJoinToken{ID: "t2", Hash: "h3", Uses: 2, Expires: at(36000)},  // refused: it exists
		&state.AddJoinToken{ID: "t4", Hash: "h4", Uses: 1, Expires: at(0)},      // refused: expired
		&state.AdmitNode{Token: "t1", Hash: "h2", ID: "n7.77777777", Key: "k7"}, // refused: the secret is another's
		&state.AdmitNode{Token: "t1", Hash: "h1", ID: "n7.77777777", Key: "k7"},
		&state.AdmitNode{Token: "t1", Hash: "h1", ID: "n7.77777777", Key: "k7"}, // again: nothing changes
		&state.AdmitNode{Token: "t1", Hash: "h1", ID: "n8.88888888", Key: "k8"}, // refused: used up
		&state.AdmitNode{Token: "t2", Hash: "h2", ID: "n7.77777777", Key: "k9"}, // refused: the id has another key
		&state.AdmitNode{Token: "t2", Hash: "h2", ID: "n8.88888888", Key: "k8"},
		&state.RevokeJoinToken{ID: "t2"},
		&state.AdmitNode{Token: "t2", Hash: "h2", ID: "n9.99999999", Key: "k9"}, // refused: revoked
		&state.RevokeJoinToken{ID: "t2"},                                        // refused: there is none
		// One leaves.
		&state.RegisterNode{Node: node("n7")},
		&state.RemoveNode{Name: "n1", ID: "n1.1"}, // refused: it has members
		&state.RemoveNode{Name: "n7", ID: "n7.2"}, // refused: another id
		&state.RemoveNode{Name: "n7", ID: "n7.1"},
		&state.RegisterNode{Node: node("n7")}, // refused: it has left
		&state.PutAccount{Name: "ci", UID: "a1", Role: spec.RoleOperator, Namespaces: []string{"default", "web"}, Kind: spec.AccountToken, Token: "t1", Hash: "h1", Expires: at(3600)},
		&state.PutAccount{Name: "ci", UID: "a2", Role: spec.RoleAdmin, Kind: spec.AccountToken, Token: "t2", Hash: "h2"}, // refused: the name is taken
		&state.PutAccount{Name: "eve", UID: "a3", Role: "king", Kind: spec.AccountToken, Token: "t3", Hash: "h3"},        // refused: no such role
		&state.PutAccount{Name: "ops", UID: "a4", Role: spec.RoleAdmin, Kind: spec.AccountCertificate, Hash: "h4"},
		&state.PutAccount{Name: "old", UID: "a5", Role: spec.RoleViewer, Kind: spec.AccountToken, Token: "t5", Hash: "h5", Expires: at(1)}, // expired already: not Apply's matter
		&state.RevokeAccount{Name: "ci"},
		&state.RevokeAccount{Name: "ci"}, // refused: gone
		saved(),
		saved(), // refused: another incarnation by now
		&state.NoteCA{CA: "a certificate"},
		&state.NoteCA{CA: "another"}, // refused: it has one
		&state.RotateGossipKey{},
		&state.RotateGossipKey{IfGeneration: 7}, // refused: stale
		&state.RotateGossipKey{IfGeneration: 1}, // refused: too soon
	}
	all = append(all, lossStory(uint64(len(all)), 1<<32+7)...)
	all = append(all, &state.NoteTransfer{From: "node-1", To: "node-2"}, &state.NoteTransfer{}) // the second refused: from whom?
	all = append(all, rollouts(uint64(len(all)), 1<<32+10)...)
	return append(all, hookStory(uint64(len(all)), 1<<32+14)...)
}

func at(seconds int) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

// TestStory pins the log format, what each command does, and the snapshot.
func TestStory(t *testing.T) {
	t.Parallel()
	var log, results strings.Builder
	v := state.New()
	told := map[string]bool{}
	for i, c := range story() {
		index := uint64(i + 1)
		raw, err := state.Encode(state.Entry{At: at(i + 1), Who: "unix:root", Cmd: c})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&log, "%s\n", raw)
		e, err := state.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		told[state.Kind(c)] = true
		before := v.Hash()
		next, res := v.Apply(index, e)
		if v.Hash() != before {
			t.Fatalf("entry %d (%s) changed the View it was applied to", index, state.Kind(c))
		}
		v = next
		fmt.Fprintf(&results, "%d %s changed=%v created=%v", index, state.Kind(c), res.Changed, res.Created)
		if res.Err != nil {
			fmt.Fprintf(&results, " %s %s: %s", res.Err.Code, res.Err.Reason, res.Err.Message)
		}
		fmt.Fprintln(&results)
	}
	for _, c := range state.Commands() {
		if !told[state.Kind(c)] {
			t.Errorf("the story has no %s: add it", state.Kind(c))
		}
	}
	var snap bytes.Buffer
	if err := v.WriteSnapshot(&snap); err != nil {
		t.Fatal(err)
	}
	golden(t, "story.log", log.String())
	golden(t, "story.results", results.String())
	golden(t, "story.snapshot", snap.String())
	back, err := state.ReadSnapshot(&snap)
	if err != nil {
		t.Fatal(err)
	}
	if back.Hash() != v.Hash() {
		t.Error("a View read from its snapshot has another hash")
	}
}
