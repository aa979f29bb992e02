package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

// Certificates tells whose certificate the other end of a TLS connection shows.
type Certificates interface {
	PeerOf(cs tls.ConnectionState) (pki.Peer, error)
}

var _ Certificates = (*pki.Store)(nil)

// identify finds out who asks. Its errors are for credentials that were shown and are not good; who shows none is a
// Caller without a role.
func (s *Server) identify(r *http.Request) (Caller, *spec.Error) {
	c, err := s.direct(r)
	if err != nil {
		return c, err
	}
	if c.Node != "" && c.expired == "" && r.Header.Get(client.HeaderForwarded) != "" {
		return s.forwarded(r, c)
	}
	// Nobody but a node speaks for others.
	for _, h := range []string{client.HeaderForwarded, client.HeaderWho, client.HeaderRole, client.HeaderName, client.HeaderNamespaces} {
		r.Header.Del(h)
	}
	return c, nil
}

// direct is who is at the other end of the connection.
func (s *Server) direct(r *http.Request) (Caller, *spec.Error) {
	if c, ok := r.Context().Value(callerKey{}).(Caller); ok {
		return c, nil
	}
	if p, ok := r.Context().Value(peerKey{}).(Peer); ok {
		return localCaller(p, ownUID(), s.o.SocketGroup, s.o.SocketRead), nil
	}
	from := remoteHost(r)
	nobody := Caller{Who: "tcp:" + from}
	shown := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	text, bearer, err := bearerOf(r.Header)
	switch {
	case err != nil:
		return nobody, err
	case shown && bearer:
		return nobody, unauthenticated("cannot tell who asks: both a certificate and a token are shown; show one of them")
	case shown:
		return s.byCertificate(r, from, nobody)
	case bearer:
		return s.byToken(text, from, nobody)
	}
	return nobody, nil
}

// remoteHost is the address of the other end.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// bearerOf takes the token out of a request's header. Its errors hold nothing of what was sent.
func bearerOf(h http.Header) (text string, has bool, err *spec.Error) {
	all := h.Values("Authorization")
	if len(all) == 0 {
		return "", false, nil
	}
	scheme, text, ok := strings.Cut(all[0], " ")
	if len(all) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || text == "" {
		return "", false, unauthenticated("cannot use the Authorization header: want it once, as Bearer and a token that supctl auth create has made")
	}
	return text, true, nil
}

func (s *Server) byToken(text, from string, nobody Caller) (Caller, *spec.Error) {
	t, err := pki.ParseToken(text)
	if err != nil {
		return nobody, unauthenticated("%v", err)
	}
	if t.Kind != pki.AuthToken {
		return nobody, unauthenticated("cannot use the token: it lets a node join, and speaks for no account; supctl auth create makes the other kind")
	}
	a := s.o.Store.View().AccountByToken(t.ID)
	if a == nil || a.Kind != spec.AccountToken || !t.Matches(a.Hash) {
		return nobody, unauthenticated("the token is of no account of this cluster: it was revoked, or was never good; ask an admin for another (supctl auth create)")
	}
	return s.account(a, from, nobody)
}

// account is the caller that a present account makes.
func (s *Server) account(a *state.Account, from string, nobody Caller) (Caller, *spec.Error) {
	if a.Expired(s.o.Now()) {
		return nobody, unauthenticated("account %s expired at %s; an admin can make it anew: supctl auth revoke %s, then supctl auth create %s", a.Name, a.Expires.Format(time.RFC3339), a.Name, a.Name)
	}
	return Caller{Who: "account:" + a.Name + "@" + from, Role: a.Role, Namespaces: a.Namespaces, Account: a.Name}, nil
}

func (s *Server) byCertificate(r *http.Request, from string, nobody Caller) (Caller, *spec.Error) {
	if s.o.Certificates == nil {
		return nobody, unauthenticated("cannot use the certificate: this node has no CA to verify it with")
	}
	p, err := s.o.Certificates.PeerOf(*r.TLS)
	if why, ok := errors.AsType[*spec.Error](err); ok && why.Reason == state.NodeForgotten {
		return nobody, why // by which its agent learns to end what runs there
	}
	if err != nil {
		return nobody, unauthenticated("cannot use the certificate: %v", err)
	}
	expired := ""
	if p.Expired(s.o.Now()) {
		expired = fmt.Sprintf("the certificate of %s%s is good from %s to %s only: make a new one, or set the clock that is wrong", p.Node, p.Account,
			p.From.UTC().Format(time.RFC3339), p.Until.UTC().Format(time.RFC3339))
	}
	if p.Node != "" {
		c, err := s.node(p.Node, from, nobody)
		c.expired = expired
		return c, err
	}
	if expired != "" {
		return nobody, unauthenticated("%s", expired)
	}
	a := s.o.Store.View().Account(p.Account)
	hash, err := pki.KeyHash(p.Cert.PublicKey)
	if err != nil || a == nil || a.Kind != spec.AccountCertificate || a.Hash != hash {
		return nobody, unauthenticated("the certificate is of account %s, which was revoked or made anew since; ask an admin for another (supctl auth create)", p.Account)
	}
	return s.account(a, from, nobody)
}

