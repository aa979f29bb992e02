package server

import (
	"crypto"
	"crypto/x509"
	"net/http"
	"strconv"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

func (s *Server) heartbeat(w http.ResponseWriter, r *http.Request) error {
	var in client.Heartbeat
	if err := decodeFromNode(r, &in); err != nil {
		return err
	}
	if err := s.speaksFor(r, in.Node, in.ID); err != nil {
		return err
	}
	out, err := s.o.Control.Heartbeat(r.Context(), in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	var in state.Report
	if err := decodeFromNode(r, &in); err != nil {
		return err
	}
	if err := s.speaksFor(r, in.Node, callerOf(r).NodeID); err != nil { // a report names its node only
		return err
	}
	return s.internalEntry(w, r, "agent:"+in.Node, &in)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	var in state.Node
	if err := decodeFromNode(r, &in); err != nil {
		return err
	}
	if err := s.speaksFor(r, in.Name, in.ID); err != nil {
		return err
	}
	return s.internalEntry(w, r, "agent:"+in.Name, &state.RegisterNode{Node: in})
}

func (s *Server) stopping(w http.ResponseWriter, r *http.Request) error {
	var in client.StoppingRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	return s.internalEntry(w, r, who(r), &state.SetStopping{Stopping: in.Stopping})
}

// internalEntry proposes what a node sent; the leader's clock stamps it.
func (s *Server) internalEntry(w http.ResponseWriter, r *http.Request, by string, cmd state.Command) error {
	s.counts.proposals.Add(1)
	res, err := s.o.Store.Propose(r.Context(), state.Entry{At: s.o.Now().UTC(), Who: by, Cmd: cmd})
	if err != nil {
		return err
	}
	w.Header().Set(client.HeaderIndex, strconv.FormatUint(res.Index, 10))
	if res.Err != nil {
		s.counts.refusals.Add(1)
		return res.Err
	}
	return answer(w, res, nil)
}

// renew signs a new certificate for the node that shows its own: also one that has run
// out, for the same key.
func (s *Server) renew(w http.ResponseWriter, r *http.Request) error {
	var in client.CertificateRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	shown := shownCert(r)
	if shown == nil || s.o.Issue == nil {
		return refused("NoCertificate", "only a node that shows its certificate itself can have it renewed, at a node with the cluster's seed")
	}
	peer, err := s.o.Certificates.PeerOf(*r.TLS)
	if err != nil || peer.Node == "" {
		return unauthenticated("only a node can have its certificate renewed (%v)", err)
	}
	pub, err := pki.ParseRequest([]byte(in.Request))
	if err != nil {
		return spec.Errorf(spec.CodeInvalid, "%v", err)
	}
	if own, ok := shown.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(pub) {
		return refused("OtherKey", "the certificate of node %s is renewed for the key it has, not for another", callerOf(r).Node)
	}
	cert, err := s.o.Issue(peer.Node, pub)
	if err != nil {
		return err
	}
	s.log.Info("certificate renewed", "for", peer.Node)
	return writeJSON(w, http.StatusOK, client.Certificate{Certificate: string(cert)})
}

// shownCert is the certificate that the other end of the connection shows, or nil.
func shownCert(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

func (s *Server) leases(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, client.Leases{Until: s.o.Control.Leases()})
}

// healthz: the daemon answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz: the cluster is formed, this node belongs to it and knows a leader.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) error {
	rd := s.reading()
	var why string
	switch {
	case rd.v.Cluster.ID == "":
		why = "the cluster has not been formed yet"
		if rd.rs.Waits != "" {
			why = "waiting: " + rd.rs.Waits
		}
	case rd.v.Node(s.o.Node) == nil:
		why = "node " + s.o.Node + " has not been registered yet"
	case rd.rs.Leader == "":
		why = "no leader is known"
	}
	if rd.rs.Trouble != "" {
		why = strings.TrimPrefix(why+"; "+rd.rs.Trouble, "; ")
	}
	setIndex(w, rd.v)
	if why != "" {
		e := spec.Errorf(spec.CodeNoLeader, "not ready: %s", why)
		e.Reason = "NotReady"
		return e
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}
