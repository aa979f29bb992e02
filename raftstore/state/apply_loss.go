package state

import (
	"fmt"
	"slices"
	"time"

	"supd/supervisor/spec"
)

// Reasons of an epoch that ended without its node's word, beside NodeForgotten.
const (
	TakenOver = "TakenOver" // it was fenced, and its node is Lost
	Abandoned = "VolumeAbandoned"
)

// VolumeMissing is a node's word of a directory that it has made and does not find.
const VolumeMissing = "VolumeMissing"

// Fenced tells whether all that may run of the member's present epoch ends with its
// node's lease: as its node reported or, before its first word of this epoch, promised.
func (m *Member) Fenced() bool {
	if m.Epoch == 0 {
		return false
	}
	if m.Seen.Epoch == m.Epoch {
		return m.Seen.Fenced
	}
	return m.Fence
}

// Over tells whether nobody runs the member's present epoch and nobody ever will: it
// never ran, its end was reported or vouched for, or it was fenced on a node that is
// Lost. A member with volumes is never over by a fence: its data is on the lost node.
func (v *View) Over(s *Set, m *Member) bool {
	if m.Epoch == 0 || m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped {
		return true
	}
	n := v.Node(m.Node)
	return s != nil && n != nil && n.State == spec.NodeLost &&
		s.Spec.OnNodeLoss == spec.Fence && !v.HasVolumes(s, m.Ordinal) && m.Fenced()
}

// Homeless tells whether a member that ran has to get another place: its node is gone or
// Lost, or one of its volumes was abandoned.
func (v *View) Homeless(s *Set, m *Member) bool {
	n := v.Node(m.Node)
	return n == nil || n.State == spec.NodeLost || v.Lacks(s, m) != ""
}

// Lacks names a volume that a member should have and has not, since it was abandoned, or
// "". Such a member is not started before it has a new one.
func (v *View) Lacks(s *Set, m *Member) string {
	for _, vs := range s.Spec.Volumes {
		if name := spec.VolumeName(vs.Name, m.Set, m.Ordinal); v.Volume(m.Namespace, name) == nil {
			return name
		}
	}
	return ""
}

// Follows tells whether a volume goes where its member is taken over: it was added to one that
// had run, and no start since can have made it, so that its data could be anywhere.
func (v *Volume) Follows() bool {
	return v.Added && v.Phase == spec.VolumePending && !v.Made && !v.Returned && !v.Used
}

func (t *tx) takeOver(c *TakeOver) *spec.Error {
	old, err := t.assignment(c.Namespace, c.Set, c.Slot.Ordinal, c.IfEpoch, c.IfGeneration)
	if err != nil {
		return err
	}
	s, from, generation := t.Set(c.Namespace, c.Set), t.Node(old.Node), uint64(0)
	if from != nil {
		generation = from.Generation
	}
	switch {
	case s == nil || s.Deleting || old.Wish == WishGone || old.Wish == WishReserved || old.Epoch == 0:
		return stale("member %s is not to be taken over any more", old.Name())
	case generation != c.IfNode:
		return stale("node %s has changed since", old.Node)
	case !t.Homeless(s, old):
		return stale("member %s has its place on node %s", old.Name(), old.Node)
	case !t.Over(s, old):
		return refuse("StillRunning", "member %s may still run with epoch %d on node %s: nothing says that it is fenced there", old.Name(), old.Epoch, old.Node)
	}
	if err := t.checkSlot(s, c.Slot); err != nil {
		return err
	}
	m := *old
	for _, vs := range s.Spec.Volumes {
		name := spec.VolumeName(vs.Name, c.Set, m.Ordinal)
		if v := t.Volume(c.Namespace, name); v != nil {
			if uid := c.Slot.VolumeUIDs[vs.Name]; v.Node != c.Slot.Node && v.Follows() && uid != "" && uid != v.UID {
				moved := *v
				moved.Node, moved.UID, moved.Generation = c.Slot.Node, uid, t.Index
				t.saveVolume(&moved)
				continue
			}
			if v.Node != c.Slot.Node {
				return refuse("VolumeNodeLost", "volume %s of member %s is on node %s and does not move", name, old.Name(), v.Node)
			}
			continue
		}
		if _, err := t.bindVolume(s, vs, c.Slot); err != nil {
			return err
		}
		m.VolumesState, m.Fresh = "new", true
	}
	if c.Slot.Node != old.Node {
		t.leave(s, old)
	}
	t.endEpoch(&m, TakenOver, "node "+old.Node+" is Lost, and its lease has ended what ran there")
	m.Node, m.IP, m.Ports, m.Generation = c.Slot.Node, c.Slot.IP, c.Slot.Ports, t.Index
	put(t, &t.ids, ordinalKey(c.Namespace, c.Set, m.Ordinal), &Identity{c.Namespace, c.Set, m.Ordinal, m.Node, m.IP, m.Ports})
	t.saveMember(&m)
	t.warn(c.Namespace, "member/"+m.Name(), TakenOver, "its place is now on node %s: %s", m.Node, m.Seen.Message)
	return nil
}

