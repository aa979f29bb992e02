package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// previewSet answers what putting a definition would cause.
func (s *Server) previewSet(w http.ResponseWriter, r *http.Request) error {
	var in client.PreviewRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.StatefulSet == nil {
		return spec.Errorf(spec.CodeInvalid, "cannot plan: the request has no statefulSet")
	}
	v := s.o.Store.View()
	cmd, err := s.checkSet(w, r, *in.StatefulSet, withPrograms(v, r.PathValue("ns"), in.Programs))
	if err != nil {
		return err
	}
	e, err := s.entry(r, cmd)
	if err != nil {
		return err
	}
	out, perr := Preview(v, e, cmd)
	if perr != nil {
		return perr
	}
	out.Warnings = append(out.Warnings, w.Header().Values(client.HeaderWarning)...)
	return writeJSON(w, http.StatusOK, out)
}

// withPrograms finds Programs among those given first, then among those stored.
func withPrograms(v *state.View, ns string, given []*spec.Program) func(string) *spec.ProgramSpec {
	stored := storedPrograms(v, ns)
	return func(name string) *spec.ProgramSpec {
		for _, p := range given {
			if p != nil && p.Metadata.Name == name {
				return &p.Spec
			}
		}
		return stored(name)
	}
}

// maxRounds bounds a preview: each round is one plan and what agents make of it.
const maxRounds = 5000

// Preview runs Apply and the planner on a copy of the View, with agents that do at
// once what they are told and never fail, until nothing changes. Members that are
// unwell now stay so unless they are started anew, or lack nothing but time; nodes that do not answer stay
// silent. It is pure.
func Preview(v *state.View, e state.Entry, cmd *state.PutSet) (*client.Preview, *spec.Error) {
	p := &preview{now: e.At, ns: cmd.Namespace, set: cmd.Name, before: v}
	out := &client.Preview{Steps: []client.Step{}, Restarts: []string{}, Removes: []string{}, Notes: []string{}, Waits: []spec.Wait{}, Warnings: []string{}}
	next, res := v.Apply(v.Index+1, e)
	if res.Err != nil {
		return nil, res.Err
	}
	p.v = next
	out.Result = resultWord(res)
	set := next.Set(cmd.Namespace, cmd.Name)
	if set != nil {
		o := StatefulSet(next, set, e.At, nil)
		out.Object = &o
	}
	p.run(out)
	if set != nil {
		out.Notes = notes(set, out, p.behind())
	}
	return out, nil
}

// behind are the members that at the end still are to be started anew.
func (p *preview) behind() (names []string) {
	s := p.v.Set(p.ns, p.set)
	if s == nil {
		return nil
	}
	for _, m := range p.v.SetMembers(p.ns, p.set) {
		if s.Wants(m.Ordinal) && s.Needs(m) {
			names = append(names, m.Name())
		}
	}
	return names
}

// notes say how many are restarted at a time, who follows later only, or that nobody is
// restarted though something changes.
func notes(s *state.Set, out *client.Preview, behind []string) []string {
	notes := []string{}
	switch {
	case len(out.Restarts) == 0 && len(behind) == 0 && out.Result == client.Configured:
		notes = append(notes, "no member is restarted: what changes is followed as it is")
	case len(out.Restarts) == 0:
	case s.Spec.UpdateStrategy.Type == spec.Recreate:
		notes = append(notes, "all members stop before any starts (Recreate)")
	default:
		notes = append(notes, budgetNote(s))
	}
	switch {
	case len(behind) == 0:
	case s.Spec.UpdateStrategy.Type == spec.OnDelete:
		notes = append(notes, "followed only when they are deleted (OnDelete): "+strings.Join(behind, ", "))
	default:
		notes = append(notes, "restarted later, when nothing holds them any more: "+strings.Join(behind, ", "))
	}
	return notes
}

func budgetNote(s *state.Set) string {
	n, r := plan.MaxUnavailable(s), s.Spec.UpdateStrategy.RollingUpdate
	note := fmt.Sprintf("at most %d of %d members are unavailable at a time", n, s.Replicas())
	if r != nil && r.MaxUnavailable != "" {
		if _, number := r.MaxUnavailable.Int(); !number {
			note += fmt.Sprintf(": maxUnavailable %s of %d is %d", r.MaxUnavailable, s.Replicas(), n)
			if r.MaxUnavailable != "100%" {
				note += ", rounded up"
			}
		}
	}
	return note
}

type preview struct {
	before, v *state.View
	now       time.Time
	ns, set   string
	uids      int
}

func (p *preview) run(out *client.Preview) {
	facts := plan.Facts{Silent: func(string) bool { return false }, UID: func() string {
		p.uids++
		return fmt.Sprintf("preview-%d", p.uids)
	}}
	var last plan.Plan
	for range maxRounds {
		set := p.v.Set(p.ns, p.set)
		if set == nil {
			return
		}
		last = plan.MakeSet(p.v, set, p.now, facts)
		moved := false
		for _, c := range last.Commands {
			if steps, ok := p.apply(c); ok {
				out.Steps = append(out.Steps, steps...)
				moved = true
			}
		}
		moved = p.agents() || moved
		if moved {
			continue
		}
		if last.Next.IsZero() || !last.Next.After(p.now) {
			p.finish(out, last)
			return
		}
		p.now = last.Next
	}
	out.Truncated = true
	p.finish(out, last)
}

