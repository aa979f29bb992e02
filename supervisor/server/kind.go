package server

import (
	"net/http"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// reading is what one read is answered from: one View at one time.
type reading struct {
	v   *state.View
	now time.Time
	rs  RaftStatus
}

func (s *Server) reading() reading {
	return reading{v: s.o.Store.View(), now: s.o.Now(), rs: s.o.Cluster.Status()}
}

// waits are what the planner would do for a set but for a reason.
func (rd reading) waits(set *state.Set) []spec.Wait {
	return Waits(rd.v, set, rd.now, rd.rs.Mute)
}

// Waits asks the planner, as any node can, what a set waits for; mute is who the leader
// could not ask.
func Waits(v *state.View, set *state.Set, now time.Time, mute []client.Mute) []spec.Wait {
	why := func(m *state.Member) string {
		for _, x := range mute {
			if x.Namespace == m.Namespace && x.Set == m.Set && x.Ordinal == m.Ordinal && x.Epoch == m.Epoch {
				return x.Why
			}
		}
		return ""
	}
	p := plan.MakeSet(v, set, now, plan.Facts{
		Silent: func(string) bool { return false },
		UID:    func() string { return "preview" },
		Mute:   why,
		MayStop: func(m *state.Member) plan.Word {
			if why(m) != "" {
				return plan.SaidNo
			}
			return plan.SaidYes // by its word in the log
		},
	})
	out := make([]spec.Wait, 0, len(p.Waits))
	for _, w := range p.Waits {
		out = append(out, w.Wait)
	}
	return out
}

// Reasons for what was not asked of its owner.
const (
	notAsked     = "NotAsked"
	unaskedUsage = "NotAsked: asked when one volume is read, or with ?usage=1"
	unaskedLease = "NotAsked: asked when nodes are read"
	// of a node's keeper
	unaskedKeeper = "NotAsked: asked when one node is read"
	// of a member's probes
	unaskedProbes = "NotAsked: asked when one member is read"
	// of what troubles a node's daemon
	unaskedTrouble = "NotAsked: asked when one node, or the cluster's status, is read"
)

// object is one API object with what selects it.
type object struct {
	ns, name string
	labels   map[string]string
	event    string // of events: the object it is about
	version  uint64
	value    any
}

// kind is a collection of the API.
type kind struct {
	resource client.Resource
	kind     string
	word     string // "statefulset"
	// all yields a namespace's objects, of all namespaces when ns is "".
	all func(rd reading, ns string) []object
	// one finds an object by its name.
	one func(rd reading, ns, name string) (object, bool)
	// ask fills in what only another node knows, for one object or a list.
	ask func(s *Server, r *http.Request, objects []object)
	// explain may be nil.
	explain func(rd reading, ns, name string) (client.Explanation, bool)
}

func kinds() []kind {
	return []kind{
		{client.StatefulSets, spec.KindStatefulSet, "statefulset", allSets, oneSet, nil, explainSetNamed},
		{client.Members, spec.KindMember, "member", allMembers, oneMember, askProbes, explainMemberNamed},
		{client.Volumes, spec.KindVolume, "volume", allVolumes, oneVolume, askUsage, explainVolumeNamed},
		{client.Services, spec.KindService, "service", allServices, oneService, nil, nil},
		{client.Programs, spec.KindProgram, "program", allPrograms, oneProgram, nil, nil},
		{client.Revisions, spec.KindRevision, "revision", allRevisions, oneRevision, nil, nil},
		{client.Nodes, spec.KindNode, "node", allNodes, oneNode, askNodes, explainNodeNamed},
		{client.Events, spec.KindEvent, "event", allEvents, oneEvent, nil, nil},
	}
}

func setObject(rd reading, s *state.Set) object {
	return object{
		ns: s.Meta.Namespace, name: s.Meta.Name, labels: s.Meta.Labels, version: s.Meta.ResourceVersion,
		value: StatefulSet(rd.v, s, rd.now, rd.waits(s)),
	}
}

func allSets(rd reading, ns string) (out []object) {
	for s := range rd.v.Sets(ns) {
		out = append(out, setObject(rd, s))
	}
	return out
}

func oneSet(rd reading, ns, name string) (object, bool) {
	s := rd.v.Set(ns, name)
	if s == nil {
		return object{}, false
	}
	return setObject(rd, s), true
}

func memberObject(rd reading, m *state.Member) object {
	o := Member(rd.v, m, rd.now)
	return object{ns: m.Namespace, name: m.Name(), labels: o.Metadata.Labels, version: m.Index, value: o}
}

func allMembers(rd reading, ns string) (out []object) {
	for m := range rd.v.Members(ns) {
		out = append(out, memberObject(rd, m))
	}
	return out
}

func oneMember(rd reading, ns, name string) (object, bool) {
	m := rd.v.MemberNamed(ns, name)
	if m == nil {
		return object{}, false
	}
	return memberObject(rd, m), true
}

func volumeObject(rd reading, vol *state.Volume) object {
	o := Volume(rd.v, vol, unaskedUsage)
	return object{ns: vol.Namespace, name: o.Metadata.Name, labels: o.Metadata.Labels, version: vol.Index, value: o}
}

func allVolumes(rd reading, ns string) (out []object) {
	for vol := range rd.v.Volumes(ns) {
		out = append(out, volumeObject(rd, vol))
	}
	return out
}

func oneVolume(rd reading, ns, name string) (object, bool) {
	vol := rd.v.Volume(ns, name)
	if vol == nil {
		return object{}, false
	}
	return volumeObject(rd, vol), true
}

func metaObject(m spec.Meta, value any) object {
	return object{ns: m.Namespace, name: m.Name, labels: m.Labels, version: m.ResourceVersion, value: value}
}

func allServices(rd reading, ns string) (out []object) {
	for s := range rd.v.Services(ns) {
		out = append(out, metaObject(s.Meta, Service(s)))
	}
	return out
}

func oneService(rd reading, ns, name string) (object, bool) {
	s := rd.v.Service(ns, name)
	if s == nil {
		return object{}, false
	}
	return metaObject(s.Meta, Service(s)), true
}

func allPrograms(rd reading, ns string) (out []object) {
	for p := range rd.v.Programs(ns) {
		out = append(out, metaObject(p.Meta, Program(p)))
	}
	return out
}

func oneProgram(rd reading, ns, name string) (object, bool) {
	p := rd.v.Program(ns, name)
	if p == nil {
		return object{}, false
	}
	return metaObject(p.Meta, Program(p)), true
}

func allRevisions(rd reading, ns string) (out []object) {
	for r := range rd.v.Revisions(ns, "") {
		o := Revision(rd.v, r)
		out = append(out, metaObject(o.Metadata, o))
	}
	return out
}

func oneRevision(rd reading, ns, name string) (object, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return object{}, false
	}
	r := rd.v.Revision(ns, name[:i], name[i+1:])
	if r == nil {
		return object{}, false
	}
	o := Revision(rd.v, r)
	return metaObject(o.Metadata, o), true
}

