package state

import (
	"time"

	"supd/supervisor/spec"
)

// assignment finds a member in the state its command was computed from.
func (t *tx) assignment(ns, set string, ordinal int, epoch, generation uint64) (*Member, *spec.Error) {
	m := t.Member(ns, set, ordinal)
	if m == nil {
		return nil, stale("member %s is gone", spec.MemberName(set, ordinal))
	}
	if m.Epoch != epoch || m.Generation != generation {
		return nil, stale("member %s has changed since: epoch %d, not %d", m.Name(), m.Epoch, epoch)
	}
	return m, nil
}

// MayStart tells whether nobody runs the member and nobody will: it never ran, or
// its node reported its epoch stopped (asked to, or because the host went down).
func (m *Member) MayStart() bool {
	switch m.Wish {
	case WishReserved, WishStop:
		return m.Down()
	case WishRun:
		return m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped
	case WishGone:
	}
	return false
}

func (t *tx) startMember(c *StartMember) *spec.Error { return t.newEpoch(c, false) }

// newEpoch lets a member be started or, held, tell its position.
func (t *tx) newEpoch(c *StartMember, held bool) *spec.Error {
	old, err := t.assignment(c.Namespace, c.Set, c.Ordinal, c.IfEpoch, c.IfGeneration)
	if err != nil {
		return err
	}
	s := t.Set(c.Namespace, c.Set)
	n := t.Node(old.Node)
	switch {
	case s == nil || s.Deleting || !s.Wants(c.Ordinal) && old.Epoch == 0:
		return stale("member %s is not wanted any more", old.Name())
	case t.Cluster.Stopping:
		return stale("the cluster is being stopped")
	case t.Revision(c.Namespace, c.Set, c.Revision) == nil:
		return stale("revision %s is gone", c.Revision)
	case n == nil || n.State != spec.NodeReady:
		return stale("node %s is not ready", old.Node)
	case n.Draining:
		return stale("node %s is being drained", old.Node)
	case !old.MayStart():
		return refuse("StillRunning", "member %s may still run with epoch %d", old.Name(), old.Epoch)
	case t.unbound(s, old, c.Revision) != nil:
		return t.unbound(s, old, c.Revision)
	case t.Lacks(s, old) != "":
		return refuse("VolumeMissing", "member %s has no volume %s any more: it was abandoned; it gets a new one first", old.Name(), t.Lacks(s, old))
	}
	if c.Fence && (s.Spec.OnNodeLoss != spec.Fence || !n.Fences) {
		return stale("member %s is not to be fenced any more, or its node promises it no more", old.Name())
	}
	if err := t.checkPorts(c.Namespace, c.Set, Slot{Ordinal: c.Ordinal, IP: old.IP, Ports: c.Ports}); err != nil {
		return err
	}
	t.Cluster.Epoch++
	m := *old
	if len(c.Ports) > 0 {
		m.Ports = c.Ports
		put(t, &t.ids, ordinalKey(c.Namespace, c.Set, m.Ordinal), &Identity{c.Namespace, c.Set, m.Ordinal, m.Node, m.IP, m.Ports})
	}
	m.Joining = s.Formed && (m.Epoch == 0 || m.Fresh || t.stillJoins(old, c.Revision))
	m.Fence, m.Fresh, m.Held = c.Fence, false, held
	m.Epoch, m.Revision, m.Wish, m.Why, m.Bootstrap = t.Cluster.Epoch, c.Revision, WishRun, "", c.Bootstrap
	m.Seen, m.WasAvailable, m.ReadySince = Observation{}, false, time.Time{}
	m.Generation = t.Index
	if m.UnreadySince.IsZero() {
		m.UnreadySince = t.now
	}
	t.saveMember(&m)
	t.holdVolumes(s, &m, m.Revision)
	if held {
		t.event(c.Namespace, "member/"+m.Name(), "Held", "all of the set is down: node %s is asked for its position with epoch %d, revision %s", m.Node, m.Epoch, m.Revision)
		return nil
	}
	t.event(c.Namespace, "member/"+m.Name(), "Start", "start on node %s with epoch %d, revision %s", m.Node, m.Epoch, m.Revision)
	return nil
}

