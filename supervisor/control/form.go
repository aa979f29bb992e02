package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"strings"
)

// Forming begins the ClusterID that a node gossips while it takes part in forming
// a cluster; the hash of the ids that are to form it follows.
const Forming = "forming:"

// A cluster is formed in two steps, so that no two sets of nodes can form it twice:
// a node that sees exactly the expected number of nodes, all new, commits itself to
// these ids, on disk and for good, and gossips their hash. When all of them gossip
// the same hash, each makes the same first membership.

// Formation is what a node without Raft state sees and may do.
type Formation struct {
	// Ballot is what the node is to commit itself to, or has; "" not yet.
	Ballot string
	// Servers is the first membership, once everybody has committed to it.
	Servers []Server
	// Waits says for what, in words.
	Waits string
	// Found: a cluster exists already; this node waits to be taken in.
	Found bool
}

// Form decides the next step of a new node. Committed is the ballot it has
// committed itself to, or "".
func Form(self string, expect int, committed string, peers []Peer) Formation {
	var fresh []Server
	others, foreign, pin := 0, 0, ""
	for _, p := range peers {
		if p.ID == self {
			pin = p.Pin
		}
	}
	agree := map[string]bool{}
	for _, p := range peers {
		switch {
		case p.Pin != pin: // by its address it could be ours, by its secret it is not
			foreign++
		case p.ClusterID != "" && !strings.HasPrefix(p.ClusterID, Forming):
			if p.Alive {
				return Formation{Ballot: committed, Found: true, Waits: "to be taken into cluster " + p.ClusterID}
			}
		case !p.Alive || p.Raft == "":
		case p.Expect != expect && p.ID != self:
			others++
		default:
			fresh = append(fresh, Server{ID: p.ID, Addr: p.Raft})
			agree[p.ID] = p.ClusterID == committed && committed != ""
		}
	}
	if expect <= 0 {
		return Formation{Ballot: committed, Waits: "for a cluster to join: bootstrap_expect is not set"}
	}
	sort.Slice(fresh, func(i, j int) bool { return fresh[i].ID < fresh[j].ID })
	if len(fresh) != expect {
		w := fmt.Sprintf("for %d nodes with bootstrap_expect %d; %d are here", expect, expect, len(fresh))
		if others > 0 {
			w += fmt.Sprintf(", and %d that expect another number", others)
		}
		if foreign > 0 {
			w += fmt.Sprintf(", and %d that have another secret", foreign)
		}
		return Formation{Ballot: committed, Waits: w}
	}
	ballot := ballotOf(fresh, pin)
	if committed == "" {
		return Formation{Ballot: ballot, Waits: "for the others to commit themselves to the same nodes"}
	}
	if committed != ballot {
		return Formation{Ballot: committed, Waits: "in vain: this node has committed itself to forming a cluster with other nodes; " +
			"bring those back, or empty the data directories of all nodes"}
	}
	for _, s := range fresh {
		if !agree[s.ID] && s.ID != self {
			return Formation{Ballot: committed, Waits: "for node " + s.ID + " to commit itself to the same nodes"}
		}
	}
	return Formation{Ballot: committed, Servers: First(fresh)}
}

// ballotOf names the sorted servers. Addresses are part of it: the memberships
// made of it must be identical; so is the pin of the secret that they share.
func ballotOf(servers []Server, pin string) string {
	h := sha256.New()
	if pin != "" {
		fmt.Fprintf(h, "%s\n", pin)
	}
	for _, s := range servers {
		fmt.Fprintf(h, "%s %s\n", s.ID, s.Addr)
	}
	return Forming + hex.EncodeToString(h.Sum(nil)[:8])
}
