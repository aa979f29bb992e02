package server

import (
	"sync"
	"testing"

	"supd/raftstore/state"
)

// TestViewHashIsMadeOnce for each View, however many ask.
func TestViewHashIsMadeOnce(t *testing.T) {
	t.Parallel()
	var h viewHash
	v := state.New()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if got := h.get(v); got != v.Hash() {
				t.Errorf("the hash is %s, want %s", got, v.Hash())
			}
		})
	}
	all.Wait()
	next, _ := v.Apply(1, state.Entry{Cmd: &state.InitCluster{ID: "c", Incarnation: "1", Plan: "none", Zone: "cluster.local"}})
	if got := h.get(next); got != next.Hash() || got == v.Hash() || h.made != 2 {
		t.Errorf("of the next View it is %s, want %s; %d were made, want 2", got, next.Hash(), h.made)
	}
}
