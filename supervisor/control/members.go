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
	Do       string // "add", "promote", "move"
	ID, Addr string
	Voter    bool
}

// members keeps Raft's membership in step until ctx ends.
func (c *Control) members(ctx context.Context) error {
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
		next, ok := membership(v, c.o.Machine, servers, peers, func(id string) bool { return c.caughtUp(v, id) })
		if ok {
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

// caughtUp tells whether a server follows well enough to get a vote: its node has
// registered through its own copy of the log's cluster and is heard.
func (c *Control) caughtUp(v *state.View, id string) bool {
	n := v.NodeByID(id)
	return n != nil && n.State == spec.NodeReady && !c.Silent(n.Name)
}

func (c *Control) change(ctx context.Context, ch change) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if ch.Voter {
		return c.o.Store.AddVoter(ctx, ch.ID, ch.Addr)
	}
	return c.o.Store.AddNonvoter(ctx, ch.ID, ch.Addr)
}

// membership says the next step of Raft's membership, if there is one.
func membership(v *state.View, machine string, servers []Server, peers []Peer, well func(id string) bool) (change, bool) {
	addr := map[string]string{}
	for _, s := range servers {
		addr[s.ID] = s.Addr
	}
	for _, p := range peers {
		have, known := addr[p.ID]
		switch {
		case !p.Alive || p.ID == "" || p.Raft == "" || mayNotJoin(v, machine, p) != "":
		case !known:
			return change{Do: "add", ID: p.ID, Addr: p.Raft}, true
		case known && have != p.Raft:
			return change{Do: "move", ID: p.ID, Addr: p.Raft, Voter: isVoter(servers, p.ID)}, true
		}
	}
	if id := Voters(servers, well); id != "" {
		return change{Do: "promote", ID: id, Addr: addr[id], Voter: true}, true
	}
	return change{}, false
}

// mayNotJoin says why a node found by gossip can't be part of this cluster, or "".
func mayNotJoin(v *state.View, machine string, p Peer) string {
	switch n := v.Node(p.Name); {
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

func isVoter(servers []Server, id string) bool {
	for _, s := range servers {
		if s.ID == id {
			return s.Voter
		}
	}
	return false
}
