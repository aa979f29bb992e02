package raftstore_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
)

// takeCheckpoints waits for n.
func takeCheckpoints(t *testing.T, s *running, n int) (out []*state.View) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for len(out) < n {
		select {
		case <-s.Checkpoints():
			out = append(out, s.TakeCheckpoints()...)
		case <-timeout:
			t.Fatalf("%s has %d checkpoints, want %d", s.id, len(out), n)
		}
	}
	return out
}

// clockedOptions are options whose clock shows noon and a number of seconds.
func clockedOptions(dir, id string, seconds *atomic.Int64) raftstore.Options {
	o := options(dir, id)
	o.Now = func() time.Time {
		return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds.Load()) * time.Second)
	}
	return o
}

// TestCheckpoints: all nodes keep the same Views, also one that reads its log again, and
// no more than the newest few.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	var seconds atomic.Int64
	var nodes []*running
	var servers []raftstore.Server
	for i := range 3 {
		id := fmt.Sprintf("node-%d", i)
		n := start(t, clockedOptions(t.TempDir(), id, &seconds), "127.0.0.1:0")
		nodes = append(nodes, n)
		servers = append(servers, raftstore.Server{ID: id, Addr: n.addr, Voter: true})
	}
	for _, n := range nodes {
		if err := n.Bootstrap(within(t), servers); err != nil {
			t.Fatal(err)
		}
	}
	lead := leader(t, nodes...)
	initCluster(t, lead)
	write := func(at int) uint64 {
		t.Helper()
		seconds.Store(int64(at))
		if _, err := lead.Propose(within(t), register(at)); err != nil {
			t.Fatal(err)
		}
		return lead.View().Index
	}
	var want []uint64 // before the first entry of a minute
	for _, at := range []int{1, 59, 60, 61, 119, 119, 180, 1000, 1001} {
		before := lead.View().Index
		write(at)
		if at == 60 || at == 180 || at == 1000 {
			want = append(want, before)
		}
	}
	last := lead.View().Index
	hashes := map[uint64]string{}
	same := func(who string, views []*state.View) {
		t.Helper()
		var at []uint64
		for _, v := range views {
			at = append(at, v.Index)
			if was, ok := hashes[v.Index]; ok && was != v.Hash() {
				t.Errorf("%s has another state at %d", who, v.Index)
			}
			hashes[v.Index] = v.Hash()
		}
		if !slices.Equal(at, want) {
			t.Errorf("%s has checkpoints at %d, want %d", who, at, want)
		}
	}
	for _, n := range nodes {
		waitIndex(t, n, last)
		same(n.id, takeCheckpoints(t, n, len(want)))
	}
	follower := nodes[slices.IndexFunc(nodes, func(n *running) bool { return n != lead })]
	follower.end()
	follower = start(t, clockedOptions(follower.dir, follower.id, &seconds), follower.addr)
	same("a node started again", takeCheckpoints(t, follower, len(want)))
	for i := range 9 {
		last = write(2000 + 60*i)
	}
	waitIndex(t, follower, last)
	if got := follower.TakeCheckpoints(); len(got) != 4 || got[3].Index != last-1 {
		t.Errorf("of nine %d are kept, the last of them before %d", len(got), last)
	}
}
