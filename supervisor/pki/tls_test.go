package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// nodeStore makes the store of a node of the cluster that shares secret.
func nodeStore(t *testing.T, secret, id string, v Validity) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SaveSeed(seedOf(t, secret)), s.Sign(id, v)); err != nil {
		t.Fatal(err)
	}
	return s
}

// shake connects two sides over loopback, and tells what each made of the other: the
// client's end, then the server's.
func shake(t *testing.T, server, client *tls.Config) (cs tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type end struct {
		cs  tls.ConnectionState
		err error
	}
	ended := make(chan end, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			ended <- end{err: err}
			return
		}
		defer c.Close()
		tc := tls.Server(c, server)
		if err := tc.Handshake(); err != nil {
			ended <- end{err: err}
			return
		}
		_, err = tc.Write([]byte("x"))
		ended <- end{tc.ConnectionState(), err}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // in TLS 1.3 a client learns of its refusal here
		_ = c.Close()
	}
	e := <-ended
	return e.cs, err, e.err
}

func ecdsaCert(t *testing.T, ca *CA, name string, v Validity) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.SignAccount(&key.PublicKey, name, v)
	if err != nil {
		t.Fatal(err)
	}
	der, err := decode(typeCertificate, p)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := NodeValidity(now)
	past := Validity{From: now.Add(-48 * time.Hour), Until: now.Add(-24 * time.Hour)}
	future := Validity{From: now.Add(24 * time.Hour), Until: now.Add(48 * time.Hour)}
	n1 := nodeStore(t, secretA, "n1.00000001", good)
	n2 := nodeStore(t, secretA, "n2.00000002", good)
	old := nodeStore(t, secretA, "n3.00000003", past)
	young := nodeStore(t, secretA, "n4.00000004", future)
	other := nodeStore(t, secretB, "n1.00000001", good)
	bare, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ca := caOf(t, seedOf(t, secretA))
	trusting, err := Trusting(ca.Certificate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	withAccount, err := Trusting(ca.Certificate(), ecdsaCert(t, ca, "ann", good))
	if err != nil {
		t.Fatal(err)
	}
	plain := &tls.Config{InsecureSkipVerify: true}
	tls12 := n2.Client(AnyNode)
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	// A node of another cluster that shows its own certificate whatever is asked.
	foreign := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: other.Client(AnyNode).GetClientCertificate}
	for name, x := range map[string]struct {
		server, client *tls.Config
		want           string // of the error of either side; "" both are content
	}{
		"node to node":                     {n1.NodeServer(AnyNode), n2.Client(Is("n1.00000001")), ""},
		"another node than meant":          {n1.NodeServer(AnyNode), n2.Client(Is("n9.00000009")), "node n9.00000009 is meant, and n1.00000001 answers"},
		"a node the server does not want":  {n1.NodeServer(Is("n5.00000005")), n2.Client(AnyNode), "node n5.00000005 is meant"},
		"other cluster's client":           {n1.NodeServer(AnyNode), foreign, "not of this cluster"},
		"other cluster's server":           {other.NodeServer(AnyNode), n2.Client(AnyNode), "not of this cluster"},
		"no certificate, nodes only":       {n1.NodeServer(AnyNode), plain, "didn't provide a certificate"},
		"no certificate, API":              {n1.APIServer(), plain, ""},
		"other cluster's client, API":      {n1.APIServer(), foreign, "not of this cluster"},
		"run out client, nodes only":       {n1.NodeServer(AnyNode), old.Client(AnyNode), "the certificate of node n3.00000003 is good from"},
		"run out client, API":              {n1.APIServer(), old.Client(AnyNode), ""},
		"run out server":                   {old.APIServer(), n1.Client(AnyNode), "the certificate of node n3.00000003 is good from"},
		"run out server, outsider":         {old.APIServer(), trusting, "is good from"},
		"server of the future":             {young.APIServer(), n1.Client(AnyNode), "set the clock that is wrong"},
		"server without certificate":       {bare.APIServer(), plain, "no certificate yet"},
		"client without certificate":       {n1.NodeServer(AnyNode), bare.Client(AnyNode), "does not know its cluster's CA yet"},
		"account at a node's port":         {n1.NodeServer(AnyNode), withAccount, "is no node, but account ann"},
		"account, API":                     {n1.APIServer(), withAccount, ""},
		"outsider with the CA":             {n1.APIServer(), trusting, ""},
		"outsider with the CA, other's":    {other.APIServer(), trusting, "not of this cluster"},
		"outsider with the pin":            {n1.APIServer(), Pinned(ca.Pin(), nil), ""},
		"outsider with the pin, other's":   {other.APIServer(), Pinned(ca.Pin(), nil), "not of the cluster that is meant, whose CA has the pin"},
		"TLS 1.2":                          {n1.NodeServer(AnyNode), tls12, "protocol version"},
		"an account's certificate serving": {&tls.Config{Certificates: []tls.Certificate{*ecdsaCert(t, ca, "ann", good)}}, trusting, "not of this cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, cerr, serr := shake(t, x.server, x.client)
			err := errors.Join(cerr, serr)
			if x.want == "" && err != nil {
				t.Errorf("client: %v; server: %v", cerr, serr)
			}
			if x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("client: %v; server: %v; want %q", cerr, serr, x.want)
			}
		})
	}
}

func TestPeerIsWhoTheCertificateNames(t *testing.T) {
	t.Parallel()
	now := time.Now()
	n1 := nodeStore(t, secretA, "n1.00000001", NodeValidity(now))
	old := nodeStore(t, secretA, "n3.00000003", Validity{From: now.Add(-48 * time.Hour), Until: now.Add(-24 * time.Hour)})
	cs, cerr, serr := shake(t, n1.APIServer(), old.Client(AnyNode))
	if err := errors.Join(cerr, serr); err != nil {
		t.Fatal(err)
	}
	p, err := n1.PeerOf(cs)
	if err != nil || p.Node != "n3.00000003" || p.Account != "" || !p.Expired(now) {
		t.Errorf("PeerOf = %+v, %v; want node n3.00000003, expired", p, err)
	}
}

// A listener goes on with the certificate that was renewed.
func TestRenewedCertificateIsShown(t *testing.T) {
	t.Parallel()
	now := time.Now()
	n1 := nodeStore(t, secretA, "n1.00000001", NodeValidity(now.Add(-time.Hour)))
	n2 := nodeStore(t, secretA, "n2.00000002", NodeValidity(now))
	server, client := n1.NodeServer(AnyNode), n2.Client(AnyNode)
	before := n1.Certificate()
	if err := n1.Sign("n1.00000001", NodeValidity(now)); err != nil {
		t.Fatal(err)
	}
	var shown []byte
	client.VerifyConnection = func(cs tls.ConnectionState) error { shown = cs.PeerCertificates[0].Raw; return nil }
	if _, cerr, serr := shake(t, server, client); errors.Join(cerr, serr) != nil {
		t.Fatal(cerr, serr)
	}
	if string(shown) != string(n1.Certificate().Raw) || string(shown) == string(before.Raw) {
		t.Error("the listener shows the certificate it had before")
	}
}
