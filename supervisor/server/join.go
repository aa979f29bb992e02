package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Membership lets nodes into the cluster and out of it. It holds the cluster's secrets;
// this package only carries them.
type Membership interface {
	// Init forms a cluster of this daemon alone, and returns when it leads.
	Init(ctx context.Context) error
	// NewToken makes a token's text and the command that makes it good.
	NewToken(uses int, expires time.Time) (text string, cmd *state.AddJoinToken, err error)
	// Admission reads a request to join; an error is the asker's fault.
	Admission(in client.JoinRequest) (*state.AdmitNode, error)
	// Welcome answers a request that was admitted. On the leader only.
	Welcome(in client.JoinRequest) (client.Welcome, error)
	// MayLeave tells why the node can't leave. On the leader only.
	MayLeave(node string) error
	// Yield hands leadership to another node, and returns when that leads.
	Yield(ctx context.Context) error
	// GossipKeys are the keys of gossip.
	GossipKeys() (string, error)
	// Seed is the cluster's secret for a node that is to vote.
	Seed(nodeID string) (string, error)
}

// Bounds of a join token's life.
const (
	leastTokenLife = time.Second
	mostTokenLife  = 7 * 24 * time.Hour
)

// initCluster forms a cluster of this daemon alone.
func (s *Server) initCluster(w http.ResponseWriter, r *http.Request) error {
	if err := s.noMembership(); err != nil {
		return err
	}
	if err := s.o.Membership.Init(r.Context()); err != nil {
		return err
	}
	s.log.Info("cluster formed as asked", "who", who(r))
	return s.cluster(w, r)
}

// newJoinToken makes a token; its text is in the answer and nowhere else.
func (s *Server) newJoinToken(w http.ResponseWriter, r *http.Request) error {
	if err := s.noMembership(); err != nil {
		return err
	}
	var in client.NewJoinToken
	if err := decode(r, &in); err != nil {
		return err
	}
	switch life := in.Expires.D(); {
	case in.Uses < 1 || in.Uses > state.MaxTokenUses:
		return spec.Errorf(spec.CodeInvalid, "a join token lets in 1 to %d nodes, not %d", state.MaxTokenUses, in.Uses)
	case life < leastTokenLife || life > mostTokenLife:
		return spec.Errorf(spec.CodeInvalid, "a join token lives for 1s to 7d, not %s", in.Expires)
	}
	now := s.o.Now().UTC()
	text, cmd, err := s.o.Membership.NewToken(in.Uses, now.Add(in.Expires.D()).Truncate(time.Second))
	if err != nil {
		return err
	}
	v, _, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	t := v.Cluster.JoinToken(cmd.ID)
	if t == nil {
		return spec.Errorf(spec.CodeInternal, "join token %s is gone already", cmd.ID)
	}
	out := showToken(t)
	out.Token = text
	for n := range v.Nodes() {
		if n.State == spec.NodeReady && n.API != "" && len(out.Join) < 5 {
			out.Join = append(out.Join, n.API)
		}
	}
	return writeJSON(w, http.StatusCreated, out)
}

func showToken(t *state.JoinToken) client.JoinToken {
	out := client.JoinToken{
		ID: t.ID, Uses: t.Uses, Left: t.Left(), Expires: t.Expires, Created: t.Created, Who: t.Who, Admitted: []string{},
	}
	for _, a := range t.Admitted {
		out.Admitted = append(out.Admitted, a.ID)
	}
	return out
}

func (s *Server) listJoinTokens(w http.ResponseWriter, _ *http.Request) error {
	v := s.o.Store.View()
	out := struct {
		Items []client.JoinToken `json:"items"`
	}{Items: []client.JoinToken{}}
	for i := range v.Cluster.JoinTokens {
		out.Items = append(out.Items, showToken(&v.Cluster.JoinTokens[i]))
	}
	setIndex(w, v)
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) revokeJoinToken(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.RevokeJoinToken{ID: r.PathValue("id")})
}