func nodeObject(rd reading, n *state.Node) object {
	o := Node(rd.v, n, rd.rs, unaskedLease)
	o.Status.DrainWaits = rd.drainWaits(n)
	return object{name: n.Name, labels: n.Labels, version: n.Index, value: o}
}

func allNodes(rd reading, _ string) (out []object) {
	for n := range rd.v.Nodes() {
		out = append(out, nodeObject(rd, n))
	}
	return out
}

func oneNode(rd reading, _, name string) (object, bool) {
	n := rd.v.Node(name)
	if n == nil {
		return object{}, false
	}
	return nodeObject(rd, n), true
}

func eventObject(e *state.Event) object {
	o := Event(e)
	return object{ns: e.Namespace, name: o.Metadata.Name, event: e.Object, version: e.Index, value: o}
}

func allEvents(rd reading, ns string) (out []object) {
	for e := range rd.v.Events() {
		// Events of nodes and of the cluster have no namespace and are shown in all.
		if ns == "" || e.Namespace == ns || e.Namespace == "" {
			out = append(out, eventObject(e))
		}
	}
	return out
}

func oneEvent(rd reading, ns, name string) (object, bool) {
	for e := range rd.v.Events() {
		if o := eventObject(e); o.name == name && (e.Namespace == ns || e.Namespace == "") {
			return o, true
		}
	}
	return object{}, false
}
