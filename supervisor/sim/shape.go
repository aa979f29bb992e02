package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// templates are all volumes that sets may come to have.
var templates = []string{"data", "logs", "more"}

func named(volumes []spec.VolumeSpec, name string) bool {
	return slices.ContainsFunc(volumes, func(v spec.VolumeSpec) bool { return v.Name == name })
}

func union(a, b []spec.VolumeSpec) []spec.VolumeSpec {
	out := slices.Clone(a)
	for _, v := range b {
		if !named(out, v.Name) {
			out = append(out, v)
		}
	}
	return out
}

// revision is the name of a definition's template: other volumes than the set was made
// with are part of it.
func (s *setRecord) revision(x *state.PutSet) string {
	t := x.Template
	same := len(s.first) == len(x.Spec.Volumes)
	for _, v := range s.first {
		same = same && named(x.Spec.Volumes, v.Name)
	}
	if !same {
		t.Shape = &spec.Shape{Service: x.Spec.ServiceName, Volumes: x.Spec.Volumes}
	}
	return t.Hash()
}

// next is what a member that was never started starts with.
func (s *setRecord) next(m *memberRecord) string {
	if s.paused && s.current != "" {
		return s.current
	}
	return s.wanted(m.ordinal)
}

// reshape: members get added volumes where they live, and the very ones they had; who was
// never started has nothing of those that are dropped.
func (c *checker) reshape(k string, s *setRecord, was []spec.VolumeSpec, uid string) {
	for _, m := range c.setMembers(k) {
		id := key(namespace, m.set, m.ordinal)
		for _, vs := range s.spec.Volumes {
			if named(was, vs.Name) {
				continue
			}
			name := spec.VolumeName(vs.Name, m.set, m.ordinal)
			sum := sha256.Sum256([]byte(uid + "/" + name))
			c.bind(id, name, state.Slot{Node: m.node, VolumeUIDs: map[string]string{vs.Name: hex.EncodeToString(sum[:16])}}, vs.Name)
		}
		if m.epoch == 0 {
			c.settle(id, s, s.next(m))
		}
	}
}

// hold: a start has what its revision and the definition name; the rest is retained. It
// must be there (S4).
func (c *checker) hold(id string, s *setRecord, m *memberRecord) {
	for _, vs := range s.kinds[m.revision].Volumes {
		name := spec.VolumeName(vs.Name, m.set, m.ordinal)
		v := c.volumes[namespace+"/"+name]
		if v == nil || v.node != m.node || v.phase != spec.VolumeBound && v.phase != spec.VolumeRetained {
			c.fail("S4", "%s is to start on %s with revision %s, which has %s: %+v", id, m.node, m.revision, name, v)
		}
	}
	c.settle(id, s, m.revision)
}

func (c *checker) settle(id string, s *setRecord, revision string) {
	keep := union(s.spec.Volumes, s.kinds[revision].Volumes)
	for _, t := range templates {
		v := c.volumes[namespace+"/"+t+"-"+id[len(namespace)+1:]]
		switch {
		case v == nil || v.identity != id:
		case named(keep, t) && v.phase == spec.VolumeRetained:
			v.phase = spec.VolumeBound
		case !named(keep, t) && v.phase == spec.VolumeBound:
			v.phase = spec.VolumeRetained
		}
	}
}

// leave: a member that goes to another node leaves what the definition names no more.
func (c *checker) leave(id string, s *setRecord, to string) {
	if c.members[id].node == to {
		return
	}
	for _, t := range templates {
		v := c.volumes[namespace+"/"+t+"-"+id[len(namespace)+1:]]
		if v != nil && v.identity == id && !named(s.spec.Volumes, t) && v.phase == spec.VolumeBound {
			v.phase = spec.VolumeRetained
		}
	}
}

// complete: a member starts with every directory that its revision names. It may have more,
// which the definition names.
func (c *checker) complete(p *process, m *memberRecord) {
	for _, vs := range c.sets[namespace+"/"+m.set].kinds[m.revision].Volumes {
		if p.epoch == m.epoch && !slices.ContainsFunc(p.dirs, func(d *dir) bool { return d.template == vs.Name }) {
			c.fail("S4", "%s starts without its %s", p.identity, vs.Name)
		}
	}
}

// unbound: a directory that a member needs was given up; or one that only the revision of its
// next start names is not there any more. It waits for a place, or for another revision.
func (c *checker) unbound(s *setRecord, m *memberRecord) bool {
	next := s.next(m)
	if m.epoch != 0 && (s.paused || !s.wants(m.ordinal)) {
		next = m.revision
	}
	for _, vs := range union(s.spec.Volumes, s.kinds[next].Volumes) {
		v := c.volumes[namespace+"/"+spec.VolumeName(vs.Name, m.set, m.ordinal)]
		if v == nil {
			return true
		}
		if !named(s.spec.Volumes, vs.Name) && (v.node != m.node || v.phase != spec.VolumeBound && v.phase != spec.VolumeRetained) {
			return true
		}
	}
	return false
}
