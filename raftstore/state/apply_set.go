package state

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

func (t *tx) putSet(c *PutSet) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if old == nil {
		return t.createSet(c)
	}
	if err := checkVersion("statefulset", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
		return err
	}
	if old.Deleting {
		return refuse("Deleting", "statefulset %s is being deleted; wait until it is gone (supctl wait sts/%s --for=deleted) and apply again", c.Name, c.Name)
	}
	s := *old
	s.Spec = c.Spec
	s.Meta.Labels, s.Meta.Annotations = c.Labels, c.Annotations
	tpl := c.Template
	if c.Rules >= 1 {
		if err := t.checkChange(old, &s); err != nil {
			return err
		}
		tpl = s.shape(old, tpl)
	} else if err := t.checkFixed(old, c); err != nil {
		return err
	}
	s.Revision = tpl.Hash()
	rev := t.Revision(c.Namespace, c.Name, s.Revision)
	if rev != nil && same(rev.Template, tpl) && same(old.Spec, s.Spec) && s.Revision == old.Revision &&
		same(old.Meta.Labels, s.Meta.Labels) && same(old.Meta.Annotations, s.Meta.Annotations) {
		return nil
	}
	if err := t.resize(old, &s, c.AcceptUnhealthy, c.Silent); err != nil {
		return err
	}
	t.putRevision(&s, tpl)
	if c.Rules >= 1 {
		if err := t.reshape(old, &s, c.UID); err != nil {
			return err
		}
		t.askRevision(&s, s.Revision != old.Revision, t.e.Why)
	}
	s.Meta.Generation++
	if !c.Template.Hooked(spec.HookAfterLeave) {
		s.Gone = nil
	}
	if s.Revision != old.Revision {
		s.UpdatedAt, s.Rollback = t.now, nil
		t.event(c.Namespace, "statefulset/"+c.Name, "Updated", "the template changed: members go from revision %s to %s", old.Revision, s.Revision)
	} else {
		t.event(c.Namespace, "statefulset/"+c.Name, "Configured", "the definition changed; no member needs a restart")
	}
	t.ensureService(&s)
	t.saveSet(&s)
	return nil
}

func (t *tx) createSet(c *PutSet) *spec.Error {
	if c.IfVersion != 0 {
		return checkVersion("statefulset", c.Name, c.IfVersion, 0)
	}
	if c.UID == "" {
		return refuse("Invalid", "a new statefulset needs a uid")
	}
	now := t.now
	s := &Set{
		Meta: spec.Meta{
			Namespace: c.Namespace, Name: c.Name, UID: c.UID, Generation: 1, CreatedAt: &now,
			Labels: c.Labels, Annotations: c.Annotations,
		},
		Spec: c.Spec, Revision: c.Template.Hash(), ScaledAt: now, UpdatedAt: now,
	}
	s.Current = s.Revision
	t.putRevision(s, c.Template)
	if c.Rules >= 1 {
		t.askRevision(s, true, t.e.Why)
	}
	t.ensureService(s)
	t.saveSet(s)
	t.created = true
	t.event(c.Namespace, "statefulset/"+c.Name, "Created", "%d members are wanted", s.Replicas())
	return nil
}

// checkFixed refuses changes that would take identity or data from members.
func (t *tx) checkFixed(old *Set, c *PutSet) *spec.Error {
	fixed := func(field string, from, to any) *spec.Error {
		return refuse("FixedField", "%s of statefulset %s cannot be changed by this version (it is %v, not %v); delete the set and apply it again: its directories are retained", field, c.Name, from, to)
	}
	if old.Spec.ServiceName != c.Spec.ServiceName {
		return fixed("spec.serviceName", old.Spec.ServiceName, c.Spec.ServiceName)
	}
	if old.Spec.Network.Mode != c.Spec.Network.Mode {
		return fixed("spec.network.mode", old.Spec.Network.Mode, c.Spec.Network.Mode)
	}
	if a, b := volumeNames(old.Spec.Volumes), volumeNames(c.Spec.Volumes); a != b {
		return fixed("spec.volumes (their names)", "["+a+"]", "["+b+"]")
	}
	return nil
}

