package agent

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// voices is a member that tells its role, and whether it may be stopped.
type voices struct {
	role atomic.Value // string
	may  atomic.Bool
}

func (v *voices) starts(w *world, change func(*spec.Process)) (end func()) {
	v.role.Store("follower")
	w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
		switch {
		case r.Argv[0] == "role":
			return keeper.RunResult{Output: []byte(v.role.Load().(string) + "\n")}, nil
		case v.may.Load():
			return keeper.RunResult{}, nil
		}
		return keeper.RunResult{Code: 1, Output: []byte("rebalancing\n")}, nil
	})
	p := sleeper("main")
	second := spec.Duration(time.Second)
	p.Role = &spec.Probe{Exec: []string{"role"}, Period: &second, Timeout: &second, SuccessThreshold: 1, FailureThreshold: 3}
	p.MayStop = &spec.Probe{Exec: []string{"may-stop"}, Period: &second, Timeout: &second, SuccessThreshold: 1, FailureThreshold: 1}
	if change != nil {
		change(&p)
	}
	w.put(nil, p)
	w.reserve(1)
	end = w.running(nil)
	w.start(0)
	settle(time.Second + 500*time.Millisecond)
	return end
}

func TestRoleIsReportedAsItChanges(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		v := &voices{}
		end := v.starts(w, nil)
		defer func() { end() }()
		role := func(want string) {
			t.Helper()
			if got := w.want(0, spec.MemberRunning, true).Seen.Role; got != want {
				t.Fatalf("role %q, want %q", got, want)
			}
		}
		role("follower")
		settle(5 * time.Second)
		w.said()
		settle(time.Minute)
		if got := w.said(); len(got) > 0 {
			t.Errorf("%d reports while nothing changed: %+v", len(got), got)
		}
		v.role.Store("LEADER") // databases shout
		settle(1100 * time.Millisecond)
		role("leader")

		// Another agent finds it as it is, and the log hears nothing.
		end()
		w.said()
		end = w.running(nil)
		settle(5 * time.Second)
		if got := w.said(); len(got) > 0 {
			t.Errorf("the next agent said %+v", got)
		}
		role("leader")

		// What is no role counts only after three in a row, and a process that ended has none.
		v.role.Store("not a role")
		settle(1500 * time.Millisecond)
		role("leader")
		settle(2 * time.Second)
		role("")
		v.role.Store("leader")
		settle(1500 * time.Millisecond)
		role("leader")
		if err := w.keeper.crash("default/web-0", "main", time.Minute); err != nil {
			t.Fatal(err)
		}
		settle(100 * time.Millisecond)
		if got := w.member(0).Seen.Role; got != "" {
			t.Errorf("a dead process has role %q", got)
		}
	})
}

// A probe that answers something else each time costs one report a second, no more.
func TestAWildRoleDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		v := &voices{}
		ms := spec.Duration(10 * time.Millisecond)
		defer v.starts(w, func(p *spec.Process) { p.Role.Period = &ms })()
		w.said()
		for i := range 500 {
			v.role.Store("r" + strings.Repeat("x", i%50))
			settle(10 * time.Millisecond)
		}
		if got := len(w.said()); got < 4 || got > 8 {
			t.Errorf("%d reports in five seconds of 500 changes, want about one a second", got)
		}
	})
}