// joinNode lets a node in that shows a good token. Who asks has no certificate yet.
func (s *Server) joinNode(w http.ResponseWriter, r *http.Request) error {
	if err := s.noMembership(); err != nil {
		return err
	}
	var in client.JoinRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	cmd, err := s.o.Membership.Admission(in)
	if err == nil {
		err = s.admitNode(r, cmd)
	}
	var e *spec.Error
	if errors.As(err, &e) && e.Code != spec.CodeNoLeader {
		return s.unidentified(r, Caller{Who: "join:" + pathForLog(in.ID)}, e)
	}
	if err != nil {
		return err
	}
	out, err := s.o.Membership.Welcome(in)
	if err != nil {
		return err
	}
	s.log.Info("node let in", "node", in.ID, "from", r.RemoteAddr, "token", cmd.Token)
	return writeJSON(w, http.StatusOK, out)
}

// admitNode proposes the admission, as the token's own doing. What is refused for sure
// never enters the log: strangers can't fill it.
func (s *Server) admitNode(r *http.Request, cmd *state.AdmitNode) error {
	e := state.Entry{At: s.o.Now().UTC(), Who: "join-token:" + cmd.Token, Cmd: cmd}
	v := s.o.Store.View()
	if _, res := v.Apply(v.Index+1, e); res.Err != nil {
		s.counts.refusals.Add(1)
		return res.Err
	}
	s.counts.proposals.Add(1)
	res, err := s.o.Store.Propose(r.Context(), e)
	if err != nil {
		return err
	}
	if res.Err != nil {
		s.counts.refusals.Add(1)
		return res.Err
	}
	return nil
}

// noMembership refuses where nobody can be let in or out.
func (s *Server) noMembership() error {
	if s.o.Membership == nil {
		return spec.Errorf(spec.CodeRefused, "this server lets no nodes in or out")
	}
	return nil
}

// leave takes a node out of the cluster. The leader itself hands over first, and the
// next one does it.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) error {
	if err := s.noMembership(); err != nil {
		return err
	}
	name := r.PathValue("name")
	v := s.o.Store.View()
	n := v.Node(name)
	if n == nil {
		e := spec.Errorf(spec.CodeNotFound, "there is no node %s", name)
		e.Reason = "NotFound"
		return e
	}
	if err := v.MayRemove(n); err != nil {
		return err
	}
	if err := s.o.Membership.MayLeave(name); err != nil {
		return err
	}
	if name == s.o.Node {
		if err := s.o.Membership.Yield(r.Context()); err != nil {
			return err
		}
		return s.forward(w, r, s.o.Cluster.Lead())
	}
	return s.simple(w, r, &state.RemoveNode{Name: n.Name, ID: n.ID})
}

// seed gives the cluster's secret to a node that is to vote.
func (s *Server) seed(w http.ResponseWriter, r *http.Request) error {
	if err := s.noMembership(); err != nil {
		return err
	}
	id, err := s.shownNode(r, "the cluster's secret")
	if err != nil {
		return err
	}
	text, err := s.o.Membership.Seed(id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Seed{Seed: text})
}

// gossipKeys gives the keys of gossip to a node.
func (s *Server) gossipKeys(w http.ResponseWriter, r *http.Request) error {
	if err := s.noMembership(); err != nil {
		return err
	}
	if _, err := s.shownNode(r, "gossip's keys"); err != nil {
		return err
	}
	text, err := s.o.Membership.GossipKeys()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.GossipKeys{Keys: text})
}

// shownNode is the id of the node that shows its certificate itself. Secrets go to no
// other.
func (s *Server) shownNode(r *http.Request, secret string) (string, error) {
	if shownCert(r) == nil || s.o.Certificates == nil || r.Header.Get(client.HeaderForwarded) != "" {
		return "", refused("NoCertificate", "only a node that shows its certificate itself can have %s", secret)
	}
	peer, err := s.o.Certificates.PeerOf(*r.TLS)
	if err != nil || peer.Node == "" {
		return "", unauthenticated("only a node can have %s (%v)", secret, err)
	}
	return peer.Node, nil
}

// rotateGossipKey has the nodes change to gossip's next key.
func (s *Server) rotateGossipKey(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.RotateGossipKey{IfGeneration: s.o.Store.View().Cluster.GossipKey})
}
