package sim

import (
	"fmt"
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// take writes an accepted entry into the record, and checks what must hold for it
// to be accepted.
func (c *checker) take(e state.Entry, res state.Result, stray bool) {
	if res.Err != nil {
		return
	}
	if e.At.After(c.logNow) {
		c.logNow = e.At
	}
	c.brake(e.Cmd)
	switch x := e.Cmd.(type) {
	case *state.InitCluster:
		c.incarnation = x.Incarnation
	case *state.RestoreCluster:
		c.takeRestore(x)
	case *state.RegisterNode:
		n := c.nodes[x.Node.Name]
		if n == nil {
			n = &nodeRecord{state: spec.NodeReady, id: x.Node.ID}
			c.nodes[x.Node.Name] = n
		}
		c.booted(n, &x.Node)
		if n.run != x.Node.Run {
			n.run, n.seq = x.Node.Run, 0
		}
	case *state.SetNode:
		c.nodes[x.Name].state = x.State
	case *state.CordonNode:
		if n := c.nodes[x.Name]; n.cordoned != x.Cordon {
			n.cordoned, n.draining = x.Cordon, false
		}
	case *state.DrainNode:
		n := c.nodes[x.Name]
		n.cordoned, n.draining = true, true
	case *state.SetFrozen:
		c.braked = x.Frozen
	case *state.PutSet:
		c.takeSet(x, res)
	case *state.ScaleSet:
		s := c.sets[x.Namespace+"/"+x.Name]
		c.resize(x.Namespace+"/"+x.Name, s, x.Replicas, s.start, x.AcceptUnhealthy, x.Silent)
		s.spec.Replicas = &s.replicas
	case *state.DeleteSet:
		c.sets[x.Namespace+"/"+x.Name].deleting = true
	case *state.DropSet:
		c.dropSet(x.Namespace + "/" + x.Name)
	case *state.SetCurrent:
		s := c.sets[x.Namespace+"/"+x.Name]
		s.current = x.Revision
		for _, m := range c.setMembers(x.Namespace + "/" + x.Name) {
			if s.wants(m.ordinal) && m.revision != x.Revision {
				c.fail("S10", "%s is called current though %s runs %s", x.Revision, m.name(), m.revision)
			}
		}
	case *state.Restart:
		for _, m := range c.setMembers(x.Namespace + "/" + x.Set) {
			if m.epoch != 0 && (len(x.Ordinals) == 0 || slices.Contains(x.Ordinals, m.ordinal)) {
				m.restartUpTo = m.epoch
			}
		}
	case *state.DeleteMember:
		if m := c.members[key(x.Namespace, x.Set, x.Ordinal)]; m.wish == state.WishRun {
			m.wish = state.WishStop
		}
	case *state.Reserve:
		for _, slot := range x.Slots {
			c.takeSlot(x.Namespace, x.Set, slot, true)
		}
	case *state.Place:
		c.takeSlot(x.Namespace, x.Set, x.Slot, false)
	case *state.StartMember:
		c.takeStart(x)
	case *state.StopMember:
		c.takeStop(x, stray)
	case *state.AskHook:
		c.takeAsk(x)
	case *state.StartHeld:
		c.takeStart(&state.StartMember{Namespace: x.Namespace, Set: x.Set, Ordinal: x.Ordinal, Revision: x.Revision})
		c.members[key(x.Namespace, x.Set, x.Ordinal)].held = true
	case *state.LetGo:
		c.takeLetGo(x)
	case *state.MarkFormed:
		if s := c.sets[x.Namespace+"/"+x.Name]; s.hooked() && !s.formed && res.Changed {
			c.fail("hooks", "%s is called formed before its onFormed hook has succeeded", x.Name)
		} else {
			s.marked = true
		}
	case *state.KeepMember:
		m := c.members[key(x.Namespace, x.Set, x.Ordinal)]
		if m.left {
			c.fail("hooks", "%s is kept though it has left", m.name())
		}
		m.wish = state.WishStop
		if m.epoch == 0 {
			m.wish = state.WishReserved
		}
	case *state.DropMember:
		c.takeDrop(x)
	case *state.Report:
		c.takeReport(x)
	case *state.ReleaseVolume, *state.UndoRelease, *state.EmptyVolume:
		c.takeVolume(x)
	case *state.SetStopping:
		c.stopping = x.Stopping
	case *state.PauseRollout:
		c.sets[x.Namespace+"/"+x.Name].paused = x.Paused
	case *state.UndoRollout:
		c.takeUndo(x)
	case *state.TakeOver:
		c.takeTakeOver(x)
	case *state.ForgetNode:
		c.takeForget(x)
	case *state.AbandonVolume:
		c.takeAbandon(x)
	}
}

// brake: while the cluster is frozen by command nothing is carried out, but for a shutdown.
func (c *checker) brake(cmd state.Command) {
	if !c.braked {
		return
	}
	switch x := cmd.(type) {
	case *state.StopMember:
		if x.Why == state.WhyShutdown {
			return
		}
	case *state.UndoRollout:
		if !x.Auto {
			return
		}
	case *state.StartMember, *state.Reserve, *state.Place, *state.KeepMember, *state.DropMember, *state.DropSet,
		*state.EmptyVolume, *state.DeleteMember, *state.ReleaseVolume, *state.AskHook, *state.StartHeld, *state.LetGo:
	default:
		return
	}
	c.fail("freeze", "%s was accepted while the cluster is frozen", name(cmd))
}

func (c *checker) takeSet(x *state.PutSet, res state.Result) {
	k := x.Namespace + "/" + x.Name
	s := c.sets[k]
	start := 0
	if x.Spec.Ordinals != nil {
		start = x.Spec.Ordinals.Start
	}
	if s == nil {
		s = &setRecord{replicas: *x.Spec.Replicas, start: start, first: x.Spec.Volumes, current: x.Template.Hash(), kinds: map[string]spec.StatefulSetSpec{}}
		c.sets[k] = s
	} else if res.Changed {
		c.resize(k, s, *x.Spec.Replicas, start, x.AcceptUnhealthy, x.Silent)
	}
	was := s.spec.Volumes
	s.spec, s.hash, s.kind = x.Spec, s.revision(x), x.Template.Processes[0].Command[0]
	s.kinds[s.hash] = x.Spec
	c.reshape(k, s, was, x.UID)
}

// takeUndo: a set goes back to a template that it had, by itself only to the one that all
// members ran last, and if that is asked for.
func (c *checker) takeUndo(x *state.UndoRollout) {
	s := c.sets[x.Namespace+"/"+x.Name]
	was, ok := s.kinds[x.Revision]
	if !ok {
		c.fail("S10", "%s goes back to %s, which it never had", x.Name, x.Revision)
		return
	}
	if x.Auto && (s.paused || x.Revision != s.current || !s.spec.AutoRollback) {
		c.fail("rollback", "%s goes back by itself to %s: current %s, paused %v, asked for %v", x.Name, x.Revision, s.current, s.paused, s.spec.AutoRollback)
	}
	volumes := s.spec.Volumes
	s.hash, s.spec.Processes, s.spec.Volumes, s.kind = x.Revision, was.Processes, was.Volumes, was.Processes[0].Command[0]
	c.reshape(x.Namespace+"/"+x.Name, s, volumes, x.UID)
}

// resize: fewer members only while all are healthy, or the sick are named (S5). The name
// of one that leaves already counts until it is gone.
func (c *checker) resize(k string, s *setRecord, replicas, start int, accept, silent []string) {
	fewer := s.replicas > 0 && (start > s.start || start+replicas < s.start+s.replicas)
	named := slices.Clone(accept)
	for _, m := range c.setMembers(k) {
		leaving := (m.ordinal < start || m.ordinal >= start+replicas) && (m.ordinal < s.start || m.ordinal >= s.start+s.replicas)
		if slices.Contains(s.accept, m.name()) && leaving {
			named = append(named, m.name())
		}
	}
	if fewer {
		c.allHealthy(k, s, named, silent, "a scale-down")
	}
	if fewer || replicas != s.replicas || start != s.start || len(accept) > 0 {
		s.accept = named
	}
	s.replicas, s.start = replicas, start
}

func (c *checker) allHealthy(k string, s *setRecord, accept, silent []string, what string) {
	for _, m := range c.setMembers(k) {
		if m.wish == state.WishGone || m.left || slices.Contains(accept, m.name()) {
			continue
		}
		if !c.healthy(m) {
			c.fail("S5", "%s of %s was accepted while %s is not healthy (%s, %s, seen %+v) and not named", what, k, m.name(), m.node, m.wish, m.seen)
		}
		if slices.Contains(silent, m.name()) {
			c.fail("S5", "%s of %s was accepted while the node of %s is silent", what, k, m.name())
		}
	}
	for o := s.start; o < s.start+s.replicas; o++ {
		if c.members[k+fmt.Sprintf("-%d", o)] == nil && !slices.Contains(accept, fmt.Sprintf("%s-%d", s.spec.ServiceName, o)) {
			c.fail("S5", "%s of %s was accepted while %s-%d has no place", what, k, k, o)
		}
	}
}

func (c *checker) dropSet(k string) {
	if left := c.setMembers(k); len(left) > 0 || !c.sets[k].deleting {
		c.fail("S3", "set %s is dropped with %d members, deleting=%v", k, len(left), c.sets[k].deleting)
	}
	delete(c.sets, k)
	for _, id := range sortedKeys(c.ips) {
		c.forgetIP(id)
	}
}

// forgetIP lets an address go with the last of set and volumes.
func (c *checker) forgetIP(id string) {
	for k, s := range c.sets {
		for o := range 64 {
			if s != nil && id == k+fmt.Sprintf("-%d", o) {
				return
			}
		}
	}
	for _, v := range c.volumes {
		if v.identity == id && !v.given {
			return
		}
	}
	delete(c.ips, id)
}

func (c *checker) takeSlot(ns, set string, slot state.Slot, fresh bool) {
	id := key(ns, set, slot.Ordinal)
	s := c.sets[ns+"/"+set]
	if old := c.ips[id]; old != "" && old != slot.IP {
		c.fail("S12", "%s had the address %s and gets %s", id, old, slot.IP)
	}
	for other, ip := range c.ips {
		if ip == slot.IP && other != id {
			c.fail("S12", "%s gets the address %s of %s", id, slot.IP, other)
		}
	}
	c.ips[id] = slot.IP
	if n := c.nodes[slot.Node]; n == nil || n.state != spec.NodeReady || n.cordoned {
		c.fail("rule 7", "%s is placed on %s, which takes no members", id, slot.Node)
	}
	m := c.members[id]
	switch {
	case fresh && m != nil:
		c.fail("S1", "%s is reserved twice", id)
	case !fresh && m == nil:
		c.fail("S4", "%s is placed anew and has no place", id)
	case !fresh && m.epoch != 0 && m.wish == state.WishStop && m.down() && c.draining(m.node) && len(s.spec.Volumes) == 0:
		c.gone(id, "is placed anew") // it leaves a drained node
	case !fresh && (m.epoch != 0 || m.wish != state.WishReserved):
		c.fail("S4", "%s is placed anew though it was started", id)
	}
	if fresh {
		m = &memberRecord{set: set, ordinal: slot.Ordinal, wish: state.WishReserved, revision: s.wanted(slot.Ordinal)}
		c.members[id] = m
	}
	volumes := s.spec.Volumes
	if fresh {
		volumes = union(volumes, s.kinds[s.next(m)].Volumes)
	} else {
		c.leave(id, s, slot.Node)
	}
	m.node = slot.Node
	for _, vs := range volumes {
		c.bind(id, spec.VolumeName(vs.Name, set, slot.Ordinal), slot, vs.Name)
	}
}

// bind: an ordinal gets the directory it had, where it is, or a new one.
func (c *checker) bind(id, volume string, slot state.Slot, template string) {
	v := c.volumes[namespace+"/"+volume]
	switch {
	case v == nil:
		c.volumes[namespace+"/"+volume] = &volumeRecord{uid: slot.VolumeUIDs[template], node: slot.Node, identity: id, phase: spec.VolumeBound}
		return
	case v.phase == spec.VolumeReleasing:
		c.fail("S3", "%s is bound to %s while it is being released", volume, id)
	case v.identity != id:
		c.fail("S4", "%s of %s is bound to %s", volume, v.identity, id)
	case v.node != slot.Node:
		if _, used := c.homes[id+" "+template]; used {
			c.fail("S4", "%s is on %s, %s gets a place on %s", volume, v.node, id, slot.Node)
		}
		v.node, v.uid = slot.Node, slot.VolumeUIDs[template]
	}
	v.phase = spec.VolumeBound
}

func (c *checker) takeStart(x *state.StartMember) {
	id := key(x.Namespace, x.Set, x.Ordinal)
	m := c.members[id]
	c.lastEp++
	c.epochs[c.lastEp] = id
	c.gone(id, "may be started anew")
	if c.draining(m.node) {
		c.fail("drain", "%s may be started on %s, which is being drained", id, m.node)
	}
	if !m.down() || m.wish == state.WishGone {
		c.fail("S1", "%s may be started anew though its epoch %d is not known to be over", id, m.epoch)
	}
	m.held, m.fresh = false, false
	m.epoch, m.revision, m.wish, m.seen, m.readySince = c.lastEp, x.Revision, state.WishRun, state.Observation{}, time.Time{}
	c.hold(id, c.sets[x.Namespace+"/"+x.Set], m)
}

// gone: nothing of an identity runs anywhere.
func (c *checker) gone(id, what string) {
	for _, h := range c.w.hosts {
		if p := h.procs[id]; p != nil && !c.excused(h, p) {
			c.fail("S1", "%s %s while epoch %d runs on %s", id, what, p.epoch, h.name)
		}
	}
}

func (c *checker) takeStop(x *state.StopMember, stray bool) {
	k, id := x.Namespace+"/"+x.Set, key(x.Namespace, x.Set, x.Ordinal)
	s, m := c.sets[k], c.members[id]
	c.lastWord(x)
	switch {
	case x.Gone && m.wish == state.WishGone:
		return // asked again
	case x.Gone:
		c.leaves(s, m)
		c.takeRemoval(k, s, m, x.Silent, x.Unplaced, false)
		m.wish = state.WishGone
		return
	case c.stopping && x.Why == "Shutdown":
	case x.Why == "Shutdown":
		if !stray {
			c.fail("S6", "%s is stopped for a shutdown that nobody wants", id)
		}
	case x.Why == state.WhyDrain:
		if !c.draining(m.node) {
			c.fail("drain", "%s is stopped for a drain of %s, which nobody wants", id, m.node)
		}
		c.spend(k, s, m)
	case s.paused:
		c.fail("pause", "%s is stopped (%s) while the rollout is paused", id, x.Why)
	case m.revision == s.wanted(m.ordinal) && m.restartUpTo < m.epoch && !stray:
		c.fail("S10", "%s is stopped (%s) though it runs the revision %s that is wanted and nobody asked for a restart", id, x.Why, m.revision)
	case s.kept(m.ordinal) && m.ready() && m.restartUpTo < m.epoch && !stray:
		c.fail("S10", "%s is stopped (%s) though it serves below the partition and nobody asked for a restart", id, x.Why)
	case s.spec.UpdateStrategy.Type != spec.Recreate || m.revision == s.wanted(m.ordinal):
		c.spend(k, s, m)
	}
	m.wish = state.WishStop
}

// spend: stopping a member that serves must stay within the budget (S8).
func (c *checker) spend(k string, s *setRecord, m *memberRecord) {
	if !m.ready() {
		return
	}
	down := 1
	for _, o := range c.setMembers(k) {
		if o == m || o.epoch == 0 {
			continue
		}
		leaves := o.wish == state.WishGone && !o.down() && c.nodeReady(o)
		if s.wants(o.ordinal) && !c.healthy(o) || leaves {
			down++
		}
	}
	if down > s.budget() {
		c.fail("S8", "stopping %s makes %d members of %s unavailable, %d are allowed", m.name(), down, k, s.budget())
	}
}

func (c *checker) takeRemoval(k string, s *setRecord, m *memberRecord, silent []string, unplaced, leaving bool) {
	if s.wants(m.ordinal) && !m.left {
		c.fail("S5", "%s is removed though it is wanted", m.name())
	}
	if s.deleting {
		return
	}
	var accept []string
	for _, a := range s.accept {
		_, ordinal, _ := spec.SplitMember(a)
		if c.members[namespace+"/"+a] != nil || unplaced && s.wants(ordinal) {
			accept = append(accept, a)
		}
	}
	for _, o := range c.setMembers(k) {
		if leaving && o == m || m.left && o.epoch == 0 { // it may wait for the return of the one that has left
			accept = append(accept, o.name())
		}
	}
	c.allHealthy(k, s, accept, silent, "the removal of "+m.name())
	for _, o := range c.setMembers(k) {
		lost := slices.Contains(s.accept, o.name()) && c.away(o.node)
		if o.wish == state.WishGone && o != m && !lost {
			c.fail("rule 2", "%s is removed while %s is still going", m.name(), o.name())
		}
		if o.ordinal > m.ordinal && o.wish != state.WishGone && !s.wants(o.ordinal) {
			c.fail("rule 2", "%s is removed before %s", m.name(), o.name())
		}
	}
}

func (c *checker) takeDrop(x *state.DropMember) {
	id := key(x.Namespace, x.Set, x.Ordinal)
	m, s := c.members[id], c.sets[x.Namespace+"/"+x.Set]
	fenced := s.spec.OnNodeLoss == spec.Fence && len(s.spec.Volumes) == 0 && c.away(m.node)
	if m.wish != state.WishGone || !m.down() && !fenced {
		c.fail("S1", "the record of %s is dropped though its epoch %d is not known to be over", id, m.epoch)
	}
	for _, h := range c.w.hosts {
		if p := h.procs[id]; p != nil && !c.excused(h, p) {
			c.fail("S1", "the record of %s is dropped while it runs on %s", id, h.name)
		}
	}
	delete(c.members, id)
	c.droppedFrom(x.Namespace+"/"+x.Set, s, m)
	policy := s.spec.VolumeRetention.WhenScaled
	if s.deleting {
		policy = s.spec.VolumeRetention.WhenDeleted
	}
	for _, name := range templates {
		k := x.Namespace + "/" + spec.VolumeName(name, x.Set, x.Ordinal)
		v := c.volumes[k]
		if v == nil || v.phase != spec.VolumeBound {
			continue // abandoned, or never its own
		}
		policy := policy
		if !named(s.spec.Volumes, name) {
			policy = spec.Retain // dropped from the definition, whose wish it is no more
		}
		if policy == spec.Delete && c.forgotten[v.node] {
			delete(c.volumes, k)
			c.unhome(v.uid)
			continue
		}
		v.phase = spec.VolumeRetained
		if policy == spec.Delete {
			v.phase, v.at, v.undo = spec.VolumeReleasing, x.ReleaseAt, false
		}
	}
}

// takeReport: a report counts once, in the run that the node is known by.
func (c *checker) takeReport(x *state.Report) {
	n := c.nodes[x.Node]
	if n == nil || n.run != x.Run || x.Seq <= n.seq {
		c.fail("S5", "report %s#%d of %s was accepted after %s#%d", x.Run, x.Seq, x.Node, n.run, n.seq)
		return
	}
	n.seq = x.Seq
	for _, r := range x.Members {
		m := c.members[key(r.Namespace, r.Set, r.Ordinal)]
		if m == nil || m.node != x.Node || m.epoch != r.Seen.Epoch || m.epoch == 0 || m.seen.Phase == spec.MemberStopped {
			continue
		}
		was := m.ready()
		m.seen = r.Seen
		c.takeHooks(r.Namespace+"/"+r.Set, m)
		if !was && m.ready() {
			m.readySince = c.logNow
		}
	}
	for _, r := range x.Volumes {
		k := r.Namespace + "/" + r.Name
		v := c.volumes[k]
		if v != nil && v.uid == r.UID && v.node == x.Node && r.Event == state.VolumeMade {
			v.made = true
		}
		if v != nil && v.uid == r.UID && v.node == x.Node {
			v.missing = r.Event == state.VolumeTrouble && r.Reason == state.VolumeMissing
		}
		if v == nil || v.uid != r.UID || v.phase != spec.VolumeReleasing {
			continue
		}
		switch {
		case r.Event == state.VolumeTrashed:
			v.trashed = true
		case r.Event == state.VolumeRestored && v.undo:
			v.phase, v.undo, v.trashed = spec.VolumeRetained, false, false
			if v.given {
				v.phase = spec.VolumeAbandoned
			}
		case r.Event == state.VolumeEmptied && v.emptying:
			delete(c.volumes, k)
			c.forgetIP(v.identity)
		}
	}
}

// takeVolume: only what nobody holds is released, and only once its time is over
// there is no way back.
func (c *checker) takeVolume(cmd state.Command) {
	switch x := cmd.(type) {
	case *state.ReleaseVolume:
		v := c.volumes[x.Namespace+"/"+x.Name]
		if v == nil {
			c.fail("S4", "%s was released, which is no volume", x.Name)
			return
		}
		if c.forgotten[v.node] {
			delete(c.volumes, x.Namespace+"/"+x.Name)
			c.unhome(v.uid)
			c.forgetIP(v.identity)
		}
		if v.phase == spec.VolumeBound {
			c.fail("S3", "%s was released while it is held by %s", x.Name, v.identity)
		}
		if v.emptying || v.phase == spec.VolumeReleasing && !v.undo && !x.At.Before(v.at) {
			return
		}
		v.phase, v.at, v.undo = spec.VolumeReleasing, x.At, false
	case *state.UndoRelease:
		v := c.volumes[x.Namespace+"/"+x.Name]
		if v == nil {
			c.fail("S4", "%s was brought back, which is no volume", x.Name)
			return
		}
		if v.emptying {
			c.fail("S3", "the release of %s was taken back too late", x.Name)
		}
		v.undo = true
	case *state.EmptyVolume:
		v := c.volumes[x.Namespace+"/"+x.Name]
		if v == nil {
			c.fail("S4", "%s may be emptied, which is no volume", x.Name)
			return
		}
		if v.phase != spec.VolumeReleasing || v.undo || !v.trashed || c.logNow.Before(v.at) {
			c.fail("S3", "%s may be emptied: %s, undo=%v, trashed=%v, its time is %s", x.Name, v.phase, v.undo, v.trashed, v.at)
		}
		v.emptying = true
	}
}
