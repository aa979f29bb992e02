package raftstore_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/powertest"
)

// silent is a stream that nobody is at the other end of, for a Store that is only opened.
type silent struct{ net.Listener }

func (silent) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return nil, net.ErrClosed }
func (silent) Close() error                                             { return nil }

// proposeMany proposes n registrations by many goroutines and says each that was acknowledged.
func proposeMany(t *testing.T, s *running, prefix string, n int, say func(string, ...any)) {
	var g sync.WaitGroup
	for w := range 4 {
		g.Go(func() {
			for i := w; i < n; i += 4 {
				name := fmt.Sprintf("%s-%d", prefix, i)
				res, err := s.Propose(within(t), state.Entry{Who: "test", Cmd: &state.RegisterNode{
					Node: state.Node{Name: name, ID: name + ".00000000", Run: "run"},
				}})
				if err != nil || res.Err != nil {
					t.Errorf("%s: %v, %v", name, err, res.Err)
					return
				}
				say("node %s", name)
			}
		})
	}
	g.Wait()
}

// TestPowerChild is the program whose power is cut: a node, or three, that are made or come back, and write.
func TestPowerChild(t *testing.T) {
	dir, say := powertest.Child(t)
	var nodes []*running
	var servers []raftstore.Server
	count := 1
	if os.Getenv("SUPD_POWER_NODES") == "3" {
		count = 3
	}
	for i := range count {
		id := fmt.Sprintf("n%d", i)
		addr := fmt.Sprintf("%s.%d:7943", os.Getenv("SUPD_POWER_NET"), i+1)
		n := startWatched(t, options(filepath.Join(dir, id, "raft"), id), addr, func(key string, v uint64) {
			say("stable %s %s %d", id, key, v)
		})
		nodes = append(nodes, n)
		servers = append(servers, raftstore.Server{ID: id, Addr: n.addr, Voter: true})
	}
	for _, n := range nodes {
		if n.HasState() {
			continue
		}
		if err := n.Bootstrap(within(t), servers); err != nil {
			t.Fatal(err)
		}
		say("formed %s", n.id)
	}
	l := leader(t, nodes...)
	if l.View().Cluster.ID == "" {
		initCluster(t, l)
		say("init")
	}
	proposeMany(t, l, fmt.Sprintf("r%x", rand.Uint32()), 120, say)
	if err := l.Snapshot(within(t)); err != nil {
		t.Error(err)
	}
	say("snapshot %s", l.id)
	proposeMany(t, l, fmt.Sprintf("s%x", rand.Uint32()), 20, say)
}

// startWatched is start with a Store whose terms and votes are told.
func startWatched(t *testing.T, o raftstore.Options, addr string, said func(string, uint64)) *running {
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
	s.WatchStable(said)
	return run(t, s, o, stream.Addr().String())
}

// opened opens what a cut has left of one node, and hands it to look.
func opened(dir, id string, look func(*raftstore.Store) error) error {
	o := options(dir, id)
	o.Stream = silent{}
	s, err := raftstore.Open(o)
	if err != nil {
		return err
	}
	defer s.Close()
	return look(s)
}

// acknowledged is what was said, and must be there after the cut.
type acknowledged struct {
	nodes  []string
	init   bool
	formed map[string]bool
	stable map[string]uint64 // "node key" and the value on disk
}

func heard(said []string) acknowledged {
	a := acknowledged{formed: map[string]bool{}, stable: map[string]uint64{}}
	for _, line := range said {
		f := strings.Fields(line)
		switch f[0] {
		case "node":
			a.nodes = append(a.nodes, f[1])
		case "init":
			a.init = true
		case "formed":
			a.formed[f[1]] = true
		case "stable":
			var v uint64
			if _, err := fmt.Sscan(f[3], &v); err != nil {
				panic("line of the program under test: " + err.Error())
			}
			a.stable[f[1]+" "+f[2]] = max(v, a.stable[f[1]+" "+f[2]])
		}
	}
	return a
}

// check opens each node of what a cut has left; an entry must be on a majority of them.
func (a acknowledged) check(dir string, nodes int) error {
	on := map[string]int{}
	for i := range nodes {
		id := fmt.Sprintf("n%d", i)
		err := opened(filepath.Join(dir, id, "raft"), id, func(s *raftstore.Store) error {
			for _, key := range []string{"CurrentTerm", "LastVoteTerm"} {
				if got, want := s.Stable(key), a.stable[id+" "+key]; got < want {
					return fmt.Errorf("%s: %s is %d, and was %d", id, key, got, want)
				}
			}
			if a.formed[id] && !s.HasState() {
				return fmt.Errorf("%s has forgotten its cluster", id)
			}
			v, err := s.Whole()
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			if v.Cluster.ID != "" {
				on["init"]++
			}
			for n := range v.Nodes() {
				on[n.Name]++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if a.init && on["init"] <= nodes/2 {
		return fmt.Errorf("the cluster's init was acknowledged and is on %d of %d nodes", on["init"], nodes)
	}
	for _, n := range a.nodes {
		if on[n] <= nodes/2 {
			return fmt.Errorf("%s was acknowledged and is on %d of %d nodes", n, on[n], nodes)
		}
	}
	return nil
}

// TestPowerCut cuts the power of one node and of three at once, at random points of their lives and of those after a cut.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			t.Parallel()
			// The nodes keep their addresses, so these are not of the usual ones, where another test's may be.
			net := fmt.Sprintf("127.%d.%d", 100+rand.IntN(100), rand.IntN(256))
			powertest.Lives(t, powertest.Life{
				Child: "TestPowerChild", Env: []string{fmt.Sprintf("SUPD_POWER_NODES=%d", nodes), "SUPD_POWER_NET=" + net},
				Cuts: 150, PerLife: 75, KillWithin: 300,
				Check: func(dir string, said []string) error { return heard(said).check(dir, nodes) },
			})
		})
	}
}
