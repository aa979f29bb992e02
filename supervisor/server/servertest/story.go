package servertest

import (
	"fmt"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// Form makes a cluster of so many nodes, node-1 to node-N, with loopback addresses.
func (n *Node) Form(nodes int) {
	n.Do(&state.InitCluster{ID: "5f0c1d2e", Incarnation: "1", Plan: "loopback", PlanCIDR: "127.77.16.0/20", Zone: spec.ClusterZone})
	var voters []string
	for i := 1; i <= nodes; i++ {
		name := fmt.Sprintf("node-%d", i)
		n.Do(&state.RegisterNode{Node: state.Node{
			Name: name, ID: fmt.Sprintf("%s.0000000%d", name, i), API: fmt.Sprintf("127.0.0.1:%d", 7950+10*i),
			HostIP: "127.0.0.1", Machine: "m", Root: true, Version: "test", Run: fmt.Sprintf("run-%d", i),
			Labels: map[string]string{"zone": string(rune('a' + i - 1))},
		}})
		voters = append(voters, name)
	}
	n.SetStatus(func(st *server.RaftStatus) { st.Voters = voters })
}

// Web is a set of three shells with a directory each.
func Web(replicas int) *spec.StatefulSet {
	return &spec.StatefulSet{
		APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: spec.StatefulSetSpec{
			Replicas: &replicas,
			Volumes:  []spec.VolumeSpec{{Name: "data", Size: "10Gi"}},
			Processes: []spec.Process{{
				Name:      "main",
				Exec:      spec.Exec{Command: []string{"/bin/sh", "-c", "exec sleep ${member.ordinal + 1000}"}},
				Ports:     []spec.Port{{Name: "http", Port: 8080}},
				Readiness: &spec.Probe{Exec: []string{"test", "-e", "${volume.data}/ready"}},
			}},
		},
	}
}

// Put applies a set as the server would.
func (n *Node) Put(in *spec.StatefulSet) {
	v := n.View()
	tpl, problems := server.PrepareSet(v, in, func(name string) *spec.ProgramSpec {
		if p := v.Program(in.Metadata.Namespace, name); p != nil {
			return &p.Spec
		}
		return nil
	})
	if len(spec.Errors(problems)) > 0 {
		panic(fmt.Sprintf("servertest: the definition of %s is wrong: %v", in.Metadata.Name, problems))
	}
	n.Do(&state.PutSet{
		Namespace: in.Metadata.Namespace, Name: in.Metadata.Name, UID: "uid-" + in.Metadata.Name,
		Labels: in.Metadata.Labels, Annotations: in.Metadata.Annotations, Spec: in.Spec, Template: tpl, Rules: state.RulesNow,
	})
}

// Story makes the cluster that golden files show: web was scaled from three to two
// members and web-1 is sick, db runs a Program and is being rolled out, node-3 is
// cordoned. Ten minutes have passed since.
func Story() *Node {
	n := New("node-1")
	n.Form(3)
	n.Advance(time.Minute)
	n.Put(Web(3))
	n.Settle()
	n.Advance(time.Minute)
	two := 2
	n.Do(&state.ScaleSet{Namespace: spec.DefaultNS, Name: "web", Replicas: two})
	n.Settle()
	n.Do(&state.CordonNode{Name: "node-3", Cordon: true})
	n.Advance(time.Minute)
	n.database()
	n.Sicken(spec.DefaultNS, "web-1", "exec probe: exit status 1")
	n.Advance(10 * time.Minute)
	return n
}

// database is a set with a Program and a Service, in the middle of a rollout.
func (n *Node) database() {
	n.Do(&state.PutProgram{
		Namespace: spec.DefaultNS, Name: "mysql:5.7", UID: "uid-mysql",
		Spec: spec.ProgramSpec{Command: []string{"/usr/sbin/mariadbd", "--bind-address=${member.ip}"}, User: "mysql"},
	})
	n.Do(&state.PutService{
		Namespace: spec.DefaultNS, Name: "db", UID: "uid-db-svc", Labels: map[string]string{"app": "db"},
		Spec: spec.ServiceSpec{PublishNotReadyAddresses: true, Ports: []spec.Port{{Name: "mysql", Port: 3306, Protocol: "TCP"}}},
	})
	n.Put(db("1"))
	n.Settle()
	n.Advance(time.Minute)
	n.Sleep("node-1", true)
	n.Sleep("node-2", true)
	n.Put(db("2"))
	n.Settle()
}

func db(version string) *spec.StatefulSet {
	replicas := 2
	return &spec.StatefulSet{
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: "db", Labels: map[string]string{"app": "db"}},
		Spec: spec.StatefulSetSpec{
			Replicas: &replicas, PodManagementPolicy: spec.OrderedReady,
			Processes: []spec.Process{{
				Name: "mysql", Exec: spec.Exec{Image: "mysql:5.7", Env: spec.Env{{Name: "SCHEMA", Value: version}}},
				Ports: []spec.Port{{Name: "mysql", Port: 3306}},
			}},
		},
	}
}
