package state

import (
	"time"

	"supd/supervisor/spec"
)

// NoteCA notes the certificate of the cluster's CA, in a cluster that a version without
// TLS formed. It is noted once and for all.
type NoteCA struct {
	CA string `json:"ca"` // PEM; public
}

// RotateGossipKey has the nodes change to gossip's next key, which derives from the
// cluster's seed. The log knows its number only.
type RotateGossipKey struct {
	IfGeneration uint64 `json:"ifGeneration"`
}

// RotationPause is the least time between two rotations: nodes must have taken one key
// into use before the next comes.
const RotationPause = 2 * time.Minute

func (*NoteCA) kind() string          { return "NoteCA" }
func (*RotateGossipKey) kind() string { return "RotateGossipKey" }

func (t *tx) noteCA(c *NoteCA) *spec.Error {
	if c.CA == "" {
		return refuse("Invalid", "a CA needs a certificate")
	}
	if t.Cluster.CA == c.CA {
		return nil
	}
	if t.Cluster.CA != "" {
		return refuse("OtherCA", "the cluster has a CA already, and keeps it")
	}
	t.Cluster.CA = c.CA
	t.event("", "cluster/"+t.Cluster.ID, "CredentialsNoted", "the cluster's CA was noted")
	return nil
}

func (t *tx) rotateGossipKey(c *RotateGossipKey) *spec.Error {
	if c.IfGeneration != t.Cluster.GossipKey {
		return stale("gossip's key has been changed since: it is number %d", t.Cluster.GossipKey)
	}
	if next := t.Cluster.GossipKeyAt.Add(RotationPause); !t.Cluster.GossipKeyAt.IsZero() && t.now.Before(next) {
		return refuse("TooSoon", "gossip's key was changed at %s: nodes are still taking it into use; try again at %s",
			t.Cluster.GossipKeyAt.Format(time.RFC3339), next.Format(time.RFC3339))
	}
	t.Cluster.GossipKey++
	t.Cluster.GossipKeyAt = t.now
	t.event("", "cluster/"+t.Cluster.ID, "GossipKeyRotated", "gossip changes to key number %d", t.Cluster.GossipKey)
	return nil
}