func (t *tx) stopMember(c *StopMember) *spec.Error {
	old, err := t.assignment(c.Namespace, c.Set, c.Ordinal, c.IfEpoch, c.IfGeneration)
	if err != nil {
		return err
	}
	s := t.Set(c.Namespace, c.Set)
	if s == nil {
		return stale("statefulset %s is gone", c.Set)
	}
	if c.IfSet != 0 && c.IfSet != s.Meta.Generation {
		return stale("statefulset %s has changed since", c.Set)
	}
	if c.IfMayStop && old.Ready() && !old.MayStop() {
		return stale("member %s has not said that it may be stopped now", old.Name())
	}
	if c.Gone {
		return t.removeWish(s, old, c)
	}
	switch {
	case old.Wish != WishRun:
		return stale("member %s is not wanted to run", old.Name())
	case c.Why == WhyShutdown && !t.Cluster.Stopping:
		return stale("the cluster is not being stopped any more")
	case c.Why == WhyShutdown:
	case c.Why == WhyDrain:
		if err := t.checkDrain(old, c.Budget); err != nil {
			return err
		}
	case !s.Needs(old):
		return stale("member %s is not due for a restart any more", old.Name())
	}
	if err := t.checkBudget(s, old, c.Budget); err != nil {
		return err
	}
	t.askStop(old, WishStop, c.Why)
	return nil
}

// checkBudget bounds voluntary downtime at this very place of the log, so that two
// leaders, or a crash since the plan was made, cannot add up.
func (t *tx) checkBudget(s *Set, m *Member, budget int) *spec.Error {
	if budget == 0 || !m.Ready() {
		return nil
	}
	if budget == OnlyUnready {
		return stale("member %s has turned ready", m.Name())
	}
	down := 1
	for _, other := range t.SetMembers(m.Namespace, m.Set) {
		if other.Ordinal == m.Ordinal || other.Epoch == 0 {
			continue
		}
		if s.Wants(other.Ordinal) {
			if ok, _, _ := t.Healthy(other); !ok {
				down++
			}
			continue
		}
		n := t.Node(other.Node)
		if other.Wish == WishGone && !other.Down() && n != nil && n.State == spec.NodeReady {
			down++ // it is being removed: one budget for all voluntary downtime
		}
	}
	if down > budget {
		return refuse("Budget", "stopping %s would leave %d members of %s unavailable, %d are allowed", m.Name(), down, m.Set, budget)
	}
	return nil
}

func (t *tx) askStop(old *Member, wish Wish, why string) {
	m := *old
	if m.Ready() {
		m.UnreadySince = t.now
	}
	m.Wish, m.Why, m.Generation = wish, why, t.Index
	t.saveMember(&m)
	t.event(m.Namespace, "member/"+m.Name(), "Stop", "it is asked to stop (%s)", why)
}

// removeWish marks the highest unwanted member as going. Unless the set is being
// deleted it needs all others (and itself) healthy, but for the accepted ones.
func (t *tx) removeWish(s *Set, m *Member, c *StopMember) *spec.Error {
	if s.Wants(m.Ordinal) && !m.Left() {
		return stale("member %s is wanted", m.Name())
	}
	if m.Wish == WishGone {
		return nil
	}
	if !s.Deleting {
		if err := t.mayRemove(s, m, c.Silent, c.Unplaced); err != nil {
			return err
		}
		if t.OwesLeave(s, m) {
			return refuse("OnLeave", "the onLeave hook of member %s has not succeeded yet", m.Name())
		}
	}
	t.askStop(m, WishGone, c.Why)
	return nil
}

// mayRemove refuses to take a member away, or to begin to, before it is its turn and while
// any is unhealthy, but for those that were accepted as lost and those that leave.
func (t *tx) mayRemove(s *Set, m *Member, silent []string, unplaced bool, leaving ...string) *spec.Error {
	if s.Wants(m.Ordinal) && !m.Left() {
		return stale("member %s is wanted", m.Name())
	}
	for _, other := range t.SetMembers(m.Namespace, m.Set) {
		if other.Wish == WishGone && !t.acceptedLost(s, other) {
			return refuse("OneAtATime", "member %s is still being removed", other.Name())
		}
		if other.Ordinal > m.Ordinal && other.Wish != WishGone && !s.Wants(other.Ordinal) {
			return refuse("HighestFirst", "member %s is removed before %s", other.Name(), m.Name())
		}
	}
	accepted := append(present(t, s, s.AcceptLost, unplaced), leaving...)
	if m.Left() { // who never ran may wait for its return
		for _, other := range t.SetMembers(m.Namespace, m.Set) {
			if other.Epoch == 0 {
				accepted = append(accepted, other.Name())
			}
		}
	}
	return t.gate(s, s.Replicas(), accepted, silent, "remove member "+m.Name()+" of")
}

