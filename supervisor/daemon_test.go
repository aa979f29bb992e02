package supervisor_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/configs"
	"supd/supervisor"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one daemon in this process. It has no keeper: what is tested here is the
// cluster.
type node struct {
	cfg configs.Daemon
	api *client.Client
	end func() // as SIGTERM does
}

// freeAddrs finds n loopback addresses that are free for TCP and UDP, below the
// kernel's own range: no outgoing connection takes one before its daemon does. They
// are released together, so they differ.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	var held []io.Closer
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for range 1000 {
		if len(out) == n {
			return out
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		held = append(held, l)
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		held = append(held, u)
		out = append(out, addr)
	}
	t.Fatal("no free ports")
	return nil
}

// conf makes the configuration of a node with its own addresses.
func conf(t *testing.T, name string, expect int) configs.Daemon {
	t.Helper()
	dir := t.TempDir()
	addrs := freeAddrs(t, 4)
	c := configs.DefaultDaemon()
	c.Name, c.DataDir, c.Socket, c.SocketGroup = name, dir, filepath.Join(dir, "supd.sock"), ""
	c.API, c.Raft, c.Gossip, c.DNS = addrs[0], addrs[1], addrs[2], addrs[3]
	c.KeeperManaged, c.BootstrapExpect = configs.KeeperBySystemd, expect
	c.BootstrapSecret = "the secret of all daemons in these tests"
	return c
}

func start(t *testing.T, c configs.Daemon) *node {
	t.Helper()
	return startWith(t, supervisor.Options{Config: c})
}

// startWith starts a daemon with other options than start's too.
func startWith(t *testing.T, o supervisor.Options) *node {
	t.Helper()
	c := o.Config
	var log io.Writer = io.Discard
	if os.Getenv("DAEMON_LOG") != "" {
		log = os.Stderr
	}
	o.Version, o.SnapshotThreshold, o.TrailingLogs = "test", 100, 30
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	d, err := supervisor.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	api, err := client.New("unix://"+c.Socket, client.Options{RetryUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{cfg: c, api: api}
	n.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		api.Close()
	})
	t.Cleanup(n.end)
	return n
}

// eventually tries f until it gives nil.
func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// together starts n daemons that form a cluster, and waits for it.
func together(t *testing.T, n int) []*node {
	t.Helper()
	var cfgs []configs.Daemon
	for i := range n {
		c := conf(t, fmt.Sprintf("node-%d", i+1), n)
		if i > 0 {
			c.Join = []string{cfgs[0].Gossip}
		}
		cfgs = append(cfgs, c)
	}
	var nodes []*node
	for _, c := range cfgs {
		nodes = append(nodes, start(t, c))
	}
	for _, x := range nodes {
		eventually(t, x.cfg.Name+" sees all nodes ready", func(ctx context.Context) error { return allReady(ctx, x, n) })
	}
	return nodes
}

func allReady(ctx context.Context, x *node, n int) error {
	st, err := x.api.Cluster(ctx)
	if err != nil {
		return err
	}
	ready := 0
	for _, s := range st.Nodes {
		if s.Status.State == spec.NodeReady {
			ready++
		}
	}
	if ready != n || st.Leader == "" {
		return fmt.Errorf("%d of %d nodes are ready, leader %q", ready, n, st.Leader)
	}
	return nil
}

// program is some write of a size that fills the log.
func program(i int) *spec.Program {
	return &spec.Program{
		APIVersion: spec.APIVersion, Kind: spec.KindProgram,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: fmt.Sprintf("p%d", i)},
		Spec:     spec.ProgramSpec{Command: []string{"/bin/true"}},
	}
}

func (n *node) write(ctx context.Context, i int) error {
	_, _, err := n.api.PutProgram(ctx, program(i), client.WriteOptions{})
	return err
}

func TestThreeDaemons(t *testing.T) {
	t.Parallel()
	nodes := together(t, 3)
	for i, n := range nodes {
		if err := n.write(t.Context(), i); err != nil {
			t.Errorf("write through %s: %v", n.cfg.Name, err)
		}
	}
	st, err := nodes[0].api.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Voters) != 3 || st.CanLose != 1 {
		t.Errorf("voters %v, can lose %d", st.Voters, st.CanLose)
	}
	// The leading daemon is restarted on purpose: the next write is soon accepted,
	// and nobody is suspected meanwhile.
	var lead int
	for i, n := range nodes {
		if n.cfg.Name == st.Leader {
			lead = i
		}
	}
	rest := []*node{nodes[(lead+1)%3], nodes[(lead+2)%3]}
	nodes[lead].end()
	began := time.Now()
	if err := rest[0].write(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	t.Logf("first write after the leader ended: %s", time.Since(began))
	// It is away while the log is compacted, and comes back.
	for i := range 300 {
		if err := rest[i%2].write(t.Context(), 200+i); err != nil {
			t.Fatal(err)
		}
	}
	back := start(t, nodes[lead].cfg)
	eventually(t, "the node that was away is back", func(ctx context.Context) error {
		if err := allReady(ctx, back, 3); err != nil {
			return err
		}
		_, _, err := client.Get[spec.Program](ctx, back.api, client.Programs, spec.DefaultNS, "p499", client.ReadOptions{})
		return err
	})
	a, err := back.api.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "same hash everywhere", func(ctx context.Context) error {
		if a, err = back.api.Cluster(ctx); err != nil {
			return err
		}
		b, err := rest[0].api.Cluster(ctx)
		if err != nil {
			return err
		}
		if a.Hash != b.Hash {
			return fmt.Errorf("at %d %s, at %d %s", a.Index, a.Hash, b.Index, b.Hash)
		}
		return nil
	})
}

func TestFourthNodeIsTakenIn(t *testing.T) {
	t.Parallel()
	nodes := together(t, 1)
	for i := 2; i <= 3; i++ {
		c := conf(t, fmt.Sprintf("node-%d", i), 0)
		c.Join = []string{nodes[0].cfg.Gossip}
		nodes = append(nodes, start(t, c))
	}
	eventually(t, "three voters", func(ctx context.Context) error {
		st, err := nodes[2].api.Cluster(ctx)
		if err != nil {
			return err
		}
		if len(st.Voters) != 3 || len(st.Nodes) != 3 {
			return fmt.Errorf("voters %v of %d nodes", st.Voters, len(st.Nodes))
		}
		return nil
	})
	// A second data directory with a taken name is refused.
	c := conf(t, "node-2", 0)
	c.Join = []string{nodes[0].cfg.Gossip}
	start(t, c)
	if err := nodes[1].write(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	c := conf(t, "node-1", 1)
	n := start(t, c)
	eventually(t, "one node", func(ctx context.Context) error { return allReady(ctx, n, 1) })
	other := conf(t, "node-1", 1)
	other.DataDir = c.DataDir
	if d, err := supervisor.New(supervisor.Options{Config: other}); err == nil {
		d.Close()
		t.Error("two daemons on one data directory")
	}
	n.end()
	renamed := c
	renamed.Name = "node-9"
	if d, err := supervisor.New(supervisor.Options{Config: renamed}); err == nil {
		d.Close()
		t.Error("another name for a data directory")
	}
	if err := os.RemoveAll(filepath.Join(c.DataDir, "raft")); err != nil {
		t.Fatal(err)
	}
	if d, err := supervisor.New(supervisor.Options{Config: c}); err == nil {
		d.Close()
		t.Error("a member without its raft store starts")
	}
}
