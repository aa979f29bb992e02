package server

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// exposition writes Prometheus' text format.
type exposition struct{ bytes.Buffer }

func (e *exposition) head(name, typ, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, typ)
}

func (e *exposition) gauge(name, help string, v float64) {
	e.head(name, "gauge", help)
	fmt.Fprintf(e, "%s %v\n", name, v)
}

func (e *exposition) counter(name, help string, v int64) {
	e.head(name, "counter", help)
	fmt.Fprintf(e, "%s %d\n", name, v)
}

// by writes one gauge for each value of a label, zeros included.
func (e *exposition) by(name, label, help string, counts map[string]int) {
	e.head(name, "gauge", help)
	for _, k := range sortedKeys(counts) {
		fmt.Fprintf(e, "%s{%s=%q} %d\n", name, label, k, counts[k])
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) error {
	rd := s.reading()
	var e exposition
	e.gauge("supd_raft_term", "The Raft term this node is in.", float64(rd.rs.Term))
	e.gauge("supd_raft_is_leader", "1 while this node leads.", oneIf(rd.rs.Leading))
	e.gauge("supd_raft_has_leader", "1 while this node knows a leader.", oneIf(rd.rs.Leader != ""))
	e.gauge("supd_raft_voters", "Voters of the cluster.", float64(len(rd.rs.Voters)))
	e.gauge("supd_raft_trouble", "1 while something keeps this node from its part: a log that cannot be written, an entry that it does not understand, a state that differs from the majority's.", oneIf(rd.rs.Trouble != ""))
	e.gauge("supd_state_differs", "1 while this node's state is not the same as other nodes' at the same log entry.", oneIf(rd.rs.State.Differs != nil))
	e.gauge("supd_state_compared_index", "Index of the newest log entry at which this node's state was compared with others'; 0: it was not yet.", float64(rd.rs.State.Index))
	e.gauge("supd_snapshot_trouble", "1 while this node's scheduled snapshot can't be written.", oneIf(rd.rs.NoSnapshot))
	last := 0.0
	if !rd.rs.Snapshot.IsZero() {
		last = float64(rd.rs.Snapshot.Unix())
	}
	e.gauge("supd_snapshot_last_timestamp_seconds", "When this node's newest scheduled snapshot was written; 0: there is none.", last)
	e.gauge("supd_cluster_frozen", "1 while the cluster is frozen by command.", oneIf(rd.v.Cluster.Frozen != nil))
	e.gauge("supd_raft_last_index", "Index of the last entry of this node's log.", float64(rd.rs.Last))
	e.gauge("supd_raft_commit_index", "Index up to which entries are known to be committed.", float64(rd.rs.Commit))
	e.counter("supd_raft_apply_total", "Entries applied by this node: the index of its View.", int64(rd.v.Index))
	e.counter("supd_gossip_dropped_total", "Packets and connections to gossip's port that no key of the cluster had sealed.", int64(rd.rs.GossipDropped))
	s.viewMetrics(&e, rd.v)
	e.counter("supd_api_requests_total", "Requests answered.", s.counts.requests.Load())
	e.counter("supd_api_errors_total", "Requests answered with an error.", s.counts.errors.Load())
	e.counter("supd_api_forwarded_total", "Requests forwarded to the leader.", s.counts.forwarded.Load())
	e.counter("supd_api_refused_origin_total", "Requests refused for their Host or Origin.", s.counts.refusedHosts.Load())
	s.refusalMetrics(&e)
	e.counter("supd_api_proposals_total", "Entries that requests to this node proposed.", s.counts.proposals.Load())
	e.counter("supd_api_refusals_total", "Proposed entries that a rule refused.", s.counts.refusals.Load())
	e.gauge("supd_api_watch_streams", "Open watch streams.", float64(s.counts.streams.Load()))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(e.Bytes()) // a reader that is gone needs no answer
	return nil
}

// refusalMetrics tells of those who were not let in.
func (s *Server) refusalMetrics(e *exposition) {
	e.head("supd_api_refused_total", "counter", "Requests refused for who asks, how often or how much.")
	for _, k := range []struct {
		why string
		n   int64
	}{
		{"connections", s.counts.refusedConns.Load()},
		{"forbidden", s.counts.refusedForbidden.Load()},
		{"rate", s.counts.refusedRate.Load()},
		{"streams", s.counts.refusedStreams.Load()},
		{"unauthenticated", s.counts.refusedUnknown.Load()},
	} {
		fmt.Fprintf(e, "supd_api_refused_total{why=%q} %d\n", k.why, k.n)
	}
}

// viewMetrics writes what is counted in the View.
func (s *Server) viewMetrics(e *exposition, v *state.View) {
	members := zeros(spec.MemberPending, spec.MemberStarting, spec.MemberRunning, spec.MemberStopping, spec.MemberStopped, spec.MemberFailed, spec.MemberLost)
	unhealthy, restarts := 0, 0
	for m := range v.Members("") {
		members[v.Phase(m)]++
		restarts += m.Seen.Restarts
		if ok, _, _ := v.Healthy(m); !ok {
			unhealthy++
		}
	}
	nodes := zeros(spec.NodeReady, spec.NodeSuspect, spec.NodeLost)
	for n := range v.Nodes() {
		nodes[n.State]++
	}
	volumes := zeros(spec.VolumePending, spec.VolumeBound, spec.VolumeRetained, spec.VolumeReleasing, spec.VolumeAbandoned)
	for vol := range v.Volumes("") {
		volumes[vol.Phase]++
	}
	sets := 0
	for range v.Sets("") {
		sets++
	}
	e.gauge("supd_statefulsets", "Sets.", float64(sets))
	e.by("supd_members", "phase", "Members by phase.", members)
	e.gauge("supd_members_unhealthy", "Members that are not healthy.", float64(unhealthy))
	e.gauge("supd_member_restarts", "Restarts in place of all members in their present epochs.", float64(restarts))
	e.by("supd_nodes", "state", "Nodes by state.", nodes)
	e.by("supd_volumes", "phase", "Volumes by phase.", volumes)
	e.gauge("supd_epoch", "The last epoch given to any member.", float64(v.Cluster.Epoch))
}

func zeros(names ...string) map[string]int {
	out := make(map[string]int, len(names))
	for _, n := range names {
		out[n] = 0
	}
	return out
}
