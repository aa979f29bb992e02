package server_test

import (
	"net/http"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server"
)

// asAdmin are the headers by which a node says that it asks for an admin.
var asAdmin = map[string]string{
	client.HeaderForwarded: "node-9", client.HeaderWho: "unix:root", client.HeaderRole: "admin", client.HeaderNamespaces: "*",
}

// A node's certificate lives for weeks; when its node has left, it opens nothing that is not open to all, neither for itself nor for others.
func TestNodeThatLeftIsNobody(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	g.n.Do(&state.RegisterNode{Node: state.Node{Name: "node-9", ID: "node-9.00000009", Run: "r", API: "127.0.0.1:1", Machine: g.n.View().Node("node-1").Machine}})
	if g.n.View().Node("node-9") == nil {
		t.Fatal("node-9 is not registered")
	}
	cert := g.node(g.ca, "node-9.00000009", 0)
	if resp := g.ask(identity{cert: cert}, "GET", "/v1/internal/leases", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("a node's request = %d", resp.StatusCode)
	}
	g.n.Do(&state.RemoveNode{Name: "node-9", ID: "node-9.00000009"})
	for _, rt := range server.Routes() {
		if rt.Access == server.Open {
			continue
		}
		for who, header := range map[string]map[string]string{"itself": nil, "an admin": asAdmin} {
			if resp := g.ask(identity{cert: cert, header: header}, rt.Method, fill(rt.Pattern), ""); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s by a node that left, for %s = %d, want 401", rt.Method, rt.Pattern, who, resp.StatusCode)
			}
		}
	}
}

// A node that the View does not have, be it new or forgotten long ago, registers and does nothing else.
func TestUnknownNodeOnlyRegisters(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	cert := g.node(g.ca, "node-9.00000009", 0)
	for _, rt := range server.Routes() {
		if rt.Access == server.Open {
			continue
		}
		for who, header := range map[string]map[string]string{"itself": nil, "an admin": asAdmin} {
			resp := g.ask(identity{cert: cert, header: header}, rt.Method, fill(rt.Pattern), "")
			text := body(t, resp)
			switch {
			case who == "itself" && (strings.HasSuffix(rt.Pattern, "/register") || strings.HasSuffix(rt.Pattern, "/certificate") ||
				strings.HasSuffix(rt.Pattern, "/heartbeat") || strings.HasSuffix(rt.Pattern, "/seed")):
				if strings.Contains(text, "not registered in the cluster yet") {
					t.Errorf("%s %s by a new node = %d: %s", rt.Method, rt.Pattern, resp.StatusCode, text)
				}
			case resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusForbidden:
				t.Errorf("%s %s by a new node, for %s = %d: %s", rt.Method, rt.Pattern, who, resp.StatusCode, text)
			}
		}
	}
}

// A token that somebody put into a path, or gave as the reason, is told to nobody: it enters neither the log of the daemon nor that of
// the cluster.
func TestTokenInPathIsTaken(t *testing.T) {
	t.Parallel()
	var log lines
	g := newGate(t, func(o *server.Options) { o.Logger = log.logger() })
	secret := strings.Repeat("c", 64)
	before := g.n.View().Index
	for _, kind := range []string{"auth", "join", "AUTH"} {
		token := "supd-" + kind + "-v1." + g.ca.Pin() + ".0000000000aa." + secret
		for _, id := range []identity{{}, {bearer: g.tokens["admin"]}, {peer: &server.Peer{UID: 0, Name: "root"}}} {
			for _, path := range []string{"/v1/accounts/" + token, "/v1/cluster/join-tokens/" + token, "/v1/cluster/join-tokens/x" + token + "x"} {
				if resp := g.ask(id, "DELETE", path, ""); resp.StatusCode != http.StatusBadRequest || strings.Contains(body(t, resp), "ccc") {
					t.Errorf("DELETE of a token = %d", resp.StatusCode)
				}
			}
		}
		resp := g.ask(identity{bearer: g.tokens["admin"]}, "POST", "/v1/nodes/node-1/cordon?reason=see+"+token, "")
		if text := body(t, resp); resp.StatusCode != http.StatusBadRequest || strings.Contains(text, "ccc") {
			t.Errorf("a token as the reason = %d: %s", resp.StatusCode, text)
		}
		g.ask(identity{}, "POST", "/v1/join", `{"token":"x","id":"`+token+`"}`)
	}
	if got := log.all(); strings.Contains(got, "ccc") {
		t.Errorf("the log holds tokens:\n%s", got)
	}
	if got := g.n.View().Index; got != before {
		t.Errorf("%d entries entered the cluster's log", got-before)
	}
}
