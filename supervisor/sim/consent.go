package sim

import (
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// answerHolds is how long a leader plans by a member's answer, from when it asked.
const answerHolds = 2 * time.Second

// word is what a leader knows of a member that it asked whether it may be stopped.
type word struct {
	asked     time.Duration
	done, yes bool
}

// ask sends a question to each member that the plan wants to hear, if none is on its way.
func (l *leader) ask(w *World, asks []plan.Ask) {
	for _, q := range asks {
		if x := l.words[q]; x != nil && w.now-x.asked <= answerHolds {
			continue
		}
		x := &word{asked: w.now}
		l.words[q] = x
		for _, h := range w.hosts {
			if h.name != q.Node {
				continue
			}
			w.send(&message{kind: "question to " + key(q.Namespace, q.Set, q.Ordinal), from: l.host, to: h, arrive: func() {
				p := h.procs[key(q.Namespace, q.Set, q.Ordinal)]
				yes := p != nil && p.epoch == q.Epoch && !p.stopping && !p.unwilling
				w.send(&message{kind: "answer of " + key(q.Namespace, q.Set, q.Ordinal), from: h, to: l.host, arrive: func() {
					x.done, x.yes = true, yes
				}})
			}})
		}
	}
}

// said is the leader's fresh word of a member.
func (l *leader) said(w *World) func(*state.Member) plan.Word {
	return func(m *state.Member) plan.Word {
		x := l.words[plan.Ask{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Node: m.Node, Epoch: m.Epoch}]
		switch {
		case x == nil || !x.done || w.now-x.asked > answerHolds && !w.gullible:
			return plan.NotAsked
		case x.yes:
			return plan.SaidYes
		}
		return plan.SaidNo
	}
}

// mood lets a process that is asked change its mind about being stopped.
func (p *process) mood(w *World) {
	was := p.unwilling
	switch {
	case w.calm:
		p.unwilling = false
	case p.coy && w.chance(0.08):
		p.unwilling = !p.unwilling
	}
	if !was || !p.unwilling {
		p.willingAt = w.now
	}
}

// consent is what a process says of its member to the log; nil: its set does not ask.
func (a *agent) consent(m *state.Member, p *process) *spec.Consent {
	s := a.h.view.Set(m.Namespace, m.Set)
	if s == nil {
		return nil
	}
	own, newest := a.h.view.Revision(m.Namespace, m.Set, m.Revision), a.h.view.Revision(m.Namespace, m.Set, s.Revision)
	if own == nil || newest == nil {
		return nil
	}
	if _, probe := newest.Template.MayStopFor(own.Template); probe == nil {
		return nil
	}
	if p.unwilling && !a.h.w.gullible {
		return &spec.Consent{Answer: spec.No}
	}
	return &spec.Consent{Answer: spec.Yes}
}

// asked tells whether a stop is one that a member which serves must have agreed to:
// voluntary, of a set that asks, and not of one that is accepted as lost or has left.
func (c *checker) asked(x *state.StopMember) (*memberRecord, bool) {
	s, m := c.sets[x.Namespace+"/"+x.Set], c.members[key(x.Namespace, x.Set, x.Ordinal)]
	if s == nil || m == nil || s.deleting || x.Why == state.WhyShutdown {
		return nil, false
	}
	lost := slices.Contains(s.accept, m.name()) && !s.wants(m.ordinal)
	return m, m.ready() && s.spec.Processes[0].MayStop != nil && !lost && !m.left
}

// agreed: whoever is asked has said yes a moment before the stop is planned (S15).
func (c *checker) agreed(x *state.StopMember) {
	if m, asked := c.asked(x); asked {
		c.agreedTo(m, "be stopped ("+x.Why+")")
	}
}

// agreedToLeave: nor is anybody asked to leave its set, which is the beginning of its removal.
func (c *checker) agreedToLeave(x *state.AskHook) {
	if x.Hook != spec.HookOnLeave {
		return
	}
	if m, asked := c.asked(&state.StopMember{Namespace: x.Namespace, Set: x.Set, Ordinal: x.Ordinal}); asked {
		c.agreedTo(m, "leave its set")
	}
}

func (c *checker) agreedTo(m *memberRecord, what string) {
	for _, h := range c.w.hosts {
		p := h.procs[key(namespace, m.set, m.ordinal)]
		if h.name == m.node && p != nil && p.epoch == m.epoch && c.w.now-p.willingAt > answerHolds {
			c.fail("S15", "%s is to %s though it last agreed %s ago", m.name(), what, c.w.now-p.willingAt)
		}
	}
}

// lastWord: no stop commits behind a no that the log has already (S15).
func (c *checker) lastWord(x *state.StopMember) {
	if m, asked := c.asked(x); asked && (m.seen.MayStop == nil || m.seen.MayStop.Answer != spec.Yes) {
		c.fail("S15", "%s is stopped (%s) though its last word in the log is not yes: %+v", m.name(), x.Why, m.seen.MayStop)
	}
}
