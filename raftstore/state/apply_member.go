package state

import (
	"fmt"
	"time"

	"supd/supervisor/spec"
)

func (t *tx) reserve(c *Reserve) *spec.Error {
	s := t.Set(c.Namespace, c.Set)
	if s == nil || s.Deleting || s.Meta.Generation != c.IfGeneration {
		return stale("statefulset %s has changed since", c.Set)
	}
	for _, slot := range c.Slots {
		if !s.Wants(slot.Ordinal) || t.Member(c.Namespace, c.Set, slot.Ordinal) != nil {
			return stale("ordinal %d of statefulset %s is not free", slot.Ordinal, c.Set)
		}
		if err := t.reserveSlot(s, slot); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) reserveSlot(s *Set, slot Slot) *spec.Error {
	ns, set := s.Meta.Namespace, s.Meta.Name
	if err := t.checkSlot(s, slot); err != nil {
		return err
	}
	m := &Member{
		Namespace: ns, Set: set, Ordinal: slot.Ordinal, UID: slot.UID, Node: slot.Node, IP: slot.IP,
		Ports: slot.Ports, Revision: s.Wanted(slot.Ordinal), Wish: WishReserved, VolumesState: "new",
		CreatedAt: t.now, UnreadySince: t.now, Generation: t.Index,
	}
	for _, vs := range t.SlotVolumes(s, slot.Ordinal) {
		returned, err := t.bindVolume(s, vs, slot)
		if err != nil {
			return err
		}
		if returned {
			m.VolumesState = "returned"
		}
	}
	put(t, &t.ids, ordinalKey(ns, set, slot.Ordinal), &Identity{ns, set, slot.Ordinal, slot.Node, slot.IP, slot.Ports})
	t.saveMember(m)
	t.event(ns, "member/"+m.Name(), "Reserved", "a place on node %s, address %s", m.Node, m.IP)
	return nil
}

// checkSlot refuses a place that is taken or not to be had: an identity has one
// holder, an address and port one user, an ordinal one address for life.
func (t *tx) checkSlot(s *Set, slot Slot) *spec.Error {
	n := t.Node(slot.Node)
	if n == nil || n.State != spec.NodeReady || n.Cordoned {
		return stale("node %s takes no new members", slot.Node)
	}
	if slot.UID == "" || slot.IP == "" {
		return refuse("Invalid", "a reservation needs a uid and an address")
	}
	ns, set := s.Meta.Namespace, s.Meta.Name
	own := t.inPlan(slot.IP)
	if id := t.Identity(ns, set, slot.Ordinal); id != nil {
		if t.inPlan(id.IP) && id.IP != slot.IP {
			return stale("member %s has the address %s, not %s", spec.MemberName(set, slot.Ordinal), id.IP, slot.IP)
		}
		for name, port := range slot.Ports {
			if kept, ok := id.Ports[name]; ok && kept != port && !fixedPort(s, t, name) {
				return stale("member %s has port %d for %s, not %d", spec.MemberName(set, slot.Ordinal), kept, name, port)
			}
		}
	}
	if own {
		for id := range t.Identities() {
			if id.IP == slot.IP && (id.Namespace != ns || id.Set != set || id.Ordinal != slot.Ordinal) {
				return stale("address %s belongs to %s", slot.IP, spec.MemberName(id.Set, id.Ordinal))
			}
		}
	}
	return t.checkPorts(ns, set, slot)
}

// checkPorts refuses ports that another member has at the address.
func (t *tx) checkPorts(ns, set string, slot Slot) *spec.Error {
	if len(slot.Ports) == 0 {
		return nil
	}
	for other := range t.MemberAt(slot.IP) {
		if other.Namespace == ns && other.Set == set && other.Ordinal == slot.Ordinal {
			continue
		}
		for name, port := range slot.Ports {
			for _, taken := range other.Ports {
				if taken == port {
					return stale("port %d (%s) of %s is taken by %s", port, name, slot.IP, other.Name())
				}
			}
		}
	}
	return nil
}

// fixedPort tells whether the wanted template gives a port a number.
func fixedPort(s *Set, t *tx, name string) bool {
	r := t.Revision(s.Meta.Namespace, s.Meta.Name, s.Revision)
	if r == nil {
		return false
	}
	for _, p := range r.Template.Processes {
		for _, port := range p.Ports {
			if port.Name == name {
				return port.Port != 0
			}
		}
	}
	return true
}

// bindVolume makes an ordinal's volume, or gives it back the one it had.
func (t *tx) bindVolume(s *Set, vs spec.VolumeSpec, slot Slot) (returned bool, err *spec.Error) {
	ns, set := s.Meta.Namespace, s.Meta.Name
	name := spec.VolumeName(vs.Name, set, slot.Ordinal)
	old := t.Volume(ns, name)
	if old == nil {
		uid := slot.VolumeUIDs[vs.Name]
		if uid == "" {
			return false, stale("volume %s is gone; it needs a new uid", name)
		}
		t.saveVolume(&Volume{
			Namespace: ns, Set: set, Template: vs.Name, Ordinal: slot.Ordinal, UID: uid, Node: slot.Node,
			Size: vs.Size, Mode: vs.Mode, Owner: vs.Owner, Phase: spec.VolumePending, CreatedAt: t.now, Generation: t.Index,
		})
		return false, nil
	}
	if old.Set != set || old.Ordinal != slot.Ordinal || old.Template != vs.Name {
		return false, refuse("NameTaken", "the name %s belongs to a volume of %s", name, old.Member())
	}
	if !VolumeMayMove(old.Phase, spec.VolumeBound) || old.Phase == spec.VolumePending {
		return false, refuse("VolumeBusy", "volume %s is %s", name, old.Phase)
	}
	if old.Node != slot.Node {
		return false, stale("volume %s is on node %s, not %s", name, old.Node, slot.Node)
	}
	v := *old
	v.Phase, v.Returned, v.Size = spec.VolumeBound, true, vs.Size
	if !v.Made {
		v.Phase = spec.VolumePending
	}
	v.Generation = t.Index
	t.saveVolume(&v)
	t.event(ns, "volume/"+name, "Bound", "%s has its directory back", v.Member())
	return v.Made, nil
}

func (t *tx) place(c *Place) *spec.Error {
	old := t.Member(c.Namespace, c.Set, c.Slot.Ordinal)
	s := t.Set(c.Namespace, c.Set)
	if s == nil || old == nil || old.Generation != c.IfGeneration || (old.Wish != WishReserved || old.Epoch != 0) && !t.MayLeave(s, old) {
		return stale("the reservation of %s has changed since", spec.MemberName(c.Set, c.Slot.Ordinal))
	}
	if err := t.checkSlot(s, c.Slot); err != nil {
		return err
	}
	for _, vs := range s.Spec.Volumes {
		if t.Volume(c.Namespace, spec.VolumeName(vs.Name, c.Set, c.Slot.Ordinal)) != nil {
			continue
		}
		if _, err := t.bindVolume(s, vs, c.Slot); err != nil { // it was abandoned
			return err
		}
	}
	if c.Slot.Node != old.Node {
		t.leave(s, old)
	}
	for _, v := range t.MemberVolumes(c.Namespace, c.Set, c.Slot.Ordinal) {
		if v.Node == c.Slot.Node {
			continue
		}
		if v.Phase != spec.VolumePending || v.Made || v.Returned {
			return refuse("VolumeMade", "volume %s is on node %s and is not moved", v.Name(), v.Node)
		}
		// The old node may have made the directory and not told yet: another uid
		// keeps the two apart.
		moved := *v
		moved.Node, moved.UID, moved.Generation = c.Slot.Node, c.Slot.VolumeUIDs[v.Template], t.Index
		if moved.UID == "" || moved.UID == v.UID {
			return refuse("Invalid", "volume %s needs a new uid on another node", v.Name())
		}
		t.saveVolume(&moved)
	}
	m := *old
	m.Node, m.IP, m.Ports, m.Generation = c.Slot.Node, c.Slot.IP, c.Slot.Ports, t.Index
	put(t, &t.ids, ordinalKey(c.Namespace, c.Set, m.Ordinal), &Identity{c.Namespace, c.Set, m.Ordinal, m.Node, m.IP, m.Ports})
	t.saveMember(&m)
	t.event(c.Namespace, "member/"+m.Name(), "Placed", "its place is now on node %s", m.Node)
	return nil
}

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
		if err := t.mayRemove(s, m, c.Silent); err != nil {
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
// any is unhealthy.
func (t *tx) mayRemove(s *Set, m *Member, silent []string) *spec.Error {
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
	accepted := present(t, s, s.AcceptLost)
	if m.Left() { // who never ran may wait for its return
		for _, other := range t.SetMembers(m.Namespace, m.Set) {
			if other.Epoch == 0 {
				accepted = append(accepted, other.Name())
			}
		}
	}
	return t.gate(s, s.Replicas(), accepted, silent, "remove member "+m.Name()+" of")
}

// present keeps the accepted names that still are members.
func present(t *tx, s *Set, names []string) (out []string) {
	for _, a := range names {
		if m := t.MemberNamed(s.Meta.Namespace, a); m != nil {
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

// report takes over what a node saw. Whatever is about another epoch, or about a
// member that is no longer that node's, is passed over.
func (t *tx) report(c *Report) *spec.Error {
	old := t.Node(c.Node)
	if old == nil {
		return notFound("node", "-", c.Node)
	}
	if old.Run != c.Run || c.Seq <= old.Seq {
		return stale("report %d of run %s of node %s is out of date (run %s, report %d came last)", c.Seq, c.Run, c.Node, old.Run, old.Seq)
	}
	n := *old
	n.Seq = c.Seq
	t.saveNode(&n)
	for _, r := range c.Members {
		m := t.Member(r.Namespace, r.Set, r.Ordinal)
		if m != nil && m.Node == c.Node && m.Epoch == r.Seen.Epoch && m.Epoch != 0 {
			t.observe(m, r.Seen)
		}
	}
	for _, r := range c.Volumes {
		t.observeVolume(c.Node, r)
	}
	for _, f := range c.Found {
		t.foundVolume(c.Node, f)
	}
	return nil
}

func (t *tx) observe(old *Member, seen Observation) {
	if old.Seen.Phase == spec.MemberStopped {
		return // an epoch given up does not come back
	}
	m := *old
	wasReady := old.Ready()
	m.Seen = seen
	t.answer(&m)
	if ready := m.Ready(); ready != wasReady {
		if ready {
			m.ReadySince = t.now
		} else {
			m.UnreadySince = t.now
		}
	}
	if m.Ready() && seen.Steady {
		m.WasAvailable = true
	}
	t.saveMember(&m)
	t.tellObserved(old, &m)
}

func (t *tx) tellObserved(old, m *Member) {
	object := "member/" + m.Name()
	if m.Seen.Restarts > old.Seen.Restarts && old.Seen.Epoch == m.Epoch {
		reason := "Restarted"
		if last := lastEnd(m); last != nil && last.Reason != "" {
			reason = last.Reason
		}
		t.warn(m.Namespace, object, reason, "a process died and was restarted in place (%d times so far)%s", m.Seen.Restarts, lastExit(m))
	}
	if old.Seen.Phase != m.Seen.Phase || old.Seen.Reason != m.Seen.Reason {
		warning := m.Seen.Phase == spec.MemberFailed
		t.note(warning, m.Namespace, object, orWord(m.Seen.Phase, "Seen"), sentence(m))
	}
	t.tellHooks(old, m)
	if old.Ready() != m.Ready() {
		if m.Ready() {
			t.event(m.Namespace, object, "Ready", "it is ready")
		} else if m.Wish == WishRun {
			t.warn(m.Namespace, object, "NotReady", "%s", orWord(m.Seen.Message, "it is not ready any more"))
		}
	}
}

func sentence(m *Member) string {
	s := fmt.Sprintf("it is %s on node %s", m.Seen.Phase, m.Node)
	if m.Seen.Reason != "" {
		s += ": " + m.Seen.Reason
	}
	if m.Seen.Message != "" {
		s += ", " + m.Seen.Message
	}
	return s
}

// lastEnd is the latest end of a process of the member's, nil if none has ended.
func lastEnd(m *Member) *spec.Exit {
	var last *spec.Exit
	for _, p := range m.Seen.Processes {
		if p.LastExit != nil && (last == nil || p.LastExit.At.After(last.At)) {
			last = p.LastExit
		}
	}
	return last
}

func lastExit(m *Member) string {
	last := lastEnd(m)
	switch {
	case last == nil:
		return ""
	case last.Reason == spec.OOMKilled:
		return "; last killed by the kernel, out of memory"
	case last.Signal != "":
		return "; last ended by " + last.Signal
	}
	return fmt.Sprintf("; last exit status %d", last.Code)
}
