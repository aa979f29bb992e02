package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bench drives a View by hand: what the planner proposes is applied, what agents
// would report is told by the test.
type bench struct {
	t   *testing.T
	v   *state.View
	now time.Time
	seq map[string]uint64
	uid int
	// silent nodes
	silent map[string]bool
	// of whose members nobody knows whether they run
	unsettled map[string]bool
	// since when the leader leads; zero: always
	since time.Time
	// rollBack: definitions ask for autoRollback
	rollBack bool
}

func newBench(t *testing.T, nodes ...string) *bench {
	t.Helper()
	b := &bench{t: t, v: state.New(), now: start, seq: map[string]uint64{}, silent: map[string]bool{}, unsettled: map[string]bool{}}
	b.do(&state.InitCluster{ID: "c", Plan: "loopback", PlanCIDR: "127.64.0.0/24", Zone: "cluster.local"})
	for _, n := range nodes {
		b.do(&state.RegisterNode{Node: state.Node{Name: n, ID: n + ".1", HostIP: "127.0.0.1", Machine: "m", Run: "r"}})
	}
	return b
}

func (b *bench) apply(c state.Command) *spec.Error {
	b.t.Helper()
	var r state.Result
	b.v, r = b.v.Apply(b.v.Index+1, state.Entry{At: b.now, Cmd: c})
	return r.Err
}

func (b *bench) do(c state.Command) {
	b.t.Helper()
	if err := b.apply(c); err != nil {
		b.t.Fatalf("%s: %v", state.Kind(c), err)
	}
}

func (b *bench) plan() plan.Plan {
	return plan.Make(b.v, b.now, plan.Facts{
		Silent: func(n string) bool { return b.silent[n] }, Unsettled: func(n string) bool { return b.silent[n] || b.unsettled[n] },
		UID:   func() string { b.uid++; return fmt.Sprintf("uid%d", b.uid) },
		Since: b.since,
	})
}

// lose has a node answer no more, for so long that it is Lost.
func (b *bench) lose(node string) {
	b.t.Helper()
	for _, s := range []string{spec.NodeSuspect, spec.NodeLost} {
		b.do(&state.SetNode{Name: node, State: s, Reason: "silent", IfGeneration: b.v.Node(node).Generation})
	}
}

// settle applies plans until nothing more is proposed, and returns what was done.
func (b *bench) settle() (did []string) {
	b.t.Helper()
	for range 100 {
		p := b.plan()
		if len(p.Commands) == 0 {
			return did
		}
		for _, c := range p.Commands {
			if err := b.apply(c); err != nil {
				b.t.Fatalf("planned %s was refused: %v", state.Kind(c), err)
			}
			did = append(did, line(c))
		}
	}
	b.t.Fatal("the plan never ends")
	return nil
}

// line is a command in short.
func line(c state.Command) string {
	switch c := c.(type) {
	case *state.Reserve:
		var o []string
		for _, s := range c.Slots {
			o = append(o, fmt.Sprintf("%d@%s", s.Ordinal, s.Node))
		}
		return "reserve " + strings.Join(o, " ")
	case *state.StartMember:
		return fmt.Sprintf("start %d", c.Ordinal)
	case *state.StopMember:
		return fmt.Sprintf("stop %d %s", c.Ordinal, c.Why)
	case *state.DropMember:
		return fmt.Sprintf("drop %d", c.Ordinal)
	case *state.StartHeld:
		return fmt.Sprintf("hold %d", c.Ordinal)
	case *state.LetGo:
		if c.Bootstrap == nil {
			return fmt.Sprintf("let go %v", slices.Sorted(maps.Keys(c.Epochs)))
		}
		return fmt.Sprintf("let go %v, first %d", slices.Sorted(maps.Keys(c.Epochs)), *c.Bootstrap)
	case *state.AskHook:
		return fmt.Sprintf("%s %d", c.Hook, c.Ordinal)
	}
	return state.Kind(c)
}

