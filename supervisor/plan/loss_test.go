package plan_test

import (
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// A member whose node is gone before it has told of the directory that its start may have made is
// not taken over beside that, and its wait says how it goes on.
func TestNeverMadeVolumeHoldsItsMember(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lose func(b *bench, node string)
	}{
		{"on a lost node", func(b *bench, node string) {
			// Its end was told, its directory was not.
			b.say(spec.MemberStopped, 0)
			b.lose(node)
		}},
		{"on a forgotten one", func(b *bench, node string) {
			b.lose(node)
			b.do(&state.ForgetNode{Name: node, ID: b.v.Node(node).ID})
		}},
	} {
		b := newBench(t, "n1", "n2")
		b.mustSet(1, "a", nil)
		b.settle()
		m := b.v.Member("default", "web", 0)
		if m.Epoch == 0 {
			t.Fatalf("%s: web-0 was not started", c.name)
		}
		home := m.Node
		c.lose(b, home)
		p := b.plan()
		if len(p.Commands) != 0 || len(p.Waits) != 1 || p.Waits[0].Subject != "web-0" || p.Waits[0].Reason != "VolumeNodeLost" ||
			!strings.Contains(p.Waits[0].Message, "supctl volume abandon data-web-0") {
			t.Errorf("%s: %+v, want the wait for its directory", c.name, p)
		}
		b.do(&state.AbandonVolume{Namespace: "default", Name: "data-web-0"})
		b.settle()
		if m := b.v.Member("default", "web", 0); m.Node == home || m.Epoch < 2 {
			t.Errorf("%s: after its directory was given up web-0 is on %s", c.name, m.Node)
		}
	}
}

// One of two directories was given up; the other, never told of, keeps the member on its node.
func TestTakeOverStaysByWhatMayBeMade(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	if err := b.set(1, "a", func(s *spec.StatefulSetSpec) {
		s.Volumes = []spec.VolumeSpec{{Name: "data", Size: "1Gi"}, {Name: "log", Size: "1Gi"}}
	}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	home := b.v.Member("default", "web", 0).Node
	b.lose(home)
	b.do(&state.AbandonVolume{Namespace: "default", Name: "data-web-0"})
	if w := b.plan().Waits; len(w) != 1 || w[0].Reason != "VolumeNodeLost" || !strings.Contains(w[0].Message, "log-web-0") {
		t.Errorf("while its node is away: %+v, want the wait for its other directory", w)
	}
	b.do(&state.SetNode{Name: home, State: spec.NodeReady, IfGeneration: b.v.Node(home).Generation})
	b.settle()
	m := b.v.Member("default", "web", 0)
	if v := b.v.Volume("default", "data-web-0"); m.Node != home || v == nil || v.Node != home {
		t.Errorf("web-0 is on %s with %+v, want both on %s, where its other directory may be", m.Node, v, home)
	}
}
