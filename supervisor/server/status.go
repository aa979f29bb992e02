package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// StatefulSet is the API object of s at now; waits are the planner's for this set.
func StatefulSet(v *state.View, s *state.Set, now time.Time, waits []spec.Wait) spec.StatefulSet {
	st := &spec.StatefulSetStatus{
		ObservedGeneration: s.Meta.Generation, Deleting: s.Deleting, Formed: s.Formed,
		UpdateRevision: spec.RevisionName(s.Meta.Name, s.Revision),
		WaitsFor:       append([]spec.Wait{}, waits...),
	}
	if s.Current != "" {
		st.CurrentRevision = spec.RevisionName(s.Meta.Name, s.Current)
	}
	if f := s.Paused; f != nil {
		st.Paused, st.Pause = true, &spec.Asked{Who: f.Who, Why: f.Why, Since: timePtr(f.Since)}
	}
	if r := s.Rollback; r != nil {
		st.Rollback = &spec.Rollback{
			From: spec.RevisionName(s.Meta.Name, r.From), Auto: r.Auto, Asked: spec.Asked{Who: r.Who, Why: r.Why, Since: timePtr(r.At)},
		}
	}
	p := prospect(v, s, now)
	st.Replicas, st.ReadyReplicas = p.started, p.ready
	st.AvailableReplicas, st.UpdatedReplicas = p.available, p.updated
	progressing := progressingCondition(s, p, waits)
	st.Conditions = []spec.Condition{
		availableCondition(s, p),
		progressing,
		scaleDownCondition(s, p),
		stalledCondition(v, s, progressing, now, waits),
	}
	return spec.StatefulSet{
		APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet, Metadata: s.Meta, Spec: s.Spec, Status: st,
	}
}

// counted is what the conditions of a set are made from.
type counted struct {
	wanted, started, ready, available, updated int
	missing, unready, outdated, leaving, due   []string
	shaky                                      []string // ready, but not for long enough to be called steady
	sick                                       []string // "web-1: reason, message"
	sickNames                                  []string
	unavailableSince                           time.Time    // earliest
	availableSince, moved                      time.Time    // latest; moved as Stalls has it
	sickSince                                  time.Time    // earliest
	leave                                      *state.Asked // an onLeave hook that has failed
	leaver                                     string
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// prospect looks once over a set's members.
func prospect(v *state.View, s *state.Set, now time.Time) counted {
	c := counted{wanted: s.Replicas(), moved: v.Moved(s, now)}
	seen := map[int]bool{}
	onDelete := s.Spec.UpdateStrategy.Type == spec.OnDelete
	for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		seen[m.Ordinal] = true
		c.count(v, s, m, now)
		if s.Wants(m.Ordinal) && m.Epoch != 0 {
			if s.Behind(m) && !onDelete {
				c.outdated = append(c.outdated, m.Name())
			} else if m.RestartUpTo >= m.Epoch {
				c.due = append(c.due, m.Name())
			}
		}
		if !s.Wants(m.Ordinal) || m.Wish == state.WishGone {
			c.leaving = append(c.leaving, m.Name())
			if a := m.Asked; a != nil && a.Hook == spec.HookOnLeave && !m.Left() && a.Message != "" {
				c.leave, c.leaver = a, m.Name()
			}
			continue
		}
		if ok, reason, message := v.Healthy(m); !ok {
			c.sick = append(c.sick, m.Name()+": "+reason+", "+message)
			c.sickNames = append(c.sickNames, m.Name())
			c.sickSince = earliest(c.sickSince, unwellSince(v, m))
		}
	}
	for o := s.Start(); o < s.Start()+s.Replicas(); o++ {
		if !seen[o] {
			name := spec.MemberName(s.Meta.Name, o)
			c.missing = append(c.missing, name)
			c.sick = append(c.sick, name+": NotReserved, it has no place yet")
			c.sickNames = append(c.sickNames, name)
			c.sickSince = earliest(c.sickSince, s.ScaledAt)
			c.unavailableSince = earliest(c.unavailableSince, s.ScaledAt)
		}
	}
	return c
}

