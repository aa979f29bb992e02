package state

import (
	"fmt"
	"slices"
	"time"

	"supd/supervisor/spec"
)

// Some hooks are the whole set's: what they have done is true for all members, so that they
// were asked for, and how that went, is in the log. An AskHook is one run with one outcome; the
// planner asks again after a failure, or when the member was started anew meanwhile. So each
// runs at least once, whatever leaders and nodes do.

// Asked is a hook that a member's node was asked to run last, and how that went.
type Asked struct {
	Hook string `json:"hook"`
	// Run names the entry that asked; the node's report says it again.
	Run uint64 `json:"run"`
	// Epoch is the member's when it was asked: later ones have to be asked anew.
	Epoch uint64 `json:"epoch"`
	// Leaver is the member that is gone, for afterLeave.
	Leaver *Leaver `json:"leaver,omitempty"`
	// State is "" until the node has reported: then Succeeded or Failed.
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`

	// Times counts how often in a row it was asked for, Since is when that was first, and
	// Message why it failed last. At is when State last changed.
	Times int       `json:"times"`
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
}

// Leaver is what is known of a member that was removed.
type Leaver struct {
	Ordinal int            `json:"ordinal"`
	IP      string         `json:"ip"`
	Node    string         `json:"node"`
	Ports   map[string]int `json:"ports,omitempty"`
}

// AskHook asks a member's node to run one of the hooks that are the whole set's. onLeave is
// refused as the removal itself would be. Planned.
type AskHook struct {
	Namespace string `json:"namespace"`
	Set       string `json:"set"`
	Ordinal   int    `json:"ordinal"`
	Hook      string `json:"hook"`
	// Leaver is the ordinal that is gone, for afterLeave.
	Leaver       int    `json:"leaver,omitempty"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"` // the member's
	IfSet        uint64 `json:"ifSet"`        // the set's generation
	// Silent as in PutSet, for onLeave.
	Silent []string `json:"silent,omitempty"`
	// Unplaced as in StopMember, for onLeave.
	Unplaced bool `json:"unplaced,omitempty"`
	// Again, for onLeave: the member is Leaving, so its own health counts no more.
	Again bool `json:"again,omitempty"`
}

func (*AskHook) kind() string { return "AskHook" }

// HookOf is a hook of the member's main process, as its revision has it.
func (v *View) HookOf(m *Member, name string) (spec.Hook, bool) {
	r := v.Revision(m.Namespace, m.Set, m.Revision)
	if r == nil || len(r.Template.Processes) == 0 {
		return spec.Hook{}, false
	}
	h, ok := r.Template.Processes[0].Hooks[name]
	return h, ok
}

// Runs tells whether the member's node has been asked for a hook and has not said yet how that
// went. One asked of an earlier start is over.
func (m *Member) Runs(hook string) bool {
	return m.Asked != nil && m.Asked.Hook == hook && m.Asked.State == "" && m.Asked.Epoch == m.Epoch
}

// Left tells whether the member has left its set by its onLeave hook: it need not be healthy
// any more, and its removal goes on though it may be wanted again.
func (m *Member) Left() bool {
	return m.Asked != nil && m.Asked.Hook == spec.HookOnLeave && m.Asked.State == spec.HookSucceeded
}

// Leaving tells whether the member has begun to leave its set: its onLeave hook has failed in this start. The hook may have got
// so far that its program ended (etcd ends a member that is removed, and what ends takes its hooks along).
func (m *Member) Leaving() bool {
	return m.Asked != nil && m.Asked.Hook == spec.HookOnLeave && m.Asked.State == spec.HookFailed && m.Asked.Epoch == m.Epoch
}

// OwesLeave tells whether a member may not be removed before its onLeave hook has succeeded. The
// last one has nobody to leave.
func (v *View) OwesLeave(s *Set, m *Member) bool {
	if s.Deleting || m.Epoch == 0 || m.Left() || contains(s.AcceptLost, m.Name()) {
		return false
	}
	if _, ok := v.HookOf(m, spec.HookOnLeave); !ok {
		return false
	}
	return slices.ContainsFunc(v.SetMembers(m.Namespace, m.Set), func(o *Member) bool {
		return o.Ordinal != m.Ordinal && o.Wish != WishGone
	})
}

// stillJoins: a start that joins the set by a hook has not got so far as to run a process.
func (t *tx) stillJoins(m *Member, revision string) bool {
	r := t.Revision(m.Namespace, m.Set, revision)
	return m.Joining && r != nil && r.Template.Hooked(spec.HookOnJoin) && (m.Seen.Epoch != m.Epoch || m.Seen.StartedAt.IsZero())
}

