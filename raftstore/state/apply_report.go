package state

import (
	"fmt"

	"supd/supervisor/spec"
)

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
		t.foundVolume(c.Node, f, c.Rules)
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
	case last.Message != "":
		return "; last ended by supd: " + last.Message
	case last.Signal != "":
		return "; last ended by " + last.Signal
	}
	return fmt.Sprintf("; last exit status %d", last.Code)
}
