package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func withHooks(names ...string) func(*spec.StatefulSetSpec) {
	return func(s *spec.StatefulSetSpec) {
		s.Processes[0].Hooks = spec.Hooks{}
		for _, n := range names {
			s.Processes[0].Hooks[n] = spec.Hook{Command: []string{"/" + n}}
		}
	}
}

// hooked brings web up with hooks.
func (b *bench) hooked(replicas int, names ...string) {
	b.t.Helper()
	b.mustSet(replicas, "a", withHooks(names...))
	for o := range replicas {
		b.settle()
		b.say(spec.MemberRunning, o)
	}
	b.settle()
}

// hookBench is a cluster of three nodes with a set that has these hooks, and runs.
func hookBench(t *testing.T, replicas int, names ...string) *bench {
	t.Helper()
	b := newBench(t, "n1", "n2", "n3")
	b.hooked(replicas, names...)
	return b
}

func (b *bench) member(o int) *state.Member { return b.v.Member("default", "web", o) }

// answer reports how the hook went that a member was asked for, beside what was seen.
func (b *bench) answer(o int, result string) {
	b.t.Helper()
	m := b.member(o)
	if m.Asked == nil {
		b.t.Fatalf("web-%d was asked for nothing", o)
	}
	seen := m.Seen
	seen.Hooks = []spec.HookStatus{{Name: m.Asked.Hook, Process: "main", State: result, Run: m.Asked.Run, Attempts: 1, Message: "told to", At: b.now}}
	b.seq[m.Node]++
	b.do(&state.Report{Node: m.Node, Run: "r", Seq: b.seq[m.Node], Members: []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: o, Seen: seen}}})
}

func (b *bench) scale(n int, accept ...string) {
	b.t.Helper()
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: n, AcceptUnhealthy: accept})
}

func TestARemovalWaitsForOnLeave(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookOnLeave)
	b.scale(1)
	b.expect("onLeave 2")
	if got := b.waits(); got != "web-2 OnLeaveRunning" {
		t.Errorf("waits %q", got)
	}
	// Apply holds it, whatever a planner thinks.
	m := b.member(2)
	err := b.apply(&state.StopMember{Namespace: "default", Set: "web", Ordinal: 2, Gone: true, Why: "ScaleDown", IfEpoch: m.Epoch, IfGeneration: m.Generation})
	if err == nil || err.Reason != "OnLeave" {
		t.Errorf("the removal: %v", err)
	}
	b.answer(2, spec.HookSucceeded)
	// By now it may be unwell: it has left.
	b.tell(spec.MemberFailed, false, 2)
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	b.expect("drop 2", "onLeave 1")
	b.answer(1, spec.HookSucceeded)
	b.expect("stop 1 ScaleDown")
	b.say(spec.MemberStopped, 1)
	b.expect("drop 1")
	b.rests()
}

func TestOnLeaveThatFailsHoldsTheRemoval(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookOnLeave)
	b.scale(2)
	b.expect("onLeave 2")
	b.answer(2, spec.HookFailed)
	asked := 0
	for range 600 {
		b.now = b.now.Add(time.Second)
		for _, c := range b.settle() {
			if c != "onLeave 2" {
				t.Fatalf("the plan did %s", c)
			}
			asked++
			b.answer(2, spec.HookFailed)
		}
	}
	if asked < 10 || asked > 20 {
		t.Errorf("asked %d times in ten minutes, want pauses that grow to a minute", asked)
	}
	if p := b.plan(); len(p.Waits) == 0 || p.Waits[0].Reason != "OnLeaveFailed" || !strings.Contains(p.Waits[0].Message, "told to") {
		t.Errorf("waits %+v", p.Waits)
	}
	// Its name passes the hook by.
	b.scale(2, "web-2")
	b.expect("stop 2 ScaleDown")
}

// A hook may end its own program before it can say that it has succeeded: it is asked again, for all that
// the leaver is not healthy any more. Another one's health still counts.
func TestALeaverThatItsHookEndedLeaves(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookOnLeave)
	b.scale(2)
	b.expect("onLeave 2")
	b.answer(2, spec.HookFailed)
	b.say(spec.MemberFailed, 2)
	b.say(spec.MemberFailed, 0)
	b.now = b.now.Add(time.Minute)
	b.expect()
	b.say(spec.MemberRunning, 0)
	b.expect("onLeave 2")
	b.answer(2, spec.HookSucceeded)
	b.expect("stop 2 ScaleDown")
}

