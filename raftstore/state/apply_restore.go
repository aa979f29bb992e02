package state

import (
	"cmp"
	"slices"

	"supd/supervisor/spec"
)

// EpochLeap is what restoring a snapshot, or recovering by hand, adds to the epoch
// counter: whatever was given in a log that is lost is below.
const EpochLeap = 1 << 32

// A snapshot brings back what was wanted: sets, their templates, services, Programs.
// What is stays as it is: nodes, who runs where with which epoch, which directories
// there are, and who may do what (a revoked account does not come back). So a
// restore starts nobody twice, moves nobody, and takes no directory away: the planner
// goes from what is to what is wanted now, as after any other wish.

// RestoreCluster brings back what was wanted in a snapshot of this cluster.
type RestoreCluster struct {
	// Snapshot is what View.pack writes.
	Snapshot []byte `json:"snapshot"`
	// Incarnation is the new one, IfIncarnation the one it was asked in.
	Incarnation   string `json:"incarnation"`
	IfIncarnation string `json:"ifIncarnation"`
}

func (*RestoreCluster) kind() string { return "RestoreCluster" }

// view reads the snapshot that a RestoreCluster carries.
func (c *RestoreCluster) view() (*View, error) { return unpack(c.Snapshot) }

// NewRestore makes the command that restores s.
func NewRestore(s *View, incarnation, ifIncarnation string) (*RestoreCluster, error) {
	payload, _, err := s.pack()
	return &RestoreCluster{Snapshot: payload, Incarnation: incarnation, IfIncarnation: ifIncarnation}, err
}

func (t *tx) restoreCluster(c *RestoreCluster) *spec.Error {
	if t.Cluster.Incarnation != c.IfIncarnation {
		return stale("the cluster is in incarnation %s by now, not %s: it has been restored or recovered since", t.Cluster.Incarnation, c.IfIncarnation)
	}
	s, err := c.view()
	if err != nil {
		return refuse("Invalid", "cannot restore: %v", err)
	}
	if s.Cluster.ID != t.Cluster.ID {
		return refuse("AnotherCluster", "cannot restore: the snapshot is of cluster %s, this one is %s; what is on its disks belongs to it alone", s.Cluster.ID, t.Cluster.ID)
	}
	if c.Incarnation == "" || c.Incarnation == t.Cluster.Incarnation {
		return refuse("Invalid", "cannot restore: a new incarnation is needed")
	}
	t.Cluster.Incarnation = c.Incarnation
	t.Cluster.Epoch = max(t.Cluster.Epoch, s.Cluster.Epoch) + EpochLeap
	t.Cluster.Sequence = max(t.Cluster.Sequence, s.Cluster.Sequence)
	t.changed = true
	t.event("", "cluster/"+t.Cluster.ID, "Restored", "what was wanted at index %d (%s) is wanted again; nodes, running members and directories stay as they are",
		s.Index, s.Cluster.Now.UTC().Format("2006-01-02 15:04:05 MST"))
	t.restoreServices(s)
	t.restoreSets(s)
	t.restoreVolumes(s)
	t.restoreIdentities(s)
	return nil
}

func (t *tx) restoreSets(s *View) {
	for old := range s.Sets("") {
		if !old.Deleting {
			t.restoreSet(s, old)
		}
	}
	for now := range t.Sets("") {
		if was := s.Set(now.Meta.Namespace, now.Meta.Name); was != nil && !was.Deleting || now.Deleting {
			continue
		}
		next := *now
		next.Deleting = true
		next.Meta.Generation++
		keepDirectories(&next)
		t.saveSet(&next)
		t.warn(next.Meta.Namespace, "statefulset/"+next.Meta.Name, "NotInSnapshot",
			"it was made after the snapshot that is restored: its members are stopped from the highest down; its directories are retained")
	}
}

// keepDirectories takes back that a definition asks for the deletion of directories:
// nobody who wrote it meant a restore.
func keepDirectories(s *Set) {
	s.Spec.VolumeRetention.WhenScaled, s.Spec.VolumeRetention.WhenDeleted = spec.Retain, spec.Retain
}

// restoreSet makes a set what it was, with the members that there are.
func (t *tx) restoreSet(s *View, old *Set) {
	ns, name := old.Meta.Namespace, old.Meta.Name
	wanted := s.Revision(ns, name, old.Revision)
	if wanted == nil {
		t.warn(ns, "statefulset/"+name, "NotRestored", "the snapshot lacks its revision %s", old.Revision)
		return
	}
	next := *old
	next.AcceptLost, next.Gone, next.ScaledAt, next.UpdatedAt = nil, nil, t.now, t.now
	next.Meta.Generation++
	if now := t.Set(ns, name); now != nil {
		if err := t.checkFixed(now, &PutSet{Namespace: ns, Name: name, Spec: old.Spec}); err != nil {
			t.warn(ns, "statefulset/"+name, "NotRestored", "it was made anew since the snapshot, and stays as it is: %s", err.Message)
			return
		}
		if !now.Deleting && now.Revision == old.Revision && same(now.Spec, old.Spec) &&
			same(now.Meta.Labels, old.Meta.Labels) && same(now.Meta.Annotations, old.Meta.Annotations) {
			return
		}
		next.Meta.UID, next.Meta.CreatedAt = now.Meta.UID, now.Meta.CreatedAt
		next.Meta.Generation = max(now.Meta.Generation, old.Meta.Generation) + 1
		next.Current, next.Formed = now.Current, now.Formed
		next.Gone, next.HookFormed = now.Gone, now.HookFormed
		next.AcceptLost = now.AcceptLost
		if now.Beginning != nil { // it knows of all directories that members may have
			next.Beginning = now.Beginning
		}
		if now.Replicas() == next.Replicas() && now.Start() == next.Start() {
			next.ScaledAt = now.ScaledAt
		}
		if now.Revision == next.Revision {
			next.UpdatedAt = now.UpdatedAt
		}
	} else {
		t.created = true
	}
	for _, m := range t.SetMembers(ns, name) {
		if !next.Wants(m.Ordinal) {
			keepDirectories(&next)
		}
	}
	if before := s.Revision(ns, name, next.Current); before != nil && t.Revision(ns, name, next.Current) == nil {
		put(t, &t.revisions, ns+"/"+name+"/"+before.Hash, before)
	}
	t.putRevision(&next, wanted.Template)
	t.ensureService(&next)
	t.saveSet(&next)
	t.event(ns, "statefulset/"+name, "Restored", "%d members of revision %s are wanted, as in the snapshot", next.Replicas(), next.Revision)
}

