package plan

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// freeze makes waits of the commands from the given one on: nothing is carried out while
// the brake is on. What they say comes before what the set waits for besides.
func (p *planner) freeze(s *state.Set, commands, waits int) {
	held := p.out.Commands[commands:]
	p.out.Commands = p.out.Commands[:commands]
	rest := append([]Wait(nil), p.out.Waits[waits:]...)
	p.out.Waits = p.out.Waits[:waits]
	for _, c := range held {
		subject, what := step(s, c)
		p.wait(s, subject, "Frozen", "%s when the cluster is unfrozen; it is frozen %s", what, p.v.Cluster.Frozen.Sentence())
	}
	p.out.Waits = append(p.out.Waits, rest...)
}

// step says whom a command is about, and what it would do.
func step(s *state.Set, c state.Command) (subject, what string) {
	member := func(ordinal int) string { return spec.MemberName(s.Meta.Name, ordinal) }
	switch c := c.(type) {
	case *state.StartMember:
		return member(c.Ordinal), "is started"
	case *state.StopMember:
		return member(c.Ordinal), "is stopped (" + c.Why + ")"
	case *state.Place:
		return member(c.Slot.Ordinal), "gets another place"
	case *state.KeepMember:
		return member(c.Ordinal), "is kept"
	case *state.DropMember:
		return member(c.Ordinal), "is removed"
	case *state.Reserve:
		return s.Meta.Name, "new members get their places"
	case *state.DropSet:
		return s.Meta.Name, "its record is removed"
	case *state.UndoRollout:
		return s.Meta.Name, "its rollout is undone"
	}
	return s.Meta.Name, "goes on"
}
