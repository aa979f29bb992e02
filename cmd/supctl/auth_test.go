package main

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// secured is a pretended node's API over TLS, with a CA of its own.
type secured struct {
	n    *servertest.Node
	ca   *pki.CA
	addr string // https://
	root string // unix://, as root
}

type authority struct{ ca *pki.CA }

func (a authority) CA() []byte { return a.ca.Certificate() }

func (a authority) SignAccount(request []byte, name string, from, until time.Time) ([]byte, string, error) {
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

// secure serves n over TLS, and to root without. age is how long ago the node's certificate was made.
func secure(t *testing.T, n *servertest.Node, secret string, age time.Duration) secured {
	t.Helper()
	n.Advance(time.Since(n.Now())) // certificates are judged by the real clock
	seed, err := pki.SeedFrom(strings.Repeat(secret, 32))
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
	if err := store.Sign("node-1.00000001", pki.NodeValidity(time.Now().Add(-age))); err != nil {
		t.Fatal(err)
	}
	o := n.Options()
	o.Certificates, o.Authority = store, authority{ca}
	s := server.New(o)
	hs := httptest.NewUnstartedServer(s.Handler())
	hs.Listener = tls.NewListener(hs.Listener, store.APIServer())
	hs.Config.ConnContext = server.ConnContext
	hs.Start()
	t.Cleanup(hs.Close)

	local := httptest.NewUnstartedServer(s.Handler())
	path := filepath.Join(t.TempDir(), "s")
	short, named, err := client.ShortSocketPath(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", short)
	named()
	if err != nil {
		t.Fatal(err)
	}
	_ = local.Listener.Close()
	local.Listener = l
	local.Config.ConnContext = server.ConnContext
	local.Start()
	t.Cleanup(local.Close)
	return secured{n: n, ca: ca, addr: "https://" + strings.TrimPrefix(hs.URL, "http://"), root: "unix://" + path}
}

// write puts text into a new file.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An account's life, by token: made by root on the node, used over TLS within its bounds, revoked.
func TestAuthToken(t *testing.T) {
	t.Parallel()
	x := secure(t, servertest.Story(), "a", 0)
	made := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "create", "ci", "--role", "operator", "-n", "default", "--expires", "30d", "--reason", "for the builds")
	if made.status != exitOK {
		t.Fatalf("create = %+v", made)
	}
	token := strings.TrimSpace(made.stdout)
	if !strings.HasPrefix(token, "supd-auth-v1.") || strings.ContainsAny(token, " \n") || strings.Contains(made.stderr, token) {
		t.Fatalf("create prints %q and %q, want the token alone on standard output", made.stdout, made.stderr)
	}
	file := writeFile(t, token+"\n")
	ask := func(args ...string) result {
		return call(t, t.Context(), x.n, "", append([]string{"--addr", x.addr, "--token-file", file, "--request-timeout", "2s"}, args...)...)
	}
	for _, c := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"auth", "whoami"}, exitOK, "account:ci@127.0.0.1"},
		{[]string{"get", "sts"}, exitOK, "web"},
		{[]string{"get", "sts", "-A"}, exitOK, "web"},
		{[]string{"scale", "web", "--replicas", "3"}, exitOK, "web"},
		{[]string{"-n", "other", "get", "sts"}, exitRefused, "limited to namespace default"},
		{[]string{"node", "list"}, exitRefused, "concerns the whole cluster"},
		{[]string{"auth", "list"}, exitRefused, "takes admin"},
	} {
		r := ask(c.args...)
		if r.status != c.want || !strings.Contains(r.stdout+r.stderr, c.says) || strings.Contains(r.stdout+r.stderr, token) {
			t.Errorf("%v = %+v, want %d and %q", c.args, r, c.want, c.says)
		}
	}
	var told []string
	for e := range x.n.View().Events() {
		told = append(told, e.Who+": "+e.Message)
	}
	all := strings.Join(told, "\n")
	if !strings.Contains(all, "account:ci@127.0.0.1: ") || !strings.Contains(all, "(for the builds)") || strings.Contains(all, token) {
		t.Errorf("the events don't tell who and why:\n%s", all)
	}
	if r := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "list", "-o", "json"); r.status != exitOK || !strings.Contains(r.stdout, `"ci"`) ||
		strings.Contains(r.stdout, "ash") || strings.Contains(r.stdout, strings.Split(token, ".")[2]) {
		t.Errorf("list = %+v", r)
	}
	if r := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "create", "ci", "--role", "admin"); r.status != exitRefused || !strings.Contains(r.stderr, "auth revoke ci") {
		t.Errorf("a second one of that name = %+v, want it refused with the way out", r)
	}
	if r := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "revoke", "ci"); r.stdout != "account/ci revoked\n" {
		t.Errorf("revoke = %+v", r)
	}
	if r := ask("get", "sts"); r.status != exitRefused || !strings.Contains(r.stderr, "revoked") {
		t.Errorf("with a revoked token = %+v", r)
	}
}

