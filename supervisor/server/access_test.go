package server_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// gate is a server of a cluster with a CA and accounts, asked without a network.
type gate struct {
	t      *testing.T
	n      *servertest.Node
	s      *server.Server
	ca     *pki.CA
	store  *pki.Store
	tokens map[string]string // by account
	asked  int
}

// testAuthority signs with the CA at hand.
type testAuthority struct{ ca *pki.CA }

func (a testAuthority) CA() []byte { return a.ca.Certificate() }

func (a testAuthority) SignAccount(request []byte, name string, from, until time.Time) ([]byte, string, error) {
	pub, err := pki.ParseRequest(request)
	if err != nil {
		return nil, "", err
	}
	hash, err := pki.KeyHash(pub)
	if err != nil {
		return nil, "", err
	}
	cert, err := a.ca.SignAccount(pub, name, pki.Validity{From: from, Until: until})
	return cert, hash, err
}

func newGate(t *testing.T, change func(*server.Options)) *gate {
	t.Helper()
	seed, err := pki.SeedFrom(strings.Repeat("access ", 8))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := seed.CA()
	if err != nil {
		t.Fatal(err)
	}
	store, err := pki.Open(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.SaveSeed(seed); err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, n: servertest.Story(), ca: ca, store: store, tokens: map[string]string{}}
	o := g.n.Options()
	o.Certificates, o.Authority, o.SocketGroup = store, testAuthority{ca}, 4711
	if change != nil {
		change(&o)
	}
	g.s = server.New(o)
	for name, a := range map[string]state.PutAccount{
		"viewer":   {Role: spec.RoleViewer},
		"operator": {Role: spec.RoleOperator},
		"admin":    {Role: spec.RoleAdmin},
		"elsewhere": {
			Role: spec.RoleOperator, Namespaces: []string{"other", "third"},
		},
		"here":    {Role: spec.RoleOperator, Namespaces: []string{"default"}},
		"expired": {Role: spec.RoleAdmin, Expires: g.n.Now()},
		"revoked": {Role: spec.RoleAdmin},
	} {
		g.account(name, a)
	}
	g.n.Do(&state.RevokeAccount{Name: "revoked"})
	return g
}

// account makes an account with a token.
func (g *gate) account(name string, a state.PutAccount) {
	g.t.Helper()
	text, tok, err := pki.NewToken(pki.AuthToken, g.ca.Pin())
	if err != nil {
		g.t.Fatal(err)
	}
	a.Name, a.UID, a.Kind, a.Token, a.Hash = name, "uid-"+name, spec.AccountToken, tok.ID, tok.Hash
	g.n.Do(&a)
	g.tokens[name] = text
}

func parse(t *testing.T, cert []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(cert)
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// node is a node's certificate, good from so long before the pretended now.
func (g *gate) node(ca *pki.CA, id string, age time.Duration) *x509.Certificate {
	g.t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	name, _, _ := strings.Cut(id, ".")
	cert, err := ca.SignNode(pub, id, name, pki.NodeValidity(g.n.Now().Add(-age)))
	if err != nil {
		g.t.Fatal(err)
	}
	return parse(g.t, cert)
}

// holder is an account's certificate, with the account if it is to be known.
func (g *gate) holder(ca *pki.CA, name string, known bool) *x509.Certificate {
	g.t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	now := g.n.Now()
	cert, err := ca.SignAccount(pub, name, pki.Validity{From: now.Add(-time.Hour), Until: now.Add(time.Hour)})
	if err != nil {
		g.t.Fatal(err)
	}
	if known {
		hash, err := pki.KeyHash(pub)
		if err != nil {
			g.t.Fatal(err)
		}
		g.n.Do(&state.PutAccount{Name: name, UID: "uid-" + name, Role: spec.RoleAdmin, Kind: spec.AccountCertificate, Hash: hash})
	}
	return parse(g.t, cert)
}

// identity is how somebody comes: over TLS unless it is over the socket.
type identity struct {
	name   string
	bearer string
	cert   *x509.Certificate
	peer   *server.Peer
	header map[string]string
}

func (g *gate) ask(id identity, method, path, body string) *http.Response {
	g.t.Helper()
	r := httptest.NewRequestWithContext(g.t.Context(), method, "https://127.0.0.1:7950/", strings.NewReader(body))
	r.URL.Path, r.RequestURI = path, path
	if p, q, ok := strings.Cut(path, "?"); ok {
		r.URL.Path, r.URL.RawQuery = p, q
	}
	g.asked++ // each comes from another address: attempts are limited by it
	r.RemoteAddr = fmt.Sprintf("10.%d.%d.5:1234", g.asked/250, g.asked%250)
	r.TLS = &tls.ConnectionState{}
	if id.cert != nil {
		r.TLS.PeerCertificates = []*x509.Certificate{id.cert}
	}
	if id.peer != nil {
		r.TLS, r.RemoteAddr = nil, "@"
		peer := *id.peer
		if peer.UID == 4243 {
			peer.Name += fmt.Sprint(g.asked)
		}
		r = r.WithContext(server.WithPeer(r.Context(), peer))
	}
	if id.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+id.bearer)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range id.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	g.s.Handler().ServeHTTP(w, r)
	return w.Result()
}