func (b *bench) set(replicas int, program string, change func(*spec.StatefulSetSpec)) *spec.Error {
	b.t.Helper()
	s := spec.StatefulSetSpec{
		Replicas: &replicas, ServiceName: "web", PodManagementPolicy: spec.OrderedReady,
		Network: spec.Network{Mode: spec.NetworkMember}, Volumes: []spec.VolumeSpec{{Name: "data"}},
		Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{program}}}},
	}
	if change != nil {
		change(&s)
	}
	return b.apply(&state.PutSet{Namespace: "default", Name: "web", UID: "w", Spec: s, Template: spec.Template{Processes: s.Processes}, Rules: state.RulesNow})
}

// mustSet is set where it must be accepted.
func (b *bench) mustSet(replicas int, program string, change func(*spec.StatefulSetSpec)) {
	b.t.Helper()
	if err := b.set(replicas, program, change); err != nil {
		b.t.Fatal(err)
	}
}

// restarts: the plan has one member stopped for a reason and started again, and nothing else.
func (b *bench) restarts(ordinal int, why string) {
	b.t.Helper()
	b.expect(fmt.Sprintf("stop %d %s", ordinal, why))
	b.say(spec.MemberStopped, ordinal)
	b.expect(fmt.Sprintf("start %d", ordinal))
	b.say(spec.MemberRunning, ordinal)
}

// rests: nothing waits for anything.
func (b *bench) rests() {
	b.t.Helper()
	if p := b.plan(); len(p.Waits) > 0 {
		b.t.Errorf("waits at rest: %v", p.Waits)
	}
}

// say reports a member's phase as its node would.
func (b *bench) say(phase string, ordinals ...int) {
	b.t.Helper()
	b.tell(phase, phase == spec.MemberRunning, ordinals...)
}

// tell is say for a running member that may have run too short to be steady.
func (b *bench) tell(phase string, steady bool, ordinals ...int) {
	b.t.Helper()
	for _, o := range ordinals {
		m := b.v.Member("default", "web", o)
		if m == nil {
			b.t.Fatalf("there is no web-%d", o)
		}
		run := phase == spec.MemberRunning
		b.seq[m.Node]++
		var volumes []state.VolumeReport
		for _, vol := range b.v.MemberVolumes("default", "web", o) {
			volumes = append(volumes, state.VolumeReport{Namespace: "default", Name: vol.Name(), UID: vol.UID, Event: state.VolumeMade})
		}
		b.do(&state.Report{
			Node: m.Node, Run: "r", Seq: b.seq[m.Node],
			Members: []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: o, Seen: state.Observation{
				Epoch: m.Epoch, Phase: phase, Started: run, Ready: run, Steady: steady,
			}}},
			Volumes: volumes,
		})
	}
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.settle(), ", "); got != strings.Join(want, ", ") {
		b.t.Fatalf("the plan did %q, want %q", got, strings.Join(want, ", "))
	}
}

func (b *bench) waits() string {
	var out []string
	for _, w := range b.plan().Waits {
		out = append(out, w.Subject+" "+w.Reason)
	}
	return strings.Join(out, ", ")
}

// running brings web up with all members well.
func (b *bench) running(replicas int) {
	b.t.Helper()
	if err := b.set(replicas, "a", nil); err != nil {
		b.t.Fatal(err)
	}
	for o := range replicas {
		b.settle()
		b.say(spec.MemberRunning, o)
	}
	b.settle()
}

func TestOrderedStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.mustSet(3, "a", nil)
	b.expect("reserve 0@n1 1@n2 2@n3", "start 0")
	if got := b.waits(); got != "web-1 Order" {
		t.Errorf("waits: %q", got)
	}
	b.say(spec.MemberStarting, 0)
	b.expect()
	b.say(spec.MemberRunning, 0)
	b.expect("start 1")
	b.say(spec.MemberRunning, 1)
	b.expect("start 2")
	b.say(spec.MemberRunning, 2)
	b.expect("MarkFormed")
	b.rests()
}

func TestParallelStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	b.mustSet(3, "a", func(s *spec.StatefulSetSpec) { s.PodManagementPolicy = spec.Parallel })
	b.expect("reserve 0@n1 1@n1 2@n1", "start 0", "start 1", "start 2")
}

