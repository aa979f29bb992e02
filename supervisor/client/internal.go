// Package client is the typed client of supd's API: supctl, forwarding between
// nodes and agents' reports use it; nothing else speaks HTTP to supd.
package client

import (
	"time"

	"supd/supervisor/spec"
)

// Heartbeat is what an agent sends its leader every heartbeat interval
// (POST /v1/internal/heartbeat).
type Heartbeat struct {
	Node string `json:"node"`
	ID   string `json:"id"`
	Run  string `json:"run"`
	// Leaving: supd stops on purpose and is soon back; suspicion is suspended
	// until the lease ends.
	Leaving bool `json:"leaving,omitempty"`
	// Index is what the node has applied.
	Index uint64 `json:"index,omitempty"`
	// Seed: it holds the cluster's secret, as voters must.
	Seed bool `json:"seed,omitempty"`
	// Unsettled: what the log has of members here is not the agent's word yet: it has just
	// begun, and has not looked, or has not reported who has ended meanwhile. An older version
	// does not tell.
	Unsettled bool `json:"unsettled,omitempty"`
	// Digests are what its state came to at the newest places where all nodes compare
	// theirs, the newest last. An older version sends none.
	Digests []spec.Digest `json:"digests,omitempty"`
}

// HeartbeatAnswer renews the node's lease, counted by the node from when it sent
// the heartbeat.
type HeartbeatAnswer struct {
	Leader string        `json:"leader"`
	Term   uint64        `json:"term"`
	Index  uint64        `json:"index"` // the leader's applied index
	Lease  time.Duration `json:"lease"`
	// Seed: the node is to vote soon, and to fetch the cluster's secret first.
	Seed bool `json:"seed,omitempty"`
	// State is how the node's digests compare with those of others, once they were.
	State spec.StateCheck `json:"state,omitzero"`
	// Mute are the members that the leader has asked in vain whether they may be stopped.
	Mute []Mute `json:"mute,omitempty"`
}

// Mute is a member that could not be asked whether it may be stopped, which counts as no.
type Mute struct {
	Namespace string `json:"namespace"`
	Set       string `json:"set"`
	Ordinal   int    `json:"ordinal"`
	Epoch     uint64 `json:"epoch"`
	Why       string `json:"why"` // "node n3 is silent since 15:04:05"
}
