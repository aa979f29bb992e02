package server

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// newUID makes a random UUID (version 4).
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// decode reads a body strictly: unknown fields and trailing data are errors.
func decode(r *http.Request, out any) error {
	return decodeBody(r, out, (*json.Decoder).DisallowUnknownFields)
}

// decodeFromNode reads the body of a node's own request. A newer node may tell more than
// this version knows of: that is left out, for its members have to be reported of all
// the same.
func decodeFromNode(r *http.Request, out any) error {
	return decodeBody(r, out, func(*json.Decoder) {})
}

func decodeBody(r *http.Request, out any, rule func(*json.Decoder)) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return spec.Errorf(spec.CodeInvalid, "the request has no body")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	rule(d)
	if err := d.Decode(out); err != nil {
		return spec.Errorf(spec.CodeInvalid, "cannot read the request: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return spec.Errorf(spec.CodeInvalid, "cannot read the request: something follows the object")
	}
	return nil
}

// decodeOptional is decode for a body that may be left out.
func decodeOptional(r *http.Request, out any) error {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return decode(r, out)
}

// ifVersion reads If-Match: a resourceVersion, with or without quotes; "*" asks
// for nothing in particular.
func ifVersion(r *http.Request) (uint64, error) {
	h := strings.TrimSpace(r.Header.Get("If-Match"))
	if h == "" || h == "*" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.Trim(h, `"`), 10, 64)
	if err != nil || n == 0 {
		return 0, spec.Errorf(spec.CodeInvalid, "cannot read If-Match %q: want a resourceVersion", h)
	}
	return n, nil
}

// maxReason bounds what --reason puts into an event.
const maxReason = 500

func (s *Server) entry(r *http.Request, cmd state.Command) (state.Entry, error) {
	why := r.URL.Query().Get("reason")
	if len(why) > maxReason {
		return state.Entry{}, spec.Errorf(spec.CodeInvalid, "the reason has %d characters, %d are allowed", len(why), maxReason)
	}
	if tokenText.MatchString(why) {
		return state.Entry{}, spec.Errorf(spec.CodeInvalid, "the reason holds a token, and would be shown to all who may read events")
	}
	return state.Entry{At: s.o.Now().UTC(), Who: who(r), Why: why, Cmd: cmd}, nil
}

// propose puts a command into the log, or with ?dryRun=1 only tries it on the View.
// It returns the View after it.
func (s *Server) propose(r *http.Request, cmd state.Command) (*state.View, state.Result, error) {
	e, err := s.entry(r, cmd)
	if err != nil {
		return nil, state.Result{}, err
	}
	var v *state.View
	var res state.Result
	if flag(r, "dryRun") {
		now := s.o.Store.View()
		v, res = now.Apply(now.Index+1, e)
	} else {
		s.counts.proposals.Add(1)
		if res, err = s.o.Store.Propose(r.Context(), e); err != nil {
			return nil, res, err
		}
		v = s.o.Store.View()
	}
	if res.Err != nil {
		s.counts.refusals.Add(1)
		return nil, res, res.Err
	}
	return v, res, nil
}

func resultWord(res state.Result) string {
	switch {
	case res.Created:
		return client.Created
	case res.Changed:
		return client.Configured
	}
	return client.Unchanged
}

// answer tells what a write did. value may be nil.
func answer(w http.ResponseWriter, res state.Result, value any) error {
	w.Header().Set(client.HeaderIndex, strconv.FormatUint(res.Index, 10))
	w.Header().Set(client.HeaderResult, resultWord(res))
	status := http.StatusOK
	if res.Created {
		status = http.StatusCreated
	}
	if value == nil {
		value = map[string]any{"result": resultWord(res), "index": res.Index}
	}
	return writeJSON(w, status, value)
}

// checkName wants the object's own name and namespace to be those of the path.
func checkName(r *http.Request, m *spec.Meta) error {
	ns, name := r.PathValue("ns"), r.PathValue("name")
	if m.Name == "" {
		m.Name = name
	}
	if m.Namespace == "" {
		m.Namespace = ns
	}
	if m.Name != name || m.Namespace != ns {
		return spec.Errorf(spec.CodeInvalid, "the object is %s/%s, the path says %s/%s", m.Namespace, m.Name, ns, name)
	}
	return nil
}

func checkKind(apiVersion, kind, want string) error {
	if apiVersion != "" && apiVersion != spec.APIVersion || kind != "" && kind != want {
		return spec.Errorf(spec.CodeInvalid, "want a %s of %s, not a %s of %s; supctl converts other forms", want, spec.APIVersion, kind, apiVersion)
	}
	return nil
}