// present keeps the accepted names that still are members, and with unplaced those that
// are wanted and have no place yet.
func present(t *tx, s *Set, names []string, unplaced bool) (out []string) {
	for _, a := range names {
		_, ordinal, ok := spec.SplitMember(a)
		if t.MemberNamed(s.Meta.Namespace, a) != nil || unplaced && ok && s.Wants(ordinal) {
			out = append(out, a)
		}
	}
	return out
}

// acceptedLost: going, accepted as lost, and its node does not answer; the removal
// of others need not wait for it.
func (t *tx) acceptedLost(s *Set, m *Member) bool {
	n := t.Node(m.Node)
	return contains(s.AcceptLost, m.Name()) && (n == nil || n.State == spec.NodeLost)
}

func (t *tx) keepMember(c *KeepMember) *spec.Error {
	old, err := t.assignment(c.Namespace, c.Set, c.Ordinal, c.IfEpoch, c.IfGeneration)
	if err != nil {
		return err
	}
	s := t.Set(c.Namespace, c.Set)
	if s == nil || s.Deleting || !s.Wants(c.Ordinal) || old.Wish != WishGone || old.Left() {
		return stale("member %s is not to be kept", old.Name())
	}
	m := *old
	m.Wish, m.Why, m.Generation = WishStop, "Kept", t.Index
	if m.Epoch == 0 {
		m.Wish, m.Why = WishReserved, ""
	}
	t.saveMember(&m)
	t.event(c.Namespace, "member/"+m.Name(), "Kept", "the set was scaled up again before it was gone")
	return nil
}

func (t *tx) dropMember(c *DropMember) *spec.Error {
	m, err := t.assignment(c.Namespace, c.Set, c.Ordinal, c.IfEpoch, c.IfGeneration)
	if err != nil {
		return err
	}
	s := t.Set(c.Namespace, c.Set)
	if m.Wish != WishGone || !m.Down() && !t.Over(s, m) {
		return refuse("StillRunning", "member %s is not gone", m.Name())
	}
	if s == nil {
		return stale("statefulset %s is gone", c.Set)
	}
	t.retainVolumes(s, m, c.ReleaseAt)
	t.noteGone(s, m)
	t.removeMember(m)
	t.event(c.Namespace, "member/"+m.Name(), "Removed", "it is gone; %s", retainedWord(s))
	return nil
}

func retainedWord(s *Set) string {
	if len(s.Spec.Volumes) == 0 {
		return "it had no directories"
	}
	return "its directories are kept as the definition asks"
}

// retainVolumes lets go of a removed member's volumes: retained, or released where
// the definition asks for deletion.
func (t *tx) retainVolumes(s *Set, m *Member, releaseAt time.Time) {
	policy := s.Spec.VolumeRetention.WhenScaled
	if s.Deleting {
		policy = s.Spec.VolumeRetention.WhenDeleted
	}
	for _, old := range t.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if old.Phase != spec.VolumeBound && old.Phase != spec.VolumePending {
			continue
		}
		v := *old
		v.Phase, v.Generation = spec.VolumeRetained, t.Index
		if policy == spec.Delete && names(s.Spec.Volumes, v.Template) {
			v.Phase, v.ReleaseAt = spec.VolumeReleasing, releaseAt
			if t.Node(v.Node) == nil {
				t.dropVolume(&v, "it is released; its node "+v.Node+" is forgotten, so nobody deletes the directory there")
				continue
			}
		}
		t.saveVolume(&v)
		t.event(v.Namespace, "volume/"+v.Name(), v.Phase, "member %s is gone; the directory on node %s is %s", m.Name(), v.Node, v.Phase)
	}
}

func (t *tx) deleteMember(c *DeleteMember) *spec.Error {
	old := t.Member(c.Namespace, c.Set, c.Ordinal)
	if old == nil {
		return notFound("member", c.Namespace, spec.MemberName(c.Set, c.Ordinal))
	}
	if old.Wish == WishRun {
		t.askStop(old, WishStop, "Deleted")
	}
	return nil
}

// dropIdentity forgets an ordinal's address when neither set, member nor volume is left.
func (t *tx) dropIdentity(ns, set string, ordinal int) {
	if t.Set(ns, set) != nil || t.Member(ns, set, ordinal) != nil {
		return
	}
	for v := range t.Volumes(ns) {
		if v.Set == set && v.Ordinal == ordinal && v.AbandonedAt.IsZero() {
			return
		}
	}
	del(t, &t.ids, ordinalKey(ns, set, ordinal))
}
