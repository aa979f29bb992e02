package raftstore_test

import (
	"testing"

	"supd/raftstore"
	"supd/raftstore/state"
)

// TestWhatANodeDoesNotUnderstandIsNotProposed: it enters no log, and what is proposed
// with it does.
func TestWhatANodeDoesNotUnderstandIsNotProposed(t *testing.T) {
	t.Parallel()
	a := start(t, options(t.TempDir(), "a"), "127.0.0.1:0")
	if err := a.Bootstrap(within(t), []raftstore.Server{{ID: "a", Addr: a.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, a)
	initCluster(t, a)
	old := state.Entry{Who: "test", Cmd: &state.RegisterNode{Node: state.Node{Name: "old", ID: "old.1", Run: "r", Version: "0.1"}}}
	newest, err := state.NewRestore(a.View(), "i2", "i1")
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.ProposeAll(within(t), []state.Entry{old, {Who: "test", Cmd: &state.SetStopping{Stopping: true}}})
	if err != nil || res[0].Err != nil || res[1].Err != nil {
		t.Fatal(res, err)
	}
	before := a.View().Index
	res, err = a.ProposeAll(within(t), []state.Entry{{Cmd: newest}, {Cmd: &state.SetStopping{}}, {Cmd: newest}})
	if err != nil || len(res) != 3 {
		t.Fatal(res, err)
	}
	if res[0].Err == nil || res[0].Err.Reason != "NodeTooOld" || res[2].Err == nil {
		t.Errorf("not refused: %v, %v", res[0].Err, res[2].Err)
	}
	if res[1].Err != nil || !res[1].Changed || a.View().Index != before+1 || a.View().Cluster.Stopping {
		t.Errorf("what is understood: %+v", res[1])
	}
}