func TestMayStopIsReportedAndAsked(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		v := &voices{}
		var agent *Agent
		w.made = func(a *Agent) { agent = a }
		end := v.starts(w, nil)
		defer func() { end() }()
		says := func(want, why string) *spec.Consent {
			t.Helper()
			c := w.want(0, spec.MemberRunning, true).Seen.MayStop
			if c == nil || c.Answer != want || !strings.Contains(c.Message, why) || c.Since == nil {
				t.Fatalf("it says %+v, want %s (%s)", c, want, why)
			}
			return c
		}
		ask := func(epoch uint64) bool {
			t.Helper()
			said, err := agent.MayStop(t.Context(), client.MayStopRequest{Namespace: "default", Member: "web-0", Epoch: epoch})
			if err != nil {
				t.Fatal(err)
			}
			return said.MayStop
		}
		epoch := w.member(0).Epoch
		since := says(spec.No, "exited with 1: rebalancing").Since
		if ask(epoch) {
			t.Error("asked, it says yes")
		}
		end()
		end = w.running(nil)
		settle(3 * time.Second)
		if got := says(spec.No, "rebalancing").Since; !got.Equal(*since) {
			t.Errorf("with the next agent it says no since %s, not %s", got, since)
		}

		// Asked, the answer is of now, and is told at once.
		v.may.Store(true)
		settle(1100 * time.Millisecond)
		says(spec.Yes, "")
		settle(1200 * time.Millisecond) // the pause between two reports of an answer
		v.may.Store(false)
		if ask(epoch) {
			t.Error("asked, it says what was true a moment ago")
		}
		settle(10 * time.Millisecond)
		says(spec.No, "rebalancing")
		if _, err := agent.MayStop(t.Context(), client.MayStopRequest{Namespace: "default", Member: "web-0", Epoch: epoch + 1}); err == nil {
			t.Error("it was asked for another epoch")
		}

		probes, err := agent.Probes("default", "web-0")
		if err != nil || len(probes) != 2 {
			t.Fatalf("probes: %+v, %v", probes, err)
		}
		if p := probes[0]; p.Probe != "role" || !p.Passing || p.Result != "pass" || p.Output != "follower" || p.At == nil {
			t.Errorf("the role's result: %+v", p)
		}
		if p := probes[1]; p.Probe != "mayStop" || p.Passing || p.Result != "fail" || p.Output != "rebalancing" || p.Process != "main" {
			t.Errorf("the answer's result: %+v", p)
		}

		// A definition without the probe ends the asking, and restarts nobody.
		p := sleeper("main")
		w.put(nil, p)
		settle(1100 * time.Millisecond)
		if m := w.want(0, spec.MemberRunning, true); m.Seen.MayStop != nil || m.Seen.Role != "" || m.Epoch != epoch {
			t.Errorf("without the probes: %+v", m.Seen)
		}
		if _, err := agent.MayStop(t.Context(), client.MayStopRequest{Namespace: "default", Member: "web-0", Epoch: epoch}); err == nil {
			t.Error("it was asked without a probe")
		}
	})
}

// The question is the newest definition's: it can be mended while members still run an
// older revision.
func TestMayStopIsOfTheNewestDefinition(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		v := &voices{}
		defer v.starts(w, nil)()
		m := w.member(0)
		if m.Seen.MayStop == nil || m.Seen.MayStop.Answer != spec.No {
			t.Fatalf("it says %+v", m.Seen.MayStop)
		}
		next := spec.Process{Name: "main", Exec: spec.Exec{Command: []string{"/bin/other"}}}
		second := spec.Duration(time.Second)
		next.MayStop = &spec.Probe{Exec: []string{"role"}, Period: &second, Timeout: &second, SuccessThreshold: 1, FailureThreshold: 1}
		w.put(nil, next)
		settle(1500 * time.Millisecond)
		got := w.want(0, spec.MemberRunning, true)
		if got.Epoch != m.Epoch || got.Seen.MayStop == nil || got.Seen.MayStop.Answer != spec.Yes {
			t.Errorf("with another question it says %+v", got.Seen.MayStop)
		}
	})
}

// What runs is not judged by a keeper that does not answer.
func TestAProbeThatCannotBeRunCountsForNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		p.Readiness, p.Liveness = execs("ready", nil), execs("alive", nil)
		w.put(nil, p)
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(5 * time.Second)
		w.want(0, spec.MemberRunning, true)
		w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) { return keeper.RunResult{}, keeper.ErrDown })
		settle(time.Minute)
		if m := w.want(0, spec.MemberRunning, true); m.Seen.Restarts > 0 {
			t.Errorf("%d restarts", m.Seen.Restarts)
		}
	})
}