// The same by certificate: its key never leaves the machine it was made on.
func TestAuthCertificate(t *testing.T) {
	t.Parallel()
	x := secure(t, servertest.Story(), "a", 0)
	prefix := filepath.Join(t.TempDir(), "ann")
	made := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "create", "ann", "--role", "viewer", "--certificate", "--out", prefix)
	if made.status != exitOK || made.stdout != "account/ann created\n" {
		t.Fatalf("create = %+v", made)
	}
	if st, err := os.Stat(prefix + ".key"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", st, err)
	}
	with := []string{"--addr", x.addr, "--cert", prefix + ".pem", "--key", prefix + ".key", "--ca", prefix + ".ca.pem"}
	if r := call(t, t.Context(), x.n, "", append(with, "auth", "whoami", "-o", "json")...); r.status != exitOK {
		t.Errorf("whoami = %+v", r)
	} else {
		var who client.Whoami
		if err := json.Unmarshal([]byte(r.stdout), &who); err != nil || who.Account != "ann" || who.Role != spec.RoleViewer {
			t.Errorf("whoami = %+v, %v", who, err)
		}
	}
	if r := call(t, t.Context(), x.n, "", append(with, "scale", "web", "--replicas", "3")...); r.status != exitRefused || !strings.Contains(r.stderr, "takes operator") {
		t.Errorf("a viewer's write = %+v", r)
	}
	if r := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "create", "bob", "--role", "viewer", "--certificate", "--out", prefix); r.status != exitUsage || x.n.View().Account("bob") != nil {
		t.Errorf("files that exist = %+v, want nothing made", r)
	}
	if r := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "revoke", "ann"); r.status != exitOK {
		t.Fatalf("revoke = %+v", r)
	}
	if r := call(t, t.Context(), x.n, "", append(with, "get", "sts")...); r.status != exitRefused || !strings.Contains(r.stderr, "revoked") {
		t.Errorf("with a revoked certificate = %+v", r)
	}
}

// What supctl says when the two sides don't fit.
func TestAuthMisfits(t *testing.T) {
	t.Parallel()
	x := secure(t, servertest.Story(), "a", 0)
	old := secure(t, servertest.Story(), "a", 60*24*time.Hour)
	other := secure(t, servertest.Story(), "b", 0)
	made := call(t, t.Context(), x.n, "", "--addr", x.root, "auth", "create", "ci", "--role", "admin")
	if made.status != exitOK {
		t.Fatalf("create = %+v", made)
	}
	file := writeFile(t, made.stdout)
	join, _, err := pki.NewToken(pki.JoinToken, x.ca.Pin())
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "eve")
	if r := call(t, t.Context(), other.n, "", "--addr", other.root, "auth", "create", "eve", "--role", "admin", "--certificate", "--out", prefix); r.status != exitOK {
		t.Fatalf("create = %+v", r)
	}
	ca := writeFile(t, string(x.ca.Certificate()))
	for what, c := range map[string]struct {
		args []string
		want int
		says string
	}{
		"nothing to trust":        {[]string{"--addr", x.addr}, exitUsage, "SUPCTL_TOKEN"},
		"http":                    {[]string{"--addr", strings.Replace(x.addr, "https", "http", 1)}, exitUsage, "TLS only"},
		"another cluster":         {[]string{"--addr", other.addr, "--token-file", file}, exitRefused, "pin"},
		"another cluster's CA":    {[]string{"--addr", other.addr, "--ca", ca}, exitRefused, "nothing was sent"},
		"an old certificate":      {[]string{"--addr", old.addr, "--token-file", file}, exitRefused, "renew it there"},
		"a join token":            {[]string{"--addr", x.addr, "--token-file", writeFile(t, join)}, exitUsage, "lets a node join"},
		"half a token":            {[]string{"--addr", x.addr, "--token-file", writeFile(t, made.stdout[:len(made.stdout)-10])}, exitUsage, "was it copied whole?"},
		"no token's file":         {[]string{"--addr", x.addr, "--token-file", file + ".no"}, exitUsage, "cannot read the token"},
		"another's certificate":   {[]string{"--addr", x.addr, "--ca", ca, "--cert", prefix + ".pem", "--key", prefix + ".key"}, exitRefused, "of another cluster"},
		"a certificate, no key":   {[]string{"--addr", x.addr, "--ca", ca, "--cert", prefix + ".pem"}, exitUsage, "--key"},
		"nobody":                  {[]string{"--addr", x.addr, "--ca", ca}, exitRefused, "supctl auth create"},
		"both":                    {[]string{"--addr", x.addr, "--token-file", file, "--cert", prefix + ".pem", "--key", prefix + ".key"}, exitUsage, "one of them"},
		"all in order":            {[]string{"--addr", x.addr, "--token-file", file}, exitOK, "web"},
		"all in order, with a CA": {[]string{"--addr", x.addr, "--token-file", file, "--ca", ca}, exitOK, "web"},
	} {
		r := call(t, t.Context(), x.n, "", append(c.args, "get", "sts", "--request-timeout", "2s")...)
		if r.status != c.want || !strings.Contains(r.stdout+r.stderr, c.says) || strings.Contains(r.stderr, strings.TrimSpace(made.stdout)) {
			t.Errorf("%s = %+v, want %d and %q", what, r, c.want, c.says)
		}
	}
}
