package main

import (
	"time"

	"supd/supervisor/spec"
)

// stall tells when it is no use to follow a set any longer: nothing goes on by itself. The
// zero value counts every stall at once.
type stall struct {
	// old is since when the set was stalled before the change that is followed, which may
	// have ended that: it counts only when it is still there a progressDeadline later.
	old time.Time
	// first: whatever stall is seen first is of before the change.
	first bool

	since time.Time // of the stall that was seen last
	seen  time.Time // when it was seen first, by this machine's clock
}

// stallBefore is the stall of a set as a change left it; restart's answer has no set.
func stallBefore(s *spec.StatefulSet, changed bool) *stall {
	if !changed {
		return &stall{}
	}
	if s.Status == nil {
		return &stall{first: true}
	}
	w := &stall{}
	if c := stalledOf(s); c != nil {
		w.old = sinceOf(c)
	}
	return w
}

func stalledOf(s *spec.StatefulSet) *spec.Condition {
	if c := conditionOf(s, spec.ConditionStalled); c != nil && c.Status == "True" {
		return c
	}
	return nil
}

func sinceOf(c *spec.Condition) time.Time {
	if c.Since == nil {
		return time.Time{}
	}
	return *c.Since
}

// judge is the error of a set that is stalled for good, as far as one can tell.
func (w *stall) judge(s *spec.StatefulSet, now time.Time) error {
	c := stalledOf(s)
	first := w.first
	w.first = false
	if c == nil {
		w.old = time.Time{}
		return nil
	}
	if first {
		w.old = sinceOf(c)
	}
	since := sinceOf(c)
	if !since.Equal(w.since) || w.seen.IsZero() {
		w.since, w.seen = since, now
	}
	was := w.old.Equal(since)
	// Who goes back does so a moment after the stall; a new leader gives the rollout its
	// whole time again before that.
	goesBack := s.Spec.AutoRollback && s.Status.CurrentRevision != s.Status.UpdateRevision
	if (was || goesBack) && now.Before(w.seen.Add(s.Spec.StalledAfter())) {
		return nil
	}
	return stalledError(s, c)
}

func stalledError(s *spec.StatefulSet, c *spec.Condition) error {
	name := s.Metadata.Name
	if s.Status.CurrentRevision != s.Status.UpdateRevision && s.Status.CurrentRevision != "" {
		return spec.Errorf(spec.CodeInternal, "the rollout of statefulset %s has stalled: %s; look with supctl explain %s, apply a better definition, or go back: supctl rollout undo %s",
			name, c.Message, name, name)
	}
	return spec.Errorf(spec.CodeInternal, "statefulset %s has stalled: %s; look with supctl explain %s, mend what holds it, or apply a better definition", name, c.Message, name)
}
