package state

import (
	"fmt"
	"time"

	"supd/supervisor/spec"
)

// Apply makes the next View from a log entry. It never fails: an entry whose
// conditions no longer hold leaves the View as it was, but for its Index, and says
// why in Result.Err. Index must be greater than v.Index.
func (v *View) Apply(index uint64, e Entry) (*View, Result) {
	t := &tx{View: *v, e: e, now: e.At.UTC()}
	if t.now.Before(v.Cluster.Now) {
		t.now = v.Cluster.Now
	}
	t.Index = index
	t.Cluster.Now = t.now
	if err := t.apply(); err != nil {
		refused := *v
		refused.Index = index
		return &refused, Result{Index: index, Err: err}
	}
	t.noteCommand()
	next := t.View
	return &next, Result{Index: index, Changed: t.changed, Created: t.created}
}

// tx is a View being changed by one entry.
type tx struct {
	View
	e                Entry
	now              time.Time // never before any earlier entry's
	changed, created bool
}

func (t *tx) apply() *spec.Error {
	if _, first := t.e.Cmd.(*InitCluster); !first && t.Cluster.ID == "" {
		return refuse("NoCluster", "the cluster has not been formed yet")
	}
	if err := t.checkFrozen(); err != nil {
		return err
	}
	switch c := t.e.Cmd.(type) {
	case *InitCluster:
		return t.initCluster(c)
	case *RegisterNode:
		return t.registerNode(c)
	case *SetNode:
		return t.setNode(c)
	case *CordonNode:
		return t.cordonNode(c)
	case *PutSet:
		return t.putSet(c)
	case *ScaleSet:
		return t.scaleSet(c)
	case *DeleteSet:
		return t.deleteSet(c)
	case *DropSet:
		return t.dropSet(c)
	case *MarkFormed:
		return t.markFormed(c)
	case *SetCurrent:
		return t.setCurrent(c)
	case *Restart:
		return t.restart(c)
	case *DeleteMember:
		return t.deleteMember(c)
	case *Reserve:
		return t.reserve(c)
	case *Place:
		return t.place(c)
	case *StartMember:
		return t.startMember(c)
	case *StopMember:
		return t.stopMember(c)
	case *KeepMember:
		return t.keepMember(c)
	case *DropMember:
		return t.dropMember(c)
	case *Report:
		return t.report(c)
	case *ReleaseVolume:
		return t.releaseVolume(c)
	case *EmptyVolume:
		return t.emptyVolume(c)
	case *UndoRelease:
		return t.undoRelease(c)
	case *PutService:
		return t.putService(c)
	case *DeleteService:
		return t.deleteService(c)
	case *PutProgram:
		return t.putProgram(c)
	case *DeleteProgram:
		return t.deleteProgram(c)
	case *SetStopping:
		return t.setStopping(c)
	case *DrainNode:
		return t.drainNode(c)
	case *LabelNode:
		return t.labelNode(c)
	case *RestoreCluster:
		return t.restoreCluster(c)
	case *NoteCA:
		return t.noteCA(c)
	case *RotateGossipKey:
		return t.rotateGossipKey(c)
	case *SetFrozen:
		return t.setFrozen(c)
	case *AddJoinToken:
		return t.addJoinToken(c)
	case *RevokeJoinToken:
		return t.revokeJoinToken(c)
	case *AdmitNode:
		return t.admitNode(c)
	case *RemoveNode:
		return t.removeNode(c)
	case *PutAccount:
		return t.putAccount(c)
	case *RevokeAccount:
		return t.revokeAccount(c)
	case *TakeOver:
		return t.takeOver(c)
	case *ForgetNode:
		return t.forgetNode(c)
	case *AbandonVolume:
		return t.abandonVolume(c)
	case *NoteTransfer:
		return t.noteTransfer(c)
	case *PauseRollout:
		return t.pauseRollout(c)
	case *UndoRollout:
		return t.undoRollout(c)
	case *AskHook:
		return t.askHook(c)
	case *StartHeld:
		return t.startHeld(c)
	case *LetGo:
		return t.letGo(c)
	}
	return refuse("UnknownCommand", "this supd does not know the command %T", t.e.Cmd)
}

