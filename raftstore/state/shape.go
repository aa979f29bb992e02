package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"supd/supervisor/spec"
)

// Beginning is what a set whose volumes or service were changed was made with, and all
// names that they have had. Revisions without a Shape are of it.
type Beginning struct {
	Shape    spec.Shape `json:"shape"`
	Volumes  []string   `json:"volumes,omitempty"`
	Services []string   `json:"services"`
}

func shapeOf(s *spec.StatefulSetSpec) spec.Shape {
	return spec.Shape{Service: s.ServiceName, Volumes: s.Volumes}
}

// shape notes in a template what the set is besides its programs, if that is not what it
// was made with, so that members are restarted to follow it.
func (s *Set) shape(old *Set, tpl spec.Template) spec.Template {
	was, is := shapeOf(&old.Spec), shapeOf(&s.Spec)
	b := s.Beginning
	if b == nil && is.Same(was) {
		return tpl
	}
	next := Beginning{Shape: was, Services: []string{was.Service}}
	if b != nil {
		next = Beginning{Shape: b.Shape, Volumes: slices.Clone(b.Volumes), Services: slices.Clone(b.Services)}
	}
	for _, v := range slices.Concat(was.Volumes, is.Volumes) {
		if !slices.Contains(next.Volumes, v.Name) {
			next.Volumes = append(next.Volumes, v.Name)
		}
	}
	if !slices.Contains(next.Services, is.Service) {
		next.Services = append(next.Services, is.Service)
	}
	s.Beginning = &next
	if !is.Same(next.Shape) {
		tpl.Shape = &is
	}
	return tpl
}

// ShapeOf is what a set is by a revision of its: the service and the volumes.
func (v *View) ShapeOf(s *Set, revision string) spec.Shape {
	if s.Beginning == nil {
		return shapeOf(&s.Spec)
	}
	if r := v.Revision(s.Meta.Namespace, s.Meta.Name, revision); r != nil && r.Template.Shape != nil {
		return *r.Template.Shape
	}
	return s.Beginning.Shape
}

// ServiceOf is the governing service by whose name a member knows itself.
func (v *View) ServiceOf(s *Set, m *Member) string {
	if m.Epoch == 0 {
		return s.Spec.ServiceName
	}
	return v.ShapeOf(s, m.Revision).Service
}

