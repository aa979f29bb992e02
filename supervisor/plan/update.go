package plan

import (
	"maps"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// brokenAfter is how long a member that once was well must have been unavailable
// before a rollout may replace it outside the budget: it serves nobody, and only the
// new revision may mend it.
const brokenAfter = 10 * time.Second

// update restarts members that are due: on an old revision, or asked to restart.
// From high to low, within the budget of unavailable members, whatever made them so.
func (p *planner) update(w *world) {
	var due []*state.Member
	for i := len(w.wanted) - 1; i >= 0; i-- {
		m := w.wanted[i]
		if m.Wish == state.WishRun && !m.MayStart() && !w.moving[m.Ordinal] && p.due(w, m) {
			due = append(due, m)
		}
	}
	if len(due) == 0 {
		return
	}
	if w.s.Paused != nil {
		p.wait(w.s, w.s.Meta.Name, "Paused", "its rollout is paused %s: %s go on when it is resumed (supctl rollout resume %s)",
			w.s.Paused.Sentence(), names(due), w.s.Meta.Name)
		return
	}
	if w.s.Spec.UpdateStrategy.Type == spec.Recreate && behind(w, due) {
		if !p.allConsent(w, due) {
			return
		}
		for _, m := range due {
			switch {
			case !w.s.Behind(m): // who only is to be restarted keeps to the budget, later
			case !p.nodeReady(m) && p.away(w, m) != "":
				p.wait(w.s, m.Name(), "NodeLost", "is asked whether it may be stopped when its node %s answers again%s", m.Node, p.away(w, m))
			default:
				p.stopFor(w, m, 0)
			}
		}
		return
	}
	budget := MaxUnavailable(w.s)
	due = roleLast(w.s, due)
	waiting := false
	for _, m := range due {
		switch {
		case p.draining(m): // it is stopped anyway, and starts as it is wanted then
		case !p.nodeReady(m):
			p.wait(w.s, m.Name(), "NodeLost", "is restarted when its node %s answers again%s", m.Node, p.away(w, m))
		case p.unbound(w, m, "is not restarted"), p.portTaken(w, m):
		case p.mayReplace(w, m):
			p.stopFor(w, m, state.OnlyUnready)
		case waiting: // behind a higher one; what serves nobody is still replaced
		case p.keepsRole(w, m, due) != nil:
			p.wait(w.s, m.Name(), "RoleLast", "is restarted after all others, for it is the %s (next is %s)", m.Seen.Role, p.keepsRole(w, m, due).Name())
			waiting = true
		case p.mayTakeDown(w, m, budget):
			if !p.consents(w, m, "is restarted") {
				waiting = true
				continue
			}
			p.stopFor(w, m, budget)
			w.down[m.Ordinal] = true
		default:
			p.wait(w.s, m.Name(), "Budget", "is restarted when fewer than %d members are unavailable (%s)", budget, p.firstDown(w, w.down))
			waiting = true
		}
	}
}

// due tells whether a member is to be started anew. With OnDelete, and below the partition,
// another template reaches a member when that is deleted, but for one that never was available
// on its revision: it serves nobody, and a broken revision is left with no hand on it.
func (p *planner) due(w *world, m *state.Member) bool {
	switch {
	case m.RestartUpTo >= m.Epoch:
		return true
	case w.s.Spec.UpdateStrategy.Type == spec.OnDelete || !w.s.Behind(m):
		return w.s.Outdated(m) && neverWell(m) && p.mayReplace(w, m)
	}
	return true
}

func names(members []*state.Member) string {
	var out []string
	for _, m := range members {
		out = append(out, m.Name())
	}
	return strings.Join(out, ", ")
}

func behind(w *world, due []*state.Member) bool {
	for _, m := range due {
		if w.s.Behind(m) {
			return true
		}
	}
	return false
}

// neverWell on its revision: not available, or only in moments between deaths from its first minute on.
func neverWell(m *state.Member) bool { return !m.WasAvailable || m.Seen.DiedYoung }

// mayReplace: a member that never was available on its revision may always be
// replaced at once, and so may one that has long been broken. So a broken rollout can
// always go forward or back with no hand on it.
func (p *planner) mayReplace(w *world, m *state.Member) bool {
	if p.v.Available(w.s, m, p.now) {
		return false
	}
	if neverWell(m) {
		return !m.Ready()
	}
	if m.Ready() {
		return false // it only lacks minReady
	}
	at := m.UnreadySince.Add(brokenAfter)
	if p.now.Before(at) {
		p.again(at)
		return false
	}
	return true
}

// down is the set of wanted ordinals that have run, or are to run now, and are not
// available, or only since a moment: a program that dies soon after each start seems ready again and
// again, and a rollout that believed it would go on to the next member. A member that
// is being removed is down too: there is one budget for all voluntary downtime.
func (p *planner) down(w *world) map[int]bool {
	down := maps.Clone(w.begun)
	for _, m := range w.wanted {
		if m.Epoch != 0 && (!p.available(w, m) || !m.Seen.Steady) {
			down[m.Ordinal] = true
		}
	}
	for _, m := range w.leaving {
		if m == w.going || m.Left() || m.Wish == state.WishGone && !m.Down() && p.nodeReady(m) {
			down[m.Ordinal] = true
		}
	}
	return down
}

func (p *planner) firstDown(w *world, down map[int]bool) string {
	if w.placing {
		return "new members get their places first"
	}
	for _, m := range w.members {
		if m == w.going {
			return m.Name() + ": it is being removed"
		}
		if down[m.Ordinal] {
			return p.why(w, m)
		}
	}
	return "none is"
}

func (p *planner) stopFor(w *world, m *state.Member, budget int) {
	why := "Restart"
	if w.s.Outdated(m) {
		why = "Rollout"
	}
	p.propose(p.stop(w, m, why, budget))
}

// MaxUnavailable of a set: percentages are rounded up to at least one.
func MaxUnavailable(s *state.Set) int {
	r := s.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.MaxUnavailable == "" {
		return 1
	}
	n, err := r.MaxUnavailable.Of(s.Replicas())
	if err != nil || n < 1 {
		return 1
	}
	return n
}
