package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
)

// table is the nodes known. memberlist calls it, under its own lock: nothing here
// calls back.
type table struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	self    Node
	meta    []byte
	known   map[string]Node
	left    uint64 // counts nodes that went
	ended   bool   // nothing is noted any more
	changed chan struct{}
	strange map[string]bool // ids of other clusters' nodes that were told of
}

var (
	_ memberlist.Delegate      = (*table)(nil)
	_ memberlist.EventDelegate = (*table)(nil)
	_ memberlist.AliveDelegate = (*table)(nil)
)

// maxNodes bounds what a stranger can make us remember.
const maxNodes = 4096

func newTable(self Node, log *slog.Logger) (*table, error) {
	meta, err := encode(self)
	if err != nil {
		return nil, err
	}
	self.Alive = true
	return &table{
		log: log, self: self, meta: meta, known: map[string]Node{self.ID: self},
		changed: make(chan struct{}), strange: map[string]bool{},
	}, nil
}

func (t *table) setSelf(n Node) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.ID != t.self.ID {
		return fmt.Errorf("cannot change the id of node %s to %q", t.self.ID, n.ID)
	}
	meta, err := encode(n)
	if err != nil {
		return err
	}
	n.Gossip, n.Alive = t.self.Gossip, true
	t.self, t.meta = n, meta
	t.setLocked(n)
	return nil
}

// end makes the table what it is for good.
func (t *table) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

func (t *table) setLocked(n Node) {
	if t.known[n.ID] == n {
		return
	}
	t.known[n.ID] = n
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *table) all() []Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Node, 0, len(t.known))
	for _, id := range slices.Sorted(maps.Keys(t.known)) {
		out = append(out, t.known[id])
	}
	return out
}

func (t *table) one(id string) (n Node, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok = t.known[id]
	return n, ok
}

func (t *table) whenChanged() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// alive is the gossip addresses of the nodes that are, and how many have gone.
func (t *table) alive() (addrs map[string]bool, left uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	addrs = map[string]bool{}
	for _, n := range t.known {
		if n.Alive {
			addrs[n.Gossip] = true
		}
	}
	return addrs, t.left
}

// NodeMeta is what this node tells of itself.
func (t *table) NodeMeta(limit int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.meta // encode has seen to the limit
}

// NotifyAlive refuses nodes that are not ours.
func (t *table) NotifyAlive(n *memberlist.Node) error {
	node, err := decode(n)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return errors.New("this node has stopped")
	}
	if n.Name == t.self.ID {
		return nil
	}
	if _, ok := t.known[n.Name]; !ok && len(t.known) >= maxNodes {
		return errors.New("too many nodes are known")
	}
	if a, b := t.self.Pin, node.Pin; a != b && a != "" && b != "" {
		return fmt.Errorf("its secret is another's: its CA has the pin %.40q", b)
	}
	mine, theirs := t.self.ClusterID, node.ClusterID
	if mine != theirs && final(mine) && final(theirs) {
		if !t.strange[n.Name] && len(t.strange) < maxNodes {
			t.strange[n.Name] = true
			t.log.Warn("node of another cluster ignored", "node", n.Name, "address", node.Gossip, "cluster", theirs)
		}
		return fmt.Errorf("it belongs to cluster %s", theirs)
	}
	return nil
}

// final tells a cluster's id from none and from a provisional one.
func final(cluster string) bool { return cluster != "" && !strings.Contains(cluster, ":") }

// NotifyJoin notes a node that is there.
func (t *table) NotifyJoin(n *memberlist.Node) { t.note(n, true) }

// NotifyUpdate notes a node's new metadata.
func (t *table) NotifyUpdate(n *memberlist.Node) { t.note(n, true) }

// NotifyLeave notes that a node is gone, on purpose or not.
func (t *table) NotifyLeave(n *memberlist.Node) { t.note(n, false) }

func (t *table) note(n *memberlist.Node, alive bool) {
	node, err := decode(n)
	if err != nil {
		return // NotifyAlive has refused it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || n.Name == t.self.ID { // of ourselves we know better
		return
	}
	node.Alive = alive
	was, ok := t.known[node.ID]
	switch {
	case alive && (!ok || !was.Alive):
		t.log.Info("node found", "node", node.Name, "address", node.Gossip)
	case !alive && ok && was.Alive:
		t.log.Info("node gone", "node", node.Name, "address", node.Gossip)
	}
	if !alive {
		t.left++
	}
	t.setLocked(node)
}

// The rest of memberlist.Delegate: we send no messages of our own.

// NotifyMsg does nothing.
func (t *table) NotifyMsg([]byte) {}

// GetBroadcasts has none.
func (t *table) GetBroadcasts(overhead, limit int) [][]byte { return nil }

// LocalState has none.
func (t *table) LocalState(join bool) []byte { return nil }

// MergeRemoteState does nothing.
func (t *table) MergeRemoteState(buf []byte, join bool) {}
