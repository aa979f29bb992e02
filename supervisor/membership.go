package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// membership lets nodes in and out, for the API. The cluster's secrets stay here.
type membership struct{ d *Daemon }

var _ server.Membership = membership{}

// Init forms a cluster of this daemon alone.
func (m membership) Init(ctx context.Context) error {
	if why := m.mayInit(); why != "" {
		return &spec.Error{Code: spec.CodeRefused, Reason: "ClusterExists", Message: "cannot form a new cluster: " + why}
	}
	d := m.d
	d.log.Info("forming a cluster of this node, as asked")
	if err := d.startCluster(); err != nil {
		return err
	}
	for {
		viewChanged, leaderChanged := d.store.Changed(), d.store.LeaderChanged()
		if v := d.store.View(); v.Cluster.ID != "" && d.cluster.Status().Leading {
			return nil
		}
		select {
		case <-viewChanged:
		case <-leaderChanged:
		case <-ctx.Done():
			return fmt.Errorf("cannot form a new cluster: %w; the daemon's log tells more", ctx.Err())
		}
	}
}

func (m membership) mayInit() string {
	d := m.d
	switch c := d.o.Config; {
	case d.store.HasState() && d.store.View().Cluster.ID != "":
		return fmt.Sprintf("node %s is part of cluster %s", d.id.Name, d.store.View().Cluster.ID)
	case d.store.HasState():
		return fmt.Sprintf("node %s is part of a cluster already, and waits for its leader", d.id.Name)
	case d.id.Store > 0:
		return fmt.Sprintf("node %s has been part of one, and gave its raft store up to be taken back into that (supd recover --rejoin); "+
			"if no voter of it has a whole store any more: supd recover --from-snapshot FILE", d.id.Name)
	case c.BootstrapExpect > 0:
		return fmt.Sprintf("bootstrap_expect is %d: the cluster forms itself when %d nodes have found each other", c.BootstrapExpect, c.BootstrapExpect)
	case d.hasToken():
		return "this node is to join one, with the token that it was given"
	case d.pki.Certificate() != nil && d.pki.Seed().IsZero():
		return "this node has been let into one, and waits for its leader"
	}
	for _, p := range d.gossip.Nodes() {
		if p.ID != d.id.ID && p.ClusterID != "" && p.Alive {
			return fmt.Sprintf("node %s is here, of cluster %s; join that one: supctl cluster join-token, there", p.Name, p.ClusterID)
		}
	}
	return ""
}

// NewToken makes a join token.
func (m membership) NewToken(uses int, expires time.Time) (string, *state.AddJoinToken, error) {
	pin := m.d.pki.Pin()
	if pin == "" {
		return "", nil, errors.New("cannot make a join token: this node does not know its cluster's CA yet")
	}
	text, t, err := pki.NewToken(pki.JoinToken, pin)
	if err != nil {
		return "", nil, err
	}
	return text, &state.AddJoinToken{ID: t.ID, Hash: t.Hash, Uses: uses, Expires: expires}, nil
}

// Admission reads a request to join.
func (m membership) Admission(in client.JoinRequest) (*state.AdmitNode, error) {
	t, err := pki.ParseToken(in.Token)
	bad := func(reason, format string, args ...any) error {
		return &spec.Error{Code: spec.CodeRefused, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case err != nil:
		return nil, bad("TokenWrong", "%v", err)
	case t.Kind != pki.JoinToken:
		return nil, bad("TokenWrong", "this token is an account's; a node joins with one of: supctl cluster join-token")
	case t.Pin != m.d.pki.Pin():
		return nil, bad("TokenForeign", "this token is another cluster's")
	}
	key, err := requestKey(in.Request)
	if err != nil {
		return nil, bad("Invalid", "%v", err)
	}
	return &state.AdmitNode{Token: t.ID, Hash: t.Hash, ID: in.ID, Key: key}, nil
}

func requestKey(request string) (string, error) {
	pub, err := pki.ParseRequest([]byte(request))
	if err != nil {
		return "", err
	}
	return pki.KeyHash(pub)
}

// Welcome makes what an admitted node needs.
func (m membership) Welcome(in client.JoinRequest) (client.Welcome, error) {
	d, v := m.d, m.d.store.View()
	seed := d.pki.Seed()
	if seed.IsZero() {
		return client.Welcome{}, &spec.Error{
			Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader,
			Message: "the leader does not hold the cluster's secret yet; try again in a moment",
		}
	}
	ca, err := seed.CA()
	if err != nil {
		return client.Welcome{}, err
	}
	pub, err := pki.ParseRequest([]byte(in.Request))
	if err != nil {
		return client.Welcome{}, err
	}
	cert, err := ca.SignNode(pub, in.ID, spec.NodeName(in.ID), d.validity(time.Now()))
	if err != nil {
		return client.Welcome{}, err
	}
	out := client.Welcome{ClusterID: v.Cluster.ID, CA: string(ca.Certificate()), Certificate: string(cert)}
	keys, err := m.GossipKeys()
	if err != nil {
		return client.Welcome{}, err
	}
	out.GossipKeys = keys
	out.Peers = append([]string{d.gossip.Addr()}, d.wanted()...)
	return out, nil
}

// MayLeave tells why a node can't leave.
func (m membership) MayLeave(node string) error { return m.d.control.MayLeave(node) }

// Yield hands leadership over, and waits until another node is known to lead.
func (m membership) Yield(ctx context.Context) error {
	d := m.d
	if err := d.control.Yield(ctx); err != nil {
		return err
	}
	for {
		changed := d.store.LeaderChanged()
		if rs := d.cluster.Status(); !rs.Leading && rs.LeaderAPI != "" {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no other node leads yet: %w", ctx.Err())
		}
	}
}

// Seed gives the cluster's secret to a server that votes or is about to.
func (m membership) Seed(nodeID string) (string, error) {
	seed := m.d.pki.Seed()
	switch {
	case !m.d.control.Chosen(nodeID):
		return "", &spec.Error{Code: spec.CodeRefused, Reason: "Forbidden", Message: "the cluster's secret is for voters, and node " + nodeID + " is none"}
	case seed.IsZero():
		return "", &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "the leader does not hold the cluster's secret yet"}
	}
	m.d.log.Info("cluster's secret handed to a voter", "for", nodeID)
	return seed.Text(), nil
}

// GossipKeys are the keys of gossip, for another node.
func (m membership) GossipKeys() (string, error) {
	keys := m.d.pki.GossipKeys()
	if keys.IsZero() {
		return "", &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "node " + m.d.id.Name + " does not know gossip's keys yet; try again in a moment"}
	}
	return keys.Text(), nil
}
