package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// Labels that members and volumes carry beside their set's.
const (
	LabelSet     = "supd/set"
	LabelOrdinal = "supd/ordinal"
)

func timePtr(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

// memberLabels are the set's labels with the set's name and the ordinal.
func memberLabels(v *state.View, ns, set string, ordinal int) map[string]string {
	out := map[string]string{LabelSet: set, LabelOrdinal: strconv.Itoa(ordinal)}
	if s := v.Set(ns, set); s != nil {
		for k, val := range s.Meta.Labels {
			out[k] = val
		}
	}
	return out
}

// memberServes is Ready, but for members of a lost node.
func memberServes(v *state.View, m *state.Member) bool {
	n := v.Node(m.Node)
	return m.Ready() && n != nil && n.State != spec.NodeLost
}

// Member is the API object of m at now.
func Member(v *state.View, m *state.Member, now time.Time) spec.Member {
	healthy, reason, message := v.Healthy(m)
	out := spec.Member{
		APIVersion: spec.APIVersion, Kind: spec.KindMember,
		Metadata: spec.Meta{
			Namespace: m.Namespace, Name: m.Name(), UID: m.UID, Generation: m.Generation,
			ResourceVersion: m.Index, CreatedAt: timePtr(m.CreatedAt),
			Labels: memberLabels(v, m.Namespace, m.Set, m.Ordinal),
		},
		Spec: spec.MemberSpec{
			Set: m.Set, Ordinal: m.Ordinal, Node: m.Node, Epoch: m.Epoch,
			IP: m.IP, FQDN: v.FQDN(m), Ports: map[string]int{}, Volumes: []string{},
		},
		Status: spec.MemberStatus{
			Phase: v.Phase(m), Healthy: healthy, Ready: memberServes(v, m),
			Reason: reason, Message: message, Processes: []spec.ProcessStatus{}, ProbesReason: unaskedProbes,
		},
	}
	if m.Revision != "" {
		out.Spec.Revision = spec.RevisionName(m.Set, m.Revision)
	}
	for k, p := range m.Ports {
		out.Spec.Ports[k] = p
	}
	for _, vol := range v.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		out.Spec.Volumes = append(out.Spec.Volumes, vol.Name())
	}
	if s := v.Set(m.Namespace, m.Set); s != nil {
		out.Status.Available = v.Available(s, m, now)
	}
	if m.Epoch != 0 && m.Seen.Epoch == m.Epoch {
		out.Status.Restarts = m.Seen.Restarts
		out.Status.StartedAt = timePtr(m.Seen.StartedAt)
		out.Status.Role, out.Status.MayStop = m.Seen.Role, m.Seen.MayStop
		out.Status.Processes = append(out.Status.Processes, m.Seen.Processes...)
		out.Status.Hooks = m.Seen.Hooks
	}
	return out
}

// Volume is the API object of vol. usedBytes stays null with the reason given.
func Volume(v *state.View, vol *state.Volume, unasked string) spec.Volume {
	name := vol.Name()
	out := spec.Volume{
		APIVersion: spec.APIVersion, Kind: spec.KindVolume,
		Metadata: spec.Meta{
			Namespace: vol.Namespace, Name: name, UID: vol.UID, Generation: vol.Generation,
			ResourceVersion: vol.Index, CreatedAt: timePtr(vol.CreatedAt),
			Labels: memberLabels(v, vol.Namespace, vol.Set, vol.Ordinal),
		},
		Spec: spec.VolumeObjectSpec{
			Set: vol.Set, Template: vol.Template, Ordinal: vol.Ordinal, Node: vol.Node, Size: vol.Size,
		},
		Status: spec.VolumeStatus{
			Phase: vol.Phase, Path: vol.Path, UsedBytesReason: unasked,
			Reason: vol.Reason, Message: vol.Message, ReleaseAt: timePtr(vol.ReleaseAt),
		},
	}
	if vol.Phase == spec.VolumeBound || vol.Phase == spec.VolumePending {
		if v.Member(vol.Namespace, vol.Set, vol.Ordinal) != nil {
			out.Status.Member = vol.Member()
		}
	}
	return out
}

