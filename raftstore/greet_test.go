package raftstore_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
)

// TestAddressOfAnotherCluster: a node is gone, and its address passes to a node of
// another cluster. Neither cluster may touch the other's log.
func TestAddressOfAnotherCluster(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	l := leader(t, nodes...)
	initCluster(t, l)
	var rest []*running
	var gone *running
	for _, n := range nodes {
		if n != l && gone == nil {
			gone = n
		} else {
			rest = append(rest, n)
		}
	}
	gone.end()
	stranger := start(t, options(t.TempDir(), "stranger"), gone.addr)
	if err := stranger.Bootstrap(within(t), []raftstore.Server{{ID: "stranger", Addr: stranger.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, stranger)
	res, err := stranger.Propose(within(t), state.Entry{Who: "test", Cmd: &state.InitCluster{ID: "c2", Incarnation: "i2", Plan: "none", Zone: "cluster.local"}})
	if err != nil || res.Err != nil {
		t.Fatalf("init: %v, %v", err, res.Err)
	}
	for i := range 20 {
		for _, n := range []*running{leader(t, rest...), stranger} {
			if res, err := n.Propose(within(t), register(i)); err != nil || res.Err != nil {
				t.Fatalf("entry %d of %s: %v, %v", i, n.id, err, res.Err)
			}
		}
	}
	if got := stranger.View().Cluster.ID; got != "c2" {
		t.Errorf("the stranger is in cluster %q now", got)
	}
	if id, _ := stranger.Leader(); id != "stranger" {
		t.Errorf("the stranger's leader is %q", id)
	}
	for _, n := range rest {
		if got := n.View().Cluster.ID; got != "c1" {
			t.Errorf("%s is in cluster %q now", n.id, got)
		}
	}
}

// TestOneClusterOnly: a node that two clusters take in belongs to the one whose
// log it has got; the other's leader is not heard.
func TestOneClusterOnly(t *testing.T) {
	t.Parallel()
	one, two := start(t, options(t.TempDir(), "one"), "127.0.0.1:0"), start(t, options(t.TempDir(), "two"), "127.0.0.1:0")
	both := start(t, options(t.TempDir(), "both"), "127.0.0.1:0")
	for i, n := range []*running{one, two} {
		if err := n.Bootstrap(within(t), []raftstore.Server{{ID: n.id, Addr: n.addr, Voter: true}}); err != nil {
			t.Fatal(err)
		}
		leader(t, n)
		res, err := n.Propose(within(t), state.Entry{Who: "test", Cmd: &state.InitCluster{ID: fmt.Sprint("c", i+1), Incarnation: "i", Plan: "none", Zone: "cluster.local"}})
		if err != nil || res.Err != nil {
			t.Fatalf("init: %v, %v", err, res.Err)
		}
	}
	if err := one.AddNonvoter(within(t), "both", both.addr); err != nil {
		t.Fatal(err)
	}
	waitIndex(t, both, one.View().Index)
	if err := two.AddNonvoter(within(t), "both", both.addr); err != nil {
		t.Fatal(err)
	}
	for i := range 30 { // two's log grows past one's
		if res, err := two.Propose(within(t), register(i)); err != nil || res.Err != nil {
			t.Fatalf("entry %d: %v, %v", i, err, res.Err)
		}
	}
	res, err := one.Propose(within(t), register(1))
	if err != nil || res.Err != nil {
		t.Fatalf("entry: %v, %v", err, res.Err)
	}
	waitIndex(t, both, res.Index)
	if got := both.View(); got.Cluster.ID != "c1" || got.Hash() != one.View().Hash() {
		t.Errorf("cluster %q, want c1 and the same View", got.Cluster.ID)
	}
}

// TestNoGreeting: who does not greet is not read.
func TestNoGreeting(t *testing.T) {
	t.Parallel()
	a := start(t, options(t.TempDir(), "a"), "127.0.0.1:0")
	for _, first := range []string{"GET / HTTP/1.1\r\n\r\n", "supd-raft/1 a\n", "supd-raft/2 a c\n", string(make([]byte, 4096)), "\n"} {
		c, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("an answer to %.20q", first)
		} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Errorf("still read after %.20q", first)
		}
	}
}
