package state

import (
	"time"

	"supd/supervisor/spec"
)

// ProgressDeadline is how long a set may go without progress before it counts as stalled.
func (s *Set) ProgressDeadline() time.Duration { return s.Spec.StalledAfter() }

// Moved is when a set last went on: its wish changed, or a member was reserved, asked to
// stop, started, became available, or fell ill. While a revision is rolled out, a member
// that turns ready and unready again and again moves nothing: it counts as fallen ill only
// if it was well for as long as the deadline.
func (v *View) Moved(s *Set, now time.Time) time.Time {
	at := latest(latest(s.ScaledAt, s.UpdatedAt), s.ResumedAt)
	for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		at = latest(at, v.memberMoved(s, m, now))
	}
	if at.After(now) { // a node's clock may be ahead
		return now
	}
	return at
}

func (v *View) memberMoved(s *Set, m *Member, now time.Time) time.Time {
	at := m.CreatedAt
	if n := v.Node(m.Node); n != nil && n.State != spec.NodeReady {
		at = latest(at, n.Since)
	}
	if m.Seen.Epoch == m.Epoch && m.Epoch != 0 {
		at = latest(at, latest(m.Seen.StartedAt, m.Seen.StartedOK))
	}
	switch {
	case m.Stopping() || m.ReadySince.IsZero(),
		!m.Ready() && s.Current == s.Revision,
		m.UnreadySince.Sub(m.ReadySince) >= s.ProgressDeadline():
		at = latest(at, m.UnreadySince)
	case !m.Ready() || !m.Seen.Steady:
	case now.Sub(m.ReadySince) < s.Spec.MinReady.D():
		return now
	default:
		at = latest(at, m.ReadySince.Add(s.Spec.MinReady.D()))
	}
	return at
}

// Stalls is when a set that does not go on until then is stalled; never while its rollout
// is paused or the cluster frozen by command.
func (v *View) Stalls(s *Set, now time.Time) (at time.Time, ever bool) {
	if s.Paused != nil || v.Cluster.Frozen != nil {
		return time.Time{}, false
	}
	return v.Moved(s, now).Add(s.ProgressDeadline()), true
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
