package state

import (
	"slices"
	"time"

	"supd/supervisor/spec"
)

// PauseRollout keeps members from being restarted for a rollout or a restart, or lets
// that go on. Repair, scaling and first starts go on all the while.
type PauseRollout struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Paused    bool   `json:"paused"`
	IfVersion uint64 `json:"ifVersion,omitempty"`
}

// UndoRollout makes a stored revision the wanted one again, and the definition what that
// was made from. Members that run it already are not touched.
type UndoRollout struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Revision  string `json:"revision"` // its hash
	IfVersion uint64 `json:"ifVersion,omitempty"`
	// Auto: planned, since the rollout stalled; Message says how. Refused unless the set asks
	// for it (autoRollback) and the revision is the last that all members ran.
	Auto         bool   `json:"auto,omitempty"`
	IfGeneration uint64 `json:"ifGeneration,omitempty"` // the set's, for Auto
	Message      string `json:"message,omitempty"`
	// UID makes those of volumes that the revision names and that are gone.
	UID string `json:"uid,omitempty"`
}

func (*PauseRollout) kind() string { return "PauseRollout" }
func (*UndoRollout) kind() string  { return "UndoRollout" }

// RulesNow is the PutSet.Rules of this version. Entries of older logs, and those made
// while an older node is there, keep the rules that they were made under:
//
//	0: a revision is a template only, and is trimmed when a rollout is complete
//	1: it notes who asked for it and why, what it was made from, and when it was last asked for;
//	   volumes and the governing service may be changed, and a volume is not made smaller
const RulesNow = 1

// Rollback notes that a set went back to an older revision; the next change of the
// template takes it off.
type Rollback struct {
	From string    `json:"from"` // the revision's hash
	At   time.Time `json:"at"`
	Auto bool      `json:"auto,omitempty"` // because it stalled
	Who  string    `json:"who,omitempty"`
	Why  string    `json:"why,omitempty"`
}

// Source is what a template with Programs merged in was made from. A template without
// images is its own.
type Source struct {
	Init      []spec.InitStep   `json:"init,omitempty"`
	Processes []spec.Process    `json:"processes"`
	Scratch   []spec.ScratchDir `json:"scratch,omitempty"`
}

func sourceOf(s *spec.StatefulSetSpec) *Source {
	if !images(s.Init, s.Processes) {
		return nil
	}
	return &Source{Init: s.Init, Processes: s.Processes, Scratch: s.Scratch}
}

func images(init []spec.InitStep, processes []spec.Process) bool {
	return slices.ContainsFunc(init, func(s spec.InitStep) bool { return s.Image != "" }) ||
		slices.ContainsFunc(processes, func(p spec.Process) bool { return p.Image != "" })
}

// Definition is the set's definition with what r was made from in place of what it is made
// from now; ok is false when that is not known, for r is of an older version's making.
// Volumes that both name keep their sizes.
func (v *View) Definition(s *Set, r *Revision) (out spec.StatefulSetSpec, ok bool) {
	out = s.Spec.Clone()
	switch t := r.Template; {
	case r.Source != nil:
		out.Init, out.Processes, out.Scratch = r.Source.Init, r.Source.Processes, r.Source.Scratch
	case images(t.Init, t.Processes):
		return s.Spec, false
	default:
		out.Init, out.Processes, out.Scratch = t.Init, t.Processes, t.Scratch
	}
	if r.Template.Resolve != "" {
		out.Network.Resolve = r.Template.Resolve
	}
	shape := v.ShapeOf(s, r.Hash)
	out.ServiceName = shape.Service
	if !shape.Same(spec.Shape{Service: shape.Service, Volumes: out.Volumes}) {
		now := out.Volumes
		out.Volumes = slices.Clone(shape.Volumes)
		for i, vs := range out.Volumes {
			if at := slices.IndexFunc(now, func(n spec.VolumeSpec) bool { return n.Name == vs.Name }); at >= 0 {
				out.Volumes[i] = now[at]
			}
		}
	}
	for i := range out.Volumes {
		out.Volumes[i].MountPath = r.Template.VolumeMounts[out.Volumes[i].Name]
	}
	return out, true
}

// History returns a set's revisions, the newest first.
func (v *View) History(s *Set) []*Revision {
	out := slices.Collect(v.Revisions(s.Meta.Namespace, s.Meta.Name))
	slices.SortFunc(out, func(a, b *Revision) int { return int(b.Number) - int(a.Number) })
	return out
}

