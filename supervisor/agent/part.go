package agent

import (
	"hash/fnv"
	"slices"
	"strconv"

	"supd/raftstore/state"
	"supd/supervisor/spec"
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
	// Members are all of the set, by ordinal.
	Members []*state.Member
	Cluster *state.Cluster
	Node    *state.Node
	// bound: the keeper has something of the present epoch by the lease.
	bound bool
}

type setKey struct{ namespace, set string }

// setView is what the parts of one set's members have in common.
type setView struct {
	set     *state.Set
	members []*state.Member
	// print changes when the templates of a running member may give something else.
	print uint64
}

// setViewOf looks at a set; old is what was seen last time, or nothing.
func setViewOf(v *state.View, k setKey, old setView) setView {
	s := setView{set: v.Set(k.namespace, k.set), members: v.SetMembers(k.namespace, k.set)}
	if s.set == old.set && slices.Equal(s.members, old.members) {
		return old
	}
	h := fnv.New64a()
	put := func(parts ...string) {
		for _, p := range parts {
			h.Write([]byte(p)) //nolint:errcheck // a hash never fails
			h.Write([]byte{0}) //nolint:errcheck // a hash never fails
		}
	}
	if s.set != nil {
		put(s.set.Meta.UID, s.set.Spec.ServiceName, strconv.Itoa(s.set.Replicas()), strconv.FormatBool(s.set.Formed))
	}
	for _, m := range s.members {
		put(m.Name(), m.IP, m.Node)
		for _, name := range sortedKeys(m.Ports) {
			put(name, strconv.Itoa(m.Ports[name]))
		}
	}
	s.print = h.Sum64()
	return s
}

// mayStop is the probe by which the member is asked whether it may be stopped.
func (p Part) mayStop() (process string, probe *spec.Probe) {
	if p.Template == nil || p.Newest == nil {
		return "", nil
	}
	return p.Newest.MayStopFor(*p.Template)
}

// partOf cuts a member's part out of the View.
func partOf(v *state.View, node string, k Key, s setView) Part {
	p := Part{Key: k, Set: s.set, Members: s.members, Cluster: &v.Cluster, Node: v.Node(node)}
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
	return p
}