// restoreVolumes brings records of directories back that have gone since, so that no
// ordinal gets an empty one where data was; and takes releases back that can be.
func (t *tx) restoreVolumes(s *View) {
	for old := range s.Volumes("") {
		switch old.Phase {
		case spec.VolumePending, spec.VolumeBound, spec.VolumeRetained:
		default:
			continue // given up before the snapshot
		}
		ns, name := old.Namespace, old.Name()
		switch now := t.Volume(ns, name); {
		case now != nil && now.UID == old.UID && now.Phase == spec.VolumeReleasing && !now.Emptying && !now.Undo:
			v := *now
			v.Undo, v.Generation = true, t.Index
			t.saveVolume(&v)
			t.event(ns, "volume/"+name, "UndoRelease", "it was released after the snapshot that is restored; the directory comes back from the trash")
		case now != nil || !old.Made:
		case t.gaveUp(old):
			t.warn(ns, "volume/"+name, "NotRestored", "it was abandoned after the snapshot that is restored, and is never used again")
		case t.Node(old.Node) == nil:
			t.warn(ns, "volume/"+name, "NotRestored", "node %s, where its directory was, is not part of the cluster any more", old.Node)
		default:
			v := *old
			v.Phase, v.Generation = spec.VolumeRetained, t.Index
			v.Reason, v.Message = "", ""
			t.saveVolume(&v)
			t.warn(ns, "volume/"+name, "Restored", "its directory on node %s was deleted after the snapshot that is restored; unless it is brought back by hand, its member does not start", v.Node)
		}
	}
}

// gaveUp tells whether a volume of a snapshot has been abandoned since.
func (t *tx) gaveUp(old *Volume) bool {
	now := *old
	now.AbandonedAt = t.now
	return t.Volume(now.Namespace, now.Name()) != nil
}

// restoreIdentities gives ordinals that nobody runs their addresses back, where those
// are free.
func (t *tx) restoreIdentities(s *View) {
	taken := map[string]bool{}
	for id := range t.Identities() {
		taken[id.IP] = true
	}
	for old := range s.Identities() {
		k := ordinalKey(old.Namespace, old.Set, old.Ordinal)
		if get(t.ids, k) != nil || t.Set(old.Namespace, old.Set) == nil || t.inPlan(old.IP) && taken[old.IP] {
			continue
		}
		put(t, &t.ids, k, old)
	}
}

func (t *tx) restoreServices(s *View) {
	for old := range s.Services("") {
		now := t.Service(old.Meta.Namespace, old.Meta.Name)
		if now != nil && same(now.Spec, old.Spec) && same(now.Meta.Labels, old.Meta.Labels) {
			continue
		}
		next := *old
		next.Meta.ResourceVersion = t.Index
		if now != nil {
			next.Meta.UID, next.Meta.Generation = now.Meta.UID, max(now.Meta.Generation, old.Meta.Generation)+1
		}
		put(t, &t.services, old.Meta.Key(), &next)
	}
	for now := range t.Services("") {
		if s.Service(now.Meta.Namespace, now.Meta.Name) == nil && len(t.Governs(now.Meta.Namespace, now.Meta.Name)) == 0 {
			del(t, &t.services, now.Meta.Key())
		}
	}
	for old := range s.Programs("") {
		now := t.Program(old.Meta.Namespace, old.Meta.Name)
		if now != nil && same(now.Spec, old.Spec) && same(now.Meta.Labels, old.Meta.Labels) {
			continue
		}
		next := *old
		next.Meta.ResourceVersion = t.Index
		if now != nil {
			next.Meta.UID, next.Meta.Generation = now.Meta.UID, max(now.Meta.Generation, old.Meta.Generation)+1
		}
		put(t, &t.programs, old.Meta.Key(), &next)
	}
	for now := range t.Programs("") {
		if s.Program(now.Meta.Namespace, now.Meta.Name) == nil {
			del(t, &t.programs, now.Meta.Key())
		}
	}
}

// Parted tells what restoring s would change of the sets of v, by name, in order.
func (v *View) Parted(s *View) []string {
	var out []string
	for old := range s.Sets("") {
		now := v.Set(old.Meta.Namespace, old.Meta.Name)
		switch {
		case old.Deleting:
		case now == nil || now.Deleting:
			out = append(out, "statefulset "+old.Meta.Key()+" comes back")
		case now.Revision != old.Revision || !same(now.Spec, old.Spec):
			out = append(out, "statefulset "+old.Meta.Key()+" gets its old definition")
		}
	}
	for now := range v.Sets("") {
		if old := s.Set(now.Meta.Namespace, now.Meta.Name); !now.Deleting && (old == nil || old.Deleting) {
			out = append(out, "statefulset "+now.Meta.Key()+" is deleted, its directories are retained")
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
