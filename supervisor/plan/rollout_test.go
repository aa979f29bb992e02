package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// live plays the agents: who is to stop has stopped, who is started runs, and well
// unless its program is called bad. It goes on until nothing changes any more, and
// returns the stops in order.
func (b *bench) live() (stops []int) {
	b.t.Helper()
	for range 200 {
		for _, line := range b.settle() {
			var o int
			var why string
			if n, _ := fmt.Sscanf(line, "stop %d %s", &o, &why); n == 2 {
				stops = append(stops, o)
			}
		}
		moved := false
		for _, m := range b.v.SetMembers("default", "web") {
			switch {
			case m.Stopping() && !m.Down():
				b.say(spec.MemberStopped, m.Ordinal)
			case m.Wish == state.WishRun && m.Seen.Epoch != m.Epoch && b.program(m) == "bad":
				b.say(spec.MemberFailed, m.Ordinal)
			case m.Wish == state.WishRun && m.Seen.Epoch != m.Epoch:
				b.say(spec.MemberRunning, m.Ordinal)
			default:
				continue
			}
			moved = true
			break // one at a time, and the planner sees each
		}
		if !moved {
			return stops
		}
	}
	b.t.Fatal("it never comes to rest")
	return nil
}

// program is what a member runs.
func (b *bench) program(m *state.Member) string {
	return b.v.Revision("default", "web", m.Revision).Template.Processes[0].Command[0]
}

// all tells what every member runs, and that all are well.
func (b *bench) all(program string) {
	b.t.Helper()
	members := b.v.SetMembers("default", "web")
	if len(members) != 3 {
		b.t.Fatalf("%d members, want 3", len(members))
	}
	for _, m := range members {
		if ok, _, why := b.v.Healthy(m); !ok || b.program(m) != program {
			b.t.Errorf("%s runs %s, healthy %v (%s), want %s; waits: %s", m.Name(), b.program(m), ok, why, program, b.waits())
		}
	}
}