// ServicesOf are the services that govern a set: the one it names, and those that members
// of older revisions still know themselves and the others by.
func (v *View) ServicesOf(s *Set) []string {
	out := []string{s.Spec.ServiceName}
	if s.Beginning == nil {
		return out
	}
	for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		if name := v.ServiceOf(s, m); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// held returns the volumes that an ordinal has of templates that the set names no more:
// its present start may use them.
func (v *View) held(s *Set, ordinal int) (out []*Volume) {
	if s.Beginning == nil {
		return nil
	}
	for _, name := range s.Beginning.Volumes {
		vol := v.Volume(s.Meta.Namespace, spec.VolumeName(name, s.Meta.Name, ordinal))
		if vol != nil && vol.Set == s.Meta.Name && vol.Ordinal == ordinal && !names(s.Spec.Volumes, name) &&
			(vol.Phase == spec.VolumeBound || vol.Phase == spec.VolumePending) {
			out = append(out, vol)
		}
	}
	return out
}

// HasVolumes tells whether an ordinal has directories: those of the definition, or some that
// this names no more and the present start may use.
func (v *View) HasVolumes(s *Set, ordinal int) bool {
	return len(s.Spec.Volumes) > 0 || len(v.held(s, ordinal)) > 0
}

// dropped tells that a volume is retained because its set's definition names it no more: the
// present start of its ordinal's member has none of it.
func (v *View) dropped(vol *Volume) bool {
	s := v.Set(vol.Namespace, vol.Set)
	return vol.Phase == spec.VolumeRetained && s != nil && s.Beginning != nil && !names(s.Spec.Volumes, vol.Template)
}

func names(volumes []spec.VolumeSpec, name string) bool {
	return slices.ContainsFunc(volumes, func(v spec.VolumeSpec) bool { return v.Name == name })
}

// Unbound names a directory that a member would need for a start with a revision and can't
// have, with its phase ("" when there is none any more): it was dropped from the definition
// and released since. "" twice: there is none.
func (v *View) Unbound(s *Set, m *Member, revision string) (name, phase string) {
	if s.Beginning == nil {
		return "", ""
	}
	for _, vs := range v.ShapeOf(s, revision).Volumes {
		if names(s.Spec.Volumes, vs.Name) {
			continue // Lacks tells of those
		}
		name := spec.VolumeName(vs.Name, s.Meta.Name, m.Ordinal)
		switch vol := v.Volume(s.Meta.Namespace, name); {
		case vol == nil:
			return name, ""
		case vol.Node != m.Node || vol.Phase != spec.VolumeBound && vol.Phase != spec.VolumePending && vol.Phase != spec.VolumeRetained:
			return name, vol.Phase
		}
	}
	return "", ""
}

// leave retains what a member that gets a place on another node has of volumes that the set
// names no more.
func (t *tx) leave(s *Set, m *Member) {
	for _, old := range t.held(s, m.Ordinal) {
		v := *old
		v.Phase, v.Generation = spec.VolumeRetained, t.Index
		t.saveVolume(&v)
	}
}

func (t *tx) unbound(s *Set, m *Member, revision string) *spec.Error {
	name, phase := t.Unbound(s, m, revision)
	if name == "" {
		return nil
	}
	if phase == "" {
		phase = "gone"
	}
	return refuse("VolumeMissing", "member %s cannot start with revision %s: that needs the directory %s, which was dropped from the definition and is %s", m.Name(), revision, name, phase)
}

// SlotVolumes are the volumes that a new ordinal gets: the definition's, and what the
// revision it starts with names besides.
func (v *View) SlotVolumes(s *Set, ordinal int) []spec.VolumeSpec {
	out := s.Spec.Volumes
	if s.Beginning == nil {
		return out
	}
	for _, vs := range v.ShapeOf(s, s.NextRevision(&Member{Ordinal: ordinal})).Volumes {
		if !names(out, vs.Name) {
			out = append(slices.Clone(out), vs)
		}
	}
	return out
}

// holdVolumes gives a member what its revision names, and lets go of what neither that nor
// the set names any more.
func (t *tx) holdVolumes(s *Set, m *Member, revision string) {
	if s.Beginning == nil {
		return
	}
	wanted := t.ShapeOf(s, revision).Volumes
	for _, name := range s.Beginning.Volumes {
		old := t.Volume(s.Meta.Namespace, spec.VolumeName(name, s.Meta.Name, m.Ordinal))
		if old == nil || old.Set != s.Meta.Name || old.Ordinal != m.Ordinal {
			continue
		}
		v := *old
		switch keep := names(wanted, name) || names(s.Spec.Volumes, name); {
		case keep && v.Phase == spec.VolumeRetained:
			v.bind()
		case !keep && (v.Phase == spec.VolumeBound || v.Phase == spec.VolumePending):
			v.Phase = spec.VolumeRetained
		case v.Phase == spec.VolumePending && m.Epoch != 0 && !v.Used:
			v.Used = true
			t.saveVolume(&v)
			continue
		default:
			continue
		}
		v.Used = v.Used || m.Epoch != 0
		v.Generation = t.Index
		t.saveVolume(&v)
		t.event(v.Namespace, "volume/"+v.Name(), v.Phase, "member %s starts with revision %s; the directory on node %s is %s", m.Name(), revision, v.Node, v.Phase)
	}
}

// bind gives a retained volume back to its ordinal.
func (v *Volume) bind() {
	v.Phase, v.Returned = spec.VolumeBound, true
	if !v.Made {
		v.Phase = spec.VolumePending
	}
}

// reshape carries out for the members that there are what a definition changed of the
// volumes: added ones are theirs from now on, made or found with their next start; grown
// ones are grown. Who was never started has no use for those that are dropped.
func (t *tx) reshape(old, s *Set, uid string) *spec.Error {
	for _, m := range t.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		for _, vs := range s.Spec.Volumes {
			if names(old.Spec.Volumes, vs.Name) {
				t.growVolume(m, vs)
				continue
			}
			if err := t.addVolume(s, m, vs, uid); err != nil {
				return err
			}
		}
		if m.Epoch == 0 {
			t.holdVolumes(s, m, s.NextRevision(m))
		}
	}
	return nil
}

func (t *tx) growVolume(m *Member, vs spec.VolumeSpec) {
	old := t.Volume(m.Namespace, spec.VolumeName(vs.Name, m.Set, m.Ordinal))
	if old == nil || old.Set != m.Set || old.Ordinal != m.Ordinal || !larger(vs.Size, old.Size) {
		return
	}
	v := *old
	v.Size = vs.Size
	t.saveVolume(&v)
	t.event(v.Namespace, "volume/"+v.Name(), "Grown", "from %s to %s", orWord(string(old.Size), "no size"), vs.Size)
}

