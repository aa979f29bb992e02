package state_test

import (
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// TestFenceIsReportedOrPromised: what nobody said to be fenced is not taken over.
func TestFenceIsReportedOrPromised(t *testing.T) {
	t.Parallel()
	m := state.Member{Epoch: 5, Fence: true}
	if !m.Fenced() {
		t.Error("a promise counts before the first report")
	}
	m.Seen = state.Observation{Epoch: 5}
	if m.Fenced() {
		t.Error("a report that denies it counts more than the promise")
	}
	m.Seen.Fenced = true
	if !m.Fenced() {
		t.Error("a report counts")
	}
	m.Epoch, m.Fence = 6, false
	if m.Fenced() {
		t.Error("a report of another epoch counts")
	}
}

// TestOlderAgentTakesThePromiseBack: a node that registers without the promise may run
// what it was given as it likes.
func TestOlderAgentTakesThePromiseBack(t *testing.T) {
	t.Parallel()
	v := state.New()
	var res state.Result
	for i, c := range append([]state.Command{&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"}}, lossStory(1, 0)[:9]...) {
		if v, res = v.Apply(uint64(i+1), state.Entry{At: at(i), Cmd: c}); res.Err != nil {
			t.Fatalf("%s: %v", state.Kind(c), res.Err)
		}
	}
	m := v.Member("default", "job", 0)
	if !m.Fence || !m.Fenced() {
		t.Fatalf("job-0 is not fenced: %+v", m)
	}
	older := *v.Node("n3")
	older.Run, older.Fences = "r2", false
	v, res = v.Apply(v.Index+1, state.Entry{At: at(99), Cmd: &state.RegisterNode{Node: older}})
	if m := v.Member("default", "job", 0); res.Err != nil || m.Fence || m.Fenced() {
		t.Errorf("job-0 still counts as fenced: %+v, %v", m, res.Err)
	}
}

// TestBootEndsReadiness: members of a host that was booted anew do not serve, and a new
// run of supd in the same boot changes nothing.
func TestBootEndsReadiness(t *testing.T) {
	t.Parallel()
	v := state.New()
	story := append([]state.Command{&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"}}, lossStory(1, 0)[:9]...)
	for i, c := range story {
		if r, ok := c.(*state.RegisterNode); ok {
			r.Node.Boot = "b1"
		}
		v, _ = v.Apply(uint64(i+1), state.Entry{At: at(i), Cmd: c})
	}
	for _, c := range []struct {
		run, boot string
		ready     bool
	}{{"r2", "b1", true}, {"r3", "b2", false}} {
		n := *v.Node("n3")
		n.Run, n.Boot = c.run, c.boot
		v, _ = v.Apply(v.Index+1, state.Entry{At: at(99), Cmd: &state.RegisterNode{Node: n}})
		if got := v.Member("default", "job", 0).Ready(); got != c.ready {
			t.Errorf("run %s, boot %s: ready=%v", c.run, c.boot, got)
		}
	}
	if _, reason, _ := v.Healthy(v.Member("default", "job", 0)); reason != "HostRebooted" {
		t.Errorf("reason %s", reason)
	}
}

// TestForgetAndAbandon: names are free again, and what was given up is kept by another.
func TestForgetAndAbandon(t *testing.T) {
	t.Parallel()
	v := state.New()
	story := append([]state.Command{&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/20", Zone: "cluster.local"}}, lossStory(1, 0)...)
	for i, c := range story[:len(story)-1] {
		v, _ = v.Apply(uint64(i+1), state.Entry{At: at(i), Cmd: c})
	}
	old, vol := v.Volume("default", "data-store-0.store-v1"), v.Volume("default", "data-store-0")
	if old == nil || old.Phase != spec.VolumeAbandoned || old.Node != "n3.1" || vol == nil || vol.UID != "store-v2" || vol.Node != "n4" {
		t.Fatalf("abandoned %+v, new %+v", old, vol)
	}
	if m := v.Member("default", "store", 0); m.Node != "n4" || !m.MayStart() || !m.Fresh {
		t.Errorf("store-0: %+v", m)
	}
	if v.Node("n3") != nil || v.Cluster.Forgot("n3.1") == nil {
		t.Error("n3 is not forgotten")
	}
	machine := state.Node{Name: "n3", ID: "n3.2", Machine: "m", Run: "r1"}
	v, res := v.Apply(v.Index+1, state.Entry{At: at(200), Cmd: &state.RegisterNode{Node: machine}})
	if res.Err != nil {
		t.Fatalf("another machine under the same name: %v", res.Err)
	}
	for m := range v.NodeMembers("n3") {
		t.Errorf("the new machine has %s of the old one", m.Name())
	}
	v, res = v.Apply(v.Index+1, state.Entry{At: at(201), Cmd: &state.ReleaseVolume{Namespace: "default", Name: "data-store-0.store-v1"}})
	if res.Err != nil || v.Volume("default", "data-store-0.store-v1") != nil {
		t.Errorf("its record stays: %v", res.Err)
	}
}

// TestForgottenAreBounded keeps the View small.
func TestForgottenAreBounded(t *testing.T) {
	t.Parallel()
	v := state.New()
	v, _ = v.Apply(1, state.Entry{At: at(0), Cmd: &state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "none", Zone: "cluster.local"}})
	for range state.MaxForgotten + 5 {
		id := "n1." + strings.Repeat("x", 1) + at(int(v.Index)).Format("150405")
		v, _ = v.Apply(v.Index+1, state.Entry{At: at(0), Cmd: &state.RegisterNode{Node: state.Node{Name: "n1", ID: id, Run: "r"}}})
		v, _ = v.Apply(v.Index+1, state.Entry{At: at(0), Cmd: &state.CordonNode{Name: "n1", Cordon: true}})
		v, _ = v.Apply(v.Index+1, state.Entry{At: at(0), Cmd: &state.ForgetNode{Name: "n1", ID: id}})
	}
	if n := len(v.Cluster.Forgotten); n != state.MaxForgotten {
		t.Errorf("%d forgotten nodes are remembered", n)
	}
}