func TestOrderedStartedNeedsNoReadiness(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	b.mustSet(2, "a", func(s *spec.StatefulSetSpec) { s.PodManagementPolicy = spec.OrderedStarted })
	b.settle()
	m := b.v.Member("default", "web", 0)
	b.do(&state.Report{Node: "n1", Run: "r", Seq: 1, Members: []state.MemberReport{{Namespace: "default", Set: "web", Seen: state.Observation{
		Epoch: m.Epoch, Phase: spec.MemberRunning, Started: true, StartedOK: b.now,
	}}}})
	b.expect()
	if next := b.plan().Next; !next.Equal(b.now.Add(time.Second)) {
		t.Errorf("the plan looks again at %v, want in one second", next)
	}
	b.now = b.now.Add(time.Second)
	b.expect("start 1")
}

func TestScaleDownHighestFirstAndGated(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.say(spec.MemberFailed, 1)
	err := b.apply(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1})
	if err == nil || err.Code != spec.CodeRefused || !strings.Contains(err.Message, "web-1") {
		t.Fatalf("scale-down with a sick member: %v", err)
	}
	if got := b.set(1, "a", nil); got == nil || got.Code != spec.CodeRefused {
		t.Fatalf("the same by apply: %v", got)
	}
	b.say(spec.MemberRunning, 1)
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1})
	b.expect("stop 2 ScaleDown")
	b.say(spec.MemberStopped, 2)
	b.say(spec.MemberFailed, 0)
	b.expect("drop 2")
	if got := b.waits(); !strings.Contains(got, "web-1 ScaleDownBlocked") {
		t.Errorf("waits: %q", got)
	}
	b.say(spec.MemberRunning, 0)
	b.expect("stop 1 ScaleDown")
	b.say(spec.MemberStopped, 1)
	b.expect("drop 1")
	if vol := b.v.Volume("default", "data-web-2"); vol == nil || vol.Phase != spec.VolumeRetained {
		t.Errorf("volume of web-2: %+v", vol)
	}
}

func TestReturningOrdinalGetsItsDirectoryAndAddress(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	before := b.v.Member("default", "web", 2)
	vol := b.v.Volume("default", "data-web-2")
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2})
	b.settle()
	b.say(spec.MemberStopped, 2)
	b.settle()
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 3})
	b.expect("reserve 2@"+before.Node, "start 2")
	after := b.v.Member("default", "web", 2)
	again := b.v.Volume("default", "data-web-2")
	if after.IP != before.IP || after.Epoch <= before.Epoch || again.UID != vol.UID || again.Phase != spec.VolumeBound || after.VolumesState != "returned" {
		t.Errorf("before %+v %+v\nafter %+v %+v", before, vol, after, again)
	}
}

func TestSilentNodeBlocksScaleDown(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.running(2)
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1})
	b.silent["n1"] = true
	b.expect()
	if got := b.waits(); got != "web-1 ScaleDownBlocked" {
		t.Errorf("waits: %q", got)
	}
}

func TestRolloutHighToLowOneAtATime(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.mustSet(3, "b", nil)
	for o := 2; o >= 0; o-- {
		b.expect(fmt.Sprintf("stop %d Rollout", o))
		b.say(spec.MemberStopped, o)
		b.expect(fmt.Sprintf("start %d", o))
		b.say(spec.MemberRunning, o)
	}
	b.expect("SetCurrent")
}

// A program that dies soon after each start is ready for a moment, but nothing to
// build on: the rollout goes no further than the first member.
func TestRolloutWaitsUntilSteady(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.mustSet(3, "bad", nil)
	b.expect("stop 2 Rollout")
	b.say(spec.MemberStopped, 2)
	b.expect("start 2")
	b.tell(spec.MemberRunning, false, 2)
	b.expect()
	if p := b.plan(); len(p.Waits) == 0 || !strings.Contains(p.Waits[0].Message, "web-2: it has not run long enough") {
		t.Errorf("waits: %+v", p.Waits)
	}
	m := b.v.Member("default", "web", 1)
	err := b.apply(&state.StopMember{
		Namespace: "default", Set: "web", Ordinal: 1, IfEpoch: m.Epoch, IfGeneration: m.Generation, Why: "Rollout", Budget: 1,
	})
	if err == nil || err.Reason != "Budget" {
		t.Errorf("the log takes a second member away: %v", err)
	}
	b.tell(spec.MemberRunning, true, 2)
	b.expect("stop 1 Rollout")
}

