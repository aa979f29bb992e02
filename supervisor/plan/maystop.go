package plan

import (
	"supd/raftstore/state"
)

// Ask is a member that is to be asked, on its node, whether it may be stopped now. The
// leader keeps the answer for a moment and plans again.
type Ask struct {
	Namespace, Set string
	Ordinal        int
	Node           string
	Epoch          uint64
}

// Word is what a member has answered the leader a moment ago.
type Word string

// The words. NotAsked: there is no fresh answer; it is to be asked.
const (
	NotAsked Word = ""
	SaidYes  Word = "yes"
	SaidNo   Word = "no"
)

// consents tells whether a member lets itself be stopped for a voluntary reason, and says
// what waits for it if not. Its last word in the log must be yes, and so must be a fresh
// answer to the leader. Not asked is who serves nobody, who is accepted as lost or has left
// by its onLeave hook, and who has no mayStop probe in the set's newest definition. doing is the clause of the wait:
// "is restarted".
func (p *planner) consents(w *world, m *state.Member, doing string) bool {
	if !m.Ready() || !p.asks(w, m) {
		return true
	}
	if !m.MayStop() {
		why := "it has not been asked yet"
		if c := m.Seen.MayStop; c != nil && c.Since != nil {
			why = "it says " + c.Answer + " since " + c.Since.UTC().Format("15:04:05")
			if c.Message != "" {
				why += ": " + c.Message
			}
		}
		p.wait(w.s, m.Name(), "MayStop", "%s when it says that it may be stopped (%s)", doing, why)
		return false
	}
	if p.f.MayStop == nil || p.v.Cluster.Frozen != nil { // nobody is asked here, or for nothing
		return true
	}
	switch p.f.MayStop(m) {
	case SaidYes:
		return true
	case SaidNo:
		why := "it has just said no"
		if p.f.Mute != nil {
			if mute := p.f.Mute(m); mute != "" {
				why = "mayStop is unknown: " + mute
			}
		}
		p.wait(w.s, m.Name(), "MayStop", "%s when it says that it may be stopped (%s)", doing, why)
	default:
		p.out.Asks = append(p.out.Asks, Ask{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Node: m.Node, Epoch: m.Epoch})
		p.wait(w.s, m.Name(), "MayStop", "%s when it says that it may be stopped (it is being asked)", doing)
	}
	return false
}

// away adds to a wait for a member's node that nobody can ask the member, if it is one that is asked.
func (p *planner) away(w *world, m *state.Member) string {
	n := p.v.Node(m.Node)
	if n == nil || !m.Ready() || !p.asks(w, m) {
		return ""
	}
	return "; mayStop is unknown: node " + n.Name + " is silent since " + n.Since.UTC().Format("15:04:05")
}

// allConsent tells whether all that Recreate stops let themselves be stopped: while one
// does not, the others serve on.
func (p *planner) allConsent(w *world, due []*state.Member) bool {
	all := true
	for _, m := range due {
		if w.s.Behind(m) && p.nodeReady(m) && !p.consents(w, m, "is stopped, with all others,") {
			all = false
		}
	}
	return all
}

// asks tells whether a member is asked before it is stopped while it serves.
func (p *planner) asks(w *world, m *state.Member) bool {
	own, newest := p.v.Revision(m.Namespace, m.Set, m.Revision), p.v.Revision(m.Namespace, m.Set, w.s.Revision)
	lost := accepted(w.s, m) && !w.s.Wants(m.Ordinal) // who stayed after all is not lost
	if lost || m.Left() || own == nil || newest == nil {
		return false
	}
	_, probe := newest.Template.MayStopFor(own.Template)
	return probe != nil
}

// stop is a stop that the member must have consented to, if it is one that is asked:
// Apply looks whether it serves by then.
func (p *planner) stop(w *world, m *state.Member, why string, budget int) *state.StopMember {
	c := stop(w.s, m, why, budget)
	c.IfMayStop = p.asks(w, m)
	return c
}

// roleLast puts those that have the role which is updated last behind all others, which
// keep their order.
func roleLast(s *state.Set, due []*state.Member) []*state.Member {
	role := roleKept(s)
	if role == "" {
		return due
	}
	var first, last []*state.Member
	for _, m := range due {
		if hasRole(m, role) {
			last = append(last, m)
		} else {
			first = append(first, m)
		}
	}
	return append(first, last...)
}

// keepsRole tells whether a member is to wait because of its role: others are due that
// can be updated before it. Those that cannot, because their node is away or is drained,
// hold nobody up.
func (p *planner) keepsRole(w *world, m *state.Member, due []*state.Member) *state.Member {
	role := roleKept(w.s)
	if role == "" || !hasRole(m, role) {
		return nil
	}
	for _, other := range due {
		if !hasRole(other, role) && p.nodeReady(other) && !p.draining(other) {
			return other
		}
	}
	return nil
}

func roleKept(s *state.Set) string {
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil {
		return r.RoleLast
	}
	return ""
}

func hasRole(m *state.Member, role string) bool { return m.Ready() && m.Seen.Role == role }
