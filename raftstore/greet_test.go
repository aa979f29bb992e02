package raftstore_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/pki"
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

// TestNoGreeting: who does not greet is not read, nor one without a certificate of the
// cluster that is good now.
func TestNoGreeting(t *testing.T) {
	t.Parallel()
	a := start(t, options(t.TempDir(), "a"), "127.0.0.1:0")
	now := time.Now()
	good := pki.NodeValidity(now)
	node := raftstore.ClientTLS(secret, "b", good)
	for name, x := range map[string]struct {
		tls   *tls.Config // nil: plain
		first string
	}{
		"plain HTTP":             {nil, "GET / HTTP/1.1\r\n\r\n"},
		"plain greeting":         {nil, "supd-raft/1 a \n"},
		"plain zeros":            {nil, string(make([]byte, 4096))},
		"HTTP":                   {node, "GET / HTTP/1.1\r\n\r\n"},
		"no cluster":             {node, "supd-raft/1 a\n"},
		"unknown version":        {node, "supd-raft/2 a c\n"},
		"endless":                {node, string(make([]byte, 4096))},
		"empty line":             {node, "\n"},
		"another server":         {node, "supd-raft/1 c \n"},
		"no certificate":         {&tls.Config{InsecureSkipVerify: true}, "supd-raft/1 a \n"},
		"other CA's certificate": {raftstore.ClientTLS("the secret of another cluster altogether", "b", good), "supd-raft/1 a \n"},
		"run out certificate":    {raftstore.ClientTLS(secret, "b", pki.Validity{From: now.Add(-2 * time.Hour), Until: now.Add(-time.Hour)}), "supd-raft/1 a \n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := net.Dial("tcp", a.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if err := raw.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			c := raw
			if x.tls != nil {
				c = tls.Client(raw, x.tls)
			}
			if _, err := c.Write([]byte(x.first)); err != nil {
				return // refused already
			}
			_, err = c.Write(make([]byte, 1)) // an AppendEntries, with nothing behind it
			for err == nil {                  // what TLS itself says is no answer
				_, err = c.Read(make([]byte, 1))
				if err == nil {
					if x.tls != nil {
						t.Error("an answer")
					}
				}
			}
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				t.Error("it is still read")
			}
		})
	}
}

// TestSlowHandshakes: those who connect and say nothing, or little, hold up nobody.
func TestSlowHandshakes(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	l := leader(t, nodes...)
	initCluster(t, l)
	end := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(end)
	for i := range 200 {
		wg.Go(func() {
			for {
				c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1)}}).Dial("tcp", nodes[i%3].addr)
				if err != nil {
					return
				}
				_, _ = c.Write([]byte{22, 3, 1}) // the beginning of a hello; the rest never comes
				gone := make(chan struct{})
				go func() { _, _ = c.Read(make([]byte, 1)); close(gone) }() // ends with the connection
				select {
				case <-gone:
					_ = c.Close()
				case <-end:
					_ = c.Close()
					<-gone
					return
				}
				select {
				case <-end:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	term, _ := l.Leading()
	for _, n := range nodes {
		if n != l {
			n.end() // its connections are made anew, among the slow ones
			o := options(n.dir, n.id)
			n = start(t, o, n.addr)
		}
		for i := range 10 {
			res, err := l.Propose(within(t), register(i))
			if err != nil || res.Err != nil {
				t.Fatalf("entry %d: %v, %v", i, err, res.Err)
			}
			waitIndex(t, n, res.Index) // before the other one ends, whom the leader would have to itself
		}
	}
	if now, leads := l.Leading(); !leads || now != term {
		t.Errorf("term %d, leads %t; want term %d still", now, leads, term)
	}
}

// TestServerOfAnotherID: a server that shows a good certificate of another node than the
// one meant gets nothing.
func TestServerOfAnotherID(t *testing.T) {
	t.Parallel()
	a := start(t, options(t.TempDir(), "a"), "127.0.0.1:0")
	o := options(t.TempDir(), "b")
	o.TLS = raftstore.NodeTLS(secret, "x")
	b := start(t, o, "127.0.0.1:0")
	if err := a.Bootstrap(within(t), []raftstore.Server{{ID: "a", Addr: a.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, a)
	initCluster(t, a)
	if err := a.AddNonvoter(within(t), "b", b.addr); err != nil {
		t.Fatal(err)
	}
	good := start(t, options(t.TempDir(), "c"), "127.0.0.1:0")
	if err := a.AddNonvoter(within(t), "c", good.addr); err != nil {
		t.Fatal(err)
	}
	res, err := a.Propose(within(t), register(1))
	if err != nil || res.Err != nil {
		t.Fatalf("entry: %v, %v", err, res.Err)
	}
	waitIndex(t, good, res.Index)
	if got := b.View().Index; got != 0 {
		t.Errorf("b, which calls itself x, has got entries up to %d", got)
	}
}
