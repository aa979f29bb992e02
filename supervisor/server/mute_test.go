package server_test

import (
	"slices"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// TestMuteMembersAreWaitedFor: whom the leader could not ask whether he may be stopped, every node shows
// as what the set waits for.
func TestMuteMembersAreWaitedFor(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(3)
	set := servertest.Web(1)
	set.Spec.Processes[0].MayStop = &spec.Probe{Exec: []string{"may-stop"}}
	n.Put(set)
	n.Settle()
	m := n.View().MemberNamed(spec.DefaultNS, "web-0")
	seen := m.Seen
	seen.MayStop = &spec.Consent{Answer: spec.Yes}
	n.See(m, seen)
	n.Do(&state.Restart{Namespace: spec.DefaultNS, Set: "web"})
	n.SetStatus(func(rs *server.RaftStatus) {
		rs.Mute = []client.Mute{
			{Namespace: spec.DefaultNS, Set: "web", Ordinal: 0, Epoch: m.Epoch + 1, Why: "another start of it"},
			{Namespace: spec.DefaultNS, Set: "web", Ordinal: 0, Epoch: m.Epoch, Why: "node node-1 is silent since 15:04:05"},
		}
	})
	c, _ := serve(t, n)
	const want = "mayStop is unknown: node node-1 is silent since 15:04:05"
	got, _, err := client.Get[spec.StatefulSet](t.Context(), c, client.StatefulSets, spec.DefaultNS, "web", client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w := got.Status.WaitsFor; len(w) != 1 || w[0].Subject != "web-0" || w[0].Reason != "MayStop" || !strings.Contains(w[0].Message, want) {
		t.Errorf("the set waits for %+v, want %q", w, want)
	}
	for _, of := range []struct {
		kind client.Resource
		name string
	}{{client.StatefulSets, "web"}, {client.Members, "web-0"}} {
		x, err := c.Explain(t.Context(), of.kind, spec.DefaultNS, of.name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(append(x.Details, x.Actual), func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%s is explained by %+v, want %q", of.name, x, want)
		}
	}
}
