package server_test

import (
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// TestExplainSick: the command that explain gives is one that tells what ails the member.
func TestExplainSick(t *testing.T) {
	t.Parallel()
	two := []spec.ProcessStatus{{Name: "main", Ready: true}, {Name: "side"}}
	for _, c := range []struct {
		seen state.Observation
		want string
	}{
		{state.Observation{Phase: spec.MemberFailed, Reason: "InitFailed", Message: "init step fill exited with 7: no"}, "supctl logs web-1 -c init-fill"},
		{state.Observation{Phase: spec.MemberStarting, Reason: "Init", Message: "init step fill (2 of 3) runs"}, "supctl logs web-1 -c init-fill"},
		{state.Observation{Phase: spec.MemberStarting, Reason: "Init", Message: "hook onJoin runs"}, "supctl logs web-1 -c hook-onJoin"},
		{state.Observation{Phase: spec.MemberRunning, Reason: "CrashLoop", Message: "process side exited with 5", Processes: two}, "supctl logs web-1 -c side"},
		{state.Observation{Phase: spec.MemberRunning, Reason: "CrashLoop", Message: "process main exited with 5"}, "supctl logs web-1"},
		{state.Observation{Phase: spec.MemberFailed, Reason: "ExitedForGood", Message: "process main exited with 3"}, "supctl restart web-1"},
		{state.Observation{Phase: spec.MemberFailed, Reason: "Something", Message: "new"}, "supctl describe member web-1"},
	} {
		n := servertest.New("node-1")
		n.Form(3)
		n.Put(servertest.Web(3))
		n.Settle()
		m := n.View().Member("default", "web", 1)
		c.seen.Epoch = m.Epoch
		n.Report(m.Node, []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: 1, Seen: c.seen}}, nil)
		api, _ := serve(t, n)
		for _, of := range []struct {
			kind client.Resource
			name string
		}{{client.Members, "web-1"}, {client.StatefulSets, "web"}} {
			x, err := api.Explain(t.Context(), of.kind, "default", of.name)
			if err != nil || x.Command != c.want || !strings.HasPrefix(x.Rule, c.seen.Reason+": ") {
				t.Errorf("%s: explain %s says %q and %q, %v; want %q, and the reason %s", c.seen.Message, of.name, x.Command, x.Rule, err, c.want, c.seen.Reason)
			}
		}
	}
}

// TestExplainHook: who waits for a hook that the cluster asks for is told where to look, and
// never to ask the same again.
func TestExplainHook(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(3)
	set := servertest.Web(3)
	set.Spec.Processes[0].Hooks = spec.Hooks{spec.HookAfterLeave: {Command: []string{"after"}}}
	n.Put(set)
	n.Settle()
	two := 2
	set.Spec.Replicas = &two
	n.Sleep(n.View().Member("default", "web", 0).Node, true) // it does not say how the hook went
	n.Put(set)
	n.Settle()
	api, _ := serve(t, n)
	x, err := api.Explain(t.Context(), client.StatefulSets, "default", "web")
	if want := "supctl logs web-0 -c hook-afterLeave"; err != nil || x.Command != want {
		t.Errorf("explain says %+v, %v; want %q", x, err, want)
	}
}
