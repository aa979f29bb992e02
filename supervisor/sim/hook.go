package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// hookRun is a hook that a host was asked to run. What came of it is on its disk.
type hookRun struct {
	epoch  uint64
	until  time.Duration
	fails  bool
	status spec.HookStatus // once it has ended
}

// asked begins the hook that the log asks a running member for, and gives what is to be said
// of hooks in its present epoch.
func (h *host) asked(m *state.Member) []spec.HookStatus {
	id, w := identity(m), h.w
	if h.hooks[id] == nil {
		h.hooks[id] = map[uint64]*hookRun{}
	}
	if a := m.Asked; a != nil && m.Runs(a.Hook) && h.hooks[id][a.Run] == nil {
		r := &hookRun{epoch: m.Epoch, until: w.now + w.among(0, 3*time.Second), fails: !w.calm && w.chance(0.3)}
		r.status = spec.HookStatus{Name: a.Hook, Process: "main", Run: a.Run, Attempts: 1}
		h.hooks[id][a.Run] = r
	}
	var out []spec.HookStatus
	for _, run := range slices.Sorted(maps.Keys(h.hooks[id])) {
		r := h.hooks[id][run]
		if r.epoch != m.Epoch || w.now < r.until {
			continue
		}
		if r.status.State == "" {
			r.status.State, r.status.At = spec.HookSucceeded, birth.Add(w.now)
			if r.fails {
				r.status.State, r.status.Message = spec.HookFailed, "told to"
			}
			w.say("%s: %s of %s (run %d) %s", h.name, r.status.Name, id, run, r.status.State)
		}
		out = append(out, r.status)
	}
	return out
}

// hooks of sets that have some: those that the log asks for.
func hooks(data bool) spec.Hooks {
	out := spec.Hooks{}
	if data {
		out[spec.HookPosition] = spec.Hook{Command: []string{spec.HookPosition}}
	}
	for _, name := range []string{spec.HookOnFormed, spec.HookOnLeave, spec.HookAfterLeave} {
		out[name] = spec.Hook{Command: []string{name}}
	}
	return out
}

// positions tells whether members are to tell theirs when all are down.
func (s *setRecord) positions() bool {
	_, ok := s.spec.Processes[0].Hooks[spec.HookPosition]
	return ok && s.marked
}

// takeLetGo: one goes first only while nobody of the set runs, and all that have data have told
// how new it is, and only who has the newest.
func (c *checker) takeLetGo(x *state.LetGo) {
	k := x.Namespace + "/" + x.Set
	s := c.sets[k]
	for _, m := range c.setMembers(k) {
		id := key(namespace, m.set, m.ordinal)
		_, listed := x.Epochs[m.ordinal]
		if x.Bootstrap != nil && s.positions() {
			c.mayGoFirst(x, m, id, listed)
		}
		if listed {
			m.held = false
		}
	}
}

func (c *checker) mayGoFirst(x *state.LetGo, m *memberRecord, id string, listed bool) {
	for _, h := range c.w.hosts {
		if p := h.procs[id]; p != nil && !c.excused(h, p) {
			c.fail("position", "%s-%d is to go first while %s runs on %s", x.Set, *x.Bootstrap, id, h.name)
		}
	}
	if c.forgotten[m.node] || m.epoch == 0 || m.wish == state.WishGone || m.left || m.fresh {
		return
	}
	if v := c.volumes[namespace+"/data-"+m.name()]; v == nil {
		return // abandoned
	}
	first := c.members[fmt.Sprintf("%s/%s-%d", namespace, x.Set, *x.Bootstrap)]
	switch {
	case !listed || m.seen.Position == nil:
		c.fail("position", "%s-%d is to go first before %s has told its position", x.Set, *x.Bootstrap, id)
	case first == nil || first.seen.Position == nil || *first.seen.Position < *m.seen.Position:
		c.fail("position", "%s-%d is to go first, and %s has newer data", x.Set, *x.Bootstrap, id)
	}
}

// position is what a host tells of a held member: the epoch that wrote there last.
func (h *host) position(m *state.Member) *int64 {
	n := int64(0)
	for _, v := range h.view.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if d := h.dirs[v.UID]; d != nil {
			n = int64(d.claim)
		}
	}
	return &n
}