// A member that is being removed counts in the one budget of voluntary downtime.
func TestRolloutWaitsForARemoval(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(4)
	b.mustSet(3, "b", nil)
	b.expect("stop 3 ScaleDown")
	m := b.v.Member("default", "web", 2)
	err := b.apply(&state.StopMember{
		Namespace: "default", Set: "web", Ordinal: 2, IfEpoch: m.Epoch, IfGeneration: m.Generation, Why: "Rollout", Budget: 1,
	})
	if err == nil || err.Reason != "Budget" {
		t.Errorf("the log takes a second member away: %v", err)
	}
	b.say(spec.MemberStopped, 3)
	b.expect("drop 3", "stop 2 Rollout")
}

// A broken revision is left by a new one with no hand on it (Kubernetes 67250),
// also when it was broken from the first start on (Kubernetes 137409).
func TestBrokenRolloutGoesForward(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.mustSet(3, "bad", nil)
	b.expect("stop 2 Rollout")
	b.say(spec.MemberStopped, 2)
	b.expect("start 2")
	b.say(spec.MemberFailed, 2)
	b.expect()
	b.mustSet(3, "good", nil)
	b.restarts(2, "Rollout")
	b.expect("stop 1 Rollout")
}

func TestBrokenFirstRevision(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	b.mustSet(3, "bad", nil)
	b.settle()
	b.say(spec.MemberFailed, 0)
	b.expect()
	b.mustSet(3, "good", nil)
	b.restarts(0, "Rollout")
	b.expect("start 1")
}

// Undoing a rollout restarts only what it had touched.
func TestUndoTouchesOnlyTheTouched(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.mustSet(3, "bad", nil)
	b.settle()
	b.say(spec.MemberStopped, 2)
	b.settle()
	b.say(spec.MemberFailed, 2)
	b.mustSet(3, "a", nil)
	b.restarts(2, "Rollout")
	b.expect()
}

// Repair waits for nobody, however sick the others are.
func TestRepairWaitsForNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.say(spec.MemberFailed, 0, 1)
	b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: 2})
	b.say(spec.MemberStopped, 2)
	b.expect("start 2")
}

func TestColdStartWaitsForNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2", "n3")
	b.running(3)
	b.do(&state.SetStopping{Stopping: true})
	for o := 2; o >= 0; o-- {
		b.expect(fmt.Sprintf("stop %d Shutdown", o))
		b.say(spec.MemberStopped, o)
	}
	b.expect()
	b.do(&state.SetStopping{Stopping: false})
	b.expect("start 0", "start 1", "start 2")
	if !b.v.Member("default", "web", 0).Bootstrap || b.v.Member("default", "web", 1).Bootstrap {
		t.Error("web-0, and nobody else, is to bootstrap")
	}
}

func TestDeleteIsOrderedNotGated(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.running(2)
	b.say(spec.MemberFailed, 0)
	b.do(&state.DeleteSet{Namespace: "default", Name: "web"})
	b.expect("stop 1 SetDeleted")
	b.say(spec.MemberStopped, 1)
	b.expect("drop 1", "stop 0 SetDeleted")
	b.say(spec.MemberStopped, 0)
	b.expect("drop 0", "DropSet")
	if b.v.Volume("default", "data-web-0").Phase != spec.VolumeRetained {
		t.Error("the directory is not retained")
	}
	b.mustSet(2, "a", nil)
	b.expect("reserve 0@n1 1@n2", "start 0")
}

