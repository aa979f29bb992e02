package server

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// checkSet checks the definition of a set and makes the command that stores it:
// defaults, validation, Programs, templates tried for every ordinal.
func (s *Server) checkSet(w http.ResponseWriter, r *http.Request, in spec.StatefulSet, programs func(string) *spec.ProgramSpec) (*state.PutSet, error) {
	if err := errors.Join(checkKind(in.APIVersion, in.Kind, spec.KindStatefulSet), checkName(r, &in.Metadata)); err != nil {
		return nil, err
	}
	version, err := ifVersion(r)
	if err != nil {
		return nil, err
	}
	v := s.o.Store.View()
	if programs == nil {
		programs = storedPrograms(v, in.Metadata.Namespace)
	}
	tpl, problems := PrepareSet(v, &in, programs)
	if err := refuseProblems(w, "statefulset "+in.Metadata.Name, problems); err != nil {
		return nil, err
	}
	cmd := &state.PutSet{
		Namespace: in.Metadata.Namespace, Name: in.Metadata.Name, UID: newUID(),
		Labels: in.Metadata.Labels, Annotations: in.Metadata.Annotations,
		Spec: in.Spec, Template: tpl, IfVersion: version, AcceptUnhealthy: acceptUnhealthy(r), Rules: state.RulesNow,
	}
	s.settle(r, cmd.Namespace, cmd.Name, (&state.Set{Spec: cmd.Spec}).Start(), *cmd.Spec.Replicas)
	cmd.Silent = s.silentMembers(s.o.Store.View(), cmd.Namespace, cmd.Name)
	return cmd, nil
}

// storedPrograms finds the Programs of a namespace.
func storedPrograms(v *state.View, ns string) func(string) *spec.ProgramSpec {
	return func(name string) *spec.ProgramSpec {
		if p := v.Program(ns, name); p != nil {
			return &p.Spec
		}
		return nil
	}
}

// PrepareSet puts a definition into the form that the log keeps, in place, and
// returns its template and all that is wrong with it. It is pure.
func PrepareSet(v *state.View, in *spec.StatefulSet, programs func(string) *spec.ProgramSpec) (spec.Template, []spec.Problem) {
	spec.Default(in)
	in.Spec.Network.Mode = in.Spec.NetworkMode(v.Cluster.Plan)
	problems := spec.Validate(in)
	if in.Spec.Network.Mode == spec.NetworkMember && (v.Cluster.Plan == "" || v.Cluster.Plan == "none") {
		problems = append(problems, spec.Problem{Path: "spec.network.mode", Message: "this cluster has no address plan; only mode Node can be used (the plan is chosen when the cluster is formed: address_plan)"})
	}
	if wrong(problems) {
		return spec.Template{}, problems
	}
	ns := in.Metadata.Namespace
	tpl, more := spec.Resolve(in.Spec, programs)
	problems = append(problems, more...)
	if wrong(more) {
		return tpl, problems
	}
	return tpl, append(problems, template.CheckSet(ns, in.Metadata.Name, in.Spec, tpl, v.Cluster.Zone)...)
}

func wrong(problems []spec.Problem) bool {
	return slices.ContainsFunc(problems, func(p spec.Problem) bool { return !p.Warning })
}