// refuse says that a rule forbids it.
func refuse(reason, format string, args ...any) *spec.Error {
	return &spec.Error{Code: spec.CodeRefused, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// stale says that the sender looked at something that has changed since.
func stale(format string, args ...any) *spec.Error {
	return &spec.Error{Code: spec.CodeConflict, Reason: "Stale", Message: fmt.Sprintf(format, args...)}
}

func notFound(kind, ns, name string) *spec.Error {
	message := fmt.Sprintf("there is no %s %s", kind, name)
	if ns != "-" { // what has a namespace at all
		message += " in namespace " + ns
	}
	return &spec.Error{Code: spec.CodeNotFound, Reason: "NotFound", Message: message}
}

// checkVersion compares a client's resourceVersion, 0 meaning that it does not ask.
func checkVersion(kind, name string, asked, have uint64) *spec.Error {
	if asked == 0 || asked == have {
		return nil
	}
	return &spec.Error{
		Code: spec.CodeConflict, Reason: "VersionConflict",
		Message: fmt.Sprintf("%s %s has resourceVersion %d, not %d: it was changed since it was read; read it again", kind, name, have, asked),
	}
}

func put[T any](t *tx, tab *table[T], k string, x *T) {
	*tab, _, _ = (*tab).Insert([]byte(k), x)
	t.changed = true
}

func del[T any](t *tx, tab *table[T], k string) {
	*tab, _, _ = (*tab).Delete([]byte(k))
	t.changed = true
}

// event notes a change. Object is "kind/name".
func (t *tx) event(ns, object, reason, format string, args ...any) {
	t.note(false, ns, object, reason, fmt.Sprintf(format, args...))
}

// warn notes a change that somebody should look at.
func (t *tx) warn(ns, object, reason, format string, args ...any) {
	t.note(true, ns, object, reason, fmt.Sprintf(format, args...))
}

func (t *tx) note(warning bool, ns, object, reason, message string) {
	t.Cluster.Sequence++
	if t.e.Why != "" {
		message += " (" + t.e.Why + ")"
	}
	events := t.events.Txn() // one, so that the two changes share what they copy
	events.Insert(fmt.Appendf(nil, "%016x", t.Cluster.Sequence), &Event{
		Seq: t.Cluster.Sequence, Index: t.Index, At: t.now, Namespace: ns, Object: object,
		Warning: warning, Reason: reason, Message: message, Who: t.e.Who,
	})
	for n := t.events.Len() + 1; n > MaxEvents; n-- {
		oldest, _, _ := events.Root().Minimum()
		events.Delete(oldest)
	}
	t.events, t.changed = events.CommitOnly(), true
}

// putMember stores a member in its table and indexes.
func (v *View) putMember(m *Member) {
	k := ordinalKey(m.Namespace, m.Set, m.Ordinal)
	if old := get(v.members, k); old != nil && (old.Node != m.Node || old.IP != m.IP) {
		v.unindex(k, old)
	}
	v.members, _, _ = v.members.Insert([]byte(k), m)
	v.byNode, _, _ = v.byNode.Insert([]byte(m.Node+"/"+k), m)
	v.byIP, _, _ = v.byIP.Insert([]byte(m.IP+"/"+k), m)
}

func (v *View) unindex(k string, m *Member) {
	v.byNode, _, _ = v.byNode.Delete([]byte(m.Node + "/" + k))
	v.byIP, _, _ = v.byIP.Delete([]byte(m.IP + "/" + k))
}

// saveMember stores a changed member.
func (t *tx) saveMember(m *Member) {
	m.Index = t.Index
	t.putMember(m)
	t.changed = true
}

func (t *tx) removeMember(m *Member) {
	k := ordinalKey(m.Namespace, m.Set, m.Ordinal)
	t.unindex(k, m)
	t.members, _, _ = t.members.Delete([]byte(k))
	t.changed = true
}

func (t *tx) saveSet(s *Set) {
	s.Meta.ResourceVersion = t.Index
	put(t, &t.sets, s.Meta.Key(), s)
}

// noteSet stores what the planner noted of a set. It is no change of the wish: whoever
// read the set before may still write it with the version that he saw.
func (t *tx) noteSet(s *Set) { put(t, &t.sets, s.Meta.Key(), s) }

func (t *tx) saveVolume(vol *Volume) {
	vol.Index = t.Index
	put(t, &t.volumes, key(vol.Namespace, vol.Name()), vol)
}

func (t *tx) saveNode(n *Node) {
	n.Index = t.Index
	put(t, &t.nodes, n.Name, n)
}
