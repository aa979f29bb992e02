package state

import (
	"fmt"
	"time"
)

// Recovered is the View with which a cluster goes on that was recovered by hand, from
// the log of one node, after its quorum was lost. That log may lack what others had
// been acknowledged: members may run with epochs it does not know. So epochs leap,
// and the cluster is frozen until an operator has seen that all nodes that still
// run members are back: until then nobody is started, and what runs with an epoch
// of the lost log is stopped by its node.
func (v *View) Recovered(incarnation, who string, now time.Time) *View {
	return v.recovered(incarnation, who, now, "the cluster goes on from the log of one node, after its quorum was lost")
}

// RecoveredFromFile is Recovered for a View out of a snapshot file, after all logs were
// lost. What came after is forgotten: versions that were given then must not be given
// again, so the index leaps too; a join token that was used up must let nobody in.
func (v *View) RecoveredFromFile(incarnation, who string, now time.Time) *View {
	saved := v.Cluster.Now.UTC().Format("2006-01-02 15:04:05 MST")
	from := *v
	from.Index += IndexLeap
	from.Cluster.JoinTokens = nil
	return from.recovered(incarnation, who, now, fmt.Sprintf("the cluster goes on from a snapshot file of index %d (%s), after all raft stores were lost; "+
		"what was wanted since is forgotten; directories made since are retained when their nodes are back", v.Index, saved))
}

// IndexLeap is what recovering from a file adds to the index.
const IndexLeap = 1 << 32

func (v *View) recovered(incarnation, who string, now time.Time, what string) *View {
	t := &tx{View: *v, e: Entry{Who: who}, now: now.UTC()}
	if t.now.Before(v.Cluster.Now) {
		t.now = v.Cluster.Now
	}
	t.Cluster.Now = t.now
	t.Cluster.Incarnation, t.Cluster.Recovered = incarnation, incarnation
	t.Cluster.Epoch += EpochLeap
	t.Cluster.Frozen = &Freeze{Who: who, Why: "recovered by hand", Since: t.now}
	t.warn("", "cluster/"+t.Cluster.ID, "Recovered", "%s; it is frozen until supctl cluster unfreeze", what)
	next := t.View
	return &next
}