func (s *setRecord) hooked() bool { return len(s.spec.Processes[0].Hooks) > 0 }

// takeAsk: a member is asked to leave only when it is its turn, and while all are healthy or
// named; nobody twice without a word on how it went.
func (c *checker) takeAsk(x *state.AskHook) {
	k, id := x.Namespace+"/"+x.Set, key(x.Namespace, x.Set, x.Ordinal)
	s, m := c.sets[k], c.members[id]
	if m.asked != nil && m.asked.open && m.asked.epoch == m.epoch {
		c.fail("hooks", "%s is asked for %s before it is known how %s went", id, x.Hook, m.asked.hook)
	}
	leaving := m.asked != nil && m.asked.hook == spec.HookOnLeave && !m.asked.open && m.asked.epoch == m.epoch && !m.left
	m.asked = &askRecord{hook: x.Hook, run: c.ref.Index, epoch: m.epoch, open: true, leaver: x.Leaver}
	switch x.Hook {
	case spec.HookOnLeave:
		if m.left {
			c.fail("hooks", "%s is asked to leave twice", id)
		}
		if x.Again && !leaving {
			c.fail("hooks", "%s is asked to leave again, and has not begun to", id)
		}
		c.takeRemoval(k, s, m, x.Silent, x.Unplaced, x.Again)
	case spec.HookAfterLeave:
		if !slices.Contains(s.gone, x.Leaver) {
			c.fail("hooks", "%s is asked for what is to do after %s-%d, which is done or is not gone", id, x.Set, x.Leaver)
		}
	case spec.HookOnFormed:
		if s.formed {
			c.fail("hooks", "%s is formed twice", k)
		}
	}
}

type askRecord struct {
	hook   string
	run    uint64
	epoch  uint64
	open   bool
	leaver int
}

// takeHooks notes what a report says of the hook that was asked for.
func (c *checker) takeHooks(k string, m *memberRecord) {
	if m.asked == nil || !m.asked.open || m.asked.epoch != m.epoch {
		return
	}
	for _, h := range m.seen.Hooks {
		if h.Run != m.asked.run {
			continue
		}
		m.asked.open = false
		if h.State != spec.HookSucceeded {
			continue
		}
		s := c.sets[k]
		switch m.asked.hook {
		case spec.HookOnLeave:
			m.left = true
		case spec.HookAfterLeave:
			if s != nil {
				s.gone = slices.DeleteFunc(s.gone, func(o int) bool { return o == m.asked.leaver })
			}
		case spec.HookOnFormed:
			if s != nil {
				s.formed = true
			}
		}
	}
}

// leaves: nobody who has run is removed before its onLeave hook has succeeded, but for those
// that are named.
func (c *checker) leaves(s *setRecord, m *memberRecord) {
	last := true
	for _, o := range c.setMembers(namespace + "/" + m.set) {
		last = last && (o == m || o.wish == state.WishGone)
	}
	if s.hooked() && !s.deleting && m.epoch != 0 && !m.left && !last && !slices.Contains(s.accept, m.name()) {
		c.fail("hooks", "%s is removed before its onLeave hook has succeeded", m.name())
	}
}

// droppedFrom notes who is gone for good, for those that stay.
func (c *checker) droppedFrom(k string, s *setRecord, m *memberRecord) {
	switch {
	case len(c.setMembers(k)) == 0:
		s.gone = nil
	case s.hooked() && !s.deleting && m.epoch != 0:
		s.gone = append(s.gone, m.ordinal)
	}
}

// unhooked says what hooks of a set are still to run, or run.
func (c *checker) unhooked(k string, s *setRecord) (out []string) {
	if !s.hooked() {
		return nil
	}
	if s.replicas > 0 && !s.marked {
		out = append(out, k+" is not formed")
	}
	if len(s.gone) > 0 {
		out = append(out, fmt.Sprintf("%s has something to do after %v", k, s.gone))
	}
	for _, m := range c.setMembers(k) {
		if m.asked != nil && m.asked.open && m.asked.epoch == m.epoch {
			out = append(out, m.name()+" runs "+m.asked.hook)
		}
	}
	return out
}
