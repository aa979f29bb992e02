package supervisor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	// digests tell how this node's state compares with others'.
	digests *digests
	// waits says for what, until this node is part of a cluster.
	waits atomic.Pointer[string]
	// mutes are the members that the leader could not ask, as it told last.
	mutes atomic.Pointer[heardMutes]
	// forgotten is why the cluster has given this node up, or "".
	forgotten func() string
}

// heardMutes are what an answer to a heartbeat told, and when.
type heardMutes struct {
	at    time.Time
	mutes []client.Mute
}

// mutesHold is how long they count: a node that is cut off knows no more.
const mutesHold = 5 * time.Second

var _ server.Cluster = (*cluster)(nil)

// transferTimeout bounds the wait for the next leader.
const transferTimeout = 5 * time.Second

// Status tells what this node's Raft knows.
func (c *cluster) Status() server.RaftStatus {
	rs := c.Lead()
	rs.Term, rs.DNS = c.store.Term(), c.dns
	if w := c.waits.Load(); w != nil {
		rs.Waits = *w
	}
	rs.GossipDropped = c.gossip.Dropped()
	rs.Applied, rs.Commit, rs.Last = c.store.Indexes()
	for _, s := range c.store.Servers() {
		if s.Voter {
			rs.Voters = append(rs.Voters, spec.NodeName(s.ID))
		}
	}
	rs.Trouble = c.trouble()
	rs.NoVote = c.forgotten() != "" || c.store.DiskTrouble() != ""
	unsaved := c.snapshots.trouble()
	rs.Warning, rs.NoSnapshot, rs.Snapshot = allOf(c.digests.warning(), unsaved), unsaved != "", c.snapshots.newest()
	rs.State = c.digests.compared()
	if h := c.mutes.Load(); h != nil && time.Since(h.at) < mutesHold {
		rs.Mute = h.mutes
	}
	return rs
}

// Lead tells who leads.
func (c *cluster) Lead() server.RaftStatus {
	id, _ := c.store.Leader()
	_, leading := c.store.Leading()
	rs := server.RaftStatus{Leader: spec.NodeName(id), Leading: leading}
	if id != "" {
		rs.LeaderAPI = c.apiOf(id)
	}
	return rs
}

// trouble says what keeps this node from its part in the cluster's state, or "".
func (c *cluster) trouble() string {
	if why := c.forgotten(); why != "" {
		return "this cluster has given it up, and what it shows is of before: " + why
	}
	if why := c.store.Trouble(); why != "" {
		return c.behind(why)
	}
	return allOf(c.store.DiskTrouble(), c.digests.trouble())
}

// allOf joins what there is to say.
func allOf(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), "; ")
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
	if n, ok := c.gossip.Node(id); ok && n.Alive {
		return n.API
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
	if n, ok := d.gossip.Node(id); ok && n.Raft != "" && (n.Alive || addr == "") {
		addr = n.Raft
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
	node    string       // this one's name
	turn    atomic.Int64 // whom aside asks next
	cluster *cluster
	control *control.Control
	// only is TLS with the node of this id: where others are found gossip tells, and who answers there must not grant
	// leases in the leader's name.
	only func(id string) *tls.Config
	// holdsSeed tells whether this node has the cluster's secret; seedWanted holds one:
	// the leader wants it to.
	holdsSeed  func() bool
	seedWanted chan struct{}

	mu      sync.Mutex // guards clients
	clients map[string]*client.Client
}

// Heartbeat asks the leader for a lease.
func (l *leader) Heartbeat(ctx context.Context, h client.Heartbeat) (client.HeartbeatAnswer, error) {
	h.Index, h.Seed, h.Digests = l.cluster.store.View().Index, l.holdsSeed(), l.cluster.digests.told()
	var out client.HeartbeatAnswer
	err := l.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
		if c == nil {
			out, err = l.control.Heartbeat(ctx, h)
			return err
		}
		out, err = c.Heartbeat(ctx, h)
		return err
	})
	if err != nil {
		return out, err
	}
	l.cluster.digests.heard(out.State)
	l.cluster.mutes.Store(&heardMutes{time.Now(), out.Mute})
	if out.Seed {
		select {
		case l.seedWanted <- struct{}{}:
		default:
		}
	}
	return out, nil
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
	rs := l.cluster.Lead()
	if rs.Leading {
		return f(ctx, nil)
	}
	id, _ := l.cluster.store.Leader()
	addr := ""
	if id != "" {
		addr = l.cluster.apiOf(id)
	}
	if addr == "" {
		if answered, err := l.aside(ctx, f); answered {
			return err
		}
		return &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "no leader is known"}
	}
	c, err := l.client(id, addr)
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
			if now := l.cluster.Lead(); now.Leader != "" && now.Leader != rs.Leader {
				cancel()
				return
			}
		}
	})
	return f(ctx, c)
}