func volumeNames(vs []spec.VolumeSpec) string {
	names := make([]string, len(vs))
	for i, v := range vs {
		names[i] = v.Name
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// same compares by what would be written, so that nil and empty are one.
func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && (string(x) == string(y) || empty(x) && empty(y))
}

func empty(b []byte) bool { return string(b) == "null" || string(b) == "{}" || string(b) == "[]" }

func (t *tx) putRevision(s *Set, tpl spec.Template) {
	ns, name := s.Meta.Namespace, s.Meta.Name
	r := Revision{Namespace: ns, Set: name, Hash: s.Revision, Template: tpl, CreatedAt: t.now, Number: 1}
	for other := range t.Revisions(ns, name) {
		if other.Hash == s.Revision {
			r = *other
			r.Template = tpl
			break
		}
		r.Number = max(r.Number, other.Number+1)
	}
	put(t, &t.revisions, ns+"/"+name+"/"+s.Revision, &r)
}

func (t *tx) ensureService(s *Set) {
	ns, name := s.Meta.Namespace, s.Spec.ServiceName
	if t.Service(ns, name) != nil {
		return
	}
	now := t.now
	put(t, &t.services, key(ns, name), &Service{
		Meta: spec.Meta{Namespace: ns, Name: name, UID: s.Meta.UID + "-svc", Generation: 1, ResourceVersion: t.Index, CreatedAt: &now},
		Auto: true,
	})
}

func (t *tx) scaleSet(c *ScaleSet) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if old == nil {
		return notFound("statefulset", c.Namespace, c.Name)
	}
	if err := checkVersion("statefulset", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
		return err
	}
	if old.Deleting {
		return refuse("Deleting", "statefulset %s is being deleted", c.Name)
	}
	if c.Replicas < 0 {
		return &spec.Error{Code: spec.CodeInvalid, Reason: "Invalid", Message: fmt.Sprintf("cannot scale statefulset %s to %d: replicas must not be negative", c.Name, c.Replicas)}
	}
	if c.IfReplicas != nil && *c.IfReplicas != old.Replicas() {
		return &spec.Error{
			Code: spec.CodeConflict, Reason: "ReplicasConflict",
			Message: fmt.Sprintf("statefulset %s wants %d replicas, not %d; look again and scale from there", c.Name, old.Replicas(), *c.IfReplicas),
		}
	}
	if c.Replicas == old.Replicas() && len(c.AcceptUnhealthy) == 0 {
		return nil
	}
	s := *old
	n := c.Replicas
	s.Spec.Replicas = &n
	if err := t.resize(old, &s, c.AcceptUnhealthy, c.Silent); err != nil {
		return err
	}
	s.Meta.Generation++
	t.saveSet(&s)
	return nil
}

// resize checks and notes a change of the ordinals that a set wants. Fewer of them
// make it a scale-down, whose gate is the health of all. Whoever leaves already and was
// accepted as lost stays so until it is gone; who was accepted and stayed is not.
func (t *tx) resize(old, s *Set, accept, silent []string) *spec.Error {
	ns, name := old.Meta.Namespace, old.Meta.Name
	leaving, named := false, slices.Clone(accept)
	for _, m := range t.SetMembers(ns, name) {
		if s.Wants(m.Ordinal) {
			continue
		}
		leaving = leaving || m.Wish != WishGone
		if !old.Wants(m.Ordinal) && slices.Contains(old.AcceptLost, m.Name()) && !slices.Contains(named, m.Name()) {
			named = append(named, m.Name())
		}
	}
	fewer := old.Start() < s.Start() || old.Start()+old.Replicas() > s.Start()+s.Replicas()
	if fewer && old.Replicas() > 0 || leaving && len(accept) > 0 {
		if err := t.gate(old, s.Replicas(), named, silent, "scale down"); err != nil {
			return err
		}
		s.AcceptLost = named
	} else if old.Replicas() != s.Replicas() || old.Start() != s.Start() {
		s.AcceptLost = named
	}
	if old.Replicas() != s.Replicas() || old.Start() != s.Start() {
		s.ScaledAt = t.now
		t.event(ns, "statefulset/"+name, "Scaled", "from %d to %d members%s", old.Replicas(), s.Replicas(), accepted(accept))
	}
	return nil
}

