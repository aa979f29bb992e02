package state

import (
	"supd/supervisor/spec"
)

// volumeMoves are the legal changes of a volume's phase. "" is: no record.
var volumeMoves = map[string][]string{
	"":                   {spec.VolumePending},
	spec.VolumePending:   {spec.VolumeBound, spec.VolumeRetained, spec.VolumeReleasing, spec.VolumeAbandoned},
	spec.VolumeBound:     {spec.VolumeRetained, spec.VolumeReleasing, spec.VolumeAbandoned},
	spec.VolumeRetained:  {spec.VolumeBound, spec.VolumePending, spec.VolumeReleasing, spec.VolumeAbandoned, ""},
	spec.VolumeReleasing: {spec.VolumeRetained, spec.VolumeAbandoned, ""},
	spec.VolumeAbandoned: {spec.VolumeReleasing, ""},
}

// VolumeMayMove tells whether a volume may go from one phase to the other.
func VolumeMayMove(from, to string) bool { return contains(volumeMoves[from], to) }

func (t *tx) releaseVolume(c *ReleaseVolume) *spec.Error {
	old := t.Volume(c.Namespace, c.Name)
	if old == nil {
		return notFound("volume", c.Namespace, c.Name)
	}
	if err := checkVersion("volume", c.Name, c.IfVersion, old.Index); err != nil {
		return err
	}
	switch old.Phase {
	case spec.VolumeReleasing:
		if old.Emptying || !old.Undo && !c.At.Before(old.ReleaseAt) {
			return nil
		}
	case spec.VolumeRetained, spec.VolumeAbandoned:
	default:
		return refuse("VolumeInUse", "cannot release volume %s: it is %s by member %s; only a retained directory can be released (scale the set down, or delete it, first)",
			c.Name, old.Phase, old.Member())
	}
	v := *old
	if t.Node(v.Node) == nil {
		t.dropVolume(&v, "it is released; its node "+v.Node+" is forgotten, so nobody deletes the directory there")
		return nil
	}
	v.Trashed = v.Trashed && !v.Undo // its node may have brought it back, and not told yet
	v.Phase, v.ReleaseAt, v.Undo, v.Generation = spec.VolumeReleasing, c.At.UTC(), false, t.Index
	t.saveVolume(&v)
	t.event(c.Namespace, "volume/"+c.Name, "Released", "the directory on node %s goes to the trash and is deleted after %s", v.Node, v.ReleaseAt.Format("2006-01-02 15:04:05 MST"))
	return nil
}

func (t *tx) emptyVolume(c *EmptyVolume) *spec.Error {
	old := t.Volume(c.Namespace, c.Name)
	if old == nil || old.UID != c.UID || old.Generation != c.IfGeneration {
		return stale("volume %s has changed since", c.Name)
	}
	if old.Phase != spec.VolumeReleasing || old.Undo || !old.Trashed {
		return refuse("NotReleased", "volume %s is not in the trash", c.Name)
	}
	if t.now.Before(old.ReleaseAt) {
		return refuse("TooEarly", "volume %s may be brought back until %s", c.Name, old.ReleaseAt)
	}
	v := *old
	v.Emptying, v.Generation = true, t.Index
	t.saveVolume(&v)
	return nil
}

func (t *tx) undoRelease(c *UndoRelease) *spec.Error {
	old := t.Volume(c.Namespace, c.Name)
	if old == nil {
		return notFound("volume", c.Namespace, c.Name)
	}
	if old.Phase != spec.VolumeReleasing {
		return refuse("NotReleased", "cannot undo the release of volume %s: it is %s, it has not been released", c.Name, old.Phase)
	}
	if old.Emptying {
		return refuse("TooLate", "cannot undo the release of volume %s: its directory is being deleted since %s", c.Name, old.ReleaseAt)
	}
	if old.Undo {
		return nil
	}
	v := *old
	v.Undo, v.Generation = true, t.Index
	t.saveVolume(&v)
	t.event(c.Namespace, "volume/"+c.Name, "UndoRelease", "the directory comes back from the trash")
	return nil
}

// observeVolume takes over what a node did with a directory of its own.
func (t *tx) observeVolume(node string, r VolumeReport) {
	old := t.Volume(r.Namespace, r.Name)
	if old == nil || old.UID != r.UID || old.Node != node {
		return
	}
	v := *old
	v.Reason, v.Message = "", ""
	object := "volume/" + r.Name
	switch r.Event {
	case VolumeMade:
		if v.Made && v.Path == r.Path && old.Reason == "" {
			return
		}
		v.Made, v.Path = true, r.Path
		if v.Phase == spec.VolumePending {
			v.Phase = spec.VolumeBound
			t.event(r.Namespace, object, "Bound", "directory %s on node %s", r.Path, node)
		}
	case VolumeTrashed:
		if v.Phase != spec.VolumeReleasing || v.Trashed {
			return
		}
		v.Trashed = true
		t.event(r.Namespace, object, "Trashed", "the directory is in the trash of node %s", node)
	case VolumeRestored:
		if v.Phase != spec.VolumeReleasing || !v.Undo {
			return
		}
		v.Phase, v.Undo, v.Trashed = spec.VolumeRetained, false, false
		if !v.AbandonedAt.IsZero() {
			v.Phase = spec.VolumeAbandoned
		}
		t.event(r.Namespace, object, "Restored", "the directory is back from the trash")
	case VolumeEmptied:
		if v.Phase != spec.VolumeReleasing || !v.Emptying {
			return
		}
		t.dropVolume(&v, "the directory on node "+node+" has been deleted")
		return
	case VolumeMarked:
		if v.Phase != spec.VolumeAbandoned || v.Marked && old.Reason == "" {
			return
		}
		v.Marked = true
		if r.Path != "" {
			v.Path = r.Path
		}
		t.event(r.Namespace, object, "Marked", "node %s is back: the directory %s is kept, marked as abandoned, and used by nobody", node, v.Path)
	case VolumeTrouble:
		v.Reason, v.Message = r.Reason, r.Message
		if old.Reason == r.Reason && old.Message == r.Message {
			return
		}
		t.warn(r.Namespace, object, r.Reason, "%s", r.Message)
	default:
		return
	}
	t.saveVolume(&v)
}

// dropVolume forgets a volume whose directory nobody needs to know any more.
func (t *tx) dropVolume(v *Volume, message string) {
	del(t, &t.volumes, key(v.Namespace, v.Name()))
	t.dropIdentity(v.Namespace, v.Set, v.Ordinal)
	t.event(v.Namespace, "volume/"+v.Name(), "Gone", "%s", message)
}
