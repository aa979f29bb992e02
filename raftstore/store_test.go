package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/raftstore"
	"supd/raftstore/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is one Store under Run.
type running struct {
	*raftstore.Store
	id, addr, dir string
	end           func()
}

// secret is what all nodes here share.
const secret = "the secret of all servers in these tests"

// options that compact soon.
func options(dir, id string) raftstore.Options {
	return raftstore.Options{
		Dir: dir, ID: id, TLS: raftstore.NodeTLS(secret, id), SnapshotThreshold: 50, TrailingLogs: 20,
		SnapshotInterval: 50 * time.Millisecond, Heartbeat: 300 * time.Millisecond,
	}
}

func start(t *testing.T, o raftstore.Options, addr string) *running {
	t.Helper()
	stream, err := raftstore.Listen(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	o.Stream = stream
	s, err := raftstore.Open(o)
	if err != nil {
		stream.Close()
		t.Fatal(err)
	}
	return run(t, s, o, stream.Addr().String())
}

// run lets a store run until the test, or its end, ends it.
func run(t *testing.T, s *raftstore.Store, o raftstore.Options, addr string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Store: s, id: o.ID, dir: o.Dir, addr: addr}
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of %s: %v", o.ID, err)
		}
	})
	t.Cleanup(r.end)
	return r
}

// alone is a store of one server, which leads a new cluster.
func alone(t *testing.T, dir string) *running {
	t.Helper()
	a := start(t, options(dir, "a"), "127.0.0.1:0")
	if err := a.Bootstrap(within(t), []raftstore.Server{{ID: "a", Addr: a.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, a)
	initCluster(t, a)
	return a
}

// fill proposes n entries, numbered from first.
func (r *running) fill(t *testing.T, first, n int) {
	t.Helper()
	for i := range n {
		if _, err := r.Propose(within(t), register(first+i)); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot has it write one.
func (r *running) snapshot(t *testing.T) {
	t.Helper()
	if err := r.Snapshot(within(t)); err != nil {
		t.Fatal(err)
	}
}

// another is one of the nodes that is not the leader.
func another(nodes []*running, lead *running) (other *running) {
	for _, n := range nodes {
		if n != lead {
			other = n
		}
	}
	return other
}

// within makes a context that fails the test's waits.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func leader(t *testing.T, nodes ...*running) *running {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		for _, n := range nodes {
			ch := n.LeaderChanged()
			if _, ok := n.Leading(); ok && n.Barrier(within(t)) == nil {
				return n
			}
			select {
			case <-ch:
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	t.Fatal("no leader")
	return nil
}

func waitIndex(t *testing.T, s *running, index uint64) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		ch := s.Changed()
		if s.View().Index >= index {
			return
		}
		select {
		case <-ch:
		case <-timeout:
			t.Fatalf("%s stays at index %d, want %d", s.id, s.View().Index, index)
		}
	}
}

func initCluster(t *testing.T, s *running) {
	t.Helper()
	res, err := s.Propose(within(t), state.Entry{Who: "test", Cmd: &state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "none", Zone: "cluster.local"}})
	if err != nil || res.Err != nil {
		t.Fatalf("init: %v, %v", err, res.Err)
	}
}

func register(n int) state.Entry {
	name := fmt.Sprintf("node-%d", n%7)
	return state.Entry{Who: "test", Cmd: &state.RegisterNode{Node: state.Node{Name: name, ID: name + ".00000000", Run: fmt.Sprint("run", n)}}}
}

func three(t *testing.T) []*running {
	t.Helper()
	var nodes []*running
	var servers []raftstore.Server
	for i := range 3 {
		id := fmt.Sprintf("node-%d", i)
		n := start(t, options(t.TempDir(), id), "127.0.0.1:0")
		nodes = append(nodes, n)
		servers = append(servers, raftstore.Server{ID: id, Addr: n.addr, Voter: true})
	}
	for _, n := range nodes {
		// Two are a majority: their leader may reach the third before its turn comes.
		if err := n.Bootstrap(within(t), servers); err != nil && !n.HasState() {
			t.Fatal(err)
		}
	}
	return nodes
}

func TestSingleNodeKeepsItsState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := start(t, options(dir, "a"), "127.0.0.1:0")
	if a.HasState() {
		t.Error("a new store has state")
	}
	if err := a.Bootstrap(within(t), []raftstore.Server{{ID: "a", Addr: a.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, a)
	if !a.HasState() {
		t.Error("a bootstrapped store has no state")
	}
	initCluster(t, a)
	for i := range 200 {
		if res, err := a.Propose(within(t), register(i)); err != nil || res.Err != nil {
			t.Fatal(err, res.Err)
		}
	}
	hash, index := a.View().Hash(), a.View().Index
	a.end()
	// Without any quorum or leader the View is back at once.
	stream, err := raftstore.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	o := options(dir, "a")
	o.Stream = stream
	again, err := raftstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if v := again.View(); v.Hash() != hash || v.Index != index || !again.HasState() {
		t.Errorf("reopened at index %d with hash %s, want %d, %s", v.Index, v.Hash(), index, hash)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	b := start(t, options(dir, "a"), a.addr)
	leader(t, b)
	if v := b.View(); v.Hash() != hash {
		t.Errorf("restarted at index %d with hash %s, want %d, %s", v.Index, v.Hash(), index, hash)
	}
	if err := b.Bootstrap(within(t), nil); err == nil {
		t.Error("bootstrapped twice")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0"} {
		if l, err := raftstore.Listen(addr, ""); err == nil {
			l.Close()
			t.Errorf("listens on %s", addr)
		}
	}
	l, err := raftstore.Listen("127.0.0.1:0", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if host, _, err := net.SplitHostPort(l.Addr().String()); err != nil || host != "192.0.2.1" {
		t.Errorf("address %s, want the advertised one", l.Addr())
	}
	if _, err := raftstore.Open(raftstore.Options{Dir: t.TempDir(), ID: "a", Stream: l}); err == nil {
		t.Error("opened without TLS")
	}
	dir := t.TempDir()
	a := start(t, options(dir, "a"), "127.0.0.1:0")
	if _, err := a.Propose(within(t), register(1)); !errors.Is(err, raftstore.ErrNotLeader) {
		t.Errorf("propose without a leader: %v, want ErrNotLeader", err)
	}
	stream, err := raftstore.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	o := options(dir, "a")
	o.Stream = stream
	if _, err := raftstore.Open(o); !errors.Is(err, raftstore.ErrInUse) {
		t.Errorf("opened twice: %v, want ErrInUse", err)
	}
}

func TestDamageIsSaid(t *testing.T) {
	t.Parallel()
	build := func(t *testing.T) string {
		dir := t.TempDir()
		a := alone(t, dir)
		a.fill(t, 0, 120)
		a.snapshot(t)
		a.end()
		return dir
	}
	open := func(t *testing.T, dir string) error {
		stream, err := raftstore.Listen("127.0.0.1:0", "")
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		o := options(dir, "a")
		o.Stream = stream
		s, err := raftstore.Open(o)
		if err == nil {
			s.Close()
		}
		return err
	}
	cases := map[string]func(t *testing.T, dir string){
		"log overwritten": func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "raft.db"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(make([]byte, 8192), 0); err != nil {
				t.Fatal(err)
			}
		},
		"log cut off": func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "raft.db"), 10000); err != nil {
				t.Fatal(err)
			}
		},
		"snapshot cut off": func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
			if err != nil || len(files) == 0 {
				t.Fatal("no snapshot", err)
			}
			for _, f := range files {
				if err := os.Truncate(f, 20); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := build(t)
			damage(t, dir)
			err := open(t, dir)
			if !errors.Is(err, raftstore.ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
			t.Log(err)
		})
	}
}