// finish tells what the set would still wait for, and who was touched.
func (p *preview) finish(out *client.Preview, last plan.Plan) {
	for _, w := range last.Waits {
		out.Waits = append(out.Waits, w.Wait)
	}
	for _, m := range p.before.SetMembers(p.ns, p.set) {
		after := p.v.Member(p.ns, p.set, m.Ordinal)
		switch {
		case after == nil:
			out.Removes = append(out.Removes, m.Name())
		case m.Epoch != 0 && m.Wish == state.WishRun && after.Epoch != m.Epoch:
			out.Restarts = append(out.Restarts, m.Name())
		}
	}
}

// apply tries one planned command and says what it does.
func (p *preview) apply(c state.Command) ([]client.Step, bool) {
	steps := p.describe(c)
	next, res := p.v.Apply(p.v.Index+1, state.Entry{At: p.now, Who: "plan", Cmd: c})
	if res.Err != nil || !res.Changed {
		return nil, false
	}
	if start, ok := c.(*state.StartMember); ok && len(steps) == 1 {
		for _, what := range directories(p.v, next, start) {
			steps[0].Why = strings.TrimPrefix(steps[0].Why+"; "+what, "; ")
		}
	}
	p.v = next
	return steps, true
}

// directories says which of a member's directories come and go with a start.
func directories(before, after *state.View, c *state.StartMember) (out []string) {
	now := after.MemberVolumes(c.Namespace, c.Set, c.Ordinal)
	has := func(list []*state.Volume, name string) bool {
		return slices.ContainsFunc(list, func(v *state.Volume) bool { return v.Name() == name })
	}
	was := before.MemberVolumes(c.Namespace, c.Set, c.Ordinal)
	for _, v := range now {
		switch {
		case v.Added && !v.Made:
			out = append(out, "new directory "+v.Name())
		case !has(was, v.Name()):
			out = append(out, "its directory "+v.Name()+" is back")
		}
	}
	for _, v := range was {
		if !has(now, v.Name()) {
			out = append(out, "its directory "+v.Name()+" is retained")
		}
	}
	return out
}

func (p *preview) describe(c state.Command) []client.Step {
	name := func(ordinal int) string { return spec.MemberName(p.set, ordinal) }
	node := func(ordinal int) string {
		if m := p.v.Member(p.ns, p.set, ordinal); m != nil {
			return m.Node
		}
		return ""
	}
	switch c := c.(type) {
	case *state.Reserve:
		var out []client.Step
		for _, slot := range c.Slots {
			out = append(out, client.Step{Verb: "reserve", Subject: name(slot.Ordinal), Node: slot.Node, Why: p.volumesOf(slot)})
		}
		return out
	case *state.Place:
		return []client.Step{{Verb: "place", Subject: name(c.Slot.Ordinal), Node: c.Slot.Node}}
	case *state.StartMember:
		why := ""
		if m := p.v.Member(p.ns, p.set, c.Ordinal); m != nil && m.Revision != c.Revision {
			why = "revision " + spec.RevisionName(p.set, c.Revision)
		}
		return []client.Step{{Verb: "start", Subject: name(c.Ordinal), Node: node(c.Ordinal), Why: why}}
	case *state.StopMember:
		return []client.Step{{Verb: "stop", Subject: name(c.Ordinal), Why: p.stopWhy(c)}}
	case *state.KeepMember:
		return []client.Step{{Verb: "keep", Subject: name(c.Ordinal), Why: "it was on its way out"}}
	case *state.DropMember:
		return []client.Step{{Verb: "remove", Subject: name(c.Ordinal), Why: p.fateOf(c.Ordinal)}}
	case *state.DropSet:
		return []client.Step{{Verb: "remove", Subject: p.set}}
	case *state.StartHeld:
		return []client.Step{{Verb: "run", Subject: name(c.Ordinal), Node: node(c.Ordinal), Why: "hook " + spec.HookPosition}}
	case *state.LetGo:
		var out []client.Step
		for _, o := range slices.Sorted(maps.Keys(c.Epochs)) {
			out = append(out, client.Step{Verb: "start", Subject: name(o), Node: node(o)})
		}
		return out
	case *state.AskHook:
		why := "hook " + c.Hook
		if c.Hook == spec.HookAfterLeave {
			why += " for " + name(c.Leaver)
		}
		return []client.Step{{Verb: "run", Subject: name(c.Ordinal), Node: node(c.Ordinal), Why: why}}
	}
	return nil // bookkeeping: nothing that users would call a step
}

