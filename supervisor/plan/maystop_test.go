package plan_test

import (
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// asking is a set whose members are asked before they are stopped.
func asking(s *spec.StatefulSetSpec) {
	s.Processes[0].MayStop = &spec.Probe{Exec: []string{"may-stop"}}
}

// polite brings up a set of n1's, of members that are asked; none has answered yet.
func polite(t *testing.T, replicas int) *bench {
	t.Helper()
	return crowd(t, replicas, asking)
}

// answers reports members as running, with what they say.
func (b *bench) answers(answer string, ordinals ...int) {
	b.t.Helper()
	b.observe(func(s *state.Observation) {
		since := b.now
		s.MayStop = &spec.Consent{Answer: answer, Since: &since, Message: "rebalancing"}
	}, ordinals...)
}

// observe reports members as well, but for what change says.
func (b *bench) observe(change func(*state.Observation), ordinals ...int) {
	b.t.Helper()
	for _, o := range ordinals {
		m := b.v.Member("default", "web", o)
		seen := state.Observation{Epoch: m.Epoch, Phase: spec.MemberRunning, Started: true, Ready: true, Steady: true, Role: m.Seen.Role, MayStop: m.Seen.MayStop}
		change(&seen)
		b.seq[m.Node]++
		b.do(&state.Report{Node: m.Node, Run: "r", Seq: b.seq[m.Node], Members: []state.MemberReport{
			{Namespace: "default", Set: "web", Ordinal: o, Seen: seen},
		}})
	}
}

// Unknown is no, no is no; only yes lets a rollout go on, member by member.
func TestRolloutAsksEachMember(t *testing.T) {
	t.Parallel()
	b := polite(t, 2)
	b.mustSet(2, "b", asking)
	b.expect()
	if w := b.plan().Waits; len(w) != 1 || w[0].Reason != "MayStop" || w[0].Subject != "web-1" || !strings.Contains(w[0].Message, "not been asked yet") {
		t.Errorf("before any answer: %+v", w)
	}
	b.answers(spec.No, 1)
	b.answers(spec.Yes, 0)
	b.expect()
	if w := b.plan().Waits; len(w) != 1 || !strings.Contains(w[0].Message, "it says no since 03:04:05: rebalancing") {
		t.Errorf("after a no: %+v", w)
	}
	b.answers(spec.Yes, 1)
	b.restarts(1, "Rollout")
	b.expect("stop 0 Rollout")
}

// The leader has the member asked anew: neither a no nor silence is enough.
func TestAYesMustBeFresh(t *testing.T) {
	t.Parallel()
	b := polite(t, 1)
	b.answers(spec.Yes, 0)
	b.do(&state.Restart{Namespace: "default", Set: "web"})
	word := plan.NotAsked
	asked := func() plan.Plan {
		return plan.Make(b.v, b.now, plan.Facts{MayStop: func(*state.Member) plan.Word { return word }})
	}
	m := b.v.Member("default", "web", 0)
	want := plan.Ask{Namespace: "default", Set: "web", Ordinal: 0, Node: "n1", Epoch: m.Epoch}
	if p := asked(); len(p.Commands) > 0 || len(p.Asks) != 1 || p.Asks[0] != want {
		t.Errorf("not asked: %+v", p)
	}
	word = plan.SaidNo
	if p := asked(); len(p.Commands) > 0 || len(p.Asks) > 0 || len(p.Waits) != 1 || p.Waits[0].Reason != "MayStop" {
		t.Errorf("said no: %+v", p)
	}
	mute := "node n1 is silent since 15:04:05"
	p := plan.Make(b.v, b.now, plan.Facts{MayStop: func(*state.Member) plan.Word { return word }, Mute: func(*state.Member) string { return mute }})
	if len(p.Waits) != 1 || p.Waits[0].Reason != "MayStop" || !strings.Contains(p.Waits[0].Message, "mayStop is unknown: "+mute) {
		t.Errorf("not reached: %+v", p.Waits)
	}
	word = plan.SaidYes
	p = asked()
	if len(p.Commands) != 1 {
		t.Fatalf("said yes: %+v", p)
	}
	stop := p.Commands[0]
	if c, ok := stop.(*state.StopMember); !ok || !c.IfMayStop {
		t.Errorf("said yes: %+v", stop)
	}
	b.answers(spec.No, 0) // it comes first in the log
	if err := b.apply(stop); err == nil || !strings.Contains(err.Message, "may be stopped") {
		t.Errorf("a stop after a no: %v", err)
	}
	b.do(&state.SetFrozen{Frozen: true})
	b.answers(spec.Yes, 0)
	word = plan.NotAsked
	if p := asked(); len(p.Asks) > 0 {
		t.Errorf("asked for nothing while frozen: %+v", p.Asks)
	}
}

func TestDrainAndScaleDownAsk(t *testing.T) {
	t.Parallel()
	b := polite(t, 3)
	b.answers(spec.Yes, 0, 1)
	b.answers(spec.No, 2)
	b.do(&state.DrainNode{Name: "n1"})
	// web-2 keeps its place and nobody else from going.
	if got := b.waits(); got != "web-2 MayStop, web-0 DrainBudget" {
		t.Errorf("waits: %q", got)
	}
	b.expect("stop 1 Drain")
	b.do(&state.CordonNode{Name: "n1"})
	b.say(spec.MemberStopped, 1)
	b.expect("start 1")
	b.say(spec.MemberRunning, 1)
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2})
	b.expect()
	if got := b.waits(); got != "web-2 MayStop" {
		t.Errorf("waits: %q", got)
	}
	// The narrow way past it names the member.
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2, AcceptUnhealthy: []string{"web-2"}})
	b.expect("stop 2 ScaleDown")
}

