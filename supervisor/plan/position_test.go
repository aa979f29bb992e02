package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// position reports what a held member's hook has printed.
func (b *bench) position(o int, n int64) {
	b.t.Helper()
	m := b.member(o)
	b.seq[m.Node]++
	b.do(&state.Report{Node: m.Node, Run: "r", Seq: b.seq[m.Node], Members: []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: o, Seen: state.Observation{
		Epoch: m.Epoch, Phase: spec.MemberStarting, Position: &n,
	}}}})
}

// holds expects that the plan holds these members, and nothing else.
func (b *bench) holds(want ...string) {
	b.t.Helper()
	got := b.settle()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		b.t.Fatalf("the plan did %q, want %q", got, want)
	}
}

func TestTheNewestDataGoesFirst(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookPosition)
	// One or two that go down start as ever, and bootstrap nothing.
	b.say(spec.MemberStopped, 0)
	b.expect("start 0")
	if b.member(0).Bootstrap {
		t.Error("it bootstraps beside others")
	}
	b.say(spec.MemberRunning, 0)
	b.say(spec.MemberStopped, 0, 1)
	b.holds("start 0", "start 1")
	b.say(spec.MemberRunning, 0, 1)
	// All of them are asked first.
	b.say(spec.MemberStopped, 0, 1, 2)
	b.holds("hold 0", "hold 1", "hold 2")
	if got := b.waits(); !strings.Contains(got, "web-0 PositionWaits") {
		t.Errorf("waits %q", got)
	}
	b.position(0, 5)
	b.position(2, 9)
	b.expect()
	b.position(1, 9)
	b.expect("let go [0 1 2], first 1")
	for o, want := range []bool{false, true, false} {
		if m := b.member(o); m.Bootstrap != want || m.Held {
			t.Errorf("web-%d: bootstrap %v, held %v", o, m.Bootstrap, m.Held)
		}
	}
	b.say(spec.MemberRunning, 0, 1, 2)
	b.expect()
}

// TestAColdStartWaitsForWhoDoesNotAnswer: until he is back, or given up.
func TestAColdStartWaitsForWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	lost := func(t *testing.T) *bench {
		b := hookBench(t, 3, spec.HookPosition)
		b.lose("n3")
		b.say(spec.MemberStopped, 0, 1)
		b.holds("hold 0", "hold 1")
		b.position(0, 5)
		b.position(1, 4)
		b.expect()
		p := b.plan()
		if i := slices.IndexFunc(p.Waits, func(w plan.Wait) bool { return w.Reason == "PositionWaits" }); i < 0 || p.Waits[i].Subject != "web-2" || !strings.Contains(p.Waits[i].Message, "n3 is Lost") {
			t.Errorf("waits %+v", p.Waits)
		}
		return b
	}
	back := func(b *bench) {
		b.do(&state.SetNode{Name: "n3", State: spec.NodeReady, IfGeneration: b.v.Node("n3").Generation})
	}
	t.Run("back and down", func(t *testing.T) {
		t.Parallel()
		b := lost(t)
		back(b)
		b.say(spec.MemberStopped, 2)
		b.expect("hold 2")
		b.position(2, 6)
		b.expect("let go [0 1 2], first 2")
	})
	t.Run("back and running", func(t *testing.T) {
		t.Parallel()
		b := lost(t)
		back(b)
		b.expect("let go [0 1]")
	})
	t.Run("forgotten", func(t *testing.T) {
		t.Parallel()
		b := lost(t)
		b.do(&state.ForgetNode{Name: "n3", ID: "n3.1"})
		b.expect("let go [0 1], first 0")
	})
	t.Run("abandoned", func(t *testing.T) {
		t.Parallel()
		b := lost(t)
		b.do(&state.AbandonVolume{Namespace: "default", Name: "data-web-2"})
		did := b.settle()
		if !slices.Contains(did, "let go [0 1], first 0") {
			t.Errorf("the plan did %q", did)
		}
		b.say(spec.MemberRunning, 0, 1)
		b.settle()
		if m := b.member(2); !m.Joining || m.Bootstrap {
			t.Errorf("who got a new directory comes as %+v, want joining", m)
		}
	})
}

// TestAColdStartBelievesNoOldWord: after a power cut the log has all running, and of those whose
// nodes have not told yet nobody knows. Who starts plainly meanwhile would wait for them for ever.
func TestAColdStartBelievesNoOldWord(t *testing.T) {
	t.Parallel()
	cut := func(t *testing.T) *bench {
		b := newBench(t, "n1", "n2", "n3")
		b.hooked(3, spec.HookPosition)
		b.unsettled["n1"], b.unsettled["n2"], b.unsettled["n3"] = true, true, true
		b.say(spec.MemberStopped, 1)
		delete(b.unsettled, "n2")
		b.holds("hold 1")
		b.position(1, 4)
		b.expect()
		if got := b.waits(); !strings.Contains(got, "web-0 PositionWaits") {
			t.Errorf("waits %q", got)
		}
		return b
	}
	t.Run("all were cut off", func(t *testing.T) {
		t.Parallel()
		b := cut(t)
		b.say(spec.MemberStopped, 0, 2)
		b.unsettled = map[string]bool{}
		b.holds("hold 0", "hold 2")
		b.position(0, 3)
		b.position(2, 9)
		b.expect("let go [0 1 2], first 2")
	})
	t.Run("one runs", func(t *testing.T) {
		t.Parallel()
		b := cut(t)
		delete(b.unsettled, "n3")
		b.expect("let go [1]")
		if b.member(1).Bootstrap {
			t.Error("it bootstraps beside others")
		}
	})
}

// TestWhoWaitsForTheFirstSaysSo: and when nobody goes first any more, what the way out is.
func TestWhoWaitsForTheFirstSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.hooked(3, spec.HookPosition)
	b.say(spec.MemberStopped, 0, 1, 2)
	b.holds("hold 0", "hold 1", "hold 2")
	for o := range 3 {
		b.position(o, int64(o))
	}
	b.expect("let go [0 1 2], first 2")
	b.say(spec.MemberStarting, 0, 1, 2)
	if got := b.waits(); got != "web-0 BootstrapWaits, web-1 BootstrapWaits" {
		t.Errorf("waits %q", got)
	}
	// It ends. It is not known whether it has taken writes, so no other goes first by itself.
	b.say(spec.MemberStopped, 2)
	b.expect("start 2")
	if b.member(2).Bootstrap {
		t.Error("it bootstraps beside others")
	}
	b.say(spec.MemberStarting, 2)
	if got := b.waits(); got != "" {
		t.Errorf("at once it is said that they wait for each other: %q", got)
	}
	b.now = b.now.Add(time.Minute)
	if got := b.waits(); got != "web NobodyFirst" {
		t.Errorf("waits %q", got)
	}
	b.say(spec.MemberRunning, 1)
	if got := b.waits(); got != "" {
		t.Errorf("one is ready: %q", got)
	}
}

// TestAHookTakenOutLetsAllGo: a definition without it, or a rollout, ends the hold.
func TestAHookTakenOutLetsAllGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.hooked(2, spec.HookPosition)
	b.say(spec.MemberStopped, 0, 1)
	b.holds("hold 0", "hold 1")
	b.mustSet(2, "a", nil)
	b.expect("let go [0 1], first 0")
}