// client is for the API of the server id at addr.
func (l *leader) client(id, addr string) (*client.Client, error) {
	id, _ = control.SplitServer(id)
	key := id + " " + addr
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[key]; c != nil {
		return c, nil
	}
	c, err := client.New(addr, client.Options{TLS: l.only(id), NoRetry: true})
	if err != nil {
		return nil, err
	}
	l.clients[key] = c
	return c, nil
}

// close ends idle connections.
func (l *leader) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		c.Close()
	}
}

// mayStop asks a member on its node, this one or another, whether it may be stopped now.
func (d *Daemon) mayStop(ctx context.Context, q plan.Ask) (control.Answer, error) {
	ask := d.agent.MayStop
	if q.Node != d.id.Name {
		n, addr := d.store.View().Node(q.Node), ""
		if n != nil {
			addr = d.cluster.apiOf(n.ID)
		}
		if addr == "" {
			return control.Answer{}, spec.Errorf(spec.CodeNoLeader, "the address of node %s is not known", q.Node)
		}
		c, err := d.leader.client(n.ID, addr)
		if err != nil {
			return control.Answer{}, err
		}
		ask = c.NodeMayStop
	}
	said, err := ask(ctx, client.MayStopRequest{Namespace: q.Namespace, Member: spec.MemberName(q.Set, q.Ordinal), Epoch: q.Epoch})
	return control.Answer{Yes: said.MayStop, Took: said.Took.D()}, err
}

// aside asks one other node, in turn, where no leader is known here. One whose log cannot be
// written takes no part in Raft and hears of no new leader: it may be the one that is asked, and its
// answer is as good as ever. A node that was forgotten is told so by any; all else is the
// leader's own to say. Who has answered is asked again.
func (l *leader) aside(ctx context.Context, f func(context.Context, *client.Client) error) (answered bool, err error) {
	turn := int(l.turn.Load())
	id, addr := l.asked(turn)
	if addr == "" {
		return false, nil
	}
	c, err := l.client(id, addr)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, asideTimeout)
		defer cancel()
		if err = f(ctx, c); err == nil {
			return true, nil
		}
	}
	l.turn.CompareAndSwap(int64(turn), int64(turn+1))
	refused, ok := errors.AsType[*spec.Error](err)
	return ok && refused.Reason == state.NodeForgotten, err
}

// asked is the node whose turn it is, by its id, and its API: every other turn one that votes, as leaders do;
// which those are may have changed since this node heard of it.
func (l *leader) asked(turn int) (id, addr string) {
	voters := l.cluster.Status().Voters
	var all, some [][2]string
	for n := range l.cluster.store.View().Nodes() {
		addr := l.cluster.apiOf(n.ID)
		if addr == "" || n.Name == l.node {
			continue
		}
		all = append(all, [2]string{n.ID, addr})
		if slices.Contains(voters, n.Name) {
			some = append(some, [2]string{n.ID, addr})
		}
	}
	if turn%2 == 0 && len(some) > 0 {
		all = some
	}
	if len(all) == 0 {
		return "", ""
	}
	it := all[turn/2%len(all)]
	return it[0], it[1]
}

// asideTimeout bounds the question to another node than the leader.
const asideTimeout = 500 * time.Millisecond
