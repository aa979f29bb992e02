package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/hashicorp/raft"

	"supd/supervisor"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// sayings is a log that tests read.
type sayings struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sayings) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sayings) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), what)
}

// compared is what a node's metrics say of its state: the newest entry at which it was
// compared, and whether it differs.
func (n *node) compared(ctx context.Context) (index uint64, differs bool, err error) {
	body, err := n.metrics(ctx)
	if err != nil {
		return 0, false, err
	}
	at := regexp.MustCompile(`(?m)^supd_state_compared_index (\S+)$`).FindStringSubmatch(body)
	if at == nil {
		return 0, false, errors.New("no supd_state_compared_index")
	}
	f, err := strconv.ParseFloat(at[1], 64)
	return uint64(f), strings.Contains(body, "\nsupd_state_differs 1\n"), err
}

// metrics reads /metrics.
func (n *node) metrics(ctx context.Context) (string, error) {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", n.cfg.Socket)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		return "", err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// everybodyCompared waits until all nodes were compared at or past an index, and fails if one differs.
func everybodyCompared(t *testing.T, nodes []*node, index uint64) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, fmt.Sprintf("%s is compared at %d", n.cfg.Name, index), func(ctx context.Context) error {
			at, differs, err := n.compared(ctx)
			if differs {
				t.Fatalf("%s differs at %d", n.cfg.Name, at)
			}
			if err == nil && at < index {
				err = fmt.Errorf("the newest is %d", at)
			}
			return err
		})
	}
}

func compareSoon(o supervisor.Options) supervisor.Options {
	o.CompareEvery, o.CompareRest = 2*time.Second, 500*time.Millisecond
	return o
}

// plantDivergence makes one entry of a stopped node's log say something else.
func plantDivergence(t *testing.T, dataDir, was, is string) {
	t.Helper()
	db, err := raftboltdb.NewBoltStore(filepath.Join(dataDir, "raft", "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	first, err := db.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := db.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := db.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		if l.Type == raft.LogCommand && bytes.Contains(l.Data, []byte(was)) {
			l.Data = bytes.ReplaceAll(l.Data, []byte(was), []byte(is))
			l.Extensions = nil // as an earlier build wrote it: with its sum it would be found damaged
			if err := db.StoreLog(&l); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no entry of %d to %d says %s", first, last, was)
}

// TestStatesAreCompared: a healthy cluster never raises the alarm, through writes and
// restarts. A node whose state went astray is named, with what to do, by itself and
// nobody else; when that was done all is well.
func TestStatesAreCompared(t *testing.T) {
	t.Parallel()
	nodes := make([]*node, 3)
	logs := make([]*sayings, 3)
	begin := func(i int, from *node) {
		logs[i] = &sayings{}
		nodes[i] = startWith(t, compareSoon(supervisor.Options{Config: from.cfg, Logger: slog.New(slog.NewTextHandler(logs[i], nil))}))
	}
	for i := range nodes {
		c := conf(t, fmt.Sprintf("node-%d", i+1), 3)
		if i > 0 {
			c.Join = []string{nodes[0].cfg.Gossip}
		}
		begin(i, &node{cfg: c})
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" sees all nodes ready", func(ctx context.Context) error { return allReady(ctx, n, 3) })
	}
	for i := range 20 {
		if err := nodes[i%3].write(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	index := func(n *node) uint64 {
		st, err := n.api.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Index
	}
	everybodyCompared(t, nodes, index(nodes[0]))

	// The same log, read again by the one that leads too.
	nodes[0].end()
	begin(0, nodes[0])
	eventually(t, "node-1 is back", func(ctx context.Context) error { return allReady(ctx, nodes[0], 3) })
	if err := nodes[1].write(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	everybodyCompared(t, nodes, index(nodes[1]))

	term := func(n *node) uint64 {
		st, err := n.api.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Term
	}
	before := term(nodes[0]) // each leader says what it finds

	// The node astray: one entry of its log says something else than the others'.
	nodes[2].end()
	plantDivergence(t, nodes[2].cfg.DataDir, "/bin/true", "/bin/tRue")
	begin(2, nodes[2])
	eventually(t, "node-3 is troubled", func(ctx context.Context) error {
		st, err := nodes[1].api.Cluster(ctx)
		if err != nil {
			return err
		}
		for _, n := range st.Nodes {
			said := ""
			if n.Status.Trouble != nil {
				said = *n.Status.Trouble
			}
			if n.Metadata.Name != "node-3" {
				if strings.Contains(said, "differ") {
					t.Fatalf("%s is accused: %s", n.Metadata.Name, said)
				}
				continue
			}
			if !strings.Contains(said, "its state differs from that of node-1, node-2 (program; seen at log index ") || !strings.Contains(said, "supd recover --rejoin") {
				return fmt.Errorf("it says %q", said)
			}
		}
		return nil
	})
	if err := nodes[2].api.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "its state differs") {
		t.Errorf("the node astray is ready: %v", err)
	}
	for _, n := range nodes[:2] {
		if err := n.api.Ready(t.Context()); err != nil {
			t.Errorf("%s: %v", n.cfg.Name, err)
		}
	}
	if body, err := nodes[2].metrics(t.Context()); err != nil || !strings.Contains(body, "\nsupd_state_differs 1\n") || !strings.Contains(body, "\nsupd_raft_trouble 1\n") {
		t.Errorf("metrics of the node astray: %v\n%s", err, body)
	}
	for i := range 5 { // more to compare
		if err := nodes[0].write(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	everybodyCompared(t, nodes[:2], index(nodes[0]))
	if n := logs[2].count("state differs from other nodes'"); n != 1 {
		t.Errorf("the node astray says it %d times", n)
	}
	if n := logs[0].count("state differs from the majority's") + logs[1].count("state differs from the majority's"); n < 1 || n > 1 && term(nodes[0]) == before {
		t.Errorf("the leader says it %d times", n)
	}

	// What it said to do.
	nodes[2].end()
	if _, err := supervisor.Rejoin(nodes[2].cfg.DataDir, nodeID(t, nodes[0], "node-3")); err != nil {
		t.Fatal(err)
	}
	begin(2, nodes[2])
	eventually(t, "node-3 is well", func(ctx context.Context) error {
		if err := nodes[0].write(ctx, 30); err != nil {
			return err
		}
		at, differs, err := nodes[2].compared(ctx)
		if err == nil && (differs || at == 0) {
			err = fmt.Errorf("compared at %d, differs: %t", at, differs)
		}
		return err
	})
	eventually(t, "node-3 is ready", func(ctx context.Context) error { return nodes[2].api.Ready(ctx) })
}

func nodeID(t *testing.T, n *node, name string) string {
	t.Helper()
	x, _, err := client.Get[spec.Node](t.Context(), n.api, client.Nodes, "", name, client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return x.Metadata.UID
}