func accepted(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; accepted as lost: " + strings.Join(names, ", ")
}

// gate refuses to take members away, until replicas are left, while any is unhealthy, but for
// those that the operator accepts as lost by name. Members already on their way out don't count.
func (t *tx) gate(s *Set, replicas int, accept, silent []string, what string) *spec.Error {
	ns, name := s.Meta.Namespace, s.Meta.Name
	for _, a := range accept {
		if set, ordinal, ok := spec.SplitMember(a); !ok || set != name || t.Member(ns, set, ordinal) == nil && !s.Wants(ordinal) {
			return &spec.Error{Code: spec.CodeInvalid, Reason: "Invalid", Message: fmt.Sprintf("cannot accept %s as lost: statefulset %s has no such member", a, name)}
		}
	}
	sick, silentOnly := t.sick(s, accept, silent)
	if len(sick) == 0 {
		return nil
	}
	reason := "Unhealthy"
	if silentOnly {
		reason = "NodeSilent"
	}
	names := slices.Clone(accept) // the command must name them again
	details := make([]string, len(sick))
	for i, x := range sick {
		names, details[i] = append(names, x[0]), x[0]+": "+x[1]
	}
	slices.SortFunc(names, func(a, b string) int {
		_, x, _ := spec.SplitMember(a)
		_, y, _ := spec.SplitMember(b)
		return x - y
	})
	in := ""
	if ns != spec.DefaultNS {
		in = " -n " + ns
	}
	err := refuse(reason, "cannot %s statefulset %s: %s. A set is only made smaller while every member is healthy; mend it first (supctl explain %s%s), or name the members you accept as lost: supctl scale %s --replicas %d --accept-unhealthy %s%s",
		what, name, strings.Join(details, "; "), name, in, name, replicas, strings.Join(names, ","), in)
	err.Details = details
	return err
}

// sick lists members (and wanted ordinals without a record) that are not healthy
// and not accepted, with why; silentOnly when their nodes' silence is all there is.
func (t *tx) sick(s *Set, accept, silent []string) (out [][2]string, silentOnly bool) {
	silentOnly = true
	seen := map[int]bool{}
	for _, m := range t.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		seen[m.Ordinal] = true
		if m.Wish == WishGone || m.Left() || slices.Contains(accept, m.Name()) {
			continue
		}
		ok, reason, message := t.Healthy(m)
		switch {
		case !ok:
			silentOnly = false
			out = append(out, [2]string{m.Name(), reason + ", " + message})
		case slices.Contains(silent, m.Name()):
			out = append(out, [2]string{m.Name(), "NodeSilent, its node " + m.Node + " has not answered within the last second"})
		}
	}
	for o := s.Start(); o < s.Start()+s.Replicas(); o++ {
		name := spec.MemberName(s.Meta.Name, o)
		if !seen[o] && !slices.Contains(accept, name) {
			silentOnly = false
			out = append(out, [2]string{name, "NotReserved, it has no place yet"})
		}
	}
	return out, silentOnly && len(out) > 0
}

func (t *tx) deleteSet(c *DeleteSet) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if old == nil {
		return notFound("statefulset", c.Namespace, c.Name)
	}
	if err := checkVersion("statefulset", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
		return err
	}
	if old.Deleting {
		return nil
	}
	s := *old
	s.Deleting = true
	s.Meta.Generation++
	t.saveSet(&s)
	t.event(c.Namespace, "statefulset/"+c.Name, "Deleting", "its members are stopped from the highest down; its directories are retained")
	return nil
}

