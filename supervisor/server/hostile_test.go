package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server"
)

// nasty are names that no object has, as they would stand in a path that has been unescaped.
var nasty = []string{
	"..", ".", "", "../other", "a/../../b", "a//b", `a\b`, `..\..`, "a\x00b", "\x00", "a\nb", "\x7f", "\xff\xfe", strings.Repeat("a", 600),
	strings.Repeat("a/", 1200), "web-0%2f..", "web-0/..", " web", "wéb", "web\u202e0", "{name}", "*", "-1", "web-99999999999999999999", "web--1",
}

// No name in a path, however odd, breaks a route, reaches another object, or tells an account of a namespace that is not its own.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	before := g.n.View().Index
	for _, rt := range server.Routes() {
		if !strings.Contains(rt.Pattern, "{") {
			continue
		}
		for _, name := range nasty {
			for _, path := range []string{
				strings.NewReplacer("{ns}", "default", "{name}", name).Replace(rt.Pattern),
				strings.NewReplacer("{ns}", name, "{name}", "web-0").Replace(rt.Pattern),
			} {
				for _, id := range []identity{{bearer: g.tokens["admin"]}, {bearer: g.tokens["elsewhere"]}} {
					resp := g.ask(id, rt.Method, strings.ReplaceAll(path, "?", ""), "")
					if resp.StatusCode >= 300 && resp.StatusCode < 400 || resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
						t.Errorf("%s %q = %d", rt.Method, path, resp.StatusCode)
					}
					if id.bearer == g.tokens["elsewhere"] && resp.StatusCode < 300 && strings.Contains(rt.Pattern, "{ns}") {
						t.Errorf("%s %q by an account of another namespace = %d", rt.Method, path, resp.StatusCode)
					}
				}
			}
		}
	}
	for e := range g.n.View().Events() {
		if e.Index > before {
			t.Errorf("a path trick did something: %s %s %s", e.Object, e.Reason, e.Message)
		}
	}
}

// Whoever floods is told to wait, and nobody else is.
func TestRates(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(o *server.Options) { o.Limits.Rate = 1 })
	viewer := identity{bearer: g.tokens["viewer"]}
	waits := 0
	for range 50 {
		resp := g.ask(viewer, "GET", "/v1/whoami", "")
		if resp.StatusCode == http.StatusTooManyRequests {
			waits++
			if s := resp.Header.Get("Retry-After"); s == "" || s == "0" {
				t.Errorf("Retry-After = %q", s)
			}
		}
	}
	if waits < 30 {
		t.Errorf("%d of 50 requests at a rate of 1 were refused, want most", waits)
	}
	for _, id := range []identity{
		{name: "another account", bearer: g.tokens["admin"]},
		{name: "a node", cert: g.node(g.ca, "node-2.00000002", 0)},
		{name: "root", peer: &server.Peer{UID: 0, Name: "root"}},
	} {
		path := "/v1/whoami"
		if id.name == "a node" {
			path = "/v1/internal/leases"
		}
		if resp := g.ask(id, "GET", path, ""); resp.StatusCode != http.StatusOK {
			t.Errorf("%s meanwhile = %d", id.name, resp.StatusCode)
		}
	}
	node := identity{cert: g.node(g.ca, "node-2.00000002", 0)}
	for range 50 {
		if resp := g.ask(node, "GET", "/v1/internal/leases", ""); resp.StatusCode != http.StatusOK {
			t.Fatalf("a node's request = %d: nodes are not limited", resp.StatusCode)
		}
	}
}