func (t *tx) askHook(c *AskHook) *spec.Error {
	old, err := t.assignment(c.Namespace, c.Set, c.Ordinal, c.IfEpoch, c.IfGeneration)
	if err != nil {
		return err
	}
	s := t.Set(c.Namespace, c.Set)
	switch {
	case s == nil || s.Deleting || s.Meta.Generation != c.IfSet:
		return stale("statefulset %s has changed since", c.Set)
	case t.Cluster.Stopping:
		return stale("the cluster is being stopped")
	case old.Wish != WishRun || old.Epoch == 0:
		return stale("member %s is not wanted to run", old.Name())
	case old.Asked != nil && old.Asked.State == "" && old.Asked.Epoch == old.Epoch:
		return stale("member %s was asked for its hook %s and has not answered", old.Name(), old.Asked.Hook)
	case old.Left():
		return stale("member %s has left", old.Name())
	}
	if _, ok := t.HookOf(old, c.Hook); !ok {
		return stale("member %s has no hook %s", old.Name(), c.Hook)
	}
	leaver, err := t.checkAsk(s, old, c)
	if err != nil {
		return err
	}
	m := *old
	m.Asked = &Asked{Hook: c.Hook, Run: t.Index, Epoch: m.Epoch, Leaver: leaver, Times: 1, Since: t.now, At: t.now}
	if a := old.Asked; a != nil && a.Hook == c.Hook && (leaver == nil || a.Leaver != nil && a.Leaver.Ordinal == leaver.Ordinal) {
		m.Asked.Times, m.Asked.Since, m.Asked.Message = a.Times+1, a.Since, a.Message
	}
	t.saveMember(&m)
	return nil
}

// checkAsk checks what each hook is bound to, and finds the leaver.
func (t *tx) checkAsk(s *Set, m *Member, c *AskHook) (*Leaver, *spec.Error) {
	switch c.Hook {
	case spec.HookOnLeave:
		var leaving []string
		if c.Again {
			if !m.Leaving() {
				return nil, stale("member %s has not begun to leave", m.Name())
			}
			leaving = []string{m.Name()}
		}
		if err := t.mayRemove(s, m, c.Silent, c.Unplaced, leaving...); err != nil {
			return nil, err
		}
	case spec.HookAfterLeave:
		i := slices.IndexFunc(s.Gone, func(l Leaver) bool { return l.Ordinal == c.Leaver })
		if i < 0 {
			return nil, stale("nothing is left to do after member %s", spec.MemberName(c.Set, c.Leaver))
		}
		return &s.Gone[i], nil
	case spec.HookOnFormed:
		if s.Formed || s.HookFormed {
			return nil, stale("statefulset %s is formed", c.Set)
		}
	default:
		return nil, refuse("Invalid", "hook %s is not asked for by the log", c.Hook)
	}
	return nil, nil
}

// answer takes over how a hook that was asked for went.
func (t *tx) answer(m *Member) {
	a := m.Asked
	if a == nil || a.State != "" || a.Epoch != m.Epoch {
		return
	}
	i := slices.IndexFunc(m.Seen.Hooks, func(h spec.HookStatus) bool { return h.Run == a.Run })
	if i < 0 {
		return
	}
	next := *a
	next.State, next.Message, next.At = m.Seen.Hooks[i].State, m.Seen.Hooks[i].Message, t.now
	m.Asked = &next
	s := t.Set(m.Namespace, m.Set)
	if s == nil || next.State != spec.HookSucceeded {
		return
	}
	changed := *s
	switch next.Hook {
	case spec.HookAfterLeave:
		changed.Gone = slices.DeleteFunc(slices.Clone(s.Gone), func(l Leaver) bool { return l.Ordinal == next.Leaver.Ordinal })
	case spec.HookOnFormed:
		changed.HookFormed = true
	default:
		return
	}
	t.noteSet(&changed)
}

// noteGone remembers a member that goes, for the afterLeave hook of those that stay.
func (t *tx) noteGone(s *Set, m *Member) {
	if s.Deleting || m.Epoch == 0 {
		return
	}
	next := *s
	if _, ok := t.HookOf(m, spec.HookAfterLeave); ok {
		next.Gone = append(slices.Clone(s.Gone), Leaver{Ordinal: m.Ordinal, IP: m.IP, Node: m.Node, Ports: m.Ports})
	}
	if len(t.SetMembers(m.Namespace, m.Set)) == 1 { // nobody stays
		next.Gone = nil
	}
	if len(next.Gone) != len(s.Gone) {
		t.noteSet(&next)
	}
}

// tellHooks tells of hooks that have run since the last report.
func (t *tx) tellHooks(old, m *Member) {
	for _, h := range m.Seen.Hooks {
		known := old.Seen.Epoch == m.Epoch && slices.ContainsFunc(old.Seen.Hooks, func(o spec.HookStatus) bool {
			return o.Name == h.Name && o.Process == h.Process && o.At.Equal(h.At)
		})
		if !known {
			t.tellHook(m, h)
		}
	}
}

func (t *tx) tellHook(m *Member, h spec.HookStatus) {
	what := fmt.Sprintf("%s of process %s", h.Name, h.Process)
	if h.State == spec.HookFailed {
		t.warn(m.Namespace, "member/"+m.Name(), "HookFailed", "%s has failed (attempt %d): %s", what, h.Attempts, h.Message)
		return
	}
	t.event(m.Namespace, "member/"+m.Name(), "HookSucceeded", "%s has run (attempt %d)", what, h.Attempts)
}
