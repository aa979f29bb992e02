package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoCertificate is returned while a node has none, as before it is let into a cluster.
var ErrNoCertificate = errors.New("this node has no certificate yet")

// Peer is who holds the certificate at the other end of a connection.
type Peer struct {
	// Node is a node's id, Account an account's name; one of them is "".
	Node, Account string
	// From and Until bound the certificate's life. PeerOf does not judge them.
	From, Until time.Time
	// Cert is the certificate itself.
	Cert *x509.Certificate
}

// Expired tells whether the certificate is not good now.
func (p Peer) Expired(now time.Time) bool { return now.Before(p.From) || now.After(p.Until) }

// Check judges a node by its id; nil lets it pass.
type Check func(nodeID string) error

// ErrNotPinned is returned by a handshake with a server of another cluster than the one
// whose pin is known.
var ErrNotPinned = errors.New("the server is not of the cluster that is meant")

// Is lets one node pass.
func Is(id string) Check {
	return func(got string) error {
		if got != id {
			return fmt.Errorf("node %s is meant, and %s answers", id, got)
		}
		return nil
	}
}

// AnyNode lets all nodes of the cluster pass.
func AnyNode(string) error { return nil }

// base is what all configurations share. There are no session tickets: a resumed session
// would skip the other side's certificate, and connections are kept open anyway.
func base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
}

// NodeServer is for listeners that only nodes may connect to: they must show a
// certificate of the cluster that is good now.
func (s *Store) NodeServer(check Check) *tls.Config {
	c := s.server()
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error { return s.node(cs, check) }
	return c
}

// APIServer is for the API: a certificate is asked for, and verified if given, but for
// its age: a node whose certificate has run out asks for a new one with it. Who serves
// requests looks at PeerOf and Expired.
func (s *Store) APIServer() *tls.Config {
	c := s.server()
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		_, err := s.PeerOf(cs)
		return err
	}
	return c
}

func (s *Store) server() *tls.Config {
	c := base()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current() }
	return c
}

// Client is for connections from this node to other nodes: it shows its own certificate,
// and wants one of a node that passes check.
func (s *Store) Client(check Check) *tls.Config {
	c := base()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.current() }
	c.ServerName = ServerName
	c.InsecureSkipVerify = true // the CA may become known later: VerifyConnection does it all
	c.VerifyConnection = func(cs tls.ConnectionState) error { return s.node(cs, check) }
	return c
}

// node verifies that a node of the cluster is at the other end, now.
func (s *Store) node(cs tls.ConnectionState, check Check) error {
	p, err := s.PeerOf(cs)
	if err != nil {
		return err
	}
	if p.Node == "" {
		return fmt.Errorf("the other side is no node, but account %s", p.Account)
	}
	if now := time.Now(); p.Expired(now) {
		return fmt.Errorf("the certificate of node %s is good from %s to %s, and it is %s: renew it, or set the clock that is wrong",
			p.Node, p.From.UTC().Format(time.RFC3339), p.Until.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return check(p.Node)
}

// PeerOf tells whose certificate is at the other end, when the cluster's CA signed it.
// It does not judge its age.
func (s *Store) PeerOf(cs tls.ConnectionState) (Peer, error) {
	s.mu.Lock()
	ca := s.ca
	s.mu.Unlock()
	if ca == nil {
		return Peer{}, errors.New("this node does not know its cluster's CA yet")
	}
	return peerOf(cs, ca, x509.ExtKeyUsageClientAuth)
}

// peerOf verifies the other side's certificate against a CA at a time within its life.
func peerOf(cs tls.ConnectionState, ca *x509.Certificate, usage x509.ExtKeyUsage) (Peer, error) {
	if len(cs.PeerCertificates) == 0 {
		return Peer{}, errors.New("the other side shows no certificate")
	}
	leaf := cs.PeerCertificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		return Peer{}, fmt.Errorf("the other side's certificate is not of this cluster: %w", err)
	}
	return Holder(leaf)
}

// Holder tells whom a certificate names that was verified before.
func Holder(leaf *x509.Certificate) (Peer, error) {
	p := Peer{From: leaf.NotBefore, Until: leaf.NotAfter, Cert: leaf}
	name := leaf.Subject.CommonName
	switch {
	case name != "" && slices.Equal(leaf.Subject.Organization, []string{orgNode}):
		p.Node = name
	case name != "" && slices.Equal(leaf.Subject.Organization, []string{orgAccount}):
		p.Account = name
	default:
		return Peer{}, fmt.Errorf("the other side's certificate is neither a node's nor an account's, but %s", leaf.Subject)
	}
	return p, nil
}

// current is the certificate to show now.
func (s *Store) current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert == nil {
		return nil, ErrNoCertificate
	}
	return s.cert, nil
}

// Pinned is for clients that hold no file of the cluster but its CA's pin, as a token
// carries it: a node of that cluster must answer. Certificates may be nil.
func Pinned(pin string, own *tls.Certificate) *tls.Config {
	return outside(own, func(cs tls.ConnectionState) (*x509.Certificate, error) {
		for _, c := range cs.PeerCertificates { // a node sends its CA's too
			if c.IsCA && pinOf(c) == pin {
				return c, nil
			}
		}
		return nil, fmt.Errorf("%w, whose CA has the pin %s", ErrNotPinned, pin)
	})
}

// Trusting is for clients that hold the CA's certificate: a node of that cluster must
// answer. Own is the client's certificate, or nil.
func Trusting(caPEM []byte, own *tls.Certificate) (*tls.Config, error) {
	ca, err := parseCA(caPEM)
	if err != nil {
		return nil, err
	}
	return outside(own, func(tls.ConnectionState) (*x509.Certificate, error) { return ca, nil }), nil
}

// outside is the configuration of a client that is no node.
func outside(own *tls.Certificate, find func(tls.ConnectionState) (*x509.Certificate, error)) *tls.Config {
	c := base()
	c.ServerName = ServerName
	c.InsecureSkipVerify = true // VerifyConnection does it all
	if own != nil {
		c.Certificates = []tls.Certificate{*own}
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		ca, err := find(cs)
		if err != nil {
			return err
		}
		p, err := peerOf(cs, ca, x509.ExtKeyUsageServerAuth)
		if err != nil {
			return err
		}
		if p.Node == "" {
			return errors.New("the server is no node of the cluster")
		}
		if now := time.Now(); p.Expired(now) {
			return fmt.Errorf("the certificate of node %s is good from %s to %s only: renew it there, or set the clock that is wrong",
				p.Node, p.From.UTC().Format(time.RFC3339), p.Until.UTC().Format(time.RFC3339))
		}
		return nil
	}
	return c
}
