package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

func (s *Server) getRollout(w http.ResponseWriter, r *http.Request) error {
	rd := s.reading()
	setIndex(w, rd.v)
	set := rd.v.Set(r.PathValue("ns"), r.PathValue("name"))
	if set == nil {
		return noSet(r)
	}
	return writeJSON(w, http.StatusOK, Rollout(rd.v, set, StatefulSet(rd.v, set, rd.now, rd.waits(set))))
}

func noSet(r *http.Request) error {
	return spec.Errorf(spec.CodeNotFound, "there is no statefulset %s in namespace %s", r.PathValue("name"), r.PathValue("ns"))
}

// Rollout is how far the rollout of a set is, o being the set as an API object, and its
// revisions, the newest first.
func Rollout(v *state.View, s *state.Set, o spec.StatefulSet) client.Rollout {
	st := o.Status
	out := client.Rollout{
		Namespace: s.Meta.Namespace, Name: s.Meta.Name, ResourceVersion: s.Meta.ResourceVersion,
		CurrentRevision: st.CurrentRevision, UpdateRevision: st.UpdateRevision,
		Paused: st.Paused, Pause: st.Pause, Rollback: st.Rollback, Conditions: st.Conditions, WaitsFor: st.WaitsFor,
		Revisions: []client.RolloutRevision{},
	}
	runs := map[string][]string{}
	for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		if m.Epoch != 0 {
			runs[m.Revision] = append(runs[m.Revision], m.Name())
		}
	}
	for _, r := range v.History(s) {
		at := r.At
		if at.IsZero() {
			at = r.CreatedAt
		}
		out.Revisions = append(out.Revisions, client.RolloutRevision{
			Revision: r.Number, Name: spec.RevisionName(s.Meta.Name, r.Hash), Update: r.Hash == s.Revision, Current: r.Hash == s.Current,
			Members: append([]string{}, runs[r.Hash]...), CreatedAt: r.CreatedAt.UTC(), At: at.UTC(), Who: r.Who, Why: r.Why,
		})
	}
	return out
}

func (s *Server) pauseRollout(w http.ResponseWriter, r *http.Request) error {
	return s.setPaused(w, r, true)
}

func (s *Server) resumeRollout(w http.ResponseWriter, r *http.Request) error {
	return s.setPaused(w, r, false)
}

func (s *Server) setPaused(w http.ResponseWriter, r *http.Request, paused bool) error {
	version, err := ifVersion(r)
	if err != nil {
		return err
	}
	return s.proposeRollout(w, r, &state.PauseRollout{Namespace: r.PathValue("ns"), Name: r.PathValue("name"), Paused: paused, IfVersion: version})
}

func (s *Server) undoRollout(w http.ResponseWriter, r *http.Request) error {
	var in client.UndoRequest
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	version, err := ifVersion(r)
	if err != nil {
		return err
	}
	v := s.o.Store.View()
	set := v.Set(r.PathValue("ns"), r.PathValue("name"))
	if set == nil {
		return noSet(r)
	}
	rev, rerr := revisionToUndo(v, set, in.ToRevision)
	if rerr != nil {
		return rerr
	}
	if err := checkUndone(v, set, rev); err != nil {
		return err
	}
	if version == 0 && in.ToRevision == 0 {
		version = set.Meta.ResourceVersion // the one before is another after every change
	}
	return s.proposeRollout(w, r, &state.UndoRollout{Namespace: set.Meta.Namespace, Name: set.Meta.Name, Revision: rev.Hash, IfVersion: version, UID: newUID()})
}

// proposeRollout proposes what answers with the set's rollout.
func (s *Server) proposeRollout(w http.ResponseWriter, r *http.Request, cmd state.Command) error {
	v, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	warnFrozen(w, v, cmd)
	set := v.Set(r.PathValue("ns"), r.PathValue("name"))
	if set == nil {
		return answer(w, res, nil)
	}
	warnPaused(w, v, set)
	rd := reading{v: v, now: s.o.Now()}
	return answer(w, res, Rollout(v, set, StatefulSet(v, set, rd.now, rd.waits(set))))
}

// warnPaused tells who changes a template, or asks for a restart, that it waits.
func warnPaused(w http.ResponseWriter, v *state.View, set *state.Set) {
	if set.Paused == nil {
		return
	}
	members := v.SetMembers(set.Meta.Namespace, set.Meta.Name)
	if set.Revision != set.Current || slices.ContainsFunc(members, set.Needs) {
		w.Header().Add(client.HeaderWarning, oneLine(fmt.Sprintf("the rollout of statefulset %s is paused %s: members stay on their revisions until it is resumed: supctl rollout resume %s",
			set.Meta.Name, set.Paused.Sentence(), set.Meta.Name)))
	}
}

// revisionToUndo finds the revision to go back to; number 0 means the one before.
func revisionToUndo(v *state.View, s *state.Set, number uint64) (*state.Revision, *spec.Error) {
	if number == 0 {
		if r := v.Previous(s); r != nil {
			return r, nil
		}
		return nil, refused("NoRevision", "cannot undo the rollout of statefulset %s: no other revision of it is kept (supctl rollout history %s; spec.revisionHistoryLimit)", s.Meta.Name, s.Meta.Name)
	}
	var have []string
	for _, r := range v.History(s) {
		if r.Number == number {
			return r, nil
		}
		have = append(have, fmt.Sprint(r.Number))
	}
	e := spec.Errorf(spec.CodeNotFound, "statefulset %s has no revision %d; it has %s (supctl rollout history %s)", s.Meta.Name, number, strings.Join(have, ", "), s.Meta.Name)
	e.Reason = "NotFound"
	return nil, e
}

// checkUndone tries the definition that going back to r makes: an older one may not fit
// what was changed since besides the template.
func checkUndone(v *state.View, s *state.Set, r *state.Revision) error {
	definition, ok := v.Definition(s, r)
	if !ok {
		return nil // Apply says why
	}
	in := spec.StatefulSet{APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet, Metadata: s.Meta, Spec: definition}
	problems := spec.Errors(spec.Validate(&in))
	if len(problems) == 0 {
		problems = spec.Errors(template.CheckSet(s.Meta.Namespace, s.Meta.Name, in.Spec, r.Template, v.Cluster.Zone))
	}
	if len(problems) == 0 {
		return nil
	}
	var details []string
	for _, p := range problems {
		details = append(details, p.String())
	}
	e := refused("InvalidDefinition", "cannot go back to revision %d of statefulset %s: with what was changed since it is wrong: %s", r.Number, s.Meta.Name, strings.Join(details, "; "))
	e.Details = details
	return e
}