// endEpoch notes that the present epoch is over, without its node's word. An end that is
// known already keeps its reason.
func (t *tx) endEpoch(m *Member, reason, message string) {
	if m.Epoch == 0 || m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped {
		return
	}
	if m.Ready() {
		m.UnreadySince = t.now
	}
	m.Seen = Observation{Epoch: m.Epoch, Phase: spec.MemberStopped, Reason: reason, Message: message, StartedAt: m.Seen.StartedAt}
}

// vouch ends a member's epoch because an operator said so.
func (t *tx) vouch(old *Member, reason, message string) {
	m := *old
	t.endEpoch(&m, reason, message)
	m.Generation = t.Index
	t.saveMember(&m)
}

func (t *tx) forgetNode(c *ForgetNode) *spec.Error {
	if f := t.Cluster.Forgot(c.ID); f != nil && f.Name == c.Name {
		return nil
	}
	n := t.Node(c.Name)
	switch {
	case n == nil:
		return notFound("node", "-", c.Name)
	case n.ID != c.ID || c.IfGeneration != 0 && c.IfGeneration != n.Generation:
		return stale("node %s has changed since", c.Name)
	}
	if err := t.checkForget(n); err != nil {
		return err
	}
	for _, m := range slices.Collect(t.NodeMembers(n.Name)) {
		moved := *m
		moved.Node = n.ID // its name may be another machine's one day
		t.vouch(&moved, NodeForgotten, "node "+n.Name+" was forgotten: the operator vouches that nothing runs there")
	}
	for _, old := range slices.Collect(t.Volumes("")) {
		if old.Node != n.Name {
			continue
		}
		v := *old
		v.Node, v.Generation = n.ID, t.Index
		if v.Phase == spec.VolumeReleasing {
			t.dropVolume(&v, "it was released; its node "+n.Name+" is forgotten, so nobody deletes the directory there")
			continue
		}
		t.saveVolume(&v)
	}
	for _, id := range slices.Collect(t.Identities()) {
		if id.Node == n.Name {
			moved := *id
			moved.Node = n.ID
			put(t, &t.ids, ordinalKey(id.Namespace, id.Set, id.Ordinal), &moved)
		}
	}
	del(t, &t.nodes, n.Name)
	list := append(slices.Clone(t.Cluster.Forgotten), ForgottenNode{ID: n.ID, Name: n.Name, At: t.now})
	t.Cluster.Forgotten = list[max(0, len(list)-MaxForgotten):]
	t.warn("", "node/"+n.Name, "Forgotten", "the operator vouches that node %s (id %s) never comes back; its id is not let in again", n.Name, n.ID)
	return nil
}

// checkForget refuses to forget a machine that may be alive and in use.
func (t *tx) checkForget(n *Node) *spec.Error {
	if n.State == spec.NodeLost {
		return nil
	}
	if !n.Cordoned {
		return refuse("NodeNotLost", "cannot forget node %s: it is %s; only a node that is Lost, or cordoned and empty, can be forgotten (supctl node cordon %s keeps new members off it)", n.Name, n.State, n.Name)
	}
	var left []string
	for m := range t.NodeMembers(n.Name) {
		left = append(left, "member "+m.Name())
	}
	for v := range t.Volumes("") {
		if v.Node == n.Name && v.Phase != spec.VolumeAbandoned {
			left = append(left, "volume "+v.Name())
		}
	}
	if len(left) == 0 {
		return nil
	}
	err := refuse("NodeNotEmpty", "cannot forget node %s: it is %s and not empty (%s, %d in all); only a node that is Lost, or cordoned and empty, can be forgotten", n.Name, n.State, left[0], len(left))
	err.Details = left
	return err
}

