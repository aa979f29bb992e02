package state

import (
	"fmt"
	"iter"
	"slices"
	"strconv"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"supd/supervisor/spec"
)

// New is the View before the first entry.
func New() *View {
	return &View{
		nodes: iradix.New[*Node](), sets: iradix.New[*Set](), members: iradix.New[*Member](),
		volumes: iradix.New[*Volume](), services: iradix.New[*Service](), programs: iradix.New[*Program](),
		revisions: iradix.New[*Revision](), ids: iradix.New[*Identity](), events: iradix.New[*Event](),
		accounts: iradix.New[*Account](), byToken: iradix.New[*Account](),
		byNode: iradix.New[*Member](), byIP: iradix.New[*Member](),
	}
}

func key(ns, name string) string { return ns + "/" + name }

// ordinalKey is "ns/set/00007". Planning asks for many: fmt would be most of its time.
func ordinalKey(ns, set string, ordinal int) string {
	if ordinal < 0 {
		return fmt.Sprintf("%s/%s/%05d", ns, set, ordinal)
	}
	digits := strconv.Itoa(ordinal)
	return ns + "/" + set + "/" + "00000"[min(len(digits), 5):] + digits
}

func get[T any](t table[T], k string) *T {
	v, _ := t.Get([]byte(k))
	return v
}

// walk yields the values below prefix in key order.
func walk[T any](t table[T], prefix string) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		it := t.Root().Iterator()
		it.SeekPrefix([]byte(prefix))
		for _, v, ok := it.Next(); ok; _, v, ok = it.Next() {
			if !yield(v) {
				return
			}
		}
	}
}

// nsPrefix is "ns/", or "" for all namespaces.
func nsPrefix(ns string) string {
	if ns == "" {
		return ""
	}
	return ns + "/"
}

// Node returns a node or nil.
func (v *View) Node(name string) *Node { return get(v.nodes, name) }

// NodeByID finds a node by its stable id, or nil.
func (v *View) NodeByID(id string) *Node {
	for n := range v.Nodes() {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// Nodes yields all nodes by name.
func (v *View) Nodes() iter.Seq[*Node] { return walk(v.nodes, "") }

// Set returns a set or nil.
func (v *View) Set(ns, name string) *Set { return get(v.sets, key(ns, name)) }

// Sets yields the sets of a namespace, or of all when ns is "".
func (v *View) Sets(ns string) iter.Seq[*Set] { return walk(v.sets, nsPrefix(ns)) }

// Member returns a member or nil.
func (v *View) Member(ns, set string, ordinal int) *Member {
	return get(v.members, ordinalKey(ns, set, ordinal))
}

// MemberNamed finds "web-0", or nil.
func (v *View) MemberNamed(ns, name string) *Member {
	set, ordinal, ok := spec.SplitMember(name)
	if !ok {
		return nil
	}
	return v.Member(ns, set, ordinal)
}

// SetMembers returns a set's members by ordinal.
func (v *View) SetMembers(ns, set string) []*Member {
	var out []*Member
	for m := range walk(v.members, ns+"/"+set+"/") {
		out = append(out, m)
	}
	byOrdinal := func(a, b *Member) int { return a.Ordinal - b.Ordinal }
	if !slices.IsSortedFunc(out, byOrdinal) { // keys of six digits come before some of five
		slices.SortFunc(out, byOrdinal)
	}
	return out
}

// Members yields the members of a namespace, or of all when ns is "".
func (v *View) Members(ns string) iter.Seq[*Member] { return walk(v.members, nsPrefix(ns)) }

// NodeMembers yields the members assigned to a node.
func (v *View) NodeMembers(node string) iter.Seq[*Member] { return walk(v.byNode, node+"/") }

// MemberAt yields the members that have an address.
func (v *View) MemberAt(ip string) iter.Seq[*Member] { return walk(v.byIP, ip+"/") }

// Volume returns a volume by claim name ("data-web-0", or "data-web-0.UID8" once
// abandoned), or nil.
func (v *View) Volume(ns, name string) *Volume { return get(v.volumes, key(ns, name)) }

// Volumes yields the volumes of a namespace, or of all when ns is "".
func (v *View) Volumes(ns string) iter.Seq[*Volume] { return walk(v.volumes, nsPrefix(ns)) }

// MemberVolumes returns an ordinal's volumes, in the order the set names them;
// those that it no longer names, and the present start may use, come last.
func (v *View) MemberVolumes(ns, set string, ordinal int) []*Volume {
	var out []*Volume
	s := v.Set(ns, set)
	if s == nil {
		return nil
	}
	for _, vs := range s.Spec.Volumes {
		if vol := v.Volume(ns, spec.VolumeName(vs.Name, set, ordinal)); vol != nil &&
			vol.Set == set && vol.Ordinal == ordinal {
			out = append(out, vol)
		}
	}
	return append(out, v.held(s, ordinal)...)
}

// Service returns a service or nil.
func (v *View) Service(ns, name string) *Service { return get(v.services, key(ns, name)) }

// Services yields services by name.
func (v *View) Services(ns string) iter.Seq[*Service] { return walk(v.services, nsPrefix(ns)) }

// Program returns a Program or nil.
func (v *View) Program(ns, name string) *Program { return get(v.programs, key(ns, name)) }

// Programs yields Programs by name.
func (v *View) Programs(ns string) iter.Seq[*Program] { return walk(v.programs, nsPrefix(ns)) }

// Revision returns a set's template by hash, or nil.
func (v *View) Revision(ns, set, hash string) *Revision {
	return get(v.revisions, ns+"/"+set+"/"+hash)
}

// Revisions yields a set's revisions by hash; all of a namespace when set is "".
func (v *View) Revisions(ns, set string) iter.Seq[*Revision] {
	p := nsPrefix(ns)
	if set != "" {
		p += set + "/"
	}
	return walk(v.revisions, p)
}

// Identity returns what an ordinal keeps, or nil.
func (v *View) Identity(ns, set string, ordinal int) *Identity {
	return get(v.ids, ordinalKey(ns, set, ordinal))
}

// Identities yields all identities.
func (v *View) Identities() iter.Seq[*Identity] { return walk(v.ids, "") }

// Events yields the events kept, oldest first.
func (v *View) Events() iter.Seq[*Event] { return walk(v.events, "") }

// Governs tells which sets a service governs, by name order.
func (v *View) Governs(ns, service string) []*Set {
	var out []*Set
	for s := range v.Sets(ns) {
		if slices.Contains(v.ServicesOf(s), service) {
			out = append(out, s)
		}
	}
	return out
}

// FQDN is a member's full name.
func (v *View) FQDN(m *Member) string {
	service := m.Set
	if s := v.Set(m.Namespace, m.Set); s != nil {
		service = v.ServiceOf(s, m)
	}
	return spec.MemberFQDN(m.Name(), service, m.Namespace, v.Cluster.Zone)
}