func acceptUnhealthy(r *http.Request) []string {
	var out []string
	for _, n := range strings.Split(r.URL.Query().Get("acceptUnhealthy"), ",") {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// silentMembers are those whose node has not answered within the last second.
func (s *Server) silentMembers(v *state.View, ns, set string) []string {
	var out []string
	for _, m := range v.SetMembers(ns, set) {
		if s.o.Control.Silent(m.Node) {
			out = append(out, m.Name())
		}
	}
	return out
}

func (s *Server) putSet(w http.ResponseWriter, r *http.Request) error {
	var in spec.StatefulSet
	if err := decode(r, &in); err != nil {
		return err
	}
	cmd, err := s.checkSet(w, r, in, nil)
	if err != nil {
		return err
	}
	v, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	warnFrozen(w, v, cmd)
	if set := v.Set(cmd.Namespace, cmd.Name); set != nil && res.Changed {
		warnPaused(w, v, set)
	}
	return s.answerSet(w, v, res, cmd.Namespace, cmd.Name)
}

// answerSet tells what a write made of a set, as the View after it has it.
func (s *Server) answerSet(w http.ResponseWriter, v *state.View, res state.Result, ns, name string) error {
	if o, ok := oneSet(reading{v: v, now: s.o.Now()}, ns, name); ok {
		return answer(w, res, o.value)
	}
	return answer(w, res, nil)
}

func (s *Server) scaleSet(w http.ResponseWriter, r *http.Request) error {
	var in client.ScaleRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	ns, name := r.PathValue("ns"), r.PathValue("name")
	if in.Replicas == nil {
		return spec.Errorf(spec.CodeInvalid, "cannot scale statefulset %s: replicas is needed", name)
	}
	version, err := ifVersion(r)
	if err != nil {
		return err
	}
	view := s.o.Store.View()
	if set := view.Set(ns, name); set != nil {
		if err := checkScaled(view, set, *in.Replicas); err != nil {
			return err
		}
		s.settle(r, ns, name, set.Start(), *in.Replicas)
	}
	cmd := &state.ScaleSet{
		Namespace: ns, Name: name, Replicas: *in.Replicas, IfReplicas: in.CurrentReplicas, IfVersion: version,
		AcceptUnhealthy: append(in.AcceptUnhealthy, acceptUnhealthy(r)...), Silent: s.silentMembers(s.o.Store.View(), ns, name),
	}
	v, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	warnFrozen(w, v, cmd)
	return s.answerSet(w, v, res, ns, name)
}

// checkScaled tries the set's templates and names with another number of replicas.
func checkScaled(v *state.View, set *state.Set, replicas int) error {
	rev := v.Revision(set.Meta.Namespace, set.Meta.Name, set.Revision)
	if rev == nil || set.Deleting {
		return nil // Apply has its say
	}
	in := spec.StatefulSet{APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet, Metadata: set.Meta, Spec: set.Spec}
	in.Spec.Replicas = &replicas
	problems := spec.Validate(&in)
	if !wrong(problems) {
		problems = template.CheckSet(set.Meta.Namespace, set.Meta.Name, in.Spec, rev.Template, v.Cluster.Zone)
	}
	var details []string
	for _, p := range problems {
		if !p.Warning {
			details = append(details, p.String())
		}
	}
	if len(details) == 0 {
		return nil
	}
	e := spec.Errorf(spec.CodeInvalid, "cannot scale statefulset %s to %d: %s", set.Meta.Name, replicas, strings.Join(details, "; "))
	e.Details = details
	return e
}

func (s *Server) deleteSet(w http.ResponseWriter, r *http.Request) error {
	v, err := ifVersion(r)
	if err != nil {
		return err
	}
	return s.simple(w, r, &state.DeleteSet{Namespace: r.PathValue("ns"), Name: r.PathValue("name"), IfVersion: v})
}

func (s *Server) restartSet(w http.ResponseWriter, r *http.Request) error {
	var in client.RestartRequest
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	if err := s.checkSetVersion(r); err != nil {
		return err
	}
	return s.restart(w, r, &state.Restart{Namespace: r.PathValue("ns"), Set: r.PathValue("name"), Ordinals: in.Ordinals})
}

// restart proposes a restart, and warns if it has to wait.
func (s *Server) restart(w http.ResponseWriter, r *http.Request, cmd *state.Restart) error {
	v, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	warnFrozen(w, v, cmd)
	if set := v.Set(cmd.Namespace, cmd.Set); set != nil {
		warnPaused(w, v, set)
	}
	return answer(w, res, nil)
}

// checkSetVersion refuses If-Match where the command cannot carry it: a version
// that is not compared in the log would only seem to be safe.
func (s *Server) checkSetVersion(r *http.Request) error {
	v, err := ifVersion(r)
	if err == nil && v != 0 {
		return spec.Errorf(spec.CodeInvalid, "a condition (If-Match, --if-version) is not supported for this")
	}
	return err
}

// memberOf finds the set and ordinal of the member in the path.
func memberOf(r *http.Request) (set string, ordinal int, err error) {
	name := r.PathValue("name")
	set, ordinal, ok := spec.SplitMember(name)
	if !ok {
		return "", 0, spec.Errorf(spec.CodeNotFound, "there is no member %s in namespace %s", name, r.PathValue("ns"))
	}
	return set, ordinal, nil
}

func (s *Server) deleteMember(w http.ResponseWriter, r *http.Request) error {
	set, ordinal, err := memberOf(r)
	if err != nil {
		return err
	}
	if err := s.checkSetVersion(r); err != nil {
		return err
	}
	return s.simple(w, r, &state.DeleteMember{Namespace: r.PathValue("ns"), Set: set, Ordinal: ordinal})
}

func (s *Server) restartMember(w http.ResponseWriter, r *http.Request) error {
	set, ordinal, err := memberOf(r)
	if err != nil {
		return err
	}
	if err := s.checkSetVersion(r); err != nil {
		return err
	}
	ns := r.PathValue("ns")
	if s.o.Store.View().Member(ns, set, ordinal) == nil {
		return spec.Errorf(spec.CodeNotFound, "there is no member %s in namespace %s", r.PathValue("name"), ns)
	}
	return s.restart(w, r, &state.Restart{Namespace: ns, Set: set, Ordinals: []int{ordinal}})
}

func (s *Server) releaseVolume(w http.ResponseWriter, r *http.Request) error {
	var in client.ReleaseRequest
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	ns, name := r.PathValue("ns"), r.PathValue("name")
	version, err := ifVersion(r)
	if err != nil {
		return err
	}
	at := s.o.Now().UTC().Add(s.o.TrashKeep)
	if in.Now {
		if in.Confirm != name {
			return refused("NotConfirmed", "cannot release volume %s at once: its data would be deleted for good; confirm with its name (--confirm %s)", name, name)
		}
		at = s.o.Now().UTC()
	}
	v, res, err := s.propose(r, &state.ReleaseVolume{Namespace: ns, Name: name, At: at, IfVersion: version})
	if err != nil {
		return err
	}
	return answerVolume(w, v, res, ns, name)
}

func (s *Server) undoRelease(w http.ResponseWriter, r *http.Request) error {
	ns, name := r.PathValue("ns"), r.PathValue("name")
	if err := s.checkSetVersion(r); err != nil {
		return err
	}
	v, res, err := s.propose(r, &state.UndoRelease{Namespace: ns, Name: name})
	if err != nil {
		return err
	}
	return answerVolume(w, v, res, ns, name)
}

func answerVolume(w http.ResponseWriter, v *state.View, res state.Result, ns, name string) error {
	if o, ok := oneVolume(reading{v: v}, ns, name); ok {
		return answer(w, res, o.value)
	}
	return answer(w, res, nil)
}
