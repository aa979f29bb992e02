package control

import (
	"context"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// membersEvery is how often membership is looked at beside its occasions.
const membersEvery = time.Second

// change is one step of Raft's membership.
type change struct {
	Do       string
	ID, Addr string
	Store    int // of what is added or moved
	Voter    bool
}

// What a change does.
const (
	doAdd      = "add"
	doMove     = "move" // to another address
	doPromote  = "promote"
	doDemote   = "demote"
	doRemove   = "remove"
	doTransfer = "transfer" // leadership, for the leader is to go
	doSeed     = "seed"     // let it fetch the cluster's secret, to be promoted then
)

// members keeps Raft's membership in step until ctx ends.
func (c *Control) members(ctx context.Context, t *term) error {
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	warned := map[string]bool{}
	for {
		gossipChanged := c.o.Peers.Changed()
		servers, peers, v := c.o.Store.Servers(), c.o.Peers.Peers(), c.o.Store.View()
		for _, p := range peers {
			if why := mayNotJoin(v, c.o.Machine, p); why != "" && !isServer(servers, p.ID) && !warned[p.ID+why] {
				warned[p.ID+why] = true
				c.log.Warn("node not taken into the cluster", "node", p.Name, "id", p.ID, "reason", why)
			}
		}
		next, ok := membership(v, c.o.Machine, servers, peers, c.standings(t, v, servers, time.Now()))
		t.choose(next)
		if ok && next.Do != doSeed {
			if err := c.change(ctx, next); err != nil {
				c.log.Warn("membership not changed", "id", next.ID, "do", next.Do, "err", err)
			} else {
				c.log.Info("membership changed", "id", next.ID, "do", next.Do, "addr", next.Addr)
				continue
			}
		}
		select {
		case <-gossipChanged:
			select { // gossip may be lively; Raft's membership need not be
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// standings tells how each server stands.
func (c *Control) standings(t *term, v *state.View, servers []Server, now time.Time) []Standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Standing, len(servers))
	for i, s := range servers {
		st := Standing{Server: s, Self: s.ID == c.o.ID, Gone: v.Cluster.Forgot(s.ID) != nil}
		n := v.NodeByID(s.ID)
		if n != nil {
			st.Rack = n.Labels[c.o.VoterSpread]
			st.Alive = st.Self || !t.leases.silent(n.Name, now)
			st.Fit = st.Alive && n.State == spec.NodeReady && (st.Self || t.leases.caughtUp(n.Name, v.Index))
			st.Bare = !st.Self && !t.leases.node(n.Name).seed
			st.Dead = !st.Alive && n.State == spec.NodeLost && now.Sub(latest(n.Since, t.leases.began)) > c.o.VoterReplaceAfter
		} else {
			st.Alive = st.Self
			st.Dead = !st.Alive && now.Sub(t.leases.began) > c.o.VoterReplaceAfter
		}
		st.Gone = gone(v, s.ID, c.reachable(s.ID), now)
		out[i] = st
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (c *Control) change(ctx context.Context, ch change) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	id := ServerID(ch.ID, ch.Store)
	if ch.Do != doAdd {
		for _, s := range c.o.Store.Servers() {
			if s.ID == ch.ID {
				id = ServerID(s.ID, s.Store)
			}
		}
	}
	switch {
	case ch.Do == doDemote:
		return c.o.Store.Demote(ctx, id)
	case ch.Do == doRemove:
		return c.o.Store.Remove(ctx, id)
	case ch.Do == doTransfer:
		return c.o.Store.Transfer(ctx)
	case ch.Voter:
		return c.o.Store.AddVoter(ctx, id, ch.Addr)
	}
	return c.o.Store.AddNonvoter(ctx, id, ch.Addr)
}

// membership says the next step of Raft's membership, if there is one.
func membership(v *state.View, machine string, servers []Server, peers []Peer, standings []Standing) (change, bool) {
	if s, ok := givenUp(servers, peers); ok {
		return change{Do: doRemove, ID: s.ID}, true
	}
	for _, p := range peers {
		if p.Alive && p.ID != "" && p.Raft != "" && mayNotJoin(v, machine, p) == "" &&
			!isServer(servers, p.ID) && !claimed(servers, peers, p) {
			return settle(servers, change{Do: doAdd, ID: p.ID, Store: p.Store, Addr: p.Raft}), true
		}
	}
	for _, p := range peers {
		if !p.Alive || p.Raft == "" || claimed(servers, peers, p) {
			continue
		}
		for _, s := range servers {
			if s.ID == p.ID && s.Addr != p.Raft {
				return settle(servers, change{Do: doMove, ID: s.ID, Addr: p.Raft, Voter: s.Voter}), true
			}
		}
	}
	return Voters(standings)
}

// claimed tells whether another living server has the address that p names, and
// says itself that it is its own: two nodes were given one address, by mistake.
func claimed(servers []Server, peers []Peer, p Peer) bool {
	for _, s := range servers {
		for _, o := range peers {
			if s.ID != p.ID && s.Addr == p.Raft && o.ID == s.ID && o.Alive && o.Raft == p.Raft {
				return true
			}
		}
	}
	return false
}

// nowhere is the address in Raft's membership of a server whose address another one
// has taken; it is reached by what gossip and the View know of it.
const nowhere = ".moved:0"

// settle is ch, or what must be done before: Raft has each address once, so a
// server that has lost its own to another gives up its claim first.
func settle(servers []Server, ch change) change {
	for _, s := range servers {
		if s.ID != ch.ID && s.Addr == ch.Addr {
			return change{Do: doMove, ID: s.ID, Addr: s.ID + nowhere, Voter: s.Voter}
		}
	}
	return ch
}

// reachable is gossip's word.
func (c *Control) reachable(id string) bool {
	for _, p := range c.o.Peers.Peers() {
		if p.ID == id {
			return p.Alive
		}
	}
	return false
}

// choose notes the server that is to fetch the cluster's secret: nobody else gets it.
func (t *term) choose(next change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next.Do == doSeed {
		t.chosen = next.ID
	} else {
		t.chosen = ""
	}
}

// Chosen tells whether a node may have the cluster's secret: it votes, or is about to.
func (c *Control) Chosen(id string) bool {
	t := c.current()
	if t == nil || id == "" {
		return false
	}
	t.mu.Lock()
	chosen := t.chosen
	t.mu.Unlock()
	for _, s := range c.o.Store.Servers() {
		if s.ID == id {
			return (s.Voter || s.ID == chosen) && c.o.Store.View().Cluster.Forgot(id) == nil
		}
	}
	return false
}

// mayNotJoin says why a node found by gossip can't be part of this cluster, or "".
func mayNotJoin(v *state.View, machine string, p Peer) string {
	switch n := v.Node(p.Name); {
	case v.Cluster.Forgot(p.ID) != nil:
		return "it was forgotten, or has left; it may join anew with an empty data directory"
	case p.ClusterID != "" && strings.HasPrefix(p.ClusterID, Forming):
		return "it is forming a cluster of its own; empty its data directory to join this one"
	case p.ClusterID != "" && p.ClusterID != v.Cluster.ID:
		return "it belongs to cluster " + p.ClusterID
	case n != nil && n.ID != p.ID:
		return "its name belongs to node id " + n.ID + "; give it another name, or bring the old data directory back"
	case v.Cluster.Plan == "loopback" && p.Machine != machine:
		return "it is on another machine, and this cluster gives its members loopback addresses"
	}
	return ""
}

func isServer(servers []Server, id string) bool {
	for _, s := range servers {
		if s.ID == id {
			return true
		}
	}
	return false
}
