package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// fill replaces the wildcards of a pattern.
func fill(pattern string) string {
	return strings.NewReplacer("{ns}", "default", "{name}", "web-0").Replace(pattern)
}

func errorOf(t *testing.T, b []byte) *spec.Error {
	t.Helper()
	var body struct {
		Error struct {
			Code    spec.Code
			Message string
			Details []string
			Reason  string
		}
	}
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatalf("no error body: %s", b)
	}
	return &spec.Error{Code: body.Error.Code, Message: body.Error.Message, Details: body.Error.Details, Reason: body.Error.Reason}
}

func request(t *testing.T, method, url string, header map[string]string, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	return httpDo(t, req)
}

// TestEveryRoute walks the table: its rules hold for every line.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	_, hs := serve(t, n)
	n.SetStatus(func(st *server.RaftStatus) { st.Leading = false })
	seen := map[string]bool{}
	for _, rt := range server.Routes() {
		key := rt.Method + " " + rt.Pattern
		if seen[key] {
			t.Errorf("%s stands twice in the table", key)
		}
		seen[key] = true
		if rt.Access == server.Write && !rt.Leader {
			t.Errorf("%s becomes a log entry and must be the leader's", key)
		}
		// Who joins shows a token in its request.
		if rt.Method != http.MethodGet && rt.Pattern != "/v1/join" && (rt.Access == server.Open || rt.Access == server.Read) {
			t.Errorf("%s changes something: its access must be more than Read", key)
		}
		url := hs.URL + fill(rt.Pattern)
		for what, header := range map[string]map[string]string{
			"foreign host":   {"Host": "evil.example:7950"},
			"foreign origin": {"Origin": "https://evil.example"},
			"cross site":     {"Sec-Fetch-Site": "cross-site"},
		} {
			if resp, b := request(t, rt.Method, url, header, ""); resp.StatusCode != http.StatusBadRequest || errorOf(t, b).Reason != "ForeignOrigin" {
				t.Errorf("%s with %s = %d %s, want it refused", key, what, resp.StatusCode, b)
			}
		}
		if !rt.Leader {
			continue
		}
		header := map[string]string{
			client.HeaderForwarded: "node-2", client.HeaderWho: "unix:root", client.HeaderRole: "admin", client.HeaderNamespaces: "*",
		}
		if rt.Access == server.NodeOnly {
			header = nil
		}
		resp, b := request(t, rt.Method, url, header, "")
		if e := errorOf(t, b); resp.StatusCode != http.StatusServiceUnavailable || e.Code != spec.CodeNoLeader {
			t.Errorf("%s forwarded to a node that does not lead = %d %s, want NoLeader and no second forwarding", key, resp.StatusCode, b)
		}
	}
}

func TestUnknownPath(t *testing.T) {
	t.Parallel()
	_, hs := serve(t, servertest.Story())
	resp, b := request(t, http.MethodGet, hs.URL+"/v1/nothing", nil, "")
	if resp.StatusCode != http.StatusNotFound || errorOf(t, b).Code != spec.CodeNotFound {
		t.Errorf("GET /v1/nothing = %d %s", resp.StatusCode, b)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	_, hs := serve(t, servertest.Story())
	url := hs.URL + "/v1/namespaces/default/statefulsets/web"
	for _, c := range []struct{ name, body, want string }{
		{"unknown field", `{"kind":"StatefulSet","metadata":{"name":"web"},"spec":{"replicsa":3}}`, "replicsa"},
		{"two objects", `{"metadata":{"name":"web"},"spec":{}} {}`, "follows"},
		{"another name", `{"metadata":{"name":"other"},"spec":{}}`, "other"},
		{"another kind", `{"kind":"Service","metadata":{"name":"web"},"spec":{}}`, "Service"},
		{"no processes", `{"metadata":{"name":"web"},"spec":{"processes":[]}}`, "process"},
		{"bad template", `{"metadata":{"name":"web"},"spec":{"processes":[{"name":"main","command":["${nope}"]}]}}`, "nope"},
		{"too large", `{"metadata":{"name":"` + strings.Repeat("x", 5<<20) + `"}}`, "larger"},
	} {
		resp, b := request(t, http.MethodPut, url, nil, c.body)
		if e := errorOf(t, b); resp.StatusCode != http.StatusBadRequest || e.Code != spec.CodeInvalid || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: PUT = %d %s, want 400 with %q", c.name, resp.StatusCode, b, c.want)
		}
	}
	resp, b := request(t, http.MethodPut, url, map[string]string{"Content-Type": "text/plain"}, `{}`)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(b), "JSON") {
		t.Errorf("PUT of text/plain = %d %s, want it refused: browsers can send that", resp.StatusCode, b)
	}
}