// Previous is the revision that an undo without a number goes back to: the last that all
// members ran, while another is being rolled out; else the one before. nil: there is none.
func (v *View) Previous(s *Set) *Revision {
	if s.Current != s.Revision {
		if r := v.Revision(s.Meta.Namespace, s.Meta.Name, s.Current); r != nil {
			return r
		}
	}
	for _, r := range v.History(s) {
		if r.Hash != s.Revision {
			return r
		}
	}
	return nil
}

// NextRevision is what a member of the set gets with its next start. While the rollout is
// paused, and for those that leave, it is the one they have.
func (s *Set) NextRevision(m *Member) string {
	switch {
	case m.Epoch != 0 && (s.Paused != nil || !s.Wants(m.Ordinal)):
		return m.Revision
	case s.Paused != nil && s.Current != "":
		return s.Current
	}
	return s.Wanted(m.Ordinal)
}

// askRevision notes that s.Revision is asked for, by whom and why, and forgets revisions
// beyond the history limit.
func (t *tx) askRevision(s *Set, changed bool, why string) {
	r := *t.Revision(s.Meta.Namespace, s.Meta.Name, s.Revision)
	r.Source = sourceOf(&s.Spec)
	if changed {
		r.At, r.Who, r.Why = t.now, t.e.Who, why
		for other := range t.Revisions(r.Namespace, r.Set) {
			if other.Hash != r.Hash && other.Number >= r.Number {
				r.Number = other.Number + 1
			}
		}
	}
	put(t, &t.revisions, r.Namespace+"/"+r.Set+"/"+r.Hash, &r)
	used := map[string]bool{s.Revision: true, s.Current: true}
	for _, m := range t.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		used[m.Revision] = true
	}
	t.trimRevisions(s, used)
}

func (t *tx) pauseRollout(c *PauseRollout) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if err := t.checkRollout(old, c.Namespace, c.Name, c.IfVersion); err != nil {
		return err
	}
	if (old.Paused != nil) == c.Paused {
		return nil
	}
	s := *old
	s.Meta.Generation++ // no stop that was planned before may still be carried out
	if c.Paused {
		s.Paused = &Freeze{Who: t.e.Who, Why: t.e.Why, Since: t.now}
		t.event(c.Namespace, "statefulset/"+c.Name, "Paused", "no member is restarted for a rollout until it is resumed; repair goes on")
	} else {
		s.Paused, s.ResumedAt = nil, t.now
		t.event(c.Namespace, "statefulset/"+c.Name, "Resumed", "the rollout goes on")
	}
	t.saveSet(&s)
	return nil
}

// checkRollout refuses what concerns the rollout of a set that is not there, has changed,
// or is being deleted.
func (t *tx) checkRollout(s *Set, ns, name string, version uint64) *spec.Error {
	if s == nil {
		return notFound("statefulset", ns, name)
	}
	if err := checkVersion("statefulset", name, version, s.Meta.ResourceVersion); err != nil {
		return err
	}
	if s.Deleting {
		return refuse("Deleting", "statefulset %s is being deleted", name)
	}
	return nil
}

func (t *tx) undoRollout(c *UndoRollout) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if err := t.checkRollout(old, c.Namespace, c.Name, c.IfVersion); err != nil {
		return err
	}
	if c.Auto && (old.Meta.Generation != c.IfGeneration || !old.Spec.AutoRollback || old.Paused != nil || !old.Formed || old.Current != c.Revision) {
		return stale("statefulset %s has changed since", c.Name)
	}
	r := t.Revision(c.Namespace, c.Name, c.Revision)
	if r == nil {
		return notFound("revision", c.Namespace, spec.RevisionName(c.Name, c.Revision))
	}
	if r.Hash == old.Revision {
		return nil
	}
	definition, ok := t.Definition(old, r)
	if !ok {
		return refuse("RevisionIncomplete", "cannot go back to revision %d of statefulset %s: it is of an older supd's making, and what its images meant is not known any more; apply its definition again", r.Number, c.Name)
	}
	s := *old
	s.Spec, s.Revision, s.UpdatedAt = definition, r.Hash, t.now
	why := t.e.Why
	if c.Auto {
		why = c.Message
	}
	s.Rollback = &Rollback{From: old.Revision, At: t.now, Auto: c.Auto, Who: t.e.Who, Why: why}
	s.Meta.Generation++
	if err := t.reshape(old, &s, c.UID); err != nil {
		return err
	}
	t.askRevision(&s, true, why)
	t.ensureService(&s)
	t.saveSet(&s)
	if c.Auto {
		t.warn(c.Namespace, "statefulset/"+c.Name, "RolledBack", "revision %s stalled: members go back to %s: %s", old.Revision, s.Revision, c.Message)
		return nil
	}
	t.event(c.Namespace, "statefulset/"+c.Name, "RolledBack", "members go back from revision %s to %s", old.Revision, s.Revision)
	return nil
}
