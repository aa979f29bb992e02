package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"supd/netid/gossip"
	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/control"
	"supd/supervisor/plan"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// cluster knows the way to the other nodes: from the View, or from gossip for
// those that are not in it yet.
type cluster struct {
	store  store
	gossip *gossip.Gossip
	dns    string // where this node answers DNS
	// snapshots are the scheduled ones of this node.
	snapshots *snapshots
	// waits says for what, until this node is part of a cluster.
	waits atomic.Pointer[string]
}

var _ server.Cluster = (*cluster)(nil)

// transferTimeout bounds the wait for the next leader.
const transferTimeout = 5 * time.Second

// Status tells what this node's Raft knows.
func (c *cluster) Status() server.RaftStatus {
	id, _ := c.store.Leader()
	term, leading := c.store.Leading()
	rs := server.RaftStatus{Leader: spec.NodeName(id), Leading: leading, Term: term, DNS: c.dns}
	if w := c.waits.Load(); w != nil {
		rs.Waits = *w
	}
	rs.GossipDropped = c.gossip.Dropped()
	rs.Applied, rs.Commit, rs.Last = c.store.Indexes()
	if id != "" {
		rs.LeaderAPI = c.apiOf(id)
	}
	for _, s := range c.store.Servers() {
		if s.Voter {
			rs.Voters = append(rs.Voters, spec.NodeName(s.ID))
		}
	}
	rs.Trouble = c.trouble()
	rs.Warning, rs.Snapshot = c.snapshots.trouble(), c.snapshots.newest()
	return rs
}

// trouble says what keeps this node from its part in the cluster's state, or "".
func (c *cluster) trouble() string {
	if why := c.store.Trouble(); why != "" {
		return c.behind(why)
	}
	return c.store.DiskTrouble()
}

// behind says what a node that is too old for the log needs.
func (c *cluster) behind(why string) string {
	v := c.store.View()
	var others []string
	for n := range v.Nodes() {
		others = append(others, n.Name+" "+n.Version)
	}
	return "its supd is too old for the cluster's log and follows no further (" + why + "); install the version of the newest node (when it was last heard: " +
		strings.Join(others, ", ") + ") and start it again: it goes on from there with its data"
}

// toSnapshot is what a scheduled snapshot is of; nil while this node does not vote, or
// does not follow: others have newer ones then.
func (d *Daemon) toSnapshot() (*state.View, state.SnapshotMeta) {
	v, rs := d.store.View(), d.cluster.Status()
	if v.Cluster.ID == "" || rs.Trouble != "" || !slices.Contains(rs.Voters, d.id.Name) {
		return nil, state.SnapshotMeta{}
	}
	return v, state.SnapshotMeta{Term: rs.Term, Version: d.o.Version, Node: d.id.Name}
}

// Transfer hands leadership to a voter and waits until somebody else leads.
func (c *cluster) Transfer(ctx context.Context, node string) (string, error) {
	before, _ := c.store.Leader()
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	if err := c.transfer(ctx, node); err != nil {
		return "", &spec.Error{
			Code: spec.CodeRefused, Reason: "NotTransferred",
			Message: "leadership could not be handed over: " + err.Error() + "; look with supctl cluster status",
		}
	}
	for {
		changed := c.store.LeaderChanged()
		if id, _ := c.store.Leader(); id != "" && id != before {
			return spec.NodeName(id), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", spec.Errorf(spec.CodeNoLeader, "leadership was handed over and no new leader is known yet; look with supctl cluster status")
		}
	}
}

func (c *cluster) transfer(ctx context.Context, node string) error {
	if node == "" {
		return c.store.Transfer(ctx)
	}
	for _, s := range c.store.Servers() {
		if spec.NodeName(s.ID) == node {
			return c.store.TransferTo(ctx, s.ID)
		}
	}
	return fmt.Errorf("node %s is no server of the cluster", node)
}

// apiOf finds a node's API by its id. Gossip's word is newer, where there is one.
func (c *cluster) apiOf(id string) string {
	id, _ = control.SplitServer(id)
	for _, n := range c.gossip.Nodes() {
		if n.ID == id && n.Alive {
			return n.API
		}
	}
	if n := c.store.View().NodeByID(id); n != nil {
		return n.API
	}
	return ""
}

// raftOf is where a server speaks Raft, as far as this node knows; "" when it knows
// nothing. Raft's own membership may be older than both.
func (d *Daemon) raftOf(id string) string {
	id, _ = control.SplitServer(id)
	var addr string
	if n := d.store.View().NodeByID(id); n != nil {
		addr = n.Raft
	}
	for _, n := range d.gossip.Nodes() {
		if n.ID == id && n.Raft != "" && (n.Alive || addr == "") {
			addr = n.Raft
		}
	}
	return addr
}

// NodeAPI is where a node's API is reached.
func (c *cluster) NodeAPI(name string) (string, bool) {
	n := c.store.View().Node(name)
	if n == nil {
		return "", false
	}
	addr := c.apiOf(n.ID)
	return addr, addr != ""
}

// peers gives gossip's nodes to control.
type peers struct{ *gossip.Gossip }

var _ control.Peers = peers{}

