package raftstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/raftstore"
)

// notes is a log that may be read while it is written.
type notes struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notes) have(word string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Contains(n.text.String(), word)
}

// A leader whose process is gone is replaced because of that, not of its silence: here
// the others' patience is long, and one of them says that it asks for an election.
func TestDeadLeaderIsNoticed(t *testing.T) {
	t.Parallel()
	said := &notes{}
	var nodes []*running
	for i := range 3 {
		o := options(t.TempDir(), fmt.Sprintf("node-%d", i))
		o.Heartbeat, o.Logger = 3*time.Second, slog.New(slog.NewTextHandler(said, nil))
		nodes = append(nodes, start(t, o, "127.0.0.1:0"))
	}
	var servers []raftstore.Server
	for _, n := range nodes {
		servers = append(servers, raftstore.Server{ID: n.id, Addr: n.addr, Voter: true})
	}
	if err := nodes[0].Bootstrap(within(t), servers); err != nil {
		t.Fatal(err)
	}
	old := leader(t, nodes...)
	initCluster(t, old)
	var rest []*running
	for _, n := range nodes {
		waitIndex(t, n, old.View().Index)
		if n != old {
			rest = append(rest, n)
		}
	}
	if said.have("process is gone") {
		t.Fatal("a leader that lives was called dead")
	}
	old.end()
	leader(t, rest...)
	if !said.have("process is gone") {
		t.Error("the leader was replaced without anybody having noticed its end")
	}
}