// stopWhy says why a member is stopped: of a rollout, what in its template changed.
func (p *preview) stopWhy(c *state.StopMember) string {
	m, set := p.v.Member(p.ns, p.set, c.Ordinal), p.v.Set(p.ns, p.set)
	if c.Why != "Rollout" || m == nil || set == nil {
		return stopWords(c.Why)
	}
	was, is := p.v.Revision(p.ns, p.set, m.Revision), p.v.Revision(p.ns, p.set, set.Wanted(c.Ordinal))
	if was == nil || is == nil {
		return stopWords(c.Why)
	}
	return stopWords(c.Why) + ": " + strings.Join(p.shaped(set, was).Changes(p.shaped(set, is)), "; ")
}

// shaped is a revision's template with the volumes and the service it stands for, which
// templates of before the first change of those don't name.
func (p *preview) shaped(s *state.Set, r *state.Revision) spec.Template {
	t := r.Template
	if t.Shape == nil {
		shape := p.v.ShapeOf(s, r.Hash)
		t.Shape = &shape
	}
	return t
}

func stopWords(why string) string {
	switch why {
	case "Rollout":
		return "template changed"
	case "Restart":
		return "asked to restart"
	case "ScaleDown":
		return "no longer wanted"
	case "SetDeleted":
		return "the set is deleted"
	}
	return why
}

// volumesOf says which directories a reservation makes or takes back.
func (p *preview) volumesOf(slot state.Slot) string {
	s := p.v.Set(p.ns, p.set)
	var fresh, back []string
	for _, vs := range s.Spec.Volumes {
		name := spec.VolumeName(vs.Name, p.set, slot.Ordinal)
		if vol := p.v.Volume(p.ns, name); vol != nil && vol.Made {
			back = append(back, name)
		} else {
			fresh = append(fresh, name)
		}
	}
	switch {
	case len(back) > 0:
		return fmt.Sprintf("with its directory %v back", back)
	case len(fresh) > 0:
		return fmt.Sprintf("new directory %v", fresh)
	}
	return ""
}

// fateOf says what becomes of a removed member's directories.
func (p *preview) fateOf(ordinal int) string {
	s := p.v.Set(p.ns, p.set)
	vols := p.v.MemberVolumes(p.ns, p.set, ordinal)
	if len(vols) == 0 {
		return ""
	}
	policy := s.Spec.VolumeRetention.WhenScaled
	if s.Deleting {
		policy = s.Spec.VolumeRetention.WhenDeleted
	}
	if policy == spec.Delete {
		return "its directories are released, as the definition asks"
	}
	return "its directories are retained"
}

// agents does what every answering node would: stop what is to be stopped, start
// what has a new epoch. It tells whether anything changed.
func (p *preview) agents() bool {
	moved := false
	for _, m := range p.v.SetMembers(p.ns, p.set) {
		n := p.v.Node(m.Node)
		if n == nil || n.State != spec.NodeReady || m.Epoch == 0 {
			continue
		}
		seen, ok := p.does(m)
		if !ok {
			continue
		}
		r := &state.Report{
			Node: n.Name, Run: n.Run, Seq: n.Seq + 1,
			Members: []state.MemberReport{{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Seen: seen}},
		}
		if m.Wish == state.WishRun && m.Seen.Epoch != m.Epoch { // only a start makes directories
			r.Volumes = p.made(m)
		}
		next, res := p.v.Apply(p.v.Index+1, state.Entry{At: p.now, Who: "agent:" + n.Name, Cmd: r})
		if res.Err == nil {
			p.v, moved = next, true
		}
	}
	return moved
}

// does is what the member's node would report next, if anything.
func (p *preview) does(m *state.Member) (state.Observation, bool) {
	switch {
	case m.Asked != nil && m.Runs(m.Asked.Hook):
		seen := m.Seen
		seen.Hooks = append(slices.Clone(seen.Hooks), spec.HookStatus{Name: m.Asked.Hook, State: spec.HookSucceeded, Run: m.Asked.Run, At: p.now})
		return seen, true
	case m.Stopping() && !m.Down():
		return state.Observation{Epoch: m.Epoch, Phase: spec.MemberStopped}, true
	case m.Held && m.Seen.Position == nil:
		return state.Observation{Epoch: m.Epoch, Phase: spec.MemberStarting, Position: new(int64)}, true
	case m.Held:
	case m.Wish == state.WishRun && (m.Seen.Epoch != m.Epoch || m.Seen.Phase == spec.MemberStarting && m.Seen.Position != nil):
		return state.Observation{
			Epoch: m.Epoch, Phase: spec.MemberRunning, Started: true, Ready: true, Steady: true, StartedAt: p.now, StartedOK: p.now,
			MayStop: &spec.Consent{Answer: spec.Yes},
		}, true
	case m.Ready() && !m.Seen.Steady: // it lacks nothing but time
		seen := m.Seen
		seen.Steady, seen.Reason, seen.Message = true, "", ""
		return seen, true
	}
	return state.Observation{}, false
}

func (p *preview) made(m *state.Member) []state.VolumeReport {
	var out []state.VolumeReport
	for _, vol := range p.v.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if !vol.Made && !slices.Contains([]string{spec.VolumeReleasing, spec.VolumeAbandoned}, vol.Phase) {
			out = append(out, state.VolumeReport{Namespace: vol.Namespace, Name: vol.Name(), UID: vol.UID, Event: state.VolumeMade, Path: "preview"})
		}
	}
	return out
}