func TestALostLeaverIsNamed(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookOnLeave, spec.HookAfterLeave)
	b.scale(2)
	b.expect("onLeave 2")
	node := b.member(2).Node
	b.lose(node)
	b.expect()
	if got := b.waits(); !strings.Contains(got, "web-2 ScaleDownBlocked") {
		t.Errorf("waits %q", got)
	}
	b.scale(2, "web-2")
	b.expect("stop 2 ScaleDown")
	b.do(&state.ForgetNode{Name: node, ID: b.v.Node(node).ID})
	b.expect("drop 2", "afterLeave 0")
	b.answer(0, spec.HookSucceeded)
	b.expect()
	b.rests()
}

// TestWhoHasLeftGoes: wanted again in between, it still goes, and comes back to join anew.
func TestWhoHasLeftGoes(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookOnLeave)
	b.scale(2)
	b.expect("onLeave 2")
	b.scale(3)
	b.expect() // asked, and not to be taken back
	if got := b.waits(); got != "" {
		t.Errorf("waits %q", got)
	}
	b.answer(2, spec.HookSucceeded)
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	did := b.settle()
	if len(did) != 3 || did[0] != "drop 2" || !strings.HasPrefix(did[1], "reserve 2@") || did[2] != "start 2" {
		t.Errorf("the plan did %q", did)
	}
	if m := b.member(2); !m.Joining || m.VolumesState != "returned" || m.Left() {
		t.Errorf("it comes back as %+v", m)
	}
}

// TestAFailedLeaveIsTakenBack: a member that is wanted again before it could leave stays.
func TestAFailedLeaveIsTakenBack(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookOnLeave)
	b.scale(2)
	b.expect("onLeave 2")
	b.answer(2, spec.HookFailed)
	b.scale(3)
	b.now = b.now.Add(time.Hour)
	b.expect()
	b.rests()
}

func TestAfterLeave(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookAfterLeave)
	b.scale(1)
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	b.expect("drop 2", "afterLeave 0")
	if got := b.waits(); !strings.Contains(got, "web-2 AfterLeaveRunning") || !strings.Contains(got, "web-1 AfterLeaveWaits") {
		t.Errorf("waits %q", got)
	}
	// Who was asked is started anew: whether it has run is not known, so it is asked again.
	b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 0})
	b.say(spec.MemberStopped, 0)
	if got := b.settle(); !slices.Equal(got, []string{"afterLeave 1", "start 0"}) && !slices.Equal(got, []string{"start 0", "afterLeave 1"}) {
		t.Errorf("the plan did %q", got)
	}
	b.say(spec.MemberRunning, 0)
	b.expect()
	b.answer(1, spec.HookFailed)
	b.expect("afterLeave 0") // the lowest healthy one, now that nobody is at it
	b.answer(0, spec.HookFailed)
	b.expect()
	b.now = b.now.Add(2 * time.Minute)
	b.expect("afterLeave 0")
	// The ordinal that is wanted again waits too.
	b.scale(3)
	did := b.settle()
	if len(did) != 1 || !strings.HasPrefix(did[0], "reserve 2@") || !strings.Contains(b.waits(), "web-2 AfterLeaveWaits") {
		t.Errorf("the plan did %q and waits %q", did, b.waits())
	}
	b.answer(0, spec.HookSucceeded)
	b.expect("start 2")
}

// TestAHookTakenOutHoldsNobody: a definition without afterLeave lets the removals go on.
func TestAHookTakenOutHoldsNobody(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3, spec.HookAfterLeave)
	b.scale(1)
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	b.expect("drop 2", "afterLeave 0")
	b.answer(0, spec.HookFailed)
	b.mustSet(1, "a", nil)
	b.expect("stop 1 ScaleDown")
	b.say(spec.MemberStopped, 1)
	b.expect("drop 1")
}

// TestTheLastOneLeavesNobodyWork: with nobody left there is nothing to do after a removal.
func TestTheLastOneLeavesNobodyWork(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.hooked(2, spec.HookAfterLeave)
	b.scale(0)
	b.expect("stop 1 ScaleDown")
	b.say(spec.MemberStopped, 1)
	b.expect("drop 1", "afterLeave 0")
	b.answer(0, spec.HookSucceeded)
	b.expect("stop 0 ScaleDown")
	b.say(spec.MemberStopped, 0)
	b.expect("drop 0")
	if s := b.v.Set("default", "web"); len(s.Gone) != 0 {
		t.Errorf("the log has %+v", s.Gone)
	}
}

