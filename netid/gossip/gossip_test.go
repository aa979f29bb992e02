package gossip_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/netid/gossip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a running Gossip.
type node struct {
	*gossip.Gossip
	cancel context.CancelFunc
	ended  chan error
}

// testKey is the key of all nodes that start does not give another.
var testKey = bytes.Repeat([]byte{7}, 32)

func meta(id string) gossip.Node {
	return gossip.Node{
		ID: id, Name: strings.Split(id, ".")[0], API: "127.0.0.1:7950", Raft: "127.0.0.1:7951",
		DNS: "127.0.0.1:7953", Machine: "m", Expect: 3,
	}
}

func start(t *testing.T, o gossip.Options) *node { return startWith(t, o, testKey) }

// startWith is start with other keys.
func startWith(t *testing.T, o gossip.Options, keys ...[]byte) *node {
	t.Helper()
	if o.Bind == "" {
		o.Bind = "127.0.0.1:0"
	}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("at", o.Meta.ID)
	g, err := gossip.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetKeys(keys...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Gossip: g, cancel: cancel, ended: make(chan error, 1)}
	go func() { n.ended <- g.Run(ctx) }()
	t.Cleanup(func() { n.stop(t) })
	return n
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// together stops nodes side by side at the end of the test.
func together(t *testing.T, nodes ...*node) {
	t.Cleanup(func() {
		for _, n := range nodes {
			if n.cancel != nil {
				n.cancel()
			}
		}
	})
}

// until waits for what a node knows to be so.
func until(t *testing.T, n *node, what string, ok func(map[string]gossip.Node) bool) time.Duration {
	t.Helper()
	began := time.Now()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		changed := n.Changed()
		known := map[string]gossip.Node{}
		for _, k := range n.Nodes() {
			known[k.ID] = k
		}
		if ok(known) {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("%s: not so after 20s: %+v", what, n.Nodes())
		}
	}
}

func alive(ids ...string) func(map[string]gossip.Node) bool {
	return func(known map[string]gossip.Node) bool {
		for _, id := range ids {
			if !known[id].Alive {
				return false
			}
		}
		return true
	}
}

func gone(id string) func(map[string]gossip.Node) bool {
	return func(known map[string]gossip.Node) bool { n, ok := known[id]; return ok && !n.Alive }
}

// three starts three nodes that know of the first only.
func three(t *testing.T) (a, b, c *node) {
	t.Helper()
	a = start(t, gossip.Options{Meta: meta("a.1")})
	b = start(t, gossip.Options{Meta: meta("b.2"), Join: []string{a.Addr()}})
	c = start(t, gossip.Options{Meta: meta("c.3"), Join: []string{a.Addr()}})
	together(t, a, b, c)
	for _, n := range []*node{a, b, c} {
		until(t, n, "three nodes", alive("a.1", "b.2", "c.3"))
	}
	return a, b, c
}

func TestNodesFindEachOther(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	for _, n := range []*node{a, b, c} {
		nodes := n.Nodes()
		if len(nodes) != 3 || nodes[0].ID != "a.1" || nodes[2].ID != "c.3" {
			t.Fatalf("got %+v", nodes)
		}
		want := meta("b.2")
		want.Gossip, want.Alive = b.Addr(), true
		if nodes[1] != want {
			t.Errorf("got %+v, want %+v", nodes[1], want)
		}
	}
}

func TestMetadataIsFollowed(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	m := meta("b.2")
	m.ClusterID = "c1"
	if err := b.UpdateMeta(m); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b, c} {
		until(t, n, "cluster id", func(k map[string]gossip.Node) bool { return k["b.2"].ClusterID == "c1" && k["b.2"].Alive })
	}
	m.ID = "x.9"
	if err := b.UpdateMeta(m); err == nil {
		t.Error("took another id")
	}
	m = meta("b.2")
	m.API = strings.Repeat("x", 600)
	if err := b.UpdateMeta(m); err == nil {
		t.Error("took 600 bytes")
	}
}

