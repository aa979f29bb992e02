package state

import (
	"supd/supervisor/spec"
)

// FoundVolume is a directory that a node has and the log does not know: it was made in a
// part of the log that was lost.
type FoundVolume struct {
	Namespace string `json:"namespace"`
	Set       string `json:"set"`
	Template  string `json:"template"`
	Ordinal   int    `json:"ordinal"`
	UID       string `json:"uid"`
	Path      string `json:"path"`
	// Abandoned: its container says that it was given up.
	Abandoned bool `json:"abandoned,omitempty"`
}

// FoundRulesNow is the Report.Rules of this version. By those of before a directory that is found
// took the place of one that is retained, of a volume that the definition does not name: its record was lost.
const FoundRulesNow = 1

// foundVolume takes up a directory that was made in a part of the log that is lost, so that
// its ordinal, when it is wanted again, gets it and not an empty one. Only a cluster that was
// recovered by hand has such: elsewhere a directory outlives its record never.
func (t *tx) foundVolume(node string, f FoundVolume, rules int) {
	name := spec.VolumeName(f.Template, f.Set, f.Ordinal)
	for _, label := range []string{f.Namespace, f.Set, f.Template, name} {
		if spec.CheckLabel(label) != nil {
			return
		}
	}
	if t.Cluster.Recovered == "" || f.UID == "" || f.Ordinal < 0 || t.volumeOf(f.UID) != nil {
		return
	}
	v := &Volume{
		Namespace: f.Namespace, Set: f.Set, Template: f.Template, Ordinal: f.Ordinal, UID: f.UID, Node: node,
		Phase: spec.VolumeRetained, Made: true, Path: f.Path, CreatedAt: t.now, Generation: t.Index,
	}
	old := t.Volume(f.Namespace, name)
	reserved := old != nil && old.Phase == spec.VolumePending && !old.Made && !old.Returned
	if old != nil && !f.Abandoned && (reserved || rules < 1) && t.unreserve(old) {
		old = nil
	}
	object := "volume/" + name
	if old == nil && !f.Abandoned {
		t.saveVolume(v)
		t.warn(f.Namespace, object, "Found", "node %s has its directory %s, which this log did not know: it is retained, and %s gets it when it is wanted", node, f.Path, v.Member())
		return
	}
	// The disk is left as it is: what is there may be the newer of the two.
	v.Phase, v.AbandonedAt, v.Marked = spec.VolumeAbandoned, t.now, true
	t.saveVolume(v)
	if old == nil || f.Abandoned {
		t.warn(f.Namespace, object, "Found", "node %s has a directory of it, %s, that was given up by its name; it is kept as %s", node, f.Path, v.Name())
		return
	}
	t.warn(f.Namespace, object, "Found", "node %s has another directory of it, %s, beside the one on node %s that this log knows; the other may be newer. It is kept as %s, and used by nobody: "+
		"look at both before %s is started (supctl cluster unfreeze)", node, f.Path, old.Node, v.Name(), v.Member())
}

func (t *tx) volumeOf(uid string) *Volume {
	for v := range t.Volumes("") {
		if v.UID == uid {
			return v
		}
	}
	return nil
}

// unreserve takes back a reservation of which nothing was ever made, as far as the log knows,
// and its volumes' records: its ordinal is reserved anew, where its directory is.
func (t *tx) unreserve(old *Volume) bool {
	m := t.Member(old.Namespace, old.Set, old.Ordinal)
	volumes := t.MemberVolumes(old.Namespace, old.Set, old.Ordinal)
	for _, v := range volumes {
		if v.Phase != spec.VolumePending || v.Made || v.Returned {
			return false
		}
	}
	if m != nil && (m.Wish != WishReserved || m.Epoch != 0) {
		return false
	}
	for _, v := range volumes {
		del(t, &t.volumes, key(v.Namespace, v.Name()))
	}
	if m != nil {
		t.removeMember(m)
	}
	return true
}