// Peers returns the nodes that gossip knows.
func (p peers) Peers() []control.Peer {
	var out []control.Peer
	for _, n := range p.Nodes() {
		out = append(out, control.Peer{
			ID: n.ID, Store: n.Store, Name: n.Name, Raft: n.Raft, Machine: n.Machine,
			ClusterID: n.ClusterID, Pin: n.Pin, Expect: n.Expect, Alive: n.Alive,
		})
	}
	return out
}

// leader is the way of this node's agent to whoever leads, this node or another.
type leader struct {
	node      string       // this one's name
	turn      atomic.Int64 // whom aside asks next
	cluster   *cluster
	control   *control.Control
	transport http.RoundTripper
	// holdsSeed tells whether this node has the cluster's secret; seedWanted holds one:
	// the leader wants it to.
	holdsSeed  func() bool
	seedWanted chan struct{}

	mu      sync.Mutex // guards clients
	clients map[string]*client.Client
}

// Heartbeat asks the leader for a lease.
func (l *leader) Heartbeat(ctx context.Context, h client.Heartbeat) (client.HeartbeatAnswer, error) {
	h.Index, h.Seed = l.cluster.store.View().Index, l.holdsSeed()
	var out client.HeartbeatAnswer
	err := l.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
		if c == nil {
			out, err = l.control.Heartbeat(ctx, h)
			return err
		}
		out, err = c.Heartbeat(ctx, h)
		return err
	})
	if err == nil && out.Seed {
		select {
		case l.seedWanted <- struct{}{}:
		default:
		}
	}
	return out, err
}

// Register tells the cluster who this node is.
func (l *leader) Register(ctx context.Context, n state.Node) error {
	return l.ask(ctx, func(ctx context.Context, c *client.Client) error {
		if c == nil {
			return l.propose(ctx, n.Name, &state.RegisterNode{Node: n})
		}
		return c.Register(ctx, n)
	})
}

// Report tells the cluster what changed on this node.
func (l *leader) Report(ctx context.Context, r state.Report) error {
	return l.ask(ctx, func(ctx context.Context, c *client.Client) error {
		if c == nil {
			return l.propose(ctx, r.Node, &r)
		}
		return c.Report(ctx, r)
	})
}

func (l *leader) propose(ctx context.Context, node string, cmd state.Command) error {
	res, err := l.cluster.store.Propose(ctx, state.Entry{At: time.Now().UTC(), Who: "agent:" + node, Cmd: cmd})
	if err != nil {
		return err
	}
	if res.Err != nil {
		return res.Err
	}
	return nil
}

// ask calls f with the leader's client, nil when this node leads. The call ends
// when another node becomes the leader: the old one may be hung.
func (l *leader) ask(ctx context.Context, f func(context.Context, *client.Client) error) error {
	changed := l.cluster.store.LeaderChanged()
	rs := l.cluster.Status()
	if rs.Leading {
		return f(ctx, nil)
	}
	if rs.LeaderAPI == "" {
		if err := l.aside(ctx, f); err != nil {
			return err
		}
		return &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "no leader is known"}
	}
	c, err := l.client(rs.LeaderAPI)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			changed = l.cluster.store.LeaderChanged()
			if now := l.cluster.Status(); now.Leader != "" && now.Leader != rs.Leader {
				cancel()
				return
			}
		}
	})
	return f(ctx, c)
}

func (l *leader) client(addr string) (*client.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[addr]; c != nil {
		return c, nil
	}
	c, err := client.New(addr, client.Options{Transport: l.transport, NoRetry: true})
	if err != nil {
		return nil, err
	}
	l.clients[addr] = c
	return c, nil
}

// mayStop asks a member on its node, this one or another, whether it may be stopped now.
func (d *Daemon) mayStop(ctx context.Context, q plan.Ask) (control.Answer, error) {
	ask := d.agent.MayStop
	if q.Node != d.id.Name {
		addr, ok := d.cluster.NodeAPI(q.Node)
		if !ok {
			return control.Answer{}, spec.Errorf(spec.CodeNoLeader, "the address of node %s is not known", q.Node)
		}
		c, err := d.leader.client(addr)
		if err != nil {
			return control.Answer{}, err
		}
		ask = c.NodeMayStop
	}
	said, err := ask(ctx, client.MayStopRequest{Namespace: q.Namespace, Member: spec.MemberName(q.Set, q.Ordinal), Epoch: q.Epoch})
	return control.Answer{Yes: said.MayStop, Took: said.Took.D()}, err
}

// aside asks one other node, in turn, where no leader is known here: a node that was
// forgotten is no part of Raft any more and hears of nobody. Only that news counts; all
// else is the leader's own to say.
func (l *leader) aside(ctx context.Context, f func(context.Context, *client.Client) error) error {
	var others []string
	for n := range l.cluster.store.View().Nodes() {
		if addr, ok := l.cluster.NodeAPI(n.Name); ok && n.Name != l.node {
			others = append(others, addr)
		}
	}
	if len(others) == 0 {
		return nil
	}
	c, err := l.client(others[int(l.turn.Add(1))%len(others)])
	if err != nil {
		return nil //nolint:nilerr // the next one is asked next time
	}
	ctx, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	if refused, ok := errors.AsType[*spec.Error](f(ctx, c)); ok && refused.Reason == state.NodeForgotten {
		return refused
	}
	return nil
}

// asideTimeout bounds the question to another node than the leader.
const asideTimeout = 500 * time.Millisecond