// identities are all the ways to come.
func (g *gate) identities() []identity {
	otherSeed, err := pki.NewSeed()
	if err != nil {
		g.t.Fatal(err)
	}
	other, err := otherSeed.CA()
	if err != nil {
		g.t.Fatal(err)
	}
	return []identity{
		{name: "nobody"},
		{name: "madeup", bearer: "supd-auth-v1." + g.ca.Pin() + ".000000000000." + strings.Repeat("0", 64)},
		{name: "garbage", bearer: "no token at all"},
		{name: "expired", bearer: g.tokens["expired"]},
		{name: "revoked", bearer: g.tokens["revoked"]},
		{name: "viewer", bearer: g.tokens["viewer"]},
		{name: "elsewhere", bearer: g.tokens["elsewhere"]},
		{name: "here", bearer: g.tokens["here"]},
		{name: "operator", bearer: g.tokens["operator"]},
		{name: "admin", bearer: g.tokens["admin"]},
		{name: "cert-admin", cert: g.holder(g.ca, "holder", true)},
		{name: "cert-gone", cert: g.holder(g.ca, "stranger", false)},
		{name: "cert-other", cert: g.holder(other, "admin", false)},
		{name: "node", cert: g.node(g.ca, "node-2.00000002", 0)},
		{name: "node-old", cert: g.node(g.ca, "node-2.00000002", 60*24*time.Hour)},
		{name: "node-twin", cert: g.node(g.ca, "node-2.99999999", 0)},
		{name: "node-other", cert: g.node(other, "node-2.00000002", 0)},
		{name: "unix-root", peer: &server.Peer{UID: 0, Name: "root"}},
		{name: "unix-group", peer: &server.Peer{UID: 4242, Groups: []uint32{100, 4711}, Name: "ann"}},
		{name: "unix-other", peer: &server.Peer{UID: 4243, Groups: []uint32{100}, Name: "bob"}},
	}
}

// verdict says in a word how a route answered: whoever was let in gets whatever the route itself has to say.
func verdict(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "401"
	case http.StatusForbidden:
		return "403"
	case http.StatusTooManyRequests:
		return "429"
	}
	return "yes"
}

// TestAccess asks for every route in every way there is to come. A new route changes the table: look at what it says.
func TestAccess(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	ids := g.identities()
	rows := []string{}
	for _, rt := range server.Routes() {
		words := []string{}
		for _, id := range ids {
			// Writes and streams without a body do nothing; those that need none must not change the story for the next.
			resp := g.ask(id, rt.Method, fill(rt.Pattern)+"?dryRun=1", "")
			words = append(words, fmt.Sprintf("%-10s", verdict(resp.StatusCode)))
			if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s %s as %s = %d", rt.Method, rt.Pattern, id.name, resp.StatusCode)
			}
		}
		rows = append(rows, strings.TrimRight(fmt.Sprintf("%-6s %-58s %s", rt.Method, rt.Pattern, strings.Join(words, " ")), " "))
	}
	slices.SortFunc(rows, func(a, b string) int { return strings.Compare(a[7:]+a[:7], b[7:]+b[:7]) })
	head := []string{}
	for _, id := range ids {
		head = append(head, fmt.Sprintf("%-10s", id.name))
	}
	got := strings.TrimRight(fmt.Sprintf("%-65s %s", "", strings.Join(head, " ")), " ") + "\n" + strings.Join(rows, "\n") + "\n"
	path := filepath.Join("testdata", "access.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("who may what has changed (go test -update, and read the difference):\n%s", got)
	}
}