func (c *counted) count(v *state.View, s *state.Set, m *state.Member, now time.Time) {
	if m.Epoch != 0 {
		c.started++
		if m.Revision == s.Revision {
			c.updated++
		}
	}
	if memberServes(v, m) {
		c.ready++
		if s.Wants(m.Ordinal) && !m.Seen.Steady {
			c.shaky = append(c.shaky, m.Name())
		}
	} else if s.Wants(m.Ordinal) {
		c.unready = append(c.unready, m.Name())
	}
	switch {
	case v.Available(s, m, now):
		c.available++
		c.availableSince = latest(c.availableSince, m.ReadySince.Add(s.Spec.MinReady.D()))
	case s.Wants(m.Ordinal):
		c.unavailableSince = earliest(c.unavailableSince, unwellSince(v, m))
	}
}

// unwellSince is the best the View knows of when a member stopped being well.
func unwellSince(v *state.View, m *state.Member) time.Time {
	if n := v.Node(m.Node); n != nil && n.State != spec.NodeReady {
		return n.Since
	}
	for _, t := range []time.Time{m.UnreadySince, m.ReadySince, m.Seen.StartedAt} {
		if !t.IsZero() {
			return t
		}
	}
	return m.CreatedAt
}

func condition(typ string, is bool, since time.Time) spec.Condition {
	c := spec.Condition{Type: typ, Status: "False", Since: timePtr(since)}
	if is {
		c.Status = "True"
	}
	return c
}

func availableCondition(s *state.Set, c counted) spec.Condition {
	if s.Deleting {
		out := condition(spec.ConditionAvailable, false, s.ScaledAt)
		out.Reason, out.Message = "Deleting", "the set is being deleted"
		return out
	}
	ok := c.available >= c.wanted && len(c.missing) == 0
	since := c.unavailableSince
	if ok {
		since = latest(c.availableSince, s.ScaledAt)
	}
	out := condition(spec.ConditionAvailable, ok, since)
	out.Message = fmt.Sprintf("%d of %d members are available", c.available, c.wanted)
	out.Reason = "AllAvailable"
	if !ok {
		out.Reason = "MembersUnavailable"
	}
	return out
}

