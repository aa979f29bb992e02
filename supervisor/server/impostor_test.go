package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server"
)

// tale is what a node may tell of a node.
type tale struct {
	path string
	body any
}

// tales are all that is told of a node, as if of the node name with this id.
func (g *gate) tales(name, id string) []tale {
	v := g.n.View()
	run, seq := "r", uint64(1)
	if n := v.Node(name); n != nil {
		run, seq = n.Run, n.Seq+1
	}
	machine := v.Node("node-1").Machine
	return []tale{
		{"/v1/internal/heartbeat", client.Heartbeat{Node: name, ID: id, Run: run}},
		{"/v1/internal/register", state.Node{Name: name, ID: id, Run: run + "x", API: "127.0.0.1:1", Machine: machine}},
		{"/v1/internal/report", state.Report{Node: name, Run: run, Seq: seq}},
	}
}

func (g *gate) tell(id identity, what tale) *http.Response {
	g.t.Helper()
	b, err := json.Marshal(what.body)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.ask(id, "POST", what.path, string(b))
}

// Whatever is told of a node is taken from that node's own certificate, and from nothing and nobody else.
func TestNodeSpeaksForItselfOnly(t *testing.T) {
	t.Parallel()
	var log lines
	g := newGate(t, func(o *server.Options) { o.Logger = log.logger() })
	const two, three = "node-2.00000002", "node-3.00000003"
	node2 := identity{name: "node-2", cert: g.node(g.ca, two, 0)}
	stranger := identity{name: "a node that is not registered", cert: g.node(g.ca, "node-9.00000009", 0)}
	with := func(id identity, header map[string]string) identity {
		id.header = header
		return id
	}
	for _, lie := range []struct {
		by       identity
		name, id string
	}{
		{node2, "node-3", three},
		{node2, "node-3", two},
		{node2, "node-2", three},
		{node2, "", two},
		{node2, "node-2 ", two},
		{node2, "NODE-2", two},
		{node2, "node-9", "node-9.00000009"},
		{stranger, "node-3", three},
		{stranger, "node-8", "node-8.00000008"},
		{with(node2, map[string]string{client.HeaderForwarded: "node-3", client.HeaderWho: "node:node-3", client.HeaderRole: "node", client.HeaderName: "node-3"}), "node-3", three},
		{with(node2, map[string]string{client.HeaderForwarded: "node-2", client.HeaderWho: "node:node-3", client.HeaderRole: "node", client.HeaderName: "node-3"}), "node-3", three},
		{with(node2, map[string]string{client.HeaderForwarded: "node-3", client.HeaderWho: "node:node-3"}), "node-3", three},
		{with(node2, asAdmin), "node-3", three},
		{with(node2, asAdmin), "node-2", two},
		{with(stranger, map[string]string{client.HeaderForwarded: "node-3", client.HeaderWho: "node:node-3", client.HeaderRole: "node", client.HeaderName: "node-3"}), "node-3", three},
		{identity{name: "root", peer: &server.Peer{UID: 0, Name: "root"}}, "node-1", g.n.View().Node("node-1").ID},
		{identity{name: "root as a node", peer: &server.Peer{UID: 0, Name: "root"}, header: map[string]string{
			client.HeaderForwarded: "node-1", client.HeaderWho: "node:node-1", client.HeaderRole: "node", client.HeaderName: "node-1",
		}}, "node-1", g.n.View().Node("node-1").ID},
		{identity{name: "an admin", bearer: g.tokens["admin"]}, "node-3", three},
	} {
		for _, what := range g.tales(lie.name, lie.id) {
			if lie.by.cert != nil && lie.name == "node-2" && lie.by.header == nil && strings.HasSuffix(what.path, "/report") {
				continue // it names no id: this one is the node's own
			}
			before := g.n.View().Index
			resp := g.tell(lie.by, what)
			want := http.StatusForbidden
			if lie.by.name == stranger.name && strings.HasSuffix(what.path, "/report") {
				want = http.StatusServiceUnavailable // it may not report at all yet
			}
			if lie.by.name == stranger.name && lie.by.header != nil {
				want = http.StatusForbidden
			}
			if resp.StatusCode != want {
				t.Errorf("%s by %s (%v) of node %q, id %s = %d: %s; want %d", what.path, lie.by.name, lie.by.header, lie.name, lie.id, resp.StatusCode, body(t, resp), want)
			}
			if got := g.n.View().Index; got != before {
				t.Errorf("%s by %s of node %q, id %s entered the log", what.path, lie.by.name, lie.name, lie.id)
			}
		}
	}
	if n := strings.Count(log.all(), "speaks for another and is refused"); n != 2 {
		t.Errorf("the two impostors are named %d times in the log, want each once:\n%s", n, log.all())
	}
	for _, what := range g.tales("node-2", two) {
		if what.path == "/v1/internal/report" {
			what.body = state.Report{Node: "node-2", Run: "run-2x", Seq: 1} // of the run that was registered just before
		}
		if resp := g.tell(node2, what); resp.StatusCode != http.StatusOK {
			t.Errorf("%s of itself = %d: %s", what.path, resp.StatusCode, body(t, resp))
		}
	}
	if resp := g.tell(stranger, g.tales("node-9", "node-9.00000009")[1]); resp.StatusCode != http.StatusCreated || g.n.View().Node("node-9") == nil {
		t.Errorf("a new node registers itself = %d: %s", resp.StatusCode, body(t, resp))
	}
}

// counting counts what goes out to other nodes.
type counting struct{ sent int }

func (c *counting) RoundTrip(*http.Request) (*http.Response, error) {
	c.sent++
	return nil, http.ErrServerClosed
}

// What nodes say of themselves is sent on by nobody: it would be the sender's word.
func TestNodesOwnWordIsNotForwarded(t *testing.T) {
	t.Parallel()
	var out counting
	g := newGate(t, func(o *server.Options) { o.Transport = &out })
	g.n.SetStatus(func(st *server.RaftStatus) { st.Leading, st.Leader, st.LeaderAPI = false, "node-3", "127.0.0.1:1" })
	node2 := identity{cert: g.node(g.ca, "node-2.00000002", 0)}
	for _, what := range g.tales("node-2", "node-2.00000002") {
		resp := g.tell(node2, what)
		if text := body(t, resp); resp.StatusCode != http.StatusServiceUnavailable || errorOf(t, []byte(text)).Reason != client.ReasonNoLeader || !strings.Contains(text, "ask node node-3") {
			t.Errorf("%s at a node that does not lead = %d: %s", what.path, resp.StatusCode, text)
		}
	}
	for _, rt := range server.Routes() {
		if rt.Access == server.NodeOnly && rt.Leader {
			g.ask(node2, rt.Method, rt.Pattern, "{}")
		}
	}
	if out.sent != 0 {
		t.Errorf("%d requests of a node were sent on", out.sent)
	}
}
