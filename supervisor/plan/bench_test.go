package plan_test

import (
	"fmt"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// BenchmarkMake plans a cluster of 1000 sets and 10 000 members, all well: what the leader does after each change.
func BenchmarkMake(b *testing.B) {
	v := contented(b, 1000, 10)
	now := start.Add(time.Hour)
	f := plan.Facts{Silent: func(string) bool { return false }, UID: func() string { return "u" }}
	if p := plan.Make(v, now, f); len(p.Commands) != 0 || len(p.Waits) != 0 {
		b.Fatalf("there is something to do: %d commands, %d waits, first %v", len(p.Commands), len(p.Waits), p)
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			plan.Make(v, now, f)
		}
	})
	b.Run("one-set", func(b *testing.B) {
		s := v.Set("default", "s500")
		for b.Loop() {
			plan.MakeSet(v, s, now, f)
		}
	})
}

// contented is a View of sets times replicas members that all run and are healthy, on a hundred nodes.
func contented(tb testing.TB, sets, replicas int) *state.View {
	tb.Helper()
	const nodes = 100
	v := state.New()
	do := func(c state.Command) {
		tb.Helper()
		var r state.Result
		if v, r = v.Apply(v.Index+1, state.Entry{At: start, Cmd: c}); r.Err != nil {
			tb.Fatal(r.Err)
		}
	}
	node := func(i int) string { return fmt.Sprintf("n%d", i%nodes) }
	do(&state.InitCluster{ID: "c", Plan: "none", Zone: "cluster.local"})
	for i := range nodes {
		do(&state.RegisterNode{Node: state.Node{Name: node(i), ID: node(i) + ".1", HostIP: "127.0.0.1", Machine: "m", Run: "r"}})
	}
	tpl := spec.Template{Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"/bin/true"}}}}}
	reports := map[string]*state.Report{}
	for i := range sets {
		name := fmt.Sprintf("s%d", i)
		set := spec.StatefulSet{Spec: spec.StatefulSetSpec{Replicas: &replicas, ServiceName: name, Processes: tpl.Processes}}
		spec.Default(&set)
		do(&state.PutSet{Namespace: "default", Name: name, UID: name, Spec: set.Spec, Template: tpl})
		var slots []state.Slot
		for o := range replicas {
			slots = append(slots, state.Slot{Ordinal: o, UID: fmt.Sprintf("%s-%d", name, o), Node: node(i + o), IP: "127.0.0.1"})
		}
		do(&state.Reserve{Namespace: "default", Set: name, IfGeneration: 1, Slots: slots})
		for o := range replicas {
			m := v.Member("default", name, o)
			do(&state.StartMember{Namespace: "default", Set: name, Ordinal: o, Revision: tpl.Hash(), IfGeneration: m.Generation})
			r := reports[m.Node]
			if r == nil {
				r = &state.Report{Node: m.Node, Run: "r", Seq: 1}
				reports[m.Node] = r
			}
			r.Members = append(r.Members, state.MemberReport{Namespace: "default", Set: name, Ordinal: o, Seen: state.Observation{
				Epoch: v.Member("default", name, o).Epoch, Phase: spec.MemberRunning, Started: true, Ready: true, Steady: true,
				StartedAt: start, StartedOK: start,
			}})
		}
	}
	for i := range nodes {
		do(reports[node(i)])
	}
	for range 3 { // what is noted once all are well
		for _, c := range plan.Make(v, start.Add(time.Minute), plan.Facts{}).Commands {
			do(c)
		}
	}
	return v
}
