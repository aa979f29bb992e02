package state_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// lostLog is a View out of a file, with set store of two reserved members on n3, of which 0 has run.
func lostLog(t *testing.T) *state.View {
	t.Helper()
	v := state.New()
	story := append([]state.Command{&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"}}, lossStory(1, 0)[:9]...)
	two, ok := story[6].(*state.Reserve)
	if !ok {
		t.Fatalf("%T", story[6])
	}
	second := two.Slots[0]
	second.Ordinal, second.IP, second.UID, second.VolumeUIDs = 1, "127.64.0.40", "store-u1", map[string]string{"data": "store-w1"}
	two.Slots = append(two.Slots, second)
	story = append(story, &state.AddJoinToken{ID: "t", Hash: "h", Uses: 1, Expires: at(9999)})
	for i, c := range story {
		var res state.Result
		if v, res = v.Apply(uint64(i+1), state.Entry{At: at(i), Cmd: c}); res.Err != nil {
			t.Fatalf("%s: %v", state.Kind(c), res.Err)
		}
	}
	return v
}

func found(v *state.View, node string, seq uint64, f ...state.FoundVolume) *state.View {
	for i := range f {
		f[i].Namespace, f[i].Set, f[i].Template = "default", "store", "data"
		f[i].Path = "/" + f[i].UID
	}
	v, _ = v.Apply(v.Index+1, state.Entry{At: at(int(seq) + 100), Cmd: &state.Report{Node: node, Run: "r1", Seq: seq, Found: f, Rules: state.FoundRulesNow}})
	return v
}

// TestRecoveredFromFileGivesNothingTwice: neither an epoch nor a version nor the use of a token.
func TestRecoveredFromFileGivesNothingTwice(t *testing.T) {
	t.Parallel()
	v := lostLog(t)
	r := v.RecoveredFromFile("i2", "test", time.Time{})
	switch {
	case r.Cluster.Epoch != v.Cluster.Epoch+state.EpochLeap, r.Index != v.Index+state.IndexLeap:
		t.Errorf("epoch %d, index %d after %d, %d", r.Cluster.Epoch, r.Index, v.Cluster.Epoch, v.Index)
	case r.Cluster.Frozen == nil, r.Cluster.Recovered != "i2", r.Cluster.Incarnation != "i2", len(r.Cluster.JoinTokens) != 0:
		t.Errorf("recovered to %+v", r.Cluster)
	case len(v.Cluster.JoinTokens) != 1:
		t.Error("the View itself was changed")
	}
}

// TestFoundDirectoriesAreRetained: what was made in a lost part of the log comes back to its
// ordinal; a second directory of one is kept, and taken by nobody.
func TestFoundDirectoriesAreRetained(t *testing.T) {
	t.Parallel()
	v := lostLog(t)
	if got := found(v, "n4", 1, state.FoundVolume{Ordinal: 7, UID: "x7"}); got.Volume("default", "data-store-7") != nil {
		t.Error("a directory was found in a cluster that lost nothing")
	}
	v = v.RecoveredFromFile("i2", "test", time.Time{})
	v = found(v, "n4", 1, state.FoundVolume{Ordinal: 7, UID: "x7"}, state.FoundVolume{Ordinal: 1, UID: "x1"},
		state.FoundVolume{Ordinal: 0, UID: "x0"}, state.FoundVolume{Ordinal: 8, UID: "x8", Abandoned: true}, state.FoundVolume{Ordinal: 0, UID: "store-v1"})
	for _, c := range []struct{ name, uid, node, phase string }{
		{"data-store-7", "x7", "n4", spec.VolumeRetained},
		{"data-store-1", "x1", "n4", spec.VolumeRetained}, // the log had only reserved it, elsewhere
		{"data-store-0", "store-v1", "n3", spec.VolumeBound},
		{"data-store-0.x0", "x0", "n4", spec.VolumeAbandoned},
		{"data-store-8.x8", "x8", "n4", spec.VolumeAbandoned},
	} {
		got := v.Volume("default", c.name)
		if got == nil || got.UID != c.uid || got.Node != c.node || got.Phase != c.phase || !got.Made {
			t.Errorf("%s is %+v, want uid %s on %s, %s", c.name, got, c.uid, c.node, c.phase)
		}
	}
	if m := v.Member("default", "store", 1); m != nil {
		t.Errorf("store-1 is still reserved on %s", m.Node)
	}
	if m := v.Member("default", "store", 0); m == nil || m.Node != "n3" {
		t.Errorf("store-0 is %+v", m)
	}
	if again := found(v, "n4", 1, state.FoundVolume{Ordinal: 9, UID: "x9"}); again.Volume("default", "data-store-9") != nil {
		t.Error("a report that was replayed changed something")
	}
	if bad := found(v, "n4", 2, state.FoundVolume{Ordinal: -1, UID: "y"}); bad.Volume("default", "data-store--1") != nil {
		t.Error("a directory with a bad name was taken up")
	}
	var told []string
	for e := range v.Events() {
		if e.Reason == "Found" {
			told = append(told, e.Message)
		}
	}
	if len(told) != 4 || !strings.Contains(strings.Join(told, "\n"), "may be newer") {
		t.Errorf("told: %q", told)
	}
}

// reshaped applies the definition of set store with other volumes.
func reshaped(t *testing.T, v *state.View, names ...string) *state.View {
	t.Helper()
	s := v.Set("default", "store")
	def := s.Spec
	def.Volumes = nil
	for _, n := range names {
		def.Volumes = append(def.Volumes, spec.VolumeSpec{Name: n})
	}
	next, res := v.Apply(v.Index+1, state.Entry{At: at(200), Cmd: &state.PutSet{
		Namespace: "default", Name: "store", UID: "d2", Spec: def, Template: v.Revision("default", "store", s.Revision).Template, Rules: state.RulesNow,
	}})
	if res.Err != nil {
		t.Fatalf("volumes %v: %v", names, res.Err)
	}
	return next
}

// TestFoundWhereVolumesChanged: the lost part of the log had changed the set's volumes. A directory
// that was added then is retained, and comes back when the definition names it again; one that the
// definition no longer names is retained as any that is dropped.
func TestFoundWhereVolumesChanged(t *testing.T) {
	t.Parallel()
	lost := lostLog(t).RecoveredFromFile("i2", "test", time.Time{})
	log := state.FoundVolume{Namespace: "default", Set: "store", Template: "log", UID: "log-uid", Path: "/log"}
	find := func(v *state.View, seq uint64, node string, f state.FoundVolume) *state.View {
		next, _ := v.Apply(v.Index+1, state.Entry{At: at(300 + int(seq)), Cmd: &state.Report{Node: node, Run: "r1", Seq: seq, Found: []state.FoundVolume{f}, Rules: state.FoundRulesNow}})
		return next
	}
	is := func(what string, v *state.View, name, uid, node, phase string, returned bool) {
		t.Helper()
		got := v.Volume("default", name)
		if got == nil || got.UID != uid || got.Node != node || got.Phase != phase || !got.Made || got.Returned != returned {
			t.Errorf("%s: %s is %+v, want uid %s on %s, %s, returned %v", what, name, got, uid, node, phase, returned)
		}
	}

	// Found first, named later: the member, where it is, gets it with its next start.
	v := find(lost, 2, "n3", log)
	is("found", v, "log-store-0", "log-uid", "n3", spec.VolumeRetained, false)
	v = reshaped(t, v, "data", "log")
	is("named again", v, "log-store-0", "log-uid", "n3", spec.VolumeBound, true)
	if got := v.Volume("default", "log-store-1"); got == nil || got.Made {
		t.Errorf("of store-1, which had none: %+v", got)
	}

	// Named first, found later: a start may not be given while the cluster is frozen, so the new
	// record is of nothing; the directory is kept beside it, and told.
	v = reshaped(t, lost, "data", "log")
	before := v.Volume("default", "log-store-0")
	v = find(v, 2, "n3", log)
	is("found beside", v, "log-store-0.log-uid", "log-uid", "n3", spec.VolumeAbandoned, false)
	if got := v.Volume("default", "log-store-0"); got == nil || got.UID != before.UID {
		t.Errorf("what was named is %+v, want it as it was", got)
	}

	// Of one that was only reserved the reservation goes, with all its volumes.
	one := log
	one.Ordinal = 1
	v = find(reshaped(t, lost, "data", "log"), 1, "n4", one)
	is("found elsewhere", v, "log-store-1", "log-uid", "n4", spec.VolumeRetained, false)
	if m, data := v.Member("default", "store", 1), v.Volume("default", "data-store-1"); m != nil || data != nil {
		t.Errorf("store-1 is still reserved: %+v, %+v", m, data)
	}

	// No longer named: retained; named by nobody it keeps its ordinal.
	gone := log
	gone.Template, gone.Ordinal = "scratch", 0
	v = find(lost, 2, "n3", gone)
	is("dropped from the definition", v, "scratch-store-0", "log-uid", "n3", spec.VolumeRetained, false)
	v = reshaped(t, v, "data", "log")
	is("and after another change", v, "scratch-store-0", "log-uid", "n3", spec.VolumeRetained, false)
}

// TestFoundTakesNothingAway: whatever nodes say that they have found, in whatever order and
// however often, no directory that the log knows is touched, each that it did not know is known
// once, where it is, and no ordinal that ran loses its place.
func TestFoundTakesNothingAway(t *testing.T) {
	t.Parallel()
	base := lostLog(t).RecoveredFromFile("i2", "test", time.Time{})
	shapes := []*state.View{base, reshaped(t, base, "data", "log")}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		v := shapes[rng.IntN(len(shapes))]
		seqs := map[string]uint64{"n3": 1, "n4": 0}
		told := map[string]string{} // nodes by uid
		for range 1 + rng.IntN(8) {
			node := []string{"n3", "n4"}[rng.IntN(2)]
			seqs[node]++
			r := &state.Report{Node: node, Run: "r1", Seq: seqs[node], Rules: state.FoundRulesNow}
			for range 1 + rng.IntN(3) {
				f := state.FoundVolume{
					Namespace: "default", Set: "store", Template: []string{"data", "log", "x"}[rng.IntN(3)], Ordinal: rng.IntN(4),
					UID: fmt.Sprintf("%08d", rng.IntN(12)), Path: "/x", Abandoned: rng.IntN(4) == 0,
				}
				if on := told[f.UID]; on == "" || on == node { // a directory is on one node
					told[f.UID] = node
					r.Found = append(r.Found, f)
				}
			}
			before := v
			next, res := v.Apply(v.Index+1, state.Entry{At: at(400), Cmd: r})
			if res.Err != nil {
				t.Fatalf("seed %d: %v", seed, res.Err)
			}
			v = next
			for old := range before.Volumes("") {
				now := v.Volume(old.Namespace, old.Name())
				if old.Made && (now == nil || now.UID != old.UID || now.Node != old.Node || now.Phase != old.Phase) {
					t.Errorf("seed %d: %s was %+v and is %+v after %+v", seed, old.Name(), old, now, r.Found)
				}
			}
			for m := range before.Members("") {
				if now := v.Member(m.Namespace, m.Set, m.Ordinal); m.Epoch != 0 && (now == nil || now.Node != m.Node || now.Epoch != m.Epoch) {
					t.Errorf("seed %d: %s was %+v and is %+v after %+v", seed, m.Name(), m, now, r.Found)
				}
			}
		}
		count := map[string]int{}
		for vol := range v.Volumes("") {
			count[vol.UID]++
			if on := told[vol.UID]; on != "" && (vol.Node != on || !vol.Made || vol.Phase != spec.VolumeRetained && vol.Phase != spec.VolumeAbandoned) {
				t.Errorf("seed %d: found on %s, it is %+v", seed, on, vol)
			}
		}
		for uid := range told {
			if count[uid] != 1 {
				t.Errorf("seed %d: %s is known %d times", seed, uid, count[uid])
			}
		}
	}
}

// TestSecondFoundDirectory: one that is retained, as the file has it or found a moment before, keeps
// its record, also of a volume that the definition does not name; the second is kept beside it. Entries of before are applied as they were then.
func TestSecondFoundDirectory(t *testing.T) {
	t.Parallel()
	base := lostLog(t).RecoveredFromFile("i2", "test", time.Time{})
	for rules, want := range map[int]map[string]string{
		state.FoundRulesNow: {"log-store-7": "x1", "log-store-7.x2": "x2"},
		0:                   {"log-store-7": "x2"},
	} {
		v := base
		for i, f := range []struct{ node, uid string }{{"n3", "x1"}, {"n4", "x2"}} {
			v, _ = v.Apply(v.Index+1, state.Entry{At: at(300 + i), Cmd: &state.Report{Node: f.node, Run: "r1", Seq: 2, Rules: rules, Found: []state.FoundVolume{
				{Namespace: "default", Set: "store", Template: "log", Ordinal: 7, UID: f.uid, Path: "/" + f.uid},
			}}})
		}
		got := map[string]string{}
		for vol := range v.Volumes("default") {
			if vol.Ordinal == 7 {
				got[vol.Name()] = vol.UID
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("by rules %d: %v, want %v", rules, got, want)
		}
	}
}
