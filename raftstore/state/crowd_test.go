package state_test

import (
	"fmt"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// crowd is a View of sets times replicas running members on one node.
func crowd(tb testing.TB, sets, replicas int) *state.View {
	tb.Helper()
	v := state.New()
	do := func(c state.Command) {
		tb.Helper()
		var r state.Result
		v, r = v.Apply(v.Index+1, state.Entry{At: at(1), Cmd: c})
		if r.Err != nil {
			tb.Fatal(r.Err)
		}
	}
	do(&state.InitCluster{ID: "c1", Plan: "none", Zone: "cluster.local"})
	do(&state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.1", HostIP: "127.0.0.1", Machine: "m", Run: "r1"}})
	tpl := spec.Template{Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"/bin/true"}}}}}
	for i := range sets {
		name := fmt.Sprintf("s%d", i)
		n := replicas
		do(&state.PutSet{Namespace: "default", Name: name, UID: name, Spec: spec.StatefulSetSpec{
			Replicas: &n, ServiceName: name, Processes: tpl.Processes,
		}, Template: tpl})
		var slots []state.Slot
		for o := range replicas {
			slots = append(slots, state.Slot{Ordinal: o, UID: fmt.Sprintf("%s-%d", name, o), Node: "n1", IP: "127.0.0.1"})
		}
		do(&state.Reserve{Namespace: "default", Set: name, IfGeneration: 1, Slots: slots})
		for o := range replicas {
			m := v.Member("default", name, o)
			do(&state.StartMember{Namespace: "default", Set: name, Ordinal: o, Revision: tpl.Hash(), IfGeneration: m.Generation})
		}
	}
	return v
}