func (t *tx) dropSet(c *DropSet) *spec.Error {
	s := t.Set(c.Namespace, c.Name)
	if s == nil {
		return notFound("statefulset", c.Namespace, c.Name)
	}
	if s.Meta.Generation != c.IfGeneration || !s.Deleting {
		return stale("statefulset %s has changed since", c.Name)
	}
	if left := len(t.SetMembers(c.Namespace, c.Name)); left > 0 {
		return refuse("MembersLeft", "statefulset %s still has %d members", c.Name, left)
	}
	for r := range t.Revisions(c.Namespace, c.Name) {
		del(t, &t.revisions, c.Namespace+"/"+c.Name+"/"+r.Hash)
	}
	del(t, &t.sets, s.Meta.Key())
	for id := range walk(t.ids, c.Namespace+"/"+c.Name+"/") {
		t.dropIdentity(id.Namespace, id.Set, id.Ordinal)
	}
	t.dropServices(s)
	t.event(c.Namespace, "statefulset/"+c.Name, "Deleted", "the set is gone")
	return nil
}

func (t *tx) markFormed(c *MarkFormed) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if old == nil || old.Meta.Generation != c.IfGeneration {
		return stale("statefulset %s has changed since", c.Name)
	}
	if old.Formed {
		return nil
	}
	if first := t.Member(c.Namespace, c.Name, old.Start()); first != nil && !old.HookFormed {
		if _, ok := t.HookOf(first, spec.HookOnFormed); ok {
			return refuse("OnFormed", "the onFormed hook of statefulset %s has not succeeded yet", c.Name)
		}
	}
	s := *old
	s.Formed = true
	t.noteSet(&s)
	t.event(c.Namespace, "statefulset/"+c.Name, "Formed", "all %d members are available for the first time", s.Replicas())
	return nil
}

func (t *tx) setCurrent(c *SetCurrent) *spec.Error {
	old := t.Set(c.Namespace, c.Name)
	if old == nil || old.Meta.Generation != c.IfGeneration || old.Revision != c.Revision {
		return stale("statefulset %s has changed since", c.Name)
	}
	used := map[string]bool{old.Revision: true}
	for _, m := range t.SetMembers(c.Namespace, c.Name) {
		if m.Revision != c.Revision && old.Wants(m.Ordinal) {
			return stale("member %s does not run revision %s", m.Name(), c.Revision)
		}
		used[m.Revision] = true
	}
	if old.Current == c.Revision {
		return nil
	}
	s := *old
	s.Current = c.Revision
	t.trimRevisions(&s, used)
	t.noteSet(&s)
	if s.Beginning != nil {
		t.dropServices(&s)
	}
	t.event(c.Namespace, "statefulset/"+c.Name, "RolledOut", "all members run revision %s", c.Revision)
	return nil
}

// trimRevisions forgets the oldest revisions beyond the history limit.
func (t *tx) trimRevisions(s *Set, used map[string]bool) {
	limit := 10
	if s.Spec.RevisionHistoryLimit != nil {
		limit = *s.Spec.RevisionHistoryLimit
	}
	var old []*Revision
	for r := range t.Revisions(s.Meta.Namespace, s.Meta.Name) {
		if !used[r.Hash] {
			old = append(old, r)
		}
	}
	slices.SortFunc(old, func(a, b *Revision) int { return int(a.Number) - int(b.Number) })
	for i := 0; i < len(old)-limit; i++ {
		del(t, &t.revisions, old[i].Namespace+"/"+old[i].Set+"/"+old[i].Hash)
	}
}

func (t *tx) restart(c *Restart) *spec.Error {
	s := t.Set(c.Namespace, c.Set)
	if s == nil {
		return notFound("statefulset", c.Namespace, c.Set)
	}
	if s.Deleting {
		return refuse("Deleting", "statefulset %s is being deleted", c.Set)
	}
	for _, o := range c.Ordinals {
		if t.Member(c.Namespace, c.Set, o) == nil {
			return notFound("member", c.Namespace, spec.MemberName(c.Set, o))
		}
	}
	for _, old := range t.SetMembers(c.Namespace, c.Set) {
		if old.Epoch == 0 || len(c.Ordinals) > 0 && !slices.Contains(c.Ordinals, old.Ordinal) {
			continue
		}
		m := *old
		m.RestartUpTo = m.Epoch
		t.saveMember(&m)
		t.event(c.Namespace, "member/"+m.Name(), "RestartAsked", "it is restarted in its turn")
	}
	return nil
}