// A node's word on whom it asks for is believed, nobody else's is.
func TestNobodySpeaksForOthers(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	admin := map[string]string{
		client.HeaderForwarded: "node-2", client.HeaderWho: "unix:root", client.HeaderRole: "admin", client.HeaderNamespaces: "*",
	}
	for _, id := range g.identities() {
		id.header = admin
		resp := g.ask(id, "PUT", "/v1/accounts/evil", `{"role":"admin"}`)
		made := g.n.View().Account("evil") != nil
		want := slices.Contains([]string{"admin", "cert-admin", "node", "unix-root"}, id.name)
		if made != want {
			t.Errorf("%s with a node's headers = %d, account made: %v, want %v", id.name, resp.StatusCode, made, want)
		}
		if made {
			if by := g.n.View().Account("evil").CreatedBy; (by == "unix:root") != (id.name == "node" || id.name == "unix-root") {
				t.Errorf("%s with a node's headers was taken for %s", id.name, by)
			}
			g.n.Do(&state.RevokeAccount{Name: "evil"})
		}
	}
	node := identity{cert: g.node(g.ca, "node-2.00000002", 0)}
	for what, change := range map[string]map[string]string{
		"no who":                {client.HeaderWho: ""},
		"no namespaces":         {client.HeaderNamespaces: ""},
		"an unknown role":       {client.HeaderRole: "king"},
		"a viewer":              {client.HeaderRole: "viewer"},
		"another namespace":     {client.HeaderNamespaces: "other"},
		"a revoked account":     {client.HeaderName: "revoked"},
		"an expired account":    {client.HeaderName: "expired"},
		"an account of its own": {client.HeaderName: "viewer"}, // its role counts, not what the node says
		"a node":                {client.HeaderRole: "node", client.HeaderName: "node-2"},
	} {
		node.header = map[string]string{}
		for k, v := range admin {
			node.header[k] = v
		}
		for k, v := range change {
			node.header[k] = v
		}
		if resp := g.ask(node, "PUT", "/v1/accounts/evil", `{"role":"admin"}`); resp.StatusCode != 401 && resp.StatusCode != 403 {
			t.Errorf("a node for %s = %d, want it refused", what, resp.StatusCode)
		}
	}
}

// Revoking ends what an account may at once.
func TestRevokedAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	id := identity{bearer: g.tokens["viewer"]}
	if resp := g.ask(id, "GET", "/v1/nodes", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("before = %d", resp.StatusCode)
	}
	g.n.Do(&state.RevokeAccount{Name: "viewer"})
	if resp := g.ask(id, "GET", "/v1/nodes", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after = %d, want 401", resp.StatusCode)
	}
	// One of the same name is another account.
	g.account("viewer", state.PutAccount{Role: spec.RoleViewer})
	if resp := g.ask(id, "GET", "/v1/nodes", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the old token for a new account of the same name = %d, want 401", resp.StatusCode)
	}
}

// Users of the socket who are in no group read where the configuration lets them.
func TestSocketRead(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(o *server.Options) { o.SocketRead = true })
	bob := identity{peer: &server.Peer{UID: 4243, Groups: []uint32{100}, Name: "bob"}}
	if resp := g.ask(bob, "GET", "/v1/nodes", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("read = %d, want it answered", resp.StatusCode)
	}
	if resp := g.ask(bob, "POST", "/v1/nodes/node-1/cordon", ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("write = %d, want 403", resp.StatusCode)
	}
}
