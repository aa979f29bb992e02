package state_test

import (
	"slices"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// Ordinals of six digits come after those of five, though their keys don't.
func TestSetMembersAreInOrder(t *testing.T) {
	t.Parallel()
	v, tpl := crowd(t, 1, 1), spec.Template{}
	n := 4
	do := func(c state.Command) {
		t.Helper()
		var r state.Result
		if v, r = v.Apply(v.Index+1, state.Entry{At: at(2), Cmd: c}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	do(&state.PutSet{Namespace: "default", Name: "far", UID: "far", Template: tpl, Spec: spec.StatefulSetSpec{
		Replicas: &n, ServiceName: "far", Ordinals: &spec.Ordinals{Start: 99998},
	}})
	var slots []state.Slot
	for o := 99998; o < 99998+n; o++ {
		slots = append(slots, state.Slot{Ordinal: o, UID: spec.MemberName("far", o), Node: "n1", IP: "127.0.0.1"})
	}
	do(&state.Reserve{Namespace: "default", Set: "far", IfGeneration: 1, Slots: slots})
	var got []int
	for _, m := range v.SetMembers("default", "far") {
		got = append(got, m.Ordinal)
	}
	if want := []int{99998, 99999, 100000, 100001}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What the planner notes of a set is no change of the wish: a client that read the set
// before may still write it conditionally.
func TestNotesKeepTheVersion(t *testing.T) {
	t.Parallel()
	v := crowd(t, 1, 1)
	before := v.Set("default", "s0").Meta.ResourceVersion
	next, res := v.Apply(v.Index+1, state.Entry{At: at(2), Cmd: &state.MarkFormed{Namespace: "default", Name: "s0", IfGeneration: 1}})
	if res.Err != nil || !next.Set("default", "s0").Formed {
		t.Fatalf("not marked: %v", res.Err)
	}
	if got := next.Set("default", "s0").Meta.ResourceVersion; got != before {
		t.Errorf("resourceVersion %d, want %d still", got, before)
	}
}
