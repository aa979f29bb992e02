package state

import (
	"fmt"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// A cold start: all of a formed set is down, and its data says who may go first. Each member gets
// an epoch in which it is held: its node runs the position hook and reports the number, and starts
// nothing before LetGo.

// StartHeld gives a member a new epoch as StartMember does, but its node is only to tell its
// position before LetGo. Planned.
type StartHeld struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	Ordinal      int    `json:"ordinal"`
	Revision     string `json:"revision"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"` // the member's
	Fence        bool   `json:"fence,omitempty"`
	// Ports as StartMember has them.
	Ports map[string]int `json:"ports,omitempty"`
}

// LetGo lets all held members of a set start. One of them bootstraps: that with the highest
// position; refused unless all that may have data have told theirs (or the definition asks for
// none any more). Or none, because another member of the set may run. Planned.
type LetGo struct {
	Namespace string `json:"namespace"`
	Set       string `json:"set"`
	// Bootstrap is the ordinal that goes first; nil: none.
	Bootstrap *int `json:"bootstrap,omitempty"`
	// Epochs of those that are let go, by ordinal.
	Epochs map[int]uint64 `json:"epochs"`
}

func (*StartHeld) kind() string { return "StartHeld" }
func (*LetGo) kind() string     { return "LetGo" }

func (t *tx) startHeld(c *StartHeld) *spec.Error {
	return t.newEpoch(&StartMember{
		Namespace: c.Namespace, Set: c.Set, Ordinal: c.Ordinal, Revision: c.Revision,
		IfEpoch: c.IfEpoch, IfGeneration: c.IfGeneration, Fence: c.Fence, Ports: c.Ports,
	}, true)
}

// TellsPositions tells whether a set is one whose members tell their positions when all of it
// was down: it is formed, and its definition has the hook.
func (v *View) TellsPositions(s *Set) bool {
	r := v.Revision(s.Meta.Namespace, s.Meta.Name, s.Revision)
	return s.Formed && r != nil && r.Template.Hooked(spec.HookPosition)
}

// HasPosition tells whether a member counts when positions are compared: it has run, and has the
// data that it wrote on a node that is not forgotten.
func (v *View) HasPosition(s *Set, m *Member) bool {
	return m.Epoch != 0 && m.Wish != WishGone && !m.Left() && !m.Fresh && v.Node(m.Node) != nil && v.Lacks(s, m) == ""
}

// Position is what a held member has told.
func (m *Member) Position() (n int64, ok bool) {
	if !m.Held || m.Seen.Epoch != m.Epoch || m.Seen.Position == nil {
		return 0, false
	}
	return *m.Seen.Position, true
}

// MayRun tells whether somebody may run the member at present; a held one nobody does.
func (m *Member) MayRun() bool {
	return m.Epoch != 0 && !m.Held && !(m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped)
}

func (t *tx) letGo(c *LetGo) *spec.Error {
	s := t.Set(c.Namespace, c.Set)
	if s == nil || s.Deleting || t.Cluster.Stopping {
		return stale("statefulset %s is not to start any more", c.Set)
	}
	members := t.SetMembers(c.Namespace, c.Set)
	if err := t.checkLetGo(s, members, c); err != nil {
		return err
	}
	var told []string
	for _, old := range members {
		if c.Epochs[old.Ordinal] == 0 {
			continue
		}
		if n, ok := old.Position(); ok {
			told = append(told, fmt.Sprintf("%s: %d", old.Name(), n))
		}
		m := *old
		m.Held, m.Generation = false, t.Index
		m.Bootstrap = c.Bootstrap != nil && m.Ordinal == *c.Bootstrap
		t.saveMember(&m)
	}
	if c.Bootstrap == nil {
		return nil
	}
	why := "nobody asks for positions any more"
	if t.TellsPositions(s) {
		why = "its position is the highest (" + strings.Join(told, ", ") + ")"
	}
	t.event(c.Namespace, "statefulset/"+c.Set, "Bootstrap", "all were down: %s goes first, %s", spec.MemberName(c.Set, *c.Bootstrap), why)
	return nil
}

func (t *tx) checkLetGo(s *Set, members []*Member, c *LetGo) *spec.Error {
	runs, best, asked := false, (*Member)(nil), t.TellsPositions(s)
	for _, m := range members {
		epoch, listed := c.Epochs[m.Ordinal]
		runs = runs || m.MayRun()
		switch {
		case listed && (m.Epoch != epoch || !m.Held || m.Wish != WishRun):
			return stale("member %s has changed since", m.Name())
		case c.Bootstrap == nil || !asked || !t.HasPosition(s, m):
			continue
		}
		n, ok := m.Position()
		if !listed || !ok {
			return refuse("PositionUnknown", "member %s has not told its position", m.Name())
		}
		if best == nil {
			best = m
		} else if high, _ := best.Position(); n > high {
			best = m
		}
	}
	for o := range c.Epochs {
		if !slices.ContainsFunc(members, func(m *Member) bool { return m.Ordinal == o }) {
			return stale("member %s is gone", spec.MemberName(c.Set, o))
		}
	}
	switch {
	case c.Bootstrap == nil && !runs && asked:
		return refuse("NobodyRuns", "nobody of statefulset %s runs, so one has to go first", c.Set)
	case c.Bootstrap != nil && runs:
		return stale("a member of statefulset %s may run", c.Set)
	case c.Bootstrap != nil && asked && (best == nil || best.Ordinal != *c.Bootstrap):
		return refuse("NotHighest", "the position of member %s is not the highest", spec.MemberName(c.Set, *c.Bootstrap))
	}
	return nil
}
