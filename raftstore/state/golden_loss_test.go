package state_test

import (
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// lossStory goes on with the story after n entries, when epoch was the last one given: a
// node is lost; what was fenced there is taken over, the rest waits for an operator's word.
func lossStory(n, epoch uint64) []state.Command {
	two := 2
	tpl := func(word string) spec.Template {
		return spec.Template{Processes: []spec.Process{{
			Name: "main", Exec: spec.Exec{Command: []string{"/bin/" + word}},
			Ports: []spec.Port{{Name: "client", Port: 2379}},
		}}}
	}
	node := func(name string) state.Node {
		return state.Node{Name: name, ID: name + ".1", API: "127.0.0.1:1", Raft: "127.0.0.1:2", HostIP: "127.0.0.1", Machine: "m", Run: "r1"}
	}
	job := spec.StatefulSetSpec{
		Replicas: &two, ServiceName: "job", Network: spec.Network{Mode: spec.NetworkMember}, OnNodeLoss: spec.Fence, Processes: tpl("j").Processes,
	}
	db := spec.StatefulSetSpec{
		Replicas: &two, ServiceName: "store", Network: spec.Network{Mode: spec.NetworkMember}, OnNodeLoss: spec.Keep,
		Volumes: []spec.VolumeSpec{{Name: "data"}}, Processes: tpl("d").Processes,
	}
	fencing := func(name string) state.Node {
		n := node(name)
		n.Fences = true
		return n
	}
	other := func(set, node, ip string) state.Slot {
		return state.Slot{UID: set + "-u", Node: node, IP: ip, Ports: map[string]int{"client": 2379}, VolumeUIDs: map[string]string{"data": set + "-v1"}}
	}
	fresh := func(s state.Slot) state.Slot {
		s.VolumeUIDs = map[string]string{"data": "store-v2"}
		return s
	}
	fenced := func(set string, epoch uint64) state.MemberReport {
		return state.MemberReport{Namespace: "default", Set: set, Seen: state.Observation{
			Epoch: epoch, Phase: spec.MemberRunning, Ready: true, Started: true, Steady: true, Fenced: set == "job",
		}}
	}
	return []state.Command{
		&state.RegisterNode{Node: fencing("n3")},
		&state.RegisterNode{Node: fencing("n4")},
		&state.PutSet{Namespace: "default", Name: "job", UID: "j1", Spec: job, Template: tpl("j")},
		&state.PutSet{Namespace: "default", Name: "store", UID: "d1", Spec: db, Template: tpl("d")},
		&state.Reserve{Namespace: "default", Set: "job", IfGeneration: 1, Slots: []state.Slot{other("job", "n3", "127.64.0.30")}},
		&state.Reserve{Namespace: "default", Set: "store", IfGeneration: 1, Slots: []state.Slot{other("store", "n3", "127.64.0.31")}},
		&state.StartMember{Namespace: "default", Set: "job", Revision: tpl("j").Hash(), IfGeneration: n + 5, Fence: true},
		&state.StartMember{Namespace: "default", Set: "store", Revision: tpl("d").Hash(), IfGeneration: n + 6},
		&state.Report{Node: "n3", Run: "r1", Seq: 1, Members: []state.MemberReport{fenced("job", epoch+1), fenced("store", epoch+2)}, Volumes: []state.VolumeReport{{Namespace: "default", Name: "data-store-0", UID: "store-v1", Event: state.VolumeMade, Path: "/d"}}},
		&state.SetNode{Name: "n3", State: spec.NodeSuspect, IfGeneration: 1},
		// These three are refused: n3 is not lost.
		&state.ForgetNode{Name: "n3", ID: "n3.1"},
		&state.AbandonVolume{Namespace: "default", Name: "data-store-0"},
		&state.TakeOver{Namespace: "default", Set: "job", IfEpoch: epoch + 1, IfGeneration: n + 7, IfNode: 2, Slot: other("job", "n4", "127.64.0.30")},
		&state.SetNode{Name: "n3", State: spec.NodeLost, IfGeneration: 2},
		&state.TakeOver{Namespace: "default", Set: "store", IfEpoch: epoch + 2, IfGeneration: n + 8, IfNode: 3, Slot: other("store", "n4", "127.64.0.31")}, // refused: not fenced
		&state.TakeOver{Namespace: "default", Set: "job", IfEpoch: epoch + 1, IfGeneration: n + 7, IfNode: 3, Slot: other("job", "n4", "127.64.0.30")},
		&state.StartMember{Namespace: "default", Set: "job", Revision: tpl("j").Hash(), IfEpoch: epoch + 1, IfGeneration: n + 16, Fence: true},
		&state.ForgetNode{Name: "n3", ID: "n3.1"},
		&state.RegisterNode{Node: fencing("n3")}, // refused: forgotten
		&state.TakeOver{Namespace: "default", Set: "store", IfEpoch: epoch + 2, IfGeneration: n + 18, Slot: other("store", "n4", "127.64.0.31")}, // refused: its volume is there
		&state.AbandonVolume{Namespace: "default", Name: "data-store-0"},
		&state.TakeOver{Namespace: "default", Set: "store", IfEpoch: epoch + 2, IfGeneration: n + 21, Slot: fresh(other("store", "n4", "127.64.0.31"))},
		&state.ReleaseVolume{Namespace: "default", Name: "data-store-0.store-v1"},
	}
}
