package server_test

import (
	"net/http"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// Who asked for another leader, from where and why stands in an event; a cluster with a node too old for it hands over all the same.
func TestTransferIsTold(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	lead := func() {
		g.n.SetStatus(func(st *server.RaftStatus) {
			st.Leading, st.Leader, st.Voters = true, "node-1", []string{"node-1", "node-2", "node-3"}
		})
	}
	told := func() (last string) {
		for e := range g.n.View().Events() {
			if e.Reason == "LeaderTransfer" {
				last = e.Object[:8] + e.Who + ": " + e.Message
			}
		}
		return last
	}
	admin := identity{bearer: g.tokens["admin"]}
	lead()
	if resp := g.ask(admin, "POST", "/v1/cluster/transfer-leader?reason=new+disk", `{"node":"node-2"}`); resp.StatusCode != http.StatusOK {
		t.Fatalf("transfer = %d: %s", resp.StatusCode, body(t, resp))
	}
	if got := told(); !strings.HasPrefix(got, "cluster/account:admin@10.") || !strings.Contains(got, "node node-1, which leads, is to hand leadership to node node-2 (new disk)") {
		t.Errorf("the event says %q", got)
	}
	lead()
	before := g.n.View().Index
	if resp := g.ask(admin, "POST", "/v1/cluster/transfer-leader", `{"node":"node-1"}`); resp.StatusCode != http.StatusOK || g.n.View().Index != before {
		t.Errorf("to the one that leads = %d, index %d, want nothing done at %d", resp.StatusCode, g.n.View().Index, before)
	}
	if resp := g.ask(admin, "POST", "/v1/cluster/transfer-leader", ""); resp.StatusCode != http.StatusOK || !strings.HasSuffix(told(), "to another voter") {
		t.Errorf("to any = %d: %q", resp.StatusCode, told())
	}
	lead()
	g.n.FailWith(&spec.Error{Code: spec.CodeRefused, Reason: state.NodeTooOld, Message: "node node-3 does not understand NoteTransfer yet"})
	if resp := g.ask(admin, "POST", "/v1/cluster/transfer-leader", ""); resp.StatusCode != http.StatusOK || g.n.Status().Leading {
		t.Errorf("with a node that is too old for the event = %d, leads still: %v", resp.StatusCode, g.n.Status().Leading)
	}
}