// Who was accepted as lost, and stayed, is asked as the others are.
func TestAcceptedOnceIsAskedLater(t *testing.T) {
	t.Parallel()
	b := polite(t, 3)
	b.answers(spec.Yes, 0, 2)
	b.answers(spec.No, 1)
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2, AcceptUnhealthy: []string{"web-1", "web-2"}})
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	b.expect("drop 2")
	b.do(&state.Restart{Namespace: "default", Set: "web", Ordinals: []int{1}})
	b.expect()
	if got := b.waits(); got != "web-1 MayStop" {
		t.Errorf("waits: %q", got)
	}
}

// A no never strands: who is asked to go by name goes, the sick are not protected, and
// neither is anybody once the definition does not ask any more.
func TestAStuckNoIsPassed(t *testing.T) {
	t.Parallel()
	b := polite(t, 3)
	b.answers(spec.No, 0, 1, 2)
	b.mustSet(3, "b", asking)
	b.expect()
	b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 2})
	b.say(spec.MemberStopped, 2)
	b.expect("start 2")
	b.say(spec.MemberRunning, 2)
	b.expect()
	b.observe(func(s *state.Observation) { s.Ready, s.Steady = false, false }, 1)
	b.now = b.now.Add(11 * time.Second)
	b.restarts(1, "Rollout")
	b.expect()
	if got := b.waits(); got != "web-0 MayStop" {
		t.Errorf("waits: %q", got)
	}
	b.mustSet(3, "b", nil)
	b.expect("stop 0 Rollout")
}

// Without hands: a revision that never was available is left, whatever its probe says.
func TestABrokenRevisionIsLeftUnasked(t *testing.T) {
	t.Parallel()
	b := polite(t, 2)
	b.answers(spec.Yes, 0, 1)
	b.mustSet(2, "bad", asking)
	b.expect("stop 1 Rollout")
	b.say(spec.MemberStopped, 1)
	b.expect("start 1")
	b.observe(func(s *state.Observation) {
		s.Ready, s.Steady, s.MayStop = false, false, &spec.Consent{Answer: spec.No}
	}, 1)
	b.expect()
	b.mustSet(2, "good", asking)
	b.expect("stop 1 Rollout")
}

// With Recreate one no keeps all serving.
func TestRecreateWaitsForAll(t *testing.T) {
	t.Parallel()
	recreate := func(s *spec.StatefulSetSpec) {
		asking(s)
		s.UpdateStrategy.Type = spec.Recreate
	}
	b := crowd(t, 3, recreate)
	b.answers(spec.Yes, 0, 2)
	b.answers(spec.No, 1)
	b.mustSet(3, "b", recreate)
	b.expect()
	if got := b.waits(); got != "web-1 MayStop" {
		t.Errorf("waits: %q", got)
	}
	b.answers(spec.Yes, 1)
	b.expect("stop 2 Rollout", "stop 1 Rollout", "stop 0 Rollout")
}

// Deleting a set, and stopping the cluster, ask nobody.
func TestWhoIsNotAsked(t *testing.T) {
	t.Parallel()
	b := polite(t, 2)
	b.do(&state.SetStopping{Stopping: true})
	b.expect("stop 1 Shutdown")
	b.say(spec.MemberStopped, 1)
	b.do(&state.SetStopping{})
	b.expect("start 1")
	b.say(spec.MemberRunning, 1)
	b.do(&state.DeleteSet{Namespace: "default", Name: "web"})
	b.expect("stop 1 SetDeleted")
}

func leaderLast(s *spec.StatefulSetSpec) {
	s.Processes[0].Role = &spec.Probe{Exec: []string{"role"}}
	s.UpdateStrategy.RollingUpdate = &spec.RollingUpdateOptions{RoleLast: "leader"}
}

func (b *bench) role(role string, ordinals ...int) {
	b.t.Helper()
	b.observe(func(s *state.Observation) { s.Role = role }, ordinals...)
}

