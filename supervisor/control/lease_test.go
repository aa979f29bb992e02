package control

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

const stale = 2 * time.Second

// view makes a View with node a in a state reached by legal moves.
func view(t *testing.T, states ...string) *state.View {
	t.Helper()
	v := state.New()
	apply := func(cmd state.Command) {
		t.Helper()
		var r state.Result
		if v, r = v.Apply(v.Index+1, state.Entry{At: t0, Cmd: cmd}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	apply(&state.InitCluster{ID: "c", Incarnation: "i", Plan: "none", Zone: "cluster.local"})
	apply(&state.RegisterNode{Node: state.Node{Name: "a", ID: "a.1", Run: "r"}})
	for _, s := range states {
		apply(&state.SetNode{Name: "a", State: s, IfGeneration: v.Node("a").Generation})
	}
	return v
}

func nobodyDead(string) bool { return false }
func allDead(string) bool    { return true }

// verdictAt is what is said of node a at a time: a state, or "".
func verdictAt(t *testing.T, l *leases, v *state.View, now time.Time, dead func(string) bool) string {
	t.Helper()
	out, _ := l.judge(v, now, dead)
	if len(out) == 0 {
		return ""
	}
	if out[0].Generation != v.Node("a").Generation {
		t.Errorf("verdict carries generation %d, the node has %d", out[0].Generation, v.Node("a").Generation)
	}
	return out[0].State
}

func TestJudge(t *testing.T) {
	t.Parallel()
	ready, suspect, lost := view(t), view(t, spec.NodeSuspect), view(t, spec.NodeSuspect, spec.NodeLost)
	cases := map[string]struct {
		v       *state.View
		heard   float64 // seconds after the barrier; < 0: never
		leaving bool
		dead    func(string) bool
		now     float64
		want    string
	}{
		"heard a moment ago":                    {ready, 20, false, nobodyDead, 21.9, ""},
		"silent for 2 s":                        {ready, 20, false, nobodyDead, 22, spec.NodeSuspect},
		"gossip's word after 1 s":               {ready, 20, false, allDead, 21, spec.NodeSuspect},
		"gossip's word against a fresh beat":    {ready, 20, false, allDead, 20.9, ""},
		"never heard since the barrier":         {ready, -1, false, nobodyDead, 1.9, ""},
		"never heard, 2 s after the barrier":    {ready, -1, false, nobodyDead, 2, spec.NodeSuspect},
		"leaving is not suspected":              {ready, 20, true, allDead, 29.9, ""},
		"leaving and not back by its lease":     {ready, 20, true, allDead, 30, spec.NodeSuspect},
		"suspect is not lost before its time":   {suspect, 20, false, allDead, 32.09, ""},
		"lost after lease x 1.01 and margin":    {suspect, 20, false, nobodyDead, 32.1, spec.NodeLost},
		"a new leader counts from its barrier":  {suspect, -1, false, allDead, 14.09, ""},
		"lost, lease and margin after settling": {suspect, -1, false, allDead, 14.1, spec.NodeLost},
		"heard before settling counts as then":  {suspect, 0.5, false, allDead, 14.09, ""},
		"ready is never lost at once":           {ready, -1, false, allDead, 100, spec.NodeSuspect},
		"suspect answers":                       {suspect, 20, false, nobodyDead, 20.1, spec.NodeReady},
		"lost answers":                          {lost, 20, false, nobodyDead, 20.1, spec.NodeReady},
		"lost stays lost":                       {lost, -1, false, allDead, 100, ""},
		"suspect that takes leave stays so":     {suspect, 20, true, nobodyDead, 20.1, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeases(10*time.Second, stale, t0)
			if c.heard >= 0 {
				if why := l.hear(client.Heartbeat{Node: "a", Leaving: c.leaving}, at(c.heard)); why != "" {
					t.Fatal(why)
				}
			}
			if got := verdictAt(t, &l, c.v, at(c.now), c.dead); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestJudgeSaysWhenToLookAgain(t *testing.T) {
	t.Parallel()
	l := newLeases(10*time.Second, stale, t0)
	l.hear(client.Heartbeat{Node: "a"}, at(20))
	v := view(t)
	for now, want := range map[float64]float64{20.2: 21, 21: 22} {
		if out, next := l.judge(v, at(now), nobodyDead); len(out) > 0 || !next.Equal(at(want)) {
			t.Errorf("at %v: verdicts %v, next %v, want %v", now, out, next, at(want))
		}
	}
	if out, next := l.judge(view(t, spec.NodeSuspect), at(22), nobodyDead); len(out) > 0 || !next.Equal(at(32.1)) {
		t.Errorf("suspect: verdicts %v, next %v, want %v", out, next, at(32.1))
	}
}

// A lease that any leader may have granted must have ended when Lost is proposed.
func TestNoLeaseOutlivesLost(t *testing.T) {
	t.Parallel()
	l := newLeases(10*time.Second, stale, t0)
	v := view(t, spec.NodeSuspect)
	// The node counts from when it sent, which is before the leader heard it.
	for _, heard := range []float64{0, 0.1, 1.9, 2, 5, 100} {
		l.hear(client.Heartbeat{Node: "a"}, at(heard))
		until, ok := l.until("a")
		if !ok {
			t.Fatal("no lease")
		}
		if old := at(stale.Seconds()).Add(10 * time.Second); until.Before(old) {
			until = old // what a deposed leader may still have granted
		}
		// With a node's clock one hundredth slow, and the kill's second.
		ends := until.Add(100*time.Millisecond + time.Second)
		if got := verdictAt(t, &l, v, ends, allDead); got == spec.NodeLost {
			t.Errorf("heard at %v: lost at %v although a lease may last until %v", heard, ends, until)
		}
	}
}

func TestNoAnswerWhileLosing(t *testing.T) {
	t.Parallel()
	l := newLeases(10*time.Second, stale, t0)
	l.node("a").losing = true
	if l.hear(client.Heartbeat{Node: "a"}, at(30)) == "" {
		t.Error("a heartbeat is answered while Lost is under way")
	}
	if out, _ := l.judge(view(t, spec.NodeSuspect), at(31), nobodyDead); len(out) > 0 {
		t.Errorf("judged while Lost is under way: %v", out)
	}
	l.node("a").losing = false
	if why := l.hear(client.Heartbeat{Node: "a"}, at(32)); why != "" {
		t.Error(why)
	}
}

func TestSilent(t *testing.T) {
	t.Parallel()
	l := newLeases(10*time.Second, stale, t0)
	if !l.silent("a", at(0.1)) {
		t.Error("a node never heard is not silent")
	}
	l.hear(client.Heartbeat{Node: "a"}, at(5))
	if l.silent("a", at(6)) || !l.silent("a", at(6.1)) {
		t.Error("silence does not begin after one second")
	}
}

func TestUnsettled(t *testing.T) {
	t.Parallel()
	l := newLeases(10*time.Second, stale, t0)
	if !l.unsettled("a", at(0.1)) {
		t.Error("it is known what runs on a node that was never heard")
	}
	l.hear(client.Heartbeat{Node: "a", Unsettled: true}, at(5))
	if !l.unsettled("a", at(5)) || l.silent("a", at(5)) {
		t.Error("what its agent says does not count")
	}
	l.hear(client.Heartbeat{Node: "a"}, at(5.5))
	if l.unsettled("a", at(6)) || !l.unsettled("a", at(6.6)) {
		t.Error("it is not settled while it is heard")
	}
}

func TestCheckLease(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lease, heartbeat time.Duration
		ok               bool
	}{
		{10 * time.Second, 500 * time.Millisecond, true},
		{3500 * time.Millisecond, 500 * time.Millisecond, true},
		{3499 * time.Millisecond, 500 * time.Millisecond, false},
		{10 * time.Second, 0, false},
	} {
		if err := CheckLease(c.lease, c.heartbeat); (err == nil) != c.ok {
			t.Errorf("lease %s, heartbeat %s: %v", c.lease, c.heartbeat, err)
		}
	}
}