// every calls f for each policy and strategy.
func every(t *testing.T, f func(t *testing.T, b *bench, put func(program string))) {
	t.Helper()
	for _, policy := range []string{spec.OrderedReady, spec.OrderedStarted, spec.Parallel} {
		for _, strategy := range []spec.UpdateStrategy{
			{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{MaxUnavailable: "1"}},
			{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{MaxUnavailable: "2"}},
			{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{MaxUnavailable: "20%"}},
			{Type: spec.OnDelete},
			{Type: spec.Recreate},
		} {
			name := policy + "/" + strategy.Type
			if r := strategy.RollingUpdate; r != nil {
				name += "/" + string(r.MaxUnavailable)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "n1", "n2", "n3")
				f(t, b, func(program string) {
					t.Helper()
					err := b.set(3, program, func(s *spec.StatefulSetSpec) {
						s.PodManagementPolicy, s.UpdateStrategy, s.AutoRollback = policy, strategy, b.rollBack
					})
					if err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	}
}

// onDelete deletes members, as people do with that strategy, so that they follow.
func (b *bench) onDelete(ordinals ...int) {
	b.t.Helper()
	if b.v.Set("default", "web").Spec.UpdateStrategy.Type != spec.OnDelete {
		return
	}
	for _, o := range ordinals {
		b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: o})
		b.live()
	}
}

// K2: a broken first revision is left by a good one.
func TestBrokenFirstRevisionIsLeftInEveryPolicy(t *testing.T) {
	t.Parallel()
	every(t, func(_ *testing.T, b *bench, put func(string)) {
		put("bad")
		b.live()
		put("good")
		b.live()
		b.all("good")
	})
}

// K1: a broken rollout goes forward with no hand on it.
func TestBrokenRolloutGoesForwardInEveryPolicy(t *testing.T) {
	t.Parallel()
	every(t, func(_ *testing.T, b *bench, put func(string)) {
		put("a")
		b.live()
		put("bad")
		b.live()
		b.onDelete(2)
		put("good")
		b.live()
		b.onDelete(0, 1)
		b.all("good")
	})
}

// A broken rollout is undone with no hand on it; it takes the name that it had, and
// restarts who was touched, and nobody else (S10).
func TestBrokenRolloutIsUndoneInEveryPolicy(t *testing.T) {
	t.Parallel()
	every(t, func(t *testing.T, b *bench, put func(string)) {
		put("a")
		b.live()
		first := b.v.Set("default", "web").Revision
		put("bad")
		b.live()
		b.onDelete(2)
		var touched []int
		for _, m := range b.v.SetMembers("default", "web") {
			if m.Revision != first {
				touched = append(touched, m.Ordinal)
			}
		}
		if len(touched) == 0 {
			t.Fatal("nobody was touched")
		}
		b.do(&state.UndoRollout{Namespace: "default", Name: "web", Revision: b.v.Previous(b.v.Set("default", "web")).Hash})
		stops := b.live()
		slices.Sort(stops)
		if !slices.Equal(stops, touched) {
			t.Errorf("undoing what had touched %v stops %v", touched, stops)
		}
		b.all("a")
		set := b.v.Set("default", "web")
		if set.Revision != first || set.Spec.Processes[0].Command[0] != "a" {
			t.Errorf("revision %s runs %v, want %s again", set.Revision, set.Spec.Processes[0].Command, first)
		}
	})
}

// A rollout that stalls goes back by itself where the definition asks for it.
func TestAutoRollbackInEveryPolicy(t *testing.T) {
	t.Parallel()
	every(t, func(t *testing.T, b *bench, put func(string)) {
		b.rollBack = true
		put("a")
		b.live()
		put("bad")
		b.live()
		b.onDelete(2)
		p := b.plan()
		if b.v.Set("default", "web").Rollback != nil || p.Next.IsZero() {
			t.Fatalf("it went back at once, or looks never again (%v)", p.Next)
		}
		b.now = p.Next.Add(-time.Second)
		b.live()
		if b.v.Set("default", "web").Rollback != nil {
			t.Fatal("it went back before its time")
		}
		b.now = b.now.Add(time.Second)
		b.live()
		b.all("a")
		set := b.v.Set("default", "web")
		if set.Rollback == nil || !set.Rollback.Auto || !strings.Contains(set.Rollback.Why, "no progress for 10m0s (web-") {
			t.Errorf("rollback: %+v", set.Rollback)
		}
		b.now = b.now.Add(time.Hour)
		if did := b.live(); len(did) > 0 || b.v.Set("default", "web").Rollback == nil {
			t.Errorf("it goes on: %v", did)
		}
	})
}

// A program that seems ready for a moment after each start has not been rolled out, though all
// run it at once: the set knows what to go back to.
func TestMomentsOfReadinessAreNoRollout(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	shape := func(s *spec.StatefulSetSpec) {
		s.AutoRollback, s.UpdateStrategy = true, spec.UpdateStrategy{Type: spec.Recreate}
	}
	if err := b.set(3, "a", shape); err != nil {
		t.Fatal(err)
	}
	b.live()
	if err := b.set(3, "b", shape); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.say(spec.MemberStopped, 0, 1, 2)
	b.settle()
	b.tell(spec.MemberRunning, false, 0, 1, 2)
	b.settle()
	if s := b.v.Set("default", "web"); s.Current == s.Revision {
		t.Fatal("a revision that nobody has run steadily counts as rolled out")
	}
	b.say(spec.MemberFailed, 0, 1, 2)
	b.settle()
	b.now = b.now.Add(time.Hour)
	b.live()
	b.all("a")
}

// What a new revision can't help is no reason to go back: an old member's illness.
func TestNoRollbackForWhatTheRevisionIsNotToBlame(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	auto := func(s *spec.StatefulSetSpec) { s.AutoRollback = true }
	b.mustSet(3, "a", auto)
	b.live()
	b.now = b.now.Add(time.Hour)
	n := b.v.Node(b.v.Member("default", "web", 0).Node)
	b.do(&state.SetNode{Name: n.Name, State: spec.NodeSuspect, IfGeneration: n.Generation})
	b.mustSet(3, "b", auto)
	b.live()
	b.now = b.now.Add(time.Hour)
	b.live()
	set := b.v.Set("default", "web")
	if at, _ := b.v.Stalls(set, b.now); set.Rollback != nil || !b.now.After(at) {
		t.Errorf("rollback %+v, stalls at %v, it is %v", set.Rollback, at, b.now)
	}
	if got := b.waits(); !strings.Contains(got, "Budget") && !strings.Contains(got, "NodeLost") {
		t.Errorf("waits: %s", got)
	}
}

// A leader that was just elected, or an unfrozen cluster, gives a rollout its whole time.
func TestNoRollbackForTimeWithoutALeader(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	for _, program := range []string{"a", "bad"} {
		b.mustSet(3, program, func(s *spec.StatefulSetSpec) { s.AutoRollback = true })
		b.live()
	}
	b.now = b.now.Add(time.Hour)
	b.since = b.now
	b.live()
	if b.v.Set("default", "web").Rollback != nil {
		t.Error("the leader judges a time in which nobody led")
	}
	b.now = b.now.Add(10 * time.Minute)
	b.live()
	b.all("a")
}

// Nothing is rolled while it is paused, and repair goes on, on the revision that was.
func TestPaused(t *testing.T) {
	t.Parallel()
	every(t, func(t *testing.T, b *bench, put func(string)) {
		put("a")
		b.live()
		put("b")
		b.do(&state.PauseRollout{Namespace: "default", Name: "web", Paused: true})
		b.do(&state.Restart{Namespace: "default", Set: "web", Ordinals: []int{0}})
		if stops := b.live(); len(stops) > 0 {
			t.Errorf("stops while paused: %v", stops)
		}
		if got := b.waits(); got != "web Paused" {
			t.Errorf("waits: %q", got)
		}
		b.now = b.now.Add(time.Hour)
		if _, ever := b.v.Stalls(b.v.Set("default", "web"), b.now); ever {
			t.Error("it stalls while paused")
		}
		b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 1})
		b.live()
		b.all("a")
		b.do(&state.PauseRollout{Namespace: "default", Name: "web"})
		if at, _ := b.v.Stalls(b.v.Set("default", "web"), b.now); at.Sub(b.now) != 10*time.Minute {
			t.Errorf("it stalls at %v, it is %v", at, b.now)
		}
		b.live()
		b.onDelete(0, 1, 2)
		b.all("b")
	})
}

