package spec

import (
	"maps"
	"slices"
)

// Digest is what a node's state came to after one log entry: nodes that applied the
// same log have the same digest there.
type Digest struct {
	// Index is that of the state's last log entry.
	Index uint64 `json:"index"`
	// Form names how the node's version writes the state down: digests of two forms
	// say nothing of each other.
	Form string `json:"form"`
	// Parts has a sum for each part of the state that is not empty.
	Parts map[string]string `json:"parts"`
}

// Differs names the parts that are not the same in both, sorted.
func (d Digest) Differs(other Digest) (parts []string) {
	for _, p := range slices.Sorted(maps.Keys(d.Parts)) {
		if d.Parts[p] != other.Parts[p] {
			parts = append(parts, p)
		}
	}
	for p := range other.Parts {
		if _, both := d.Parts[p]; !both {
			parts = append(parts, p)
		}
	}
	slices.Sort(parts)
	return parts
}

// StateCheck is what the leader found when it last compared a node's state with others'.
type StateCheck struct {
	// Index is that of the newest digest of the node that was compared; 0: none was.
	Index uint64 `json:"index"`
	// Differs says how the node's state differs; nil: it does not.
	Differs *StateDifference `json:"differs,omitempty"`
}

// StateDifference is between nodes that applied the same log and have not the same state.
type StateDifference struct {
	// Index is that of the log entry after which it was first seen.
	Index uint64 `json:"index"`
	// Nodes have another state than the majority, or than each other when there is none.
	Nodes []string `json:"nodes"`
	// Majority has one state; empty: it can't be told who is right.
	Majority []string `json:"majority,omitempty"`
	// Parts of the state that differ.
	Parts []string `json:"parts"`
}

// Same tells whether two differences are between the same nodes.
func (d *StateDifference) Same(other *StateDifference) bool {
	if d == nil || other == nil {
		return d == other
	}
	return slices.Equal(d.Nodes, other.Nodes) && slices.Equal(d.Majority, other.Majority)
}