// node is the caller that a node's certificate makes. A node that is not in the View yet comes to register.
func (s *Server) node(id, from string, nobody Caller) (Caller, *spec.Error) {
	name, _, _ := strings.Cut(id, ".")
	v := s.o.Store.View()
	if f := v.Cluster.Forgot(id); f != nil {
		return nobody, refused(state.NodeForgotten, "the certificate is of node %s, which was forgotten, or left, at %s; the machine can join anew with an empty data directory", id, f.At.UTC().Format(time.RFC3339))
	}
	n := v.Node(name)
	if n != nil && n.ID != id {
		return nobody, unauthenticated("the certificate is of node %s, but the name %s belongs to node %s now", id, name, n.ID)
	}
	return Caller{Who: "node:" + name + "@" + from, Node: name, NodeID: id, stranger: n == nil}, nil
}

// internalPath begins the routes between nodes.
const internalPath = "/v1/internal/"

// renewal is the one route that a node's certificate opens when it has run out.
const renewal = internalPath + "certificate"

// roleNode stood in HeaderRole for a node that asked by way of another, in versions before this.
const roleNode = "node"

// allNamespaces stands in HeaderNamespaces for no limit.
const allNamespaces = "*"

// forwarded is whom a node asks for: an account or a local user, never another node, which asks for itself. An account is
// looked up here too: the leader may know already that it is revoked.
func (s *Server) forwarded(r *http.Request, by Caller) (Caller, *spec.Error) {
	h := r.Header
	who, role, name, list := h.Get(client.HeaderWho), h.Get(client.HeaderRole), h.Get(client.HeaderName), h.Get(client.HeaderNamespaces)
	nobody := Caller{Who: who}
	switch {
	case who == "" || len(who) > maxWho:
		return by, unauthenticated("node %s forwards a request and does not say whose", by.Node)
	case role == roleNode:
		return by, s.impostor(r, by, name)
	case by.stranger: // nobody's users are there yet
		return by, notRegistered(by.Node)
	case role == "": // it acts on its own part of what who asked of it
		return Caller{Who: who, Node: by.Node, NodeID: by.NodeID}, nil
	case !slices.Contains(spec.Roles(), spec.Role(role)) || list == "":
		return nobody, unauthenticated("node %s forwards a request of %s and does not say what he may", by.Node, who)
	}
	c := Caller{Who: who, Role: spec.Role(role), Account: name}
	if list != allNamespaces {
		c.Namespaces = strings.Split(list, ",")
	}
	if name == "" {
		return c, nil
	}
	a := s.o.Store.View().Account(name)
	if a == nil {
		return nobody, unauthenticated("account %s was revoked", name)
	}
	if a.Expired(s.o.Now()) {
		return nobody, unauthenticated("account %s expired", name)
	}
	c.Role, c.Namespaces = a.Role, a.Namespaces
	return c, nil
}

// maxWho bounds what a node may say of who asks.
const maxWho = 512

// forwardCaller tells the next node, in h, for whom a request is.
func forwardCaller(h http.Header, r *http.Request) {
	c := callerOf(r)
	h.Set(client.HeaderWho, c.Who)
	h.Set(client.HeaderRole, string(c.Role))
	if c.Account != "" {
		h.Set(client.HeaderName, c.Account)
	}
	list := allNamespaces
	if len(c.Namespaces) > 0 {
		list = strings.Join(c.Namespaces, ",")
	}
	h.Set(client.HeaderNamespaces, list)
}

// speaksFor checks that what is told of a node is told by that node itself: its name, and its id where the request has one.
func (s *Server) speaksFor(r *http.Request, name, id string) *spec.Error {
	c := callerOf(r)
	if c.Node == name && c.NodeID == id && name != "" {
		return nil
	}
	return s.impostor(r, c, name)
}

// impostor refuses a node that speaks for another, and says so once a minute.
func (s *Server) impostor(r *http.Request, c Caller, name string) *spec.Error {
	s.counts.refusedForbidden.Add(1)
	e := forbidden("%s (id %s) speaks for node %s: a node speaks for itself only, by its own certificate", c.Who, c.NodeID, strconv.Quote(shorten(name)))
	if ok, _ := s.said.take("impostor:"+c.NodeID, time.Now()); ok {
		s.log.Warn("a node speaks for another and is refused; more of it are not said for a minute", "path", pathForLog(r.URL.Path), "err", e.Message)
	}
	return e
}

// shorten bounds a name that somebody made up.
func shorten(name string) string {
	if len(name) > maxShown {
		return name[:maxShown] + "..."
	}
	return name
}

const maxShown = 100