// refuseProblems makes one error of what is wrong with a definition, and puts the
// warnings into the answer's header.
func refuseProblems(w http.ResponseWriter, what string, problems []spec.Problem) error {
	var wrong []string
	for _, p := range problems {
		if p.Warning {
			w.Header().Add(client.HeaderWarning, oneLine(p.String()))
			continue
		}
		wrong = append(wrong, p.String())
	}
	if len(wrong) == 0 {
		return nil
	}
	e := spec.Errorf(spec.CodeInvalid, "the definition of %s is wrong: %s", what, strings.Join(wrong, "; "))
	e.Reason, e.Details = "InvalidDefinition", wrong
	return e
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func (s *Server) putService(w http.ResponseWriter, r *http.Request) error {
	var in spec.Service
	if err := decode(r, &in); err != nil {
		return err
	}
	if err := errors.Join(checkKind(in.APIVersion, in.Kind, spec.KindService), checkName(r, &in.Metadata)); err != nil {
		return err
	}
	spec.DefaultService(&in)
	if err := refuseProblems(w, "service "+in.Metadata.Name, spec.ValidateService(&in)); err != nil {
		return err
	}
	v, err := ifVersion(r)
	if err != nil {
		return err
	}
	view, res, err := s.propose(r, &state.PutService{
		Namespace: in.Metadata.Namespace, Name: in.Metadata.Name, UID: newUID(), Labels: in.Metadata.Labels, Spec: in.Spec, IfVersion: v,
	})
	if err != nil {
		return err
	}
	if o, ok := oneService(reading{v: view}, in.Metadata.Namespace, in.Metadata.Name); ok {
		return answer(w, res, o.value)
	}
	return answer(w, res, nil)
}

func (s *Server) putProgram(w http.ResponseWriter, r *http.Request) error {
	var in spec.Program
	if err := decode(r, &in); err != nil {
		return err
	}
	if err := errors.Join(checkKind(in.APIVersion, in.Kind, spec.KindProgram), checkName(r, &in.Metadata)); err != nil {
		return err
	}
	spec.DefaultProgram(&in)
	if err := refuseProblems(w, "program "+in.Metadata.Name, spec.ValidateProgram(&in)); err != nil {
		return err
	}
	v, err := ifVersion(r)
	if err != nil {
		return err
	}
	view, res, err := s.propose(r, &state.PutProgram{
		Namespace: in.Metadata.Namespace, Name: in.Metadata.Name, UID: newUID(), Labels: in.Metadata.Labels, Spec: in.Spec, IfVersion: v,
	})
	if err != nil {
		return err
	}
	if o, ok := oneProgram(reading{v: view}, in.Metadata.Namespace, in.Metadata.Name); ok {
		return answer(w, res, o.value)
	}
	return answer(w, res, nil)
}

func (s *Server) deleteService(w http.ResponseWriter, r *http.Request) error {
	v, err := ifVersion(r)
	if err != nil {
		return err
	}
	return s.simple(w, r, &state.DeleteService{Namespace: r.PathValue("ns"), Name: r.PathValue("name"), IfVersion: v})
}

func (s *Server) deleteProgram(w http.ResponseWriter, r *http.Request) error {
	v, err := ifVersion(r)
	if err != nil {
		return err
	}
	return s.simple(w, r, &state.DeleteProgram{Namespace: r.PathValue("ns"), Name: r.PathValue("name"), IfVersion: v})
}

func (s *Server) cordon(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.CordonNode{Name: r.PathValue("name"), Cordon: true})
}

func (s *Server) uncordon(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.CordonNode{Name: r.PathValue("name")})
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.DrainNode{Name: r.PathValue("name")})
}

func (s *Server) freeze(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.SetFrozen{Frozen: true})
}

func (s *Server) unfreeze(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.SetFrozen{})
}

func (s *Server) labelNode(w http.ResponseWriter, r *http.Request) error {
	var in client.Labels
	if err := decode(r, &in); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(in.Set)) {
		if err := spec.CheckKeyValue(k, in.Set[k]); err != nil {
			return spec.Errorf(spec.CodeInvalid, "cannot label node %s: %v", r.PathValue("name"), err)
		}
	}
	return s.simple(w, r, &state.LabelNode{Name: r.PathValue("name"), Set: in.Set, Remove: in.Remove})
}

// transferLeader hands leadership over, and answers with who leads then. The log only hears that it was asked for.
func (s *Server) transferLeader(w http.ResponseWriter, r *http.Request) error {
	var in client.TransferRequest
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	rs := s.o.Cluster.Status()
	if in.Node != "" && s.o.Store.View().Node(in.Node) == nil {
		return &spec.Error{Code: spec.CodeNotFound, Reason: "NotFound", Message: "there is no node " + in.Node}
	}
	if in.Node != "" && !slices.Contains(rs.Voters, in.Node) {
		return refused("NoVoter", "cannot make node %s the leader: it is no voter (voters: %s)", in.Node, strings.Join(rs.Voters, ", "))
	}
	out := client.Transferred{From: s.o.Node, Leader: s.o.Node}
	if in.Node != s.o.Node {
		s.log.Info("leadership is handed over", "to", in.Node, "who", who(r), "reason", r.URL.Query().Get("reason"))
		if _, _, err := s.propose(r, &state.NoteTransfer{From: s.o.Node, To: in.Node}); err != nil && asError(err).Reason != state.NodeTooOld {
			return err // the cluster of an upgrade under way does without the event
		}
		leader, err := s.o.Cluster.Transfer(r.Context(), in.Node)
		if err != nil {
			return err
		}
		out.Leader = leader
	}
	return writeJSON(w, http.StatusOK, out)
}

// warnFrozen says with every write that is taken while the cluster is frozen that it
// waits.
func warnFrozen(w http.ResponseWriter, v *state.View, cmd state.Command) {
	if _, brake := cmd.(*state.SetFrozen); v.Cluster.Frozen != nil && !brake {
		w.Header().Add(client.HeaderWarning, oneLine("it is accepted, and nothing is carried out: the cluster is frozen "+v.Cluster.Frozen.Sentence()+"; supctl cluster unfreeze lets it go on"))
	}
}

// simple proposes a command whose answer is only what it did.
func (s *Server) simple(w http.ResponseWriter, r *http.Request, cmd state.Command) error {
	v, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	warnFrozen(w, v, cmd)
	return answer(w, res, nil)
}
