package dns_test

import (
	"fmt"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// world builds a View by commands, as the log would.
type world struct {
	t    testing.TB
	view *state.View
	seq  map[string]uint64
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, view: state.New(), seq: map[string]uint64{}}
	w.apply(&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"})
	return w
}

func (w *world) apply(c state.Command) {
	w.t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(w.view.Index) * time.Second)
	next, r := w.view.Apply(w.view.Index+1, state.Entry{At: at, Who: "test", Cmd: c})
	if r.Err != nil {
		w.t.Fatalf("%T refused: %v", c, r.Err)
	}
	w.view = next
}

func (w *world) node(name, dns string) {
	w.t.Helper()
	w.apply(&state.RegisterNode{Node: state.Node{
		Name: name, ID: name + ".1", API: "127.0.0.1:1", Raft: name + ":2", DNS: dns, HostIP: "127.0.0.1", Machine: "m", Run: "r1",
	}})
}

// nodeState moves a node along the legal moves.
func (w *world) nodeState(name string, states ...string) {
	w.t.Helper()
	for _, s := range states {
		w.apply(&state.SetNode{Name: name, State: s, Reason: "test", IfGeneration: w.view.Node(name).Generation})
	}
}

// set makes a set whose member i has ip(i) on nodes[i%len].
func (w *world) set(name, service string, replicas int, ports []spec.Port, ip func(int) string, nodes ...string) {
	w.t.Helper()
	tpl := spec.Template{Processes: []spec.Process{{
		Name: "main", Exec: spec.Exec{Command: []string{"/bin/x"}}, Ports: ports,
	}}}
	w.apply(&state.PutSet{Namespace: "default", Name: name, UID: "u-" + name, Template: tpl, Spec: spec.StatefulSetSpec{
		Replicas: &replicas, ServiceName: service, PodManagementPolicy: spec.Parallel,
		Network: spec.Network{Mode: spec.NetworkMember}, Processes: tpl.Processes,
	}})
	var slots []state.Slot
	for i := range replicas {
		chosen := map[string]int{}
		for _, p := range ports {
			chosen[p.Name] = p.Port
			if p.Port == 0 {
				chosen[p.Name] = 30000 + i
			}
		}
		slots = append(slots, state.Slot{Ordinal: i, UID: fmt.Sprintf("m-%s-%d", name, i), Node: nodes[i%len(nodes)], IP: ip(i), Ports: chosen})
	}
	w.apply(&state.Reserve{Namespace: "default", Set: name, IfGeneration: 1, Slots: slots})
}

// ready starts a member and reports it ready, or not.
func (w *world) ready(set string, ordinal int, ready bool) {
	w.t.Helper()
	m := w.view.Member("default", set, ordinal)
	w.apply(&state.StartMember{
		Namespace: "default", Set: set, Ordinal: ordinal,
		Revision: w.view.Set("default", set).Revision, IfEpoch: m.Epoch, IfGeneration: m.Generation,
	})
	m = w.view.Member("default", set, ordinal)
	w.seq[m.Node]++
	w.apply(&state.Report{Node: m.Node, Run: "r1", Seq: w.seq[m.Node], Members: []state.MemberReport{{
		Namespace: "default", Set: set, Ordinal: ordinal,
		Seen: state.Observation{Epoch: m.Epoch, Phase: spec.MemberRunning, Started: true, Ready: ready, Steady: ready},
	}}})
}

// role reports a member as it was, with a role.
func (w *world) role(set string, ordinal int, role string) {
	w.t.Helper()
	m := w.view.Member("default", set, ordinal)
	seen := m.Seen
	seen.Role = role
	w.seq[m.Node]++
	w.apply(&state.Report{Node: m.Node, Run: "r1", Seq: w.seq[m.Node], Members: []state.MemberReport{{
		Namespace: "default", Set: set, Ordinal: ordinal, Seen: seen,
	}}})
}

func planIP(from int) func(int) string {
	return func(i int) string { return fmt.Sprintf("127.64.%d.%d", (from+i)/250, (from+i)%250+1) }
}

