package plan

import (
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// Pauses before a hook that has failed is asked for again.
const (
	askFirst = time.Second
	askMost  = time.Minute
)

// ask has a member's node run a hook of the set's, unless it does already or failed a moment
// ago. It says what is waited for: reason Running while the hook runs, Failed after a failure.
func (p *planner) ask(w *world, m *state.Member, c state.AskHook, subject, running, failed string) {
	a := m.Asked
	mine := a != nil && a.Hook == c.Hook && (a.Leaver == nil || a.Leaver.Ordinal == c.Leaver)
	if a != nil && m.Runs(a.Hook) {
		p.wait(w.s, subject, running, "waits until the %s hook of %s has ended on node %s", a.Hook, m.Name(), m.Node)
		return
	}
	if mine && a.State == spec.HookFailed {
		p.wait(w.s, subject, failed, "the %s hook of %s has failed %d times: %s", c.Hook, m.Name(), a.Times, a.Message)
		pause := askFirst
		for i := 1; i < a.Times && pause < askMost; i++ {
			pause *= 2
		}
		if at := a.At.Add(min(pause, askMost)); p.now.Before(at) {
			p.again(at)
			return
		}
	}
	c.Namespace, c.Set, c.Ordinal = m.Namespace, m.Set, m.Ordinal
	c.IfEpoch, c.IfGeneration, c.IfSet = m.Epoch, m.Generation, w.s.Meta.Generation
	p.propose(&c)
}

// leaving tells whether a member is asked to leave once more, be it healthy or not.
func (p *planner) leaving(m *state.Member) bool { return m.Leaving() && p.nodeReady(m) }

// askLeave has a member leave its set before it is removed; false: it has, or need not.
func (p *planner) askLeave(w *world, m *state.Member, silent []string, unplaced bool) bool {
	if !p.v.OwesLeave(w.s, m) {
		return false
	}
	w.going = m
	p.ask(w, m, state.AskHook{Hook: spec.HookOnLeave, Silent: silent, Unplaced: unplaced, Again: p.leaving(m)}, m.Name(), "OnLeaveRunning", "OnLeaveFailed")
	return true
}

// afterLeave has the lowest healthy member do what is to be done after one that is gone. While
// one is at it, nobody else is asked.
func (p *planner) afterLeave(w *world) {
	if len(w.s.Gone) == 0 {
		return
	}
	gone := w.s.Gone[0]
	subject := spec.MemberName(w.s.Meta.Name, gone.Ordinal)
	by := (*state.Member)(nil)
	for _, m := range w.members {
		if m.Runs(spec.HookAfterLeave) && m.Wish == state.WishRun && p.nodeReady(m) {
			by = m
			break
		}
		ok, _, _ := p.v.Healthy(m)
		if _, hooked := p.v.HookOf(m, spec.HookAfterLeave); by == nil && ok && hooked && !m.Left() {
			by = m
		}
	}
	if by == nil {
		p.wait(w.s, subject, "AfterLeaveWaits", "is gone, and its afterLeave hook waits for a healthy member that can run it")
		return
	}
	p.ask(w, by, state.AskHook{Hook: spec.HookAfterLeave, Leaver: gone.Ordinal}, subject, "AfterLeaveRunning", "AfterLeaveFailed")
}

// owesAfter tells whether the next removal, or the return of an ordinal, waits for an
// afterLeave hook. Not when nobody is left who could run it but those that were accepted as lost.
func (p *planner) owesAfter(w *world) bool {
	if len(w.s.Gone) == 0 {
		return false
	}
	for _, m := range w.members {
		if m.Wish != state.WishGone && !accepted(w.s, m) {
			return true
		}
	}
	return false
}

// isGone tells whether an ordinal's earlier life has an afterLeave hook to come.
func isGone(s *state.Set, ordinal int) bool {
	for _, l := range s.Gone {
		if l.Ordinal == ordinal {
			return true
		}
	}
	return false
}

// form has the lowest member of a new set form it when all have started; false: that is
// done, or not needed.
func (p *planner) form(w *world) bool {
	first := w.wanted[0]
	if _, hooked := p.v.HookOf(first, spec.HookOnFormed); !hooked || w.s.HookFormed {
		return false
	}
	for _, m := range w.wanted {
		if m.Epoch == 0 || !p.started(m) {
			return true
		}
	}
	p.ask(w, first, state.AskHook{Hook: spec.HookOnFormed}, w.s.Meta.Name, "OnFormedRunning", "OnFormedFailed")
	return true
}