// TestAcceptedLostRemainNobody: an afterLeave that only sick members could run holds nothing.
func TestAcceptedLostRemainNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.hooked(2, spec.HookAfterLeave)
	b.tell(spec.MemberFailed, false, 0)
	b.scale(0, "web-0")
	b.expect("stop 1 ScaleDown")
	b.say(spec.MemberStopped, 1)
	b.expect("drop 1", "stop 0 ScaleDown")
}

func TestOnFormed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	if err := b.set(3, "a", func(s *spec.StatefulSetSpec) {
		withHooks(spec.HookOnFormed)(s)
		s.PodManagementPolicy = spec.Parallel
	}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	started := func(o int) { // its readiness needs the hook
		m := b.member(o)
		b.seq[m.Node]++
		b.do(&state.Report{Node: m.Node, Run: "r", Seq: b.seq[m.Node], Members: []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: o, Seen: state.Observation{
			Epoch: m.Epoch, Phase: spec.MemberRunning, Started: true, StartedAt: b.now, StartedOK: b.now,
		}}}})
	}
	started(0)
	started(1)
	b.now = b.now.Add(2 * time.Second)
	b.expect()
	started(2)
	b.expect()
	b.now = b.now.Add(2 * time.Second)
	b.expect("onFormed 0")
	if got := b.waits(); !strings.Contains(got, "web OnFormedRunning") {
		t.Errorf("waits %q", got)
	}
	b.answer(0, spec.HookFailed)
	b.expect()
	b.now = b.now.Add(2 * time.Second)
	b.expect("onFormed 0")
	s := b.v.Set("default", "web")
	if err := b.apply(&state.MarkFormed{Namespace: "default", Name: "web", IfGeneration: s.Meta.Generation}); err == nil || err.Reason != "OnFormed" {
		t.Errorf("formed before the hook: %v", err)
	}
	b.answer(0, spec.HookSucceeded)
	b.expect()
	b.say(spec.MemberRunning, 0, 1, 2)
	b.expect("MarkFormed")
	// Once and for all.
	b.do(&state.Restart{Namespace: "default", Set: "web", Ordinals: []int{0}})
	b.restarts(0, "Restart")
	b.expect()
}

// TestScaledToZeroAndBack: the last one leaves nobody, and joins nobody when it comes back.
func TestScaledToZeroAndBack(t *testing.T) {
	t.Parallel()
	for _, hooks := range [][]string{{spec.HookOnLeave, spec.HookOnJoin}, {spec.HookOnLeave, spec.HookOnJoin, spec.HookPosition}} {
		b := newBench(t, "n1", "n2")
		b.hooked(2, hooks...)
		b.scale(0)
		b.expect("onLeave 1")
		b.answer(1, spec.HookSucceeded)
		b.expect("stop 1 ScaleDown")
		b.say(spec.MemberStopped, 1)
		b.expect("drop 1", "stop 0 ScaleDown")
		b.say(spec.MemberStopped, 0)
		b.expect("drop 0")
		b.scale(2)
		b.settle()
		if m := b.member(0); !m.Bootstrap || m.Epoch == 0 {
			t.Errorf("the first comes back as %+v", m)
		}
		b.say(spec.MemberRunning, 0)
		b.settle()
		if m := b.member(1); m.Bootstrap || !m.Joining {
			t.Errorf("the second comes back as %+v", m)
		}
	}
}

// TestANewDirectoryIsNotANewSet: all are down, and the lowest has lost its data: it goes last.
func TestANewDirectoryIsNotANewSet(t *testing.T) {
	t.Parallel()
	b := hookBench(t, 3)
	b.lose("n1")
	b.do(&state.AbandonVolume{Namespace: "default", Name: "data-web-0"})
	b.say(spec.MemberStopped, 1, 2)
	b.settle()
	for o, want := range []bool{false, true, false} {
		if m := b.member(o); m.Bootstrap != want || m.Joining != (o == 0) {
			t.Errorf("web-%d: bootstrap %v, joining %v", o, m.Bootstrap, m.Joining)
		}
	}
}
