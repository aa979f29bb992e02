package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// saved is a snapshot that an operator keeps, and the checker's record of then.
type saved struct {
	view    *state.View
	sets    map[string]*setRecord
	volumes map[string]*volumeRecord
	ips     map[string]string
}

// keptSnapshots is how many operators keep.
const keptSnapshots = 3

// snapshots has an operator save one, or restore one, now and then.
func (w *World) snapshots() {
	switch n := w.keep.IntN(50); {
	case w.seed%3 != 0 || n > 1:
	case n == 0 && len(w.saved) > 0:
		w.wish(w.restore())
	default:
		w.save()
	}
}

// save keeps a snapshot of what is committed, in place of any.
func (w *World) save() {
	s := &saved{view: w.check.ref, sets: map[string]*setRecord{}, volumes: map[string]*volumeRecord{}, ips: maps.Clone(w.check.ips)}
	for k, x := range w.check.sets {
		s.sets[k] = x.copied()
	}
	for k, x := range w.check.volumes {
		v := *x
		s.volumes[k] = &v
	}
	w.say("a snapshot is saved at index %d", s.view.Index)
	if len(w.saved) < keptSnapshots {
		w.saved = append(w.saved, s)
		return
	}
	w.saved[w.keep.IntN(keptSnapshots)] = s
}

// copied is a copy that shares nothing that is changed.
func (s *setRecord) copied() *setRecord {
	c := *s
	c.spec.Replicas = &c.replicas
	return &c
}

// restore asks for a snapshot kept earlier, mostly in the incarnation that the cluster is in.
func (w *World) restore() state.Command {
	s := w.saved[w.keep.IntN(len(w.saved))]
	in := w.check.incarnation
	if w.keep.IntN(10) == 0 {
		in = "another"
	}
	c, err := state.NewRestore(s.view, w.uid("incarnation"), in)
	if err != nil {
		w.check.fail("S14", "a snapshot cannot be made of the View at index %d: %v", s.view.Index, err)
	}
	w.asked[c.Incarnation] = s
	return c
}

// takeRestore: what was wanted is wanted again; what is stays as it is: nobody's place,
// epoch, revision or directory changes by it. Epochs leap.
func (c *checker) takeRestore(x *state.RestoreCluster) {
	if x.IfIncarnation != c.incarnation {
		c.fail("restore", "a restore asked for in incarnation %s was accepted in %s", x.IfIncarnation, c.incarnation)
	}
	s := c.w.asked[x.Incarnation]
	c.incarnation = x.Incarnation
	c.lastEp += state.EpochLeap
	var left []string // sets that there are and the snapshot does not want
	for _, k := range sortedKeys(c.sets) {
		if was := s.sets[k]; (was == nil || was.deleting) && !c.sets[k].deleting {
			left = append(left, k)
		}
	}
	for _, k := range sortedKeys(s.sets) {
		if !s.sets[k].deleting {
			c.restoreSet(k, s.sets[k].copied())
		}
	}
	for _, k := range left {
		c.sets[k].deleting = true
		c.sets[k].keepDirectories()
	}
	for _, k := range sortedKeys(s.volumes) {
		c.restoreVolume(k, *s.volumes[k])
	}
	for _, id := range sortedKeys(s.ips) {
		if _, has := c.ips[id]; !has && c.setOf(id) != nil && !slices.Contains(slices.Collect(maps.Values(c.ips)), s.ips[id]) {
			c.ips[id] = s.ips[id]
		}
	}
}

// keepDirectories: a restore takes no directory away, whatever the definition asks for.
func (s *setRecord) keepDirectories() {
	s.spec.VolumeRetention = spec.VolumeRetention{WhenScaled: spec.Retain, WhenDeleted: spec.Retain}
}

func (c *checker) restoreSet(k string, old *setRecord) {
	now := c.sets[k]
	old.accept, old.gone, old.shrunk = nil, nil, false
	if now != nil {
		if !slices.EqualFunc(now.spec.Volumes, old.spec.Volumes, func(a, b spec.VolumeSpec) bool { return a.Name == b.Name }) {
			return // made anew since, as another thing
		}
		if !now.deleting && now.hash == old.hash && sameSpec(now, old) {
			return
		}
		old.current, old.accept, old.gone = now.current, now.accept, now.gone
		old.formed, old.marked = now.formed, now.marked
	}
	for _, m := range c.setMembers(k) {
		if !old.wants(m.ordinal) {
			old.shrunk = true
			old.keepDirectories()
		}
	}
	c.sets[k] = old
	for _, o := range c.w.ops {
		if namespace+"/"+o.name == k {
			o.fixed = &spec.StatefulSetSpec{ServiceName: old.spec.ServiceName, Network: old.spec.Network, Volumes: old.spec.Volumes}
		}
	}
}

// sameSpec compares definitions as they are written.
func sameSpec(a, b *setRecord) bool {
	x, errX := json.Marshal(a.spec)
	y, errY := json.Marshal(b.spec)
	return errX == nil && errY == nil && string(x) == string(y)
}

// restoreVolume: a release since is undone while it can be; a record that is gone comes
// back, though its directory does not, so that nobody gets an empty one in its place. What an
// operator gave up stays so.
func (c *checker) restoreVolume(k string, old volumeRecord) {
	if old.given || old.phase == spec.VolumeReleasing {
		return
	}
	switch now := c.volumes[k]; {
	case now != nil && now.uid == old.uid && now.phase == spec.VolumeReleasing && !now.emptying:
		now.undo = true
	case now != nil, !old.made, c.nodes[old.node] == nil, c.abandoned(old.uid):
	default:
		old.phase, old.back = spec.VolumeRetained, true
		c.volumes[k] = &old
	}
}

// setOf is the set of an identity.
func (c *checker) setOf(id string) *setRecord {
	for k, s := range c.sets {
		for o := range 64 {
			if id == k+fmt.Sprintf("-%d", o) {
				return s
			}
		}
	}
	return nil
}

// accept names the sick for whose removal a set waits since a restore made it smaller: no
// scale-down begins like that, so nothing but an operator's word lets it go on.
func (w *World) accept() {
	for _, o := range w.ops {
		k := namespace + "/" + o.name
		s := w.check.sets[k]
		if s == nil || s.deleting || !s.shrunk {
			continue
		}
		c := &state.ScaleSet{Namespace: namespace, Name: o.name, Replicas: s.replicas}
		for _, m := range w.check.setMembers(k) {
			if !s.wants(m.ordinal) && !w.check.healthy(m) {
				c.AcceptUnhealthy = append(c.AcceptUnhealthy, m.name())
			}
		}
		if len(c.AcceptUnhealthy) > 0 {
			w.wish(c)
		}
	}
}

// bringBack puts directories that were deleted before a restore back where they were: what
// an operator does by hand, from a copy of his own.
func (w *World) bringBack() {
	for _, k := range sortedKeys(w.check.volumes) {
		v := w.check.volumes[k]
		for _, h := range w.hosts {
			if v.back && h.name == v.node && h.dirs[v.uid] == nil {
				w.say("the directory %s of %s is brought back to %s", v.uid, v.identity, h.name)
				template, _, _ := strings.Cut(strings.TrimPrefix(k, namespace+"/"), "-")
				h.dirs[v.uid] = &dir{uid: v.uid, identity: v.identity, template: template, used: true}
			}
		}
		v.back = false
	}
}