// A new ordinal of a paused set starts with what all others had.
func TestPausedSetGrowsWithTheCurrentRevision(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(2)
	b.mustSet(2, "bad", nil)
	b.do(&state.PauseRollout{Namespace: "default", Name: "web", Paused: true})
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 3})
	b.live()
	b.all("a")
}

// A stop that was planned before the pause is not carried out after it.
func TestNoStopOfBeforeThePause(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.mustSet(3, "b", nil)
	old := b.plan().Commands
	b.do(&state.PauseRollout{Namespace: "default", Name: "web", Paused: true})
	for _, c := range old {
		if err := b.apply(c); err == nil {
			t.Errorf("%s was accepted", line(c))
		}
	}
}

// A batch is as large as the budget allows: all of it stops at once and starts together.
func TestBatchesInParallel(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	two := func(s *spec.StatefulSetSpec) {
		s.UpdateStrategy = spec.UpdateStrategy{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{MaxUnavailable: "50%"}}
	}
	b.running(4)
	b.mustSet(4, "b", two)
	b.expect("stop 3 Rollout", "stop 2 Rollout")
	b.say(spec.MemberStopped, 3, 2)
	b.expect("start 2", "start 3")
	b.say(spec.MemberRunning, 2)
	b.expect("stop 1 Rollout")
	b.say(spec.MemberRunning, 3)
	b.expect("stop 0 Rollout")
	b.say(spec.MemberStopped, 1, 0)
	b.expect("start 0", "start 1")
	b.say(spec.MemberRunning, 1, 0)
	b.expect("SetCurrent")
}

// K5: whoever is unavailable counts in the budget, whatever made it so.
func TestBudgetCountsTheBroken(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.say(spec.MemberFailed, 0)
	b.mustSet(3, "b", nil)
	b.expect() // web-0 is broken since a moment: nobody else is taken down
	if got := b.waits(); !strings.Contains(got, "web-2 Budget") {
		t.Errorf("waits: %s", got)
	}
	b.now = b.now.Add(10 * time.Second)
	b.expect("stop 0 Rollout") // and then it goes first
}