func TestLeaderLast(t *testing.T) {
	t.Parallel()
	b := crowd(t, 3, leaderLast)
	b.role("leader", 2)
	b.role("follower", 0, 1)
	b.mustSet(3, "b", leaderLast)
	step := func(o int) {
		t.Helper()
		b.say(spec.MemberStopped, o)
		b.settle()
		b.say(spec.MemberRunning, o)
		b.role("follower", o)
	}
	b.expect("stop 1 Rollout")
	if got := b.waits(); !strings.Contains(got, "web-0 Budget") {
		t.Errorf("waits: %q", got)
	}
	step(1)
	b.expect("stop 0 Rollout")
	// Meanwhile the role has moved to one that is done, and back.
	b.role("follower", 2)
	b.role("leader", 1)
	b.role("leader", 2)
	step(0)
	b.expect("stop 2 Rollout")
	step(2)
	b.expect("SetCurrent")
}

// The leader waits for who can go before it, and for nobody else.
func TestLeaderWaitsForWhoCanGo(t *testing.T) {
	t.Parallel()
	wide := func(s *spec.StatefulSetSpec) {
		leaderLast(s)
		s.UpdateStrategy.RollingUpdate.MaxUnavailable = "3"
	}
	b := newBench(t, "n1", "n2", "n3")
	b.mustSet(3, "a", wide)
	for o := range 3 {
		b.settle()
		b.say(spec.MemberRunning, o)
	}
	b.settle()
	b.role("leader", 2)
	b.mustSet(3, "b", wide)
	n := b.v.Node("n1")
	b.do(&state.SetNode{Name: "n1", State: spec.NodeSuspect, IfGeneration: n.Generation})
	p := b.plan()
	if len(p.Commands) != 1 || line(p.Commands[0]) != "stop 1 Rollout" {
		t.Errorf("first: %+v", p.Commands)
	}
	waits := ""
	for _, w := range p.Waits {
		waits += w.Subject + " " + w.Reason + " (" + w.Message + ") "
	}
	if !strings.Contains(waits, "web-2 RoleLast (is restarted after all others, for it is the leader (next is web-1))") {
		t.Errorf("waits: %s", waits)
	}
	b.expect("stop 1 Rollout", "stop 2 Rollout") // web-0's node is away
}

// Leaving is the beginning of a removal: a member is asked before it, and not again once it has left.
func TestAMemberIsAskedBeforeItLeaves(t *testing.T) {
	t.Parallel()
	b := crowd(t, 2, func(s *spec.StatefulSetSpec) {
		asking(s)
		withHooks(spec.HookOnLeave)(s)
	})
	b.answers(spec.Yes, 0)
	b.answers(spec.No, 1)
	b.scale(1)
	b.expect()
	if got := b.waits(); got != "web-1 MayStop" {
		t.Errorf("waits: %q", got)
	}
	b.answers(spec.Yes, 1)
	b.expect("onLeave 1")
	b.answers(spec.No, 1)
	if got := b.waits(); got != "web-1 OnLeaveRunning" {
		t.Errorf("waits while it leaves: %q", got)
	}
	b.answer(1, spec.HookFailed)
	b.now = b.now.Add(time.Minute)
	b.expect()
	if got := b.waits(); got != "web-1 MayStop" {
		t.Errorf("waits when it has not left: %q", got)
	}
	b.answers(spec.Yes, 1)
	b.expect("onLeave 1")
	b.answers(spec.No, 1) // it has no peers any more
	b.answer(1, spec.HookSucceeded)
	b.expect("stop 1 ScaleDown")
}

// Whose node is away can't be asked: what waits for the node says so.
func TestAwayNodesMembersAreNotAsked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*bench)
		asked  bool
	}{
		{"a rollout", func(b *bench) { _ = b.set(1, "b", asking) }, true},
		{"a restart", func(b *bench) { b.do(&state.Restart{Namespace: "default", Set: "web"}) }, true},
		{"a drain", func(b *bench) { b.do(&state.DrainNode{Name: "n1"}) }, true},
		{"all at once", func(b *bench) {
			_ = b.set(1, "b", func(s *spec.StatefulSetSpec) { asking(s); s.UpdateStrategy.Type = spec.Recreate })
		}, true},
		{"who is not asked", func(b *bench) { _ = b.set(1, "b", nil) }, false},
	} {
		b := polite(t, 1)
		b.answers(spec.Yes, 0)
		b.do(&state.SetNode{Name: "n1", State: spec.NodeSuspect, Reason: "silent", IfGeneration: b.v.Node("n1").Generation})
		c.change(b)
		b.expect()
		says := ""
		for _, w := range b.plan().Waits {
			says += w.Message + "\n"
		}
		if want := "answers again; mayStop is unknown: node n1 is silent since 03:04:05"; strings.Contains(says, want) != c.asked {
			t.Errorf("%s waits with\n%swant %q: %v", c.name, says, want, c.asked)
		}
	}
}