// story is the View of the golden questions: three nodes, and sets in all states.
func story(t testing.TB) *world {
	w := newWorld(t)
	w.node("n1", "127.0.0.1:7953")
	w.node("n2", "127.0.0.2:7953")
	w.node("n3", "127.0.0.2:7954")
	client := []spec.Port{{Name: "client", Port: 2379}, {Name: "peer", Port: 0}, {Name: "Dns", Port: 53, Protocol: "UDP"}}
	// web: 0 and 1 ready, 2 not, 3 reserved only.
	w.set("web", "web", 4, client, planIP(0), "n1", "n2")
	w.ready("web", 0, true)
	w.ready("web", 1, true)
	w.ready("web", 2, false)
	// all: publishes what is not ready.
	w.apply(&state.PutService{Namespace: "default", Name: "all", UID: "s1", Spec: spec.ServiceSpec{
		PublishNotReadyAddresses: true, Ports: []spec.Port{{Name: "db", Port: 3306}},
	}})
	w.set("all", "all", 2, []spec.Port{{Name: "mysql", Port: 3306}}, planIP(10), "n1", "n2")
	// sus: ready, 0 on a suspect node, 1 not.
	w.set("sus", "sus", 2, nil, planIP(20), "n3", "n1")
	w.ready("sus", 0, true)
	w.ready("sus", 1, true)
	// lone: its only ready member is on the suspect node.
	w.set("lone", "lone", 2, nil, planIP(30), "n3", "n1")
	w.ready("lone", 0, true)
	// two: both say that they lead, one on a suspect node; idle's only leader is on it.
	w.set("two", "two", 2, nil, planIP(70), "n3", "n1")
	w.set("idle", "idle", 1, nil, planIP(80), "n3")
	for i, set := range []string{"two", "idle", "two"} {
		w.ready(set, i/2, true)
		w.role(set, i/2, "leader")
	}
	w.nodeState("n3", spec.NodeSuspect)
	// cold: nobody is ready.
	w.set("cold", "cold", 1, nil, planIP(40), "n1")
	// left and right share a service.
	w.set("left", "both", 1, nil, planIP(50), "n1")
	w.set("right", "both", 1, nil, planIP(51), "n2")
	w.ready("left", 0, true)
	w.ready("right", 0, true)
	// host: on the host's own address, two ports.
	w.set("host", "host", 2, []spec.Port{{Name: "http", Port: 0}}, func(int) string { return "127.0.0.1" }, "n1")
	w.ready("host", 0, true)
	w.ready("host", 1, true)
	// role: 0 leads, 1 follows, 2 would lead but is not ready, 3's role is another's name.
	w.set("role", "role", 4, nil, planIP(60), "n1", "n2")
	w.apply(&state.PutService{Namespace: "default", Name: "role", UID: "s3", Spec: spec.ServiceSpec{PublishNotReadyAddresses: true}})
	for i, r := range []string{"leader", "follower", "leader", "role-0"} {
		w.ready("role", i, i != 2)
		w.role("role", i, r)
	}
	// clients, listed twice: services that name web beside its own; one of its own ports, one with all its members.
	names := map[string]string{spec.SelectSet: "web"}
	w.apply(&state.PutService{Namespace: "default", Name: "clients", UID: "s4", Spec: spec.ServiceSpec{Selector: names, Ports: []spec.Port{{Name: "http", Port: 2379}}}})
	w.apply(&state.PutService{Namespace: "default", Name: "all-of-web", UID: "s5", Spec: spec.ServiceSpec{Selector: names, PublishNotReadyAddresses: true}})
	// stranger: names a set that is not there, in its namespace.
	w.apply(&state.PutService{Namespace: "other", Name: "stranger", UID: "s6", Spec: spec.ServiceSpec{Selector: names}})
	// bare: a service that governs nothing.
	w.apply(&state.PutService{Namespace: "other", Name: "bare", UID: "s2", Spec: spec.ServiceSpec{Ports: []spec.Port{{Name: "x", Port: 1}}}})
	return w
}