func TestDeadNodeIsNoticedAndComesBackElsewhere(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	addr := c.Addr()
	c.stop(t)
	for _, n := range []*node{a, b} {
		d := until(t, n, "c gone", gone("c.3"))
		t.Logf("noticed after %v", d)
	}
	c = start(t, gossip.Options{Meta: meta("c.3"), Join: []string{a.Addr()}})
	if c.Addr() == addr {
		t.Log("same port again")
	}
	for _, n := range []*node{a, b} {
		until(t, n, "c back", func(k map[string]gossip.Node) bool { return k["c.3"].Alive && k["c.3"].Gossip == c.Addr() })
	}
}

// TestNobodyElseRemembers: a node that comes back knows nobody, and the others
// join it, because they want it.
func TestWantedNodeIsJoined(t *testing.T) {
	t.Parallel()
	b := start(t, gossip.Options{Meta: meta("b.2")})
	want := make(chan []string, 1)
	want <- nil
	a := start(t, gossip.Options{Meta: meta("a.1"), Want: func() []string {
		w := <-want
		want <- w
		return w
	}})
	<-want
	want <- []string{b.Addr(), a.Addr(), "", b.Addr()}
	until(t, a, "b joined", alive("b.2"))
	addr := b.Addr()
	b.stop(t)
	until(t, a, "b gone", gone("b.2"))
	b = start(t, gossip.Options{Meta: meta("b.2"), Bind: addr})
	until(t, a, "b joined again", alive("b.2"))
	until(t, b, "a known", alive("a.1"))
}

func TestLeaveIsHeardAtOnce(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, a, "c gone", gone("c.3"))
	until(t, b, "c gone", gone("c.3"))
	c.stop(t)
	if err := c.Leave(t.Context()); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func TestOtherClustersAreIgnored(t *testing.T) {
	t.Parallel()
	in := func(id, cluster string) gossip.Node { m := meta(id); m.ClusterID = cluster; return m }
	a := start(t, gossip.Options{Meta: in("a.1", "red")})
	other := start(t, gossip.Options{Meta: in("b.2", "blue"), Join: []string{a.Addr()}})
	forming := start(t, gossip.Options{Meta: in("c.3", "forming:0123"), Join: []string{a.Addr()}})
	fresh := start(t, gossip.Options{Meta: in("d.4", ""), Join: []string{a.Addr(), other.Addr()}})
	until(t, a, "own", alive("a.1", "c.3", "d.4"))
	until(t, fresh, "both", alive("a.1", "b.2", "c.3"))
	until(t, forming, "all", alive("a.1", "d.4"))
	for _, n := range a.Nodes() {
		if n.ID == "b.2" {
			t.Errorf("took in %+v", n)
		}
	}
	for _, n := range other.Nodes() {
		if n.ID == "a.1" {
			t.Errorf("took in %+v", n)
		}
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	long := meta("a.1")
	long.DNS = strings.Repeat("x", 600)
	for what, o := range map[string]gossip.Options{
		"name":      {Bind: "localhost:0", Meta: meta("a.1")},
		"taken":     {Bind: taken.Addr().String(), Meta: meta("a.1")},
		"no id":     {Bind: "127.0.0.1:0"},
		"long":      {Bind: "127.0.0.1:0", Meta: long},
		"anywhere":  {Bind: "0.0.0.0:0", Meta: meta("a.1")},
		"advertise": {Bind: "127.0.0.1:0", Advertise: "x", Meta: meta("a.1")},
	} {
		if _, err := gossip.New(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestCloseWithoutRun(t *testing.T) {
	t.Parallel()
	g, err := gossip.New(gossip.Options{Bind: "127.0.0.1:0", Meta: meta("a.1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	// The address is free again.
	again, err := gossip.New(gossip.Options{Bind: g.Addr(), Meta: meta("a.1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if n := again.Nodes(); len(n) != 1 || !n[0].Alive || n[0].Gossip != again.Addr() {
		t.Errorf("knows %+v", n)
	}
}

func TestManyStartTogether(t *testing.T) {
	t.Parallel()
	const n = 7
	var nodes []*node
	var ids, addrs []string
	for i := range n {
		g := start(t, gossip.Options{Meta: meta(fmt.Sprintf("n%d.x", i)), Join: addrs})
		nodes, ids, addrs = append(nodes, g), append(ids, fmt.Sprintf("n%d.x", i)), append(addrs, g.Addr())
	}
	together(t, nodes...)
	for _, g := range nodes {
		until(t, g, "all", alive(ids...))
	}
}