func TestThreeNodesCompactUnderLoadAndTakeOneBack(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	lead := leader(t, nodes...)
	initCluster(t, lead)
	away := another(nodes, lead)
	waitIndex(t, away, lead.View().Index)
	dir, behind := away.dir, away.View().Index
	away.end()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if res, err := lead.Propose(within(t), register(1000*w+i)); err != nil || res.Err != nil {
					t.Error(err, res.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := lead.Snapshot(within(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("away at %d, the others at %d", behind, lead.View().Index)
	back := start(t, options(dir, away.id), away.addr)
	waitIndex(t, back, lead.View().Index)
	if got, want := back.View().Hash(), lead.View().Hash(); got != want {
		t.Errorf("hash %s after the return, want %s", got, want)
	}
	if got := len(back.Servers()); got != 3 {
		t.Errorf("%d servers, want 3", got)
	}
}

func TestLeaderGoneAndTransfer(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	lead := leader(t, nodes...)
	initCluster(t, lead)
	if err := lead.Transfer(within(t)); err != nil {
		t.Fatal(err)
	}
	second := leader(t, nodes...)
	if second == lead {
		t.Error("leadership was not handed over")
	}
	var rest []*running
	for _, n := range nodes {
		if n != second {
			rest = append(rest, n)
		}
	}
	second.end()
	third := leader(t, rest...)
	if res, err := third.Propose(within(t), register(1)); err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	for _, n := range rest {
		waitIndex(t, n, third.View().Index)
	}
}

func TestFollowersLearnOfCommitsAtOnce(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	lead := leader(t, nodes...)
	initCluster(t, lead)
	follower := another(nodes, lead)
	waitIndex(t, follower, lead.View().Index)
	var late []time.Duration
	for i := range 20 {
		res, err := lead.Propose(within(t), register(i))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		waitIndex(t, follower, res.Index)
		late = append(late, time.Since(begun))
	}
	t.Log(late)
}

func TestProposeAllKeepsOrder(t *testing.T) {
	t.Parallel()
	a := start(t, options(t.TempDir(), "a"), "127.0.0.1:0")
	if err := a.Bootstrap(within(t), []raftstore.Server{{ID: "a", Addr: a.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, a)
	initCluster(t, a)
	var entries []state.Entry
	for i := range 100 {
		entries = append(entries, register(i))
	}
	res, err := a.ProposeAll(within(t), entries)
	if err != nil || len(res) != 100 {
		t.Fatal(len(res), err)
	}
	for i := 1; i < len(res); i++ {
		if res[i].Index <= res[i-1].Index {
			t.Fatalf("result %d has index %d after %d", i, res[i].Index, res[i-1].Index)
		}
	}
}