func (t *tx) abandonVolume(c *AbandonVolume) *spec.Error {
	old := t.Volume(c.Namespace, c.Name)
	if old == nil {
		return notFound("volume", c.Namespace, c.Name)
	}
	if err := checkVersion("volume", c.Name, c.IfVersion, old.Index); err != nil {
		return err
	}
	switch n := t.Node(old.Node); {
	case old.Phase == spec.VolumeAbandoned:
		return nil
	case !VolumeMayMove(old.Phase, spec.VolumeAbandoned) || old.Emptying:
		return refuse("VolumeBusy", "cannot abandon volume %s: it is %s", c.Name, old.Phase)
	case !old.AbandonedAt.IsZero():
		return refuse("VolumeBusy", "cannot abandon volume %s: it is abandoned already, and %s", c.Name, old.Phase)
	case c.Missing && (n == nil || n.State == spec.NodeLost || old.Reason != VolumeMissing):
		return stale("volume %s is not missing on a node that answers any more", c.Name)
	case !c.Missing && n != nil && n.State != spec.NodeLost:
		return refuse("NodeNotLost", "cannot abandon volume %s: its node %s is %s, not Lost; a directory is given up only when it cannot be reached (a retained one is released: supctl volume release %s)",
			c.Name, n.Name, n.State, c.Name)
	}
	del(t, &t.volumes, key(old.Namespace, old.Name()))
	v := *old
	v.Phase, v.AbandonedAt, v.Generation = spec.VolumeAbandoned, t.now, t.Index
	v.Undo, v.ReleaseAt, v.Marked = false, time.Time{}, false
	t.saveVolume(&v)
	if m := t.Member(v.Namespace, v.Set, v.Ordinal); m != nil && m.Node == v.Node && !t.dropped(old) {
		switch {
		case !c.Missing:
			t.vouch(m, Abandoned, "volume "+c.Name+" was abandoned: the operator vouches that nothing runs on it")
		case m.Wish == WishRun:
			t.askStop(m, WishStop, Abandoned)
		}
	}
	t.dropIdentity(v.Namespace, v.Set, v.Ordinal)
	if c.Missing {
		t.warn(v.Namespace, "volume/"+c.Name, spec.VolumeAbandoned, "it is given up: node %s does not find its directory, and keeps it as %s should it come back; its name is free for a new directory", v.Node, v.Name())
		return nil
	}
	t.warn(v.Namespace, "volume/"+c.Name, spec.VolumeAbandoned, "it is given up on node %s and kept there as %s; its name is free for a new directory", v.Node, v.Name())
	return nil
}

// newRun notes what a new registration takes back: the promise of an agent that gives
// none, and that members serve which a boot has ended.
func (t *tx) newRun(old, n *Node) {
	booted := old.Boot != "" && n.Boot != "" && old.Boot != n.Boot
	if n.Fences && !booted {
		return
	}
	for _, was := range slices.Collect(t.NodeMembers(n.Name)) {
		m := *was
		if !n.Fences {
			m.Fence, m.Seen.Fenced = false, false
		}
		if booted && m.Seen.Epoch == m.Epoch && m.Seen.Phase != spec.MemberStopped && m.Epoch != 0 {
			if m.Ready() {
				m.UnreadySince = t.now
			}
			m.Seen.Ready, m.Seen.Steady = false, false
			m.Seen.Reason, m.Seen.Message = "HostRebooted", fmt.Sprintf("its host %s was booted anew and has not told of it yet", n.Name)
		}
		if m.Fence != was.Fence || m.Seen.Fenced != was.Seen.Fenced || m.Seen.Ready != was.Seen.Ready || m.Seen.Reason != was.Seen.Reason {
			t.saveMember(&m)
			t.tellObserved(was, &m)
		}
	}
}
