package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"supd/supervisor/server"
)

// FuzzBody sends bodies to every route that takes one, as who may use it: they are answered, never with an internal error, and
// nothing that was refused changes anything.
func FuzzBody(f *testing.F) {
	routes := slices.DeleteFunc(server.Routes(), func(rt server.Route) bool {
		// A snapshot has its own target (state.FuzzSnapshot), and what is no entry of the log can't only be tried.
		return rt.Method == http.MethodGet || rt.Method == http.MethodDelete || slices.Contains([]string{
			"/v1/cluster/restore", "/v1/cluster/transfer-leader", "/v1/cluster/init", "/v1/nodes/{name}/upgrade-keeper", "/v1/internal/upgrade-keeper",
		}, rt.Pattern)
	})
	index := func(pattern string) uint8 {
		i := slices.IndexFunc(routes, func(rt server.Route) bool { return strings.HasSuffix(rt.Pattern, pattern) })
		if i < 0 {
			f.Fatalf("there is no route %s", pattern)
		}
		return uint8(i)
	}
	for pattern, body := range map[string]string{
		"statefulsets/{name}":         `{"metadata":{"name":"web-0"},"spec":{"replicas":2,"processes":[{"name":"main","command":["a"],"env":[{"name":"A","value":"${member.name}"}]}]}}`,
		"statefulsets/{name}/scale":   `{"replicas":1,"currentReplicas":3,"acceptUnhealthy":["web-2"]}`,
		"statefulsets/{name}/restart": `{"ordinals":[0,1]}`,
		"statefulsets/{name}/plan":    `{"statefulSet":{"metadata":{"name":"web-0"},"spec":{"processes":[{"name":"main","command":["a"]}]}},"programs":[]}`,
		"/v1/accounts/{name}":         `{"role":"viewer","namespaces":["default"],"expiresIn":"1h"}`,
		"/v1/cluster/join-tokens":     `{"uses":1,"expires":"1h"}`,
		"/v1/join":                    `{"token":"supd-join-v1.0.0.0","id":"node-9.00000009","request":"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"}`,
		"/v1/internal/heartbeat":      `{"node":"node-2","id":"node-2.00000002","run":"run-2"}`,
		"/v1/internal/report":         `{"node":"node-2","run":"run-2","seq":1,"members":[{"namespace":"default","set":"web","ordinal":1,"seen":{"epoch":1,"phase":"Running"}}]}`,
		"/v1/internal/register":       `{"name":"node-2","id":"node-2.00000002","run":"run-2","labels":{"a":"b"}}`,
		"programs/{name}":             `{"metadata":{"name":"web-0"},"spec":{"command":["a"]}}`,
		"services/{name}":             `{"metadata":{"name":"web-0"},"spec":{"selector":{"app":"web"}}}`,
		"labels":                      `{"set":{"a":"b"},"remove":["c"]}`,
	} {
		f.Add(index(pattern), []byte(body))
	}
	var g *gate
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		if g == nil {
			g = newGate(t, nil)
		}
		g.t = t
		rt := routes[int(which)%len(routes)]
		id := identity{bearer: g.tokens["admin"]}
		if rt.Access == server.NodeOnly {
			id = identity{cert: g.node(g.ca, "node-2.00000002", 0)}
		}
		before := g.n.View().Index
		resp := g.ask(id, rt.Method, fill(rt.Pattern)+"?dryRun=1", string(text))
		b := body(t, resp)
		switch {
		case resp.StatusCode == http.StatusServiceUnavailable:
		case resp.StatusCode >= 500 || resp.StatusCode < 200 || resp.StatusCode >= 300 && resp.StatusCode < 400:
			t.Errorf("%s %s with %q = %d: %s", rt.Method, rt.Pattern, text, resp.StatusCode, b)
		case resp.StatusCode >= 400 && errorOf(t, []byte(b)).Message == "":
			t.Errorf("%s %s with %q is refused without a word: %s", rt.Method, rt.Pattern, text, b)
		case resp.StatusCode < 300 && !json.Valid([]byte(b)):
			t.Errorf("%s %s with %q = %q", rt.Method, rt.Pattern, text, b)
		}
		if rt.Access != server.NodeOnly && g.n.View().Index != before {
			t.Errorf("%s %s with %q changed something, and was only to be tried", rt.Method, rt.Pattern, text)
		}
	})
}