func (t *tx) addVolume(s *Set, m *Member, vs spec.VolumeSpec, uid string) *spec.Error {
	name := spec.VolumeName(vs.Name, s.Meta.Name, m.Ordinal)
	old := t.Volume(s.Meta.Namespace, name)
	if old != nil && old.Set == m.Set && old.Ordinal == m.Ordinal && old.Template == vs.Name && old.Node != m.Node && !old.Made && !old.Returned && !old.Used &&
		old.Phase != spec.VolumeReleasing {
		old = nil // its node may have made it, and not told: another uid keeps the two apart
	}
	switch {
	case old == nil && uid == "":
		return refuse("Invalid", "a new volume needs a uid")
	case old == nil:
		sum := sha256.Sum256([]byte(uid + "/" + name))
		t.saveVolume(&Volume{
			Namespace: m.Namespace, Set: m.Set, Template: vs.Name, Ordinal: m.Ordinal, UID: hex.EncodeToString(sum[:16]), Node: m.Node,
			Size: vs.Size, Mode: vs.Mode, Owner: vs.Owner, Phase: spec.VolumePending, Added: m.Epoch != 0, CreatedAt: t.now, Generation: t.Index,
		})
		t.event(m.Namespace, "volume/"+name, "Added", "member %s gets it with its next start", m.Name())
		return nil
	case old.Set != m.Set || old.Ordinal != m.Ordinal || old.Template != vs.Name:
		return refuse("NameTaken", "cannot add volume %s to statefulset %s: the name %s belongs to a volume of %s", vs.Name, s.Meta.Name, name, old.Member())
	case old.Phase == spec.VolumeReleasing:
		return refuse("VolumeReleasing", "cannot add volume %s to statefulset %s: the directory %s is released and not gone yet; bring it back (supctl volume undo-release %s), or wait until it is gone",
			vs.Name, s.Meta.Name, name, name)
	case old.Node != m.Node:
		return refuse("VolumeElsewhere", "cannot add volume %s to statefulset %s: the directory %s is on node %s, and %s is on %s; release or abandon the directory first",
			vs.Name, s.Meta.Name, name, old.Node, m.Name(), m.Node)
	}
	if old.Phase == spec.VolumeRetained {
		v := *old
		v.bind()
		v.Generation = t.Index
		t.saveVolume(&v)
		t.event(m.Namespace, "volume/"+name, v.Phase, "member %s has its directory back with its next start", m.Name())
	}
	t.growVolume(m, vs)
	return nil
}

// larger compares sizes; one that is not given asks for nothing.
func larger(a, b spec.Quantity) bool {
	x, errX := a.Bytes()
	y, errY := b.Bytes()
	return errX == nil && errY == nil && cmp.Compare(x, y) > 0
}

// checkChange refuses what can't be changed while members live by it.
func (t *tx) checkChange(old *Set, s *Set) *spec.Error {
	name := s.Meta.Name
	if from, to := old.Spec.Network.Mode, s.Spec.Network.Mode; from != to {
		return refuse("FixedField", "spec.network.mode of statefulset %s cannot be changed (it is %s, not %s): every member would get another address while peers and clients go by the present one; delete the set and apply it again: its directories are retained", name, from, to)
	}
	for _, v := range s.Spec.Volumes {
		for _, was := range old.Spec.Volumes {
			if v.Name == was.Name && v.Size != "" && larger(was.Size, v.Size) {
				return refuse("FixedField", "the size of volume %s of statefulset %s cannot be made smaller (it is %s, not %s): its directories may hold more already", v.Name, name, was.Size, v.Size)
			}
		}
	}
	return nil
}

// dropServices forgets services that sets had made for themselves and that govern nobody.
func (t *tx) dropServices(s *Set) {
	all := []string{s.Spec.ServiceName}
	if s.Beginning != nil {
		all = s.Beginning.Services
	}
	for _, name := range all {
		svc := t.Service(s.Meta.Namespace, name)
		if svc != nil && svc.Auto && len(t.Governs(s.Meta.Namespace, name)) == 0 {
			del(t, &t.services, key(s.Meta.Namespace, name))
		}
	}
}
