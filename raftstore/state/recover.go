package state

import "time"

// Recovered is the View with which a cluster goes on that was recovered by hand, from
// the log of one node, after its quorum was lost. That log may lack what others had
// been acknowledged: members may run with epochs it does not know. So epochs leap,
// and the cluster is frozen until an operator has seen that all nodes that still
// run members are back: until then nobody is started, and what runs with an epoch
// of the lost log is stopped by its node.
func (v *View) Recovered(incarnation, who string, now time.Time) *View {
	t := &tx{View: *v, e: Entry{Who: who}, now: now.UTC()}
	if t.now.Before(v.Cluster.Now) {
		t.now = v.Cluster.Now
	}
	t.Cluster.Now = t.now
	t.Cluster.Incarnation, t.Cluster.Recovered = incarnation, incarnation
	t.Cluster.Epoch += EpochLeap
	t.Cluster.Frozen = &Freeze{Who: who, Why: "recovered by hand", Since: t.now}
	t.warn("", "cluster/"+t.Cluster.ID, "Recovered", "the cluster goes on from the log of one node, after its quorum was lost; it is frozen until supctl cluster unfreeze")
	next := t.View
	return &next
}
