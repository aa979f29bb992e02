package plan

import (
	"fmt"

	"supd/raftstore/state"
)

// rollBack goes back to the last revision that all members ran when a rollout has stalled
// and the definition asks for that (autoRollback); it tells whether it does so now. Only a
// member of the new revision that is not well is a reason: a rollout that waits for a lost
// node, or for an old member's health, would get no further with the old revision.
func (p *planner) rollBack(w *world) bool {
	s := w.s
	if !s.Spec.AutoRollback || !s.Formed || s.Current == s.Revision || p.v.Revision(s.Meta.Namespace, s.Meta.Name, s.Current) == nil {
		return false
	}
	bad := p.broken(w)
	at, ever := p.v.Stalls(s, p.now)
	if bad == nil || !ever {
		return false
	}
	if first := p.f.Since.Add(s.ProgressDeadline()); !p.f.Since.IsZero() && at.Before(first) {
		at = first
	}
	if p.now.Before(at) {
		p.again(at)
		return false
	}
	p.propose(&state.UndoRollout{
		Namespace: s.Meta.Namespace, Name: s.Meta.Name, Revision: s.Current, Auto: true, IfGeneration: s.Meta.Generation, UID: p.uid(),
		Message: fmt.Sprintf("no progress for %s (%s)", s.ProgressDeadline(), p.why(w, bad)),
	})
	return true
}

// broken is the lowest member that runs the new revision and is not available.
func (p *planner) broken(w *world) *state.Member {
	for _, m := range w.wanted {
		if m.Epoch != 0 && m.Revision == w.s.Revision && m.Wish == state.WishRun && p.nodeReady(m) && !p.draining(m) && !p.available(w, m) {
			return m
		}
	}
	return nil
}
