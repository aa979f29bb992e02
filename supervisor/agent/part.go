package agent

import (
	"hash"
	"hash/fnv"
	"slices"
	"strconv"

	"supd/raftstore/state"
	"supd/supervisor/spec"
	"supd/volumes"
)

// Key names a member.
type Key struct {
	Namespace, Set string
	Ordinal        int
}

// Name is "web-0".
func (k Key) Name() string { return spec.MemberName(k.Set, k.Ordinal) }

// String is "default/web-0", the member's name to the keeper.
func (k Key) String() string { return k.Namespace + "/" + k.Name() }

// keyOf reads a member's name as the keeper has it.
func keyOf(member string) (Key, bool) {
	for i := range len(member) {
		if member[i] == '/' {
			set, ordinal, ok := spec.SplitMember(member[i+1:])
			return Key{member[:i], set, ordinal}, ok && i > 0
		}
	}
	return Key{}, false
}

func keyOfMember(m *state.Member) Key { return Key{m.Namespace, m.Set, m.Ordinal} }

// Part is what the View says of one member to the node it is assigned to.
type Part struct {
	Key Key
	// Member is nil when the View has no such member on this node.
	Member *state.Member
	Set    *state.Set
	// Template of the member's revision; nil when there is none.
	Template *spec.Template
	Revision *state.Revision
	// Newest is the template that the set wants now; nil when there is none.
	Newest  *spec.Template
	Volumes []*state.Volume
	// Service governs the set as the member's revision has it.
	Service string
	Cluster *state.Cluster
	Node    *state.Node
	// bound: the keeper has something of the present epoch by the lease.
	bound bool
	// peers changes with the list of members, their addresses and ports.
	peers uint64
}

type setKey struct{ namespace, set string }

// setView is what the parts of one set's members have in common.
type setView struct {
	set     *state.Set
	members []*state.Member
	// print changes when the templates of a running member may give something else.
	print uint64
	// crowd is what the templates of all of them may name.
	crowd *crowd
	peers uint64 // changes with the list of members, their addresses and ports
}

// setViewOf looks at a set; old is what was seen last time, or nothing.
func setViewOf(v *state.View, k setKey, old setView) setView {
	s := setView{set: v.Set(k.namespace, k.set), members: v.SetMembers(k.namespace, k.set)}
	s.crowd = &crowd{set: s.set, members: s.members, zone: v.Cluster.Zone}
	if s.set == old.set && slices.Equal(s.members, old.members) {
		return old
	}
	h, peers := fnv.New64a(), fnv.New64a()
	put := func(h hash.Hash64, parts ...string) {
		for _, p := range parts {
			h.Write([]byte(p)) //nolint:errcheck // a hash never fails
			h.Write([]byte{0}) //nolint:errcheck // a hash never fails
		}
	}
	if s.set != nil {
		put(h, s.set.Meta.UID, s.set.Spec.ServiceName, strconv.Itoa(s.set.Replicas()), strconv.FormatBool(s.set.Formed))
	}
	for _, m := range s.members {
		put(h, m.Name(), m.IP, m.Node, strconv.FormatBool(bootstraps(m)))
		put(peers, m.Name(), m.IP)
		for _, name := range sortedKeys(m.Ports) {
			put(h, name, strconv.Itoa(m.Ports[name]))
			put(peers, name, strconv.Itoa(m.Ports[name]))
		}
	}
	s.print, s.peers = h.Sum64(), peers.Sum64()
	return s
}

// lockVolume is the one of the volumes there are beside which the locks of the member's
// processes are: the oldest, for what a definition adds later changes nothing then. "": none.
func (p Part) lockVolume(dirs map[string]volumes.Dir) string {
	var oldest *state.Volume
	for _, vol := range p.Volumes {
		if _, there := dirs[vol.Template]; there && (oldest == nil || vol.CreatedAt.Before(oldest.CreatedAt)) {
			oldest = vol
		}
	}
	if oldest == nil {
		return ""
	}
	return oldest.Template
}

// mayStop is the probe by which the member is asked whether it may be stopped.
func (p Part) mayStop() (process string, probe *spec.Probe) {
	if p.Template == nil || p.Newest == nil {
		return "", nil
	}
	return p.Newest.MayStopFor(*p.Template)
}

// partOf cuts a member's part out of the View. It is kept: so it holds on to nothing of the View but the member's own.
func partOf(v *state.View, c *state.Cluster, node string, k Key, s setView) Part {
	p := Part{Key: k, Set: s.set, Cluster: c, Node: v.Node(node), peers: s.peers}
	m := v.Member(k.Namespace, k.Set, k.Ordinal)
	if m == nil || m.Node != node {
		return p
	}
	p.Member = m
	p.Revision = v.Revision(k.Namespace, k.Set, m.Revision)
	if p.Revision != nil {
		p.Template = &p.Revision.Template
	}
	if s.set != nil {
		if r := v.Revision(k.Namespace, k.Set, s.set.Revision); r != nil {
			p.Newest = &r.Template
		}
	}
	p.Volumes = v.MemberVolumes(k.Namespace, k.Set, k.Ordinal)
	if s.set != nil {
		p.Service = v.ServiceOf(s.set, m)
	}
	return p
}
