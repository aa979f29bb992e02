package state

import (
	"fmt"
	"time"

	"supd/supervisor/spec"
)

// Phase is the member's phase as users see it: what was seen of its present epoch,
// Lost when its node is.
func (v *View) Phase(m *Member) string {
	if n := v.Node(m.Node); n == nil || n.State == spec.NodeLost {
		return spec.MemberLost
	}
	switch {
	case m.Stopping() && !m.Down():
		return spec.MemberStopping
	case m.Epoch == 0:
		return spec.MemberPending
	case m.Seen.Epoch != m.Epoch || m.Seen.Phase == "":
		return spec.MemberStarting
	}
	return m.Seen.Phase
}

// Stopping tells whether the log asks for the member's stop.
func (m *Member) Stopping() bool { return m.Wish == WishStop || m.Wish == WishGone }

// Down tells whether the member is known not to run and not to be started by
// anybody: it never was, or its node has reported the present epoch stopped.
func (m *Member) Down() bool {
	if m.Epoch == 0 {
		return true
	}
	return m.Stopping() && m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped
}

// Ready tells whether the member serves: seen ready in its present epoch, and not
// asked to stop. It says nothing of its node.
func (m *Member) Ready() bool {
	return m.Wish == WishRun && m.Seen.Epoch == m.Epoch && m.Epoch != 0 &&
		m.Seen.Phase == spec.MemberRunning && m.Seen.Ready
}

// MayStop tells whether the member's last word, in its present epoch, is that it may be
// stopped now. What was not asked, or not answered, counts as no.
func (m *Member) MayStop() bool {
	c := m.Seen.MayStop
	return m.Seen.Epoch == m.Epoch && c != nil && c.Answer == spec.Yes
}

// Healthy tells whether a member is fully well, or the reason why not: one
// CamelCase word and a clause.
func (v *View) Healthy(m *Member) (ok bool, reason, message string) {
	n := v.Node(m.Node)
	switch {
	case n == nil:
		return false, "NodeUnknown", fmt.Sprintf("its node %s is not known", m.Node)
	case n.State != spec.NodeReady:
		return false, "Node" + n.State, fmt.Sprintf("its node %s is %s since %s", m.Node, n.State, clockTime(n.Since))
	case m.Wish == WishReserved:
		return false, "NotStarted", "it has not been started yet"
	case m.Wish == WishStop && m.Down() && n.Draining:
		return false, "Drained", "its node " + n.Name + " is drained; it starts again with supctl node uncordon " + n.Name
	case m.Stopping():
		return false, "Stopping", "it is being stopped (" + m.Why + ")"
	case m.Seen.Epoch != m.Epoch:
		return false, "Starting", "its node has not reported its start yet"
	case m.Seen.Phase != spec.MemberRunning:
		return false, orWord(m.Seen.Reason, m.Seen.Phase), orWord(m.Seen.Message, "it is "+m.Seen.Phase)
	case !m.Seen.Ready:
		return false, orWord(m.Seen.Reason, "NotReady"), orWord(m.Seen.Message, "its readiness probe does not pass")
	case !m.Seen.Steady:
		return false, orWord(m.Seen.Reason, "NotSteady"), orWord(m.Seen.Message, "it has not run long enough since its last start to be called steady")
	}
	return true, "", ""
}

// Available tells whether a member has been ready for the set's minReady at now.
// A member on a suspect or lost node is not.
func (v *View) Available(s *Set, m *Member, now time.Time) bool {
	if !m.Ready() {
		return false
	}
	if n := v.Node(m.Node); n == nil || n.State != spec.NodeReady {
		return false
	}
	return now.Sub(m.ReadySince) >= s.Spec.MinReady.D()
}

// Needs tells whether a member is due for a new start: on another revision than
// the set's (at or above the partition) or asked to restart.
func (s *Set) Needs(m *Member) bool {
	return m.Epoch != 0 && (m.RestartUpTo >= m.Epoch || s.Outdated(m))
}

// Outdated tells whether the member's revision is not the one its ordinal should have.
func (s *Set) Outdated(m *Member) bool { return m.Revision != s.Wanted(m.Ordinal) }

// Behind tells whether a rollout has the member still to come: it is outdated, and not below
// the partition. Below it who is of a later revision (he came by it before the partition was
// raised, or by OnDelete) stays so until he is started anew for another reason.
func (s *Set) Behind(m *Member) bool { return s.Outdated(m) && !s.kept(m.Ordinal) }

// kept: rollouts pass the ordinal by.
func (s *Set) kept(ordinal int) bool {
	r := s.Spec.UpdateStrategy.RollingUpdate
	return r != nil && ordinal < r.Partition && s.Current != ""
}

// Wanted is the revision an ordinal should run.
func (s *Set) Wanted(ordinal int) string {
	if s.kept(ordinal) {
		return s.Current
	}
	return s.Revision
}

func orWord(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05") }