// Node is the API object of n. leaseUntil stays null with the reason given.
func Node(v *state.View, n *state.Node, rs RaftStatus, unasked string) spec.Node {
	labels := map[string]string{}
	for k, val := range n.Labels {
		labels[k] = val
	}
	out := spec.Node{
		APIVersion: spec.APIVersion, Kind: spec.KindNode,
		Metadata: spec.Meta{
			Name: n.Name, UID: n.ID, Generation: n.Generation, ResourceVersion: n.Index,
			CreatedAt: timePtr(n.Created), Labels: labels,
		},
		Spec: spec.NodeSpec{Address: n.HostIP, Labels: labels, Cordoned: n.Cordoned, Draining: n.Draining},
		Status: spec.NodeStatus{
			State: n.State, Alive: n.State == spec.NodeReady, Leader: rs.Leader == n.Name,
			LeaseUntilReason: unasked, KeeperReason: unaskedKeeper, TroubleReason: unaskedTrouble, Version: n.Version, Since: timePtr(n.Since),
		},
	}
	for range v.NodeMembers(n.Name) {
		out.Status.Members++
	}
	if n.Draining {
		out.Status.Drained = v.Drained(n)
		out.Status.Drain = &spec.Asked{Who: n.DrainWho, Why: n.DrainWhy, Since: timePtr(n.DrainSince)}
	}
	for _, name := range rs.Voters {
		if name == n.Name {
			out.Status.Voter = true
		}
	}
	return out
}

// Service is the API object of s.
func Service(s *state.Service) spec.Service {
	return spec.Service{APIVersion: spec.APIVersion, Kind: spec.KindService, Metadata: s.Meta, Spec: s.Spec}
}

// Program is the API object of p.
func Program(p *state.Program) spec.Program {
	return spec.Program{APIVersion: spec.APIVersion, Kind: spec.KindProgram, Metadata: p.Meta, Spec: p.Spec}
}

// Revision is the API object of r.
func Revision(v *state.View, r *state.Revision) spec.Revision {
	labels := map[string]string{LabelSet: r.Set}
	if s := v.Set(r.Namespace, r.Set); s != nil {
		for k, val := range s.Meta.Labels {
			labels[k] = val
		}
	}
	return spec.Revision{
		APIVersion: spec.APIVersion, Kind: spec.KindRevision,
		Metadata: spec.Meta{
			Namespace: r.Namespace, Name: spec.RevisionName(r.Set, r.Hash), CreatedAt: timePtr(r.CreatedAt), Labels: labels,
		},
		Set: r.Set, Revision: r.Number, Template: r.Template,
	}
}

// Event is the API object of e.
func Event(e *state.Event) spec.Event {
	typ := "Normal"
	if e.Warning {
		typ = "Warning"
	}
	return spec.Event{
		APIVersion: spec.APIVersion, Kind: spec.KindEvent,
		Metadata: spec.Meta{
			Namespace: e.Namespace, Name: fmt.Sprintf("event-%d", e.Seq), ResourceVersion: e.Index,
			CreatedAt: timePtr(e.At),
		},
		At: e.At.UTC(), Object: e.Object, Type: typ, Reason: e.Reason, Message: e.Message, Who: e.Who,
	}
}

// ClusterStatus is the answer to `cluster status`. dns is where this node answers.
func ClusterStatus(v *state.View, rs RaftStatus, unasked string) spec.ClusterStatus {
	out := spec.ClusterStatus{
		ClusterID: v.Cluster.ID, Leader: rs.Leader, Term: rs.Term, Index: v.Index,
		Voters: append([]string{}, rs.Voters...), Nodes: []spec.Node{},
		VotersGone: []string{}, Frozen: rs.Leader == "" || v.Cluster.Frozen != nil, DNS: rs.DNS, AddressPlan: v.Cluster.Plan,
	}
	if v.Cluster.PlanCIDR != "" {
		out.AddressPlan += " " + v.Cluster.PlanCIDR
	}
	for n := range v.Nodes() {
		out.Nodes = append(out.Nodes, Node(v, n, rs, unasked))
	}
	if f := v.Cluster.Frozen; f != nil {
		out.Freeze = &spec.Asked{Who: f.Who, Why: f.Why, Since: timePtr(f.Since)}
	}
	countVoters(&out)
	return out
}

// countVoters says which voters are gone, and how many more may fail before there is no
// majority of all of them: of those that can vote now, however many were wanted once.
func countVoters(st *spec.ClusterStatus) {
	nodes := map[string]spec.NodeStatus{}
	for _, n := range st.Nodes {
		nodes[n.Metadata.Name] = n.Status
	}
	st.VotersGone, st.CanLose = []string{}, 0
	for _, name := range st.Voters {
		n, known := nodes[name]
		asked := !strings.HasPrefix(n.TroubleReason, notAsked)
		if !known || !n.Alive || asked && (n.CanVote == nil || !*n.CanVote) {
			st.VotersGone = append(st.VotersGone, name)
		}
	}
	if st.Leader != "" {
		st.CanLose = max(0, len(st.Voters)-len(st.VotersGone)-(len(st.Voters)/2+1))
	}
}
