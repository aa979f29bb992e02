package server

import (
	"context"
	"net/http"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// askProbes asks the node of one member for its probes: of many, one that is away would
// delay all.
func askProbes(s *Server, r *http.Request, objects []object) {
	ctx, cancel := context.WithTimeout(r.Context(), ownerTimeout)
	defer cancel()
	for i := range objects {
		m, ok := objects[i].value.(spec.Member)
		if !ok {
			continue
		}
		probes, err := s.probes(ctx, m)
		if err != nil {
			m.Status.ProbesReason = spec.Errorf(spec.CodeOf(err), "%v", err).Message
		} else {
			m.Status.Probes, m.Status.ProbesReason = probes, ""
		}
		objects[i].value = m
	}
}

// probes asks only where there is something to hear, and somebody to hear it from.
func (s *Server) probes(ctx context.Context, m spec.Member) ([]spec.ProbeStatus, error) {
	v := s.o.Store.View()
	own := v.MemberNamed(m.Metadata.Namespace, m.Metadata.Name)
	if own == nil || !probed(v, own) {
		return []spec.ProbeStatus{}, nil
	}
	if n := v.Node(m.Spec.Node); n == nil || n.State != spec.NodeReady {
		return nil, spec.Errorf(spec.CodeNoLeader, "its node %s does not answer", m.Spec.Node)
	}
	if m.Spec.Node == s.o.Node {
		return s.o.Agent.Probes(m.Metadata.Namespace, m.Metadata.Name)
	}
	c, err := s.nodeClient(m.Spec.Node)
	if err != nil {
		return nil, err
	}
	return c.NodeProbes(ctx, m.Metadata.Namespace, m.Metadata.Name)
}

// probed tells whether a member has any probe.
func probed(v *state.View, m *state.Member) bool {
	own := v.Revision(m.Namespace, m.Set, m.Revision)
	if own == nil {
		return false
	}
	for i := range own.Template.Processes {
		for _, k := range own.Template.Processes[i].Probes() {
			if *k.At != nil {
				return true
			}
		}
	}
	s := v.Set(m.Namespace, m.Set)
	if s == nil {
		return false
	}
	newest := v.Revision(m.Namespace, m.Set, s.Revision)
	if newest == nil {
		return false
	}
	_, ask := newest.Template.MayStopFor(own.Template)
	return ask != nil
}

// nodeProbes tells of the probes of a member of this node.
func (s *Server) nodeProbes(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	probes, err := s.o.Agent.Probes(q.Get("namespace"), q.Get("member"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Probes{Probes: probes})
}

// nodeMayStop asks a member of this node whether it may be stopped.
func (s *Server) nodeMayStop(w http.ResponseWriter, r *http.Request) error {
	var in client.MayStopRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	out, err := s.o.Agent.MayStop(r.Context(), in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}