func TestLostNodeFreezesItsMember(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.running(2)
	n := b.v.Node("n2")
	b.do(&state.SetNode{Name: "n2", State: spec.NodeSuspect, IfGeneration: n.Generation})
	b.do(&state.SetNode{Name: "n2", State: spec.NodeLost, IfGeneration: n.Generation + 1})
	b.expect()
	if got := b.waits(); got != "web-1 NodeLost" {
		t.Errorf("waits: %q", got)
	}
	if phase := b.v.Phase(b.v.Member("default", "web", 1)); phase != spec.MemberLost {
		t.Errorf("phase %s", phase)
	}
	// Only naming exactly the lost member makes the set smaller; its record stays.
	if err := b.apply(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1}); err == nil {
		t.Fatal("scale-down with a lost member was not refused")
	}
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1, AcceptUnhealthy: []string{"web-1"}})
	b.expect("stop 1 ScaleDown")
	if m := b.v.Member("default", "web", 1); m == nil || m.Wish != state.WishGone {
		t.Errorf("the lost member's record: %+v", m)
	}
}

func TestNodeModePortsDoNotCollide(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	port := func(n int) func(*spec.StatefulSetSpec) {
		return func(s *spec.StatefulSetSpec) {
			s.Network.Mode = spec.NetworkNode
			s.PodManagementPolicy = spec.Parallel
			s.Processes[0].Ports = []spec.Port{{Name: "client", Port: n}}
		}
	}
	b.mustSet(2, "a", port(2379))
	// Both nodes share one host address, so the second cannot be placed.
	b.expect("reserve 0@n1", "start 0")
	if got := b.waits(); got != "web-1 NoNode" {
		t.Errorf("waits: %q", got)
	}
}

func TestChosenPortsAreKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	err := b.set(2, "a", func(s *spec.StatefulSetSpec) {
		s.Network.Mode = spec.NetworkNode
		s.PodManagementPolicy = spec.Parallel
		s.Processes[0].Ports = []spec.Port{{Name: "client"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.say(spec.MemberRunning, 0, 1)
	was := b.v.Member("default", "web", 1).Ports["client"]
	if was == 0 || was == b.v.Member("default", "web", 0).Ports["client"] {
		t.Fatalf("port %d", was)
	}
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 1})
	b.settle()
	b.say(spec.MemberStopped, 1)
	b.settle()
	b.do(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2})
	b.settle()
	if got := b.v.Member("default", "web", 1).Ports["client"]; got != was {
		t.Errorf("port %d, want %d again", got, was)
	}
}

func TestReleasedDirectoryIsEmptiedInItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1")
	b.running(1)
	b.do(&state.DeleteSet{Namespace: "default", Name: "web"})
	b.settle()
	b.say(spec.MemberStopped, 0)
	b.settle()
	b.do(&state.ReleaseVolume{Namespace: "default", Name: "data-web-0", At: b.now.Add(time.Hour)})
	vol := b.v.Volume("default", "data-web-0")
	b.seq["n1"]++
	b.do(&state.Report{Node: "n1", Run: "r", Seq: b.seq["n1"], Volumes: []state.VolumeReport{{Namespace: "default", Name: "data-web-0", UID: vol.UID, Event: state.VolumeTrashed}}})
	b.expect()
	b.now = b.now.Add(time.Hour)
	b.expect("EmptyVolume")
}

// A node killed a moment ago still looks ready in the log: what is placed and started
// there would be tied to it.
func TestNothingNewOnASilentNode(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n1", "n2")
	b.silent["n1"] = true
	b.mustSet(1, "a", nil)
	b.expect("reserve 0@n2", "start 0")

	b = newBench(t, "n1", "n2")
	b.mustSet(1, "a", nil)
	b.do(b.plan().Commands[0]) // reserved on n1, which dies now
	b.silent["n1"] = true
	b.expect()
	if got := b.waits(); got != "web-0 NodeSilent" {
		t.Errorf("waits: %q", got)
	}
	b.do(&state.SetNode{Name: "n1", State: spec.NodeSuspect, IfGeneration: b.v.Node("n1").Generation})
	b.expect("Place", "start 0")
	if got := b.v.Member("default", "web", 0).Node; got != "n2" {
		t.Errorf("placed on %s, want n2", got)
	}
}
