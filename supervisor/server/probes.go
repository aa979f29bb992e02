package server

import (
	"context"
	"net/http"

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

func (s *Server) probes(ctx context.Context, m spec.Member) ([]spec.ProbeStatus, error) {
	if m.Spec.Node == s.o.Node {
		return s.o.Agent.Probes(m.Metadata.Namespace, m.Metadata.Name)
	}
	c, err := s.nodeClient(m.Spec.Node)
	if err != nil {
		return nil, err
	}
	return c.NodeProbes(ctx, m.Metadata.Namespace, m.Metadata.Name)
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