// TestForward writes and reads consistently by way of a node that does not lead.
func TestForward(t *testing.T) {
	t.Parallel()
	leader := servertest.Story()
	_, lead := serve(t, leader)
	follower := servertest.Story()
	follower.Name = "node-2"
	follower.SetStatus(func(st *server.RaftStatus) {
		st.Leading, st.Leader, st.LeaderAPI = false, "node-1", strings.TrimPrefix(lead.URL, "http://")
	})
	c, _ := serve(t, follower)
	before := leader.View().Index
	if _, err := c.Cordon(t.Context(), "node-2", client.WriteOptions{Reason: "disk"}); err != nil {
		t.Fatal(err)
	}
	if !leader.View().Node("node-2").Cordoned || follower.View().Node("node-2").Cordoned {
		t.Error("the write went to the wrong node")
	}
	var last string
	for e := range leader.View().Events() {
		last = e.Who + " " + e.Message
	}
	if !strings.Contains(last, "tcp:127.0.0.1") || !strings.Contains(last, "disk") {
		t.Errorf("the event says %q, want who asked at the first node, and why", last)
	}
	got, index, err := client.Get[spec.Node](t.Context(), c, client.Nodes, "", "node-2", client.ReadOptions{Consistent: true})
	if err != nil || !got.Spec.Cordoned || index != before+1 {
		t.Errorf("consistent read = %+v at %d, %v; want the leader's at %d", got, index, err, before+1)
	}
	if got, _, err := client.Get[spec.Node](t.Context(), c, client.Nodes, "", "node-2", client.ReadOptions{}); err != nil || got.Spec.Cordoned {
		t.Errorf("plain read = %+v, %v; want this node's own copy", got, err)
	}
	follower.SetStatus(func(st *server.RaftStatus) { st.Leader, st.LeaderAPI = "", "" })
	if _, err := c.Uncordon(t.Context(), "node-2", client.WriteOptions{}); spec.CodeOf(err) != spec.CodeNoLeader {
		t.Errorf("a write without a leader = %v, want NoLeader", err)
	}
	if _, _, err := c.ListRaw(t.Context(), client.Nodes, client.ReadOptions{}); err != nil {
		t.Errorf("a read without a leader = %v, want it answered", err)
	}
}

// TestForwardUnknown: a leader that goes away in the middle leaves the outcome open.
func TestForwardUnknown(t *testing.T) {
	t.Parallel()
	dead := newHangup(t)
	n := servertest.Story()
	n.SetStatus(func(st *server.RaftStatus) { st.Leading, st.Leader, st.LeaderAPI = false, "node-2", dead })
	_, hs := serve(t, n)
	// One try, with time to be answered: of one that is cut off by the client's own timeout nobody knows the outcome either.
	tr := client.NewTransport(nil)
	defer tr.CloseIdleConnections()
	c, err := client.New(hs.URL, client.Options{RequestTimeout: time.Minute, NoRetry: true, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Cordon(t.Context(), "node-2", client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeNoLeader || e.Reason != client.ReasonUnknown {
		t.Errorf("got %+v, want that the outcome is unknown", e)
	}
	n.SetStatus(func(st *server.RaftStatus) { st.LeaderAPI = "127.0.0.1:1" })
	_, err = c.Cordon(t.Context(), "node-2", client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeNoLeader || e.Reason != client.ReasonNoLeader {
		t.Errorf("got %+v, want that nothing was done", e)
	}
}

// TestRetry: a write is tried again until a leader is there.
func TestRetry(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	n.FailWith(&spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "no leader"})
	c, _ := serve(t, n)
	done := make(chan error, 1)
	go func() {
		_, err := c.Cordon(context.Background(), "node-2", client.WriteOptions{})
		done <- err
	}()
	for range 3 { // it has been tried at least once when the errors are counted
		if _, _, err := c.ListRaw(t.Context(), client.Nodes, client.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	n.FailWith(nil)
	if err := <-done; err != nil {
		t.Errorf("the write = %v, want it done when the leader was back", err)
	}
}