// progressingCondition is True while the set is not yet what is wanted of it; the
// first case that fits names the reason.
func progressingCondition(s *state.Set, c counted, waits []spec.Wait) spec.Condition {
	rolling := "RollingUpdate"
	if s.Rollback != nil {
		rolling = "RollingBack"
	}
	held, onHold := slices.Concat(c.outdated, c.due), ""
	if s.Paused != nil {
		onHold = "the rollout is paused " + s.Paused.Sentence()
	}
	cases := []struct {
		is              bool
		reason, message string
	}{
		{s.Deleting, "Deleting", fmt.Sprintf("the set is being deleted, %d members are left", c.started)},
		{len(c.missing) > 0, "Reserving", "no place yet: " + strings.Join(c.missing, ", ")},
		{len(c.leaving) > 0, "ScalingDown", "leaving: " + strings.Join(c.leaving, ", ")},
		{onHold != "" && len(held) > 0, "Paused", onHold + "; it would restart " + strings.Join(held, ", ")},
		{len(c.outdated) > 0, rolling, "on another revision: " + strings.Join(c.outdated, ", ")},
		{len(c.due) > 0, "Restarting", "to be restarted: " + strings.Join(c.due, ", ")},
		{len(c.unready) > 0, "MembersNotReady", "not ready: " + strings.Join(c.unready, ", ")},
		{c.available < c.wanted, "MembersNotAvailable", fmt.Sprintf("%d of %d members have been ready for %s", c.available, c.wanted, s.Spec.MinReady)},
		{s.Current != s.Revision && len(c.shaky) > 0 && c.updated >= c.wanted, "MembersNotSteady", "not steady yet: " + strings.Join(c.shaky, ", ")},
	}
	for _, k := range cases {
		if k.is {
			since := latest(latest(s.ScaledAt, s.UpdatedAt), s.ResumedAt)
			switch {
			case strings.HasPrefix(k.reason, "MembersNot"):
				since = latest(since, c.unavailableSince)
			case k.reason == "Paused":
				since = latest(since, s.Paused.Since)
			}
			out := condition(spec.ConditionProgressing, true, since)
			out.Reason, out.Message = k.reason, k.message
			if len(waits) > 0 && k.reason != "Paused" {
				out.Message += "; " + waits[0].Subject + " " + waits[0].Message
			}
			return out
		}
	}
	out := condition(spec.ConditionProgressing, false, c.moved)
	out.Reason, out.Message = "Complete", "the set is as it is wanted"
	if r := s.Rollback; r != nil {
		out.Reason, out.Message = "RolledBack", "the set went back from revision "+spec.RevisionName(s.Meta.Name, r.From)+because(r.Why)
	}
	if onHold != "" {
		out.Message += "; " + onHold
	}
	return out
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func scaleDownCondition(s *state.Set, c counted) spec.Condition {
	blocked := len(c.sick) > 0 && !s.Deleting
	since := c.availableSince
	if blocked {
		since = c.sickSince
	}
	out := condition(spec.ConditionScaleDownBlocked, blocked, since)
	if blocked {
		out.Reason = "UnhealthyMembers"
		out.Message = "a scale-down is refused: " + strings.Join(c.sick, "; ")
		return out
	}
	if c.leave != nil && !s.Deleting {
		out = condition(spec.ConditionScaleDownBlocked, true, c.leave.Since)
		out.Reason = "OnLeaveFailed"
		out.Message = fmt.Sprintf("the onLeave hook of %s has failed: %s", c.leaver, c.leave.Message)
		return out
	}
	out.Reason, out.Message = "AllHealthy", "every member is healthy"
	if s.Deleting {
		out.Reason, out.Message = "Deleting", "deleting a set is ordered but not gated by health"
	}
	return out
}

// stalledCondition is True when a set that is not what is wanted of it has not gone on
// for its progressDeadline. Its reason is the planner's, or what ails the first member.
func stalledCondition(v *state.View, s *state.Set, progressing spec.Condition, now time.Time, waits []spec.Wait) spec.Condition {
	deadline, moved := s.ProgressDeadline(), v.Moved(s, now)
	at, ever := v.Stalls(s, now)
	if progressing.Status == "True" && ever && now.After(at) {
		out := condition(spec.ConditionStalled, true, at)
		out.Reason = "NoProgress"
		out.Message = fmt.Sprintf("no progress for %s: %s", deadline, progressing.Message)
		if name, reason, message := firstSick(v, s); name != "" {
			out.Reason = reason
			out.Message += "; " + name + ": " + message
		}
		if len(waits) > 0 {
			out.Reason = waits[0].Reason
		}
		return out
	}
	out := condition(spec.ConditionStalled, false, moved)
	out.Reason, out.Message = "Moving", "it went on within the last "+deadline.String()
	switch {
	case progressing.Status == "False":
		out.Reason, out.Message = "Complete", "nothing is left to do"
	case progressing.Reason == "Paused":
		out.Reason, out.Message = "Paused", "what is paused does not stall"
	case !ever:
		out.Reason, out.Message = "Frozen", "what is held by command does not stall"
	}
	return out
}

// firstSick is the lowest member that the set wants and that is not healthy.
func firstSick(v *state.View, s *state.Set) (name, reason, message string) {
	for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		if ok, reason, message := v.Healthy(m); !ok && s.Wants(m.Ordinal) && m.Epoch != 0 {
			return m.Name(), reason, message
		}
	}
	return "", "", ""
}
