package server_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// secret is what the nodes of these clusters share.
const secret = "the secret of all pretended clusters"

// nodeStore makes the credentials of a node of the cluster that shares a secret.
func nodeStore(t *testing.T, shared, id string, v pki.Validity) *pki.Store {
	t.Helper()
	s, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pki.SeedFrom(shared)
	if err = errors.Join(err, s.SaveSeed(seed), s.Sign(id, v)); err != nil {
		t.Fatal(err)
	}
	return s
}

// serveTLS serves a pretended cluster's API as a node does.
func serveTLS(t *testing.T, n *servertest.Node, own *pki.Store) (addr string) {
	t.Helper()
	o := n.Options()
	o.Certificates, o.Now = own, time.Now
	o.Issue = func(id string, pub crypto.PublicKey) ([]byte, error) {
		ca, err := own.Seed().CA()
		if err != nil {
			return nil, err
		}
		return ca.SignNode(pub, id, spec.NodeName(id), pki.NodeValidity(time.Now()))
	}
	hs := server.NewHTTPServer(server.New(o).Handler())
	hs.ErrorLog = log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(tls.NewListener(l, own.APIServer())) }()
	t.Cleanup(func() {
		if err := hs.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return l.Addr().String()
}

// TestWhatCertificatesOpen: a node of the cluster gets in, whoever else gets health and
// metrics, or nothing.
func TestWhatCertificatesOpen(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := pki.NodeValidity(now)
	past := pki.Validity{From: now.Add(-2 * time.Hour), Until: now.Add(-time.Hour)}
	own := nodeStore(t, secret, "node-1.00000001", good)
	addr := serveTLS(t, servertest.Story(), own)
	bare := &tls.Config{InsecureSkipVerify: true}
	node := nodeStore(t, secret, "node-2.00000002", good)
	old := nodeStore(t, secret, "node-2.00000002", past)
	other := nodeStore(t, "the secret of another cluster altogether", "node-2.00000002", good).Client(pki.AnyNode)
	other.VerifyConnection = nil
	trusting, err := pki.Trusting(own.CA(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const register = "/v1/internal/register"
	for name, x := range map[string]struct {
		tls  *tls.Config
		path string
		want int // 0: no answer at all
	}{
		"a node":                           {node.Client(pki.AnyNode), "/v1/internal/leases", http.StatusOK},
		"a node as a user":                 {node.Client(pki.AnyNode), "/v1/nodes", http.StatusForbidden},
		"a node registers":                 {node.Client(pki.AnyNode), register, http.StatusBadRequest}, // an empty body
		"a node, meaning another":          {node.Client(pki.Is("node-9.00000009")), "/v1/nodes", 0},
		"nobody":                           {bare, "/healthz", http.StatusOK},
		"nobody, metrics":                  {bare, "/metrics", http.StatusOK},
		"nobody, nodes":                    {bare, "/v1/nodes", http.StatusUnauthorized},
		"nobody registers":                 {bare, register, http.StatusUnauthorized},
		"nobody with the CA":               {trusting, "/readyz", http.StatusOK},
		"nobody with the pin":              {pki.Pinned(own.Pin(), nil), "/readyz", http.StatusOK},
		"a node that ran out":              {old.Client(pki.AnyNode), "/v1/internal/leases", http.StatusUnauthorized},
		"a node that ran out registers":    {old.Client(pki.AnyNode), register, http.StatusUnauthorized},
		"another cluster's node":           {other, "/healthz", 0},
		"another cluster's node registers": {other, register, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := client.NewTransport(x.tls)
			defer tr.CloseIdleConnections()
			method := http.MethodGet
			if x.path == register {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "https://"+addr+x.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := tr.RoundTrip(req)
			if err != nil {
				if x.want != 0 || !client.NotDone(err) {
					t.Errorf("%v (not done: %t)", err, client.NotDone(err))
				}
				return
			}
			defer res.Body.Close()
			if res.StatusCode != x.want {
				t.Errorf("status %d, want %d", res.StatusCode, x.want)
			}
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		t.Parallel()
		tr := client.NewTransport(nil)
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/healthz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d, want a refusal", res.StatusCode)
		}
	})
}

// TestRenewal: a node whose certificate ran out gets a new one for its key, and for no
// other, and nobody else gets any.
func TestRenewal(t *testing.T) {
	t.Parallel()
	now := time.Now()
	own := nodeStore(t, secret, "node-1.00000001", pki.NodeValidity(now))
	addr := serveTLS(t, servertest.Story(), own)
	old := nodeStore(t, secret, "node-2.00000002", pki.Validity{From: now.Add(-2 * time.Hour), Until: now.Add(-time.Hour)})
	ask := func(tc *tls.Config, request []byte) ([]byte, error) {
		c, err := client.New(addr, client.Options{TLS: tc, NoRetry: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.RenewCertificate(t.Context(), request)
	}
	request, err := old.Request()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(&tls.Config{InsecureSkipVerify: true}, request); err == nil {
		t.Errorf("nobody: %v", err)
	}
	if _, err := ask(old.Client(pki.AnyNode), foreign); err == nil || !strings.Contains(err.Error(), "for the key it has") {
		t.Errorf("another key: %v", err)
	}
	cert, err := ask(old.Client(pki.AnyNode), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.SaveCertificate(cert); err != nil || pki.Due(old.Certificate(), "node-2.00000002", now) {
		t.Errorf("renewed: %v, until %s", err, old.Certificate().NotAfter)
	}
}

// TestSlowHandshakesOfTheAPI: connections that say nothing hold up nobody.
func TestSlowHandshakesOfTheAPI(t *testing.T) {
	t.Parallel()
	own := nodeStore(t, secret, "node-1.00000001", pki.NodeValidity(time.Now()))
	addr := serveTLS(t, servertest.Story(), own)
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{22, 3, 1}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // less than a handshake is given
	defer cancel()
	c, err := client.New(addr, client.Options{TLS: own.Client(pki.AnyNode)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.LeaseTable(ctx); err != nil {
		t.Error(err)
	}
}
