package agent

import (
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// staleHold bounds how long what is stale keeps everything else from starting: one
// member that cannot be ended must not keep the others down.
const staleHold = time.Minute

// stale tells whether something runs here that may run elsewhere by now: of a member that
// has its place on another node or none, of a lower epoch, or of one that was declared over.
func stale(m *state.Member, node string, records []keeper.Status) bool {
	return slices.ContainsFunc(records, func(s keeper.Status) bool {
		switch {
		case s.Gone():
			return false
		case m == nil || m.Node != node || s.Epoch < m.Epoch:
			return true
		}
		return s.Epoch == m.Epoch && m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped
	})
}

// noteStale brings the account of what is stale up to date with what has changed.
func (a *Agent) noteStale(v *state.View, now time.Time, dirty map[Key]bool, fresh Fresh) {
	if !fresh.Caught {
		return // an old View says of much that it is not here
	}
	look := func(k Key) {
		r := a.members[k]
		m := v.Member(k.Namespace, k.Set, k.Ordinal)
		if fresh.Forgotten {
			m = nil
		}
		switch _, known := a.stale[k]; {
		case r == nil || len(r.table) == 0 || !stale(m, a.o.Node, r.table):
			delete(a.stale, k)
		case !known:
			a.stale[k] = now
			a.log.Warn("a member runs here that has its place elsewhere, or was declared over: it is stopped before anything is started",
				"namespace", k.Namespace, "member", k.Name())
		}
	}
	if !a.lastFresh.Caught || fresh.Forgotten != a.lastFresh.Forgotten {
		for k := range a.members {
			look(k)
		}
		return
	}
	for k := range dirty {
		look(k)
	}
	for k := range a.stale {
		look(k)
	}
}

// staleHolds tells for how long what is stale still keeps everything else from starting.
func (a *Agent) staleHolds(now time.Time) (left time.Duration) {
	for _, since := range a.stale {
		left = max(left, since.Add(staleHold).Sub(now))
	}
	return left
}