// K6: 20% of 3 is one member, not none.
func TestPercentIsRoundedUpToOne(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	if err := b.set(3, "b", func(s *spec.StatefulSetSpec) {
		s.UpdateStrategy = spec.UpdateStrategy{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{MaxUnavailable: "20%"}}
	}); err != nil {
		t.Fatal(err)
	}
	b.expect("stop 2 Rollout")
}

// With OnDelete nobody who was well is touched, however sick it has become.
func TestOnDeleteLeavesTheOnceWell(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	onDelete := func(s *spec.StatefulSetSpec) { s.UpdateStrategy = spec.UpdateStrategy{Type: spec.OnDelete} }
	b.mustSet(3, "a", onDelete)
	b.live()
	b.say(spec.MemberFailed, 1)
	b.mustSet(3, "b", onDelete)
	b.now = b.now.Add(time.Hour)
	b.expect()
}

// But for those whose readiness has passed only in moments between deaths.
func TestOnDeleteLeavesNotWhoDiedYoung(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	onDelete := func(s *spec.StatefulSetSpec) { s.UpdateStrategy = spec.UpdateStrategy{Type: spec.OnDelete} }
	if err := b.set(3, "a", onDelete); err != nil {
		t.Fatal(err)
	}
	b.live()
	dying := func(ready bool) func(*state.Observation) {
		return func(o *state.Observation) { o.Ready, o.Steady, o.DiedYoung = ready, false, true }
	}
	b.observe(dying(true), 1)
	if err := b.set(3, "b", onDelete); err != nil {
		t.Fatal(err)
	}
	b.expect()
	b.observe(dying(false), 1)
	b.expect("stop 1 Rollout")
}

// A template with other ports gives members those with their next start, and keeps what
// was chosen; one whose port is another member's waits, and takes nobody down for it.
func TestPortsFollowTheTemplate(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	ports := func(mode string, ports ...spec.Port) func(*spec.StatefulSetSpec) {
		return func(s *spec.StatefulSetSpec) {
			s.Network.Mode, s.Processes[0].Ports = mode, ports
		}
	}
	b.mustSet(3, "a", ports(spec.NetworkMember, spec.Port{Name: "peer"}, spec.Port{Name: "client", Port: 2379}))
	b.live()
	peer := b.v.Member("default", "web", 1).Ports["peer"]
	b.mustSet(3, "a", ports(spec.NetworkMember, spec.Port{Name: "peer"}, spec.Port{Name: "client", Port: 2390}, spec.Port{Name: "admin"}))
	b.expect("stop 2 Rollout")
	b.live()
	b.all("a")
	m := b.v.Member("default", "web", 1)
	if m.Ports["peer"] != peer || m.Ports["client"] != 2390 || m.Ports["admin"] == 0 || m.Ports["admin"] == peer {
		t.Errorf("ports %v, want peer %d, client 2390 and an admin of its own", m.Ports, peer)
	}
	if id := b.v.Identity("default", "web", 1); id.Ports["admin"] != m.Ports["admin"] {
		t.Errorf("identity %+v", id)
	}
}

func TestTakenPortTakesNobodyDown(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	on := func(name string, port int) *spec.Error {
		n := 1
		p := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{name}}, Ports: []spec.Port{{Name: "client", Port: port}}}}
		return b.apply(&state.PutSet{
			Namespace: "default", Name: name, UID: name, Rules: state.RulesNow, Template: spec.Template{Processes: p},
			Spec: spec.StatefulSetSpec{Replicas: &n, ServiceName: name, Network: spec.Network{Mode: spec.NetworkNode}, Processes: p},
		})
	}
	for name, port := range map[string]int{"web": 2379, "other": 2380} {
		if err := on(name, port); err != nil {
			t.Fatal(err)
		}
	}
	b.live()
	if err := on("web", 2380); err != nil {
		t.Fatal(err)
	}
	b.expect()
	if got := b.waits(); !strings.Contains(got, "web-0 PortTaken") {
		t.Errorf("waits: %q", got)
	}
}