// Bad tokens without end: the address is told to wait, good ones of the same address are not held up, and the log is not filled.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	var log lines
	g := newGate(t, func(o *server.Options) { o.Logger = log.logger() })
	ask := func(bearer string) int {
		g.asked = -1 // all come from one address
		return g.ask(identity{bearer: bearer}, "GET", "/v1/whoami", "").StatusCode
	}
	canary := "supd-auth-v1." + g.ca.Pin() + ".0000000000aa." + strings.Repeat("c", 64)
	seen := map[int]int{}
	for range 2000 {
		seen[ask(canary)]++
	}
	if seen[http.StatusUnauthorized] < 10 || seen[http.StatusTooManyRequests] < 1900 || len(seen) != 2 {
		t.Errorf("2000 bad tokens = %v", seen)
	}
	if got := ask(g.tokens["viewer"]); got != http.StatusOK {
		t.Errorf("a good token of the same address = %d", got)
	}
	if got := log.all(); strings.Count(got, "request refused") != 1 || strings.Contains(got, strings.Repeat("c", 64)) {
		t.Errorf("the log of 2000 bad tokens of one address, want one line and no token:\n%s", got)
	}
}

// Streams are bounded for each caller; one that ends makes room. An account's end when it is revoked.
func TestStreams(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(o *server.Options) { o.Limits.Streams = 2 })
	_, hs := serveGate(t, g)
	open := func(token string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, hs.URL+"/v1/events?watch=1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Test-Token", token)
		resp, err := hs.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	a, b := open("viewer"), open("viewer")
	defer b.Body.Close()
	c := open("viewer")
	_ = c.Body.Close()
	if a.StatusCode != http.StatusOK || b.StatusCode != http.StatusOK || c.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("three streams where two may be = %d, %d, %d", a.StatusCode, b.StatusCode, c.StatusCode)
	}
	d := open("admin")
	defer d.Body.Close()
	if d.StatusCode != http.StatusOK {
		t.Errorf("another account's = %d", d.StatusCode)
	}
	g.n.Do(&state.RevokeAccount{Name: "viewer"})
	buf := make([]byte, 4096)
	for {
		if _, err := a.Body.Read(buf); err != nil {
			break // it has ended
		}
	}
	_ = a.Body.Close()
}

// An account of some namespaces learns nothing of others, in lists, events and by name.
func TestNamespacesAreKeptApart(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	other := map[string]string{}
	for ns, token := range map[string]string{"default": g.tokens["here"], "other": g.tokens["elsewhere"]} {
		for _, k := range []string{"statefulsets", "members", "volumes", "services", "programs", "revisions", "events"} {
			resp := g.ask(identity{bearer: token}, "GET", "/v1/"+k, "")
			text := body(t, resp)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s of %s = %d", k, ns, resp.StatusCode)
			}
			if ns == "other" && !strings.Contains(text, `"items":[]`) {
				t.Errorf("an account of namespace other sees %s: %s", k, text)
			}
			if strings.Contains(text, "node/node-") {
				t.Errorf("an account of namespace %s sees what happened to nodes", ns)
			}
			other[k] = text
		}
	}
	var cluster string
	for e := range g.n.View().Events() {
		if e.Namespace == "" {
			cluster = fmt.Sprintf("%d", e.Seq)
		}
	}
	for _, name := range []string{cluster, "event-" + cluster, fmt.Sprintf("%016x", 1)} {
		if resp := g.ask(identity{bearer: g.tokens["here"]}, "GET", "/v1/namespaces/default/events/"+name, ""); resp.StatusCode == http.StatusOK {
			t.Errorf("an event of the cluster by name = %d", resp.StatusCode)
		}
	}
}

// FuzzRequest feeds paths and Authorization headers: nobody gets in, nothing breaks.
func FuzzRequest(f *testing.F) {
	for _, n := range nasty {
		f.Add("/v1/namespaces/default/members/"+n, "Bearer "+n)
	}
	f.Add("/v1/accounts", "Bearer supd-auth-v1.00000000000000000000000000000000.000000000000."+strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, path, auth string) {
		g := newGate(t, nil)
		if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, '?') {
			return
		}
		for _, method := range []string{"GET", "PUT", "DELETE", "POST", "CONNECT"} {
			resp := g.ask(identity{header: map[string]string{"Authorization": auth, client.HeaderRole: auth}}, method, path, "")
			switch path {
			case "/healthz", "/readyz", "/metrics":
				continue
			}
			if resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Errorf("%s %q with %q = %d", method, path, auth, resp.StatusCode)
			}
		}
	})
}
