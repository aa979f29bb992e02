package agent

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// TestKeeperIsToldOfPreStop: as it is rendered now, for it runs the hook at the host's shutdown, when no agent is there; and
// once more when it is replaced by one that knows what that is.
func TestKeeperIsToldOfPreStop(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		timeout := spec.Duration(7 * time.Second)
		main := hooked("main", "preStop")
		main.Hooks["preStop"] = spec.Hook{Command: []string{"/hook/preStop", "${member.name} of ${set.replicas}"}, Timeout: &timeout}
		w.put(nil, main, sleeper("side"))
		w.reserve(1)
		defer w.running(nil)()
		told := func(when, want string) {
			t.Helper()
			h := w.keeper.preStop("default/web-0", "main")
			if h == nil || !slices.Equal(h.Argv, []string{"/hook/preStop", want}) || h.Timeout != timeout.D() || !slices.Equal(h.Env, []string{"SUP_ATTEMPT=1"}) {
				t.Errorf("%s the keeper has %+v, want %q", when, h, want)
			}
		}
		w.start(0)
		settle(2 * time.Second)
		told("at its start", "web-0 of 3")
		if h := w.keeper.preStop("default/web-0", "side"); h != nil {
			t.Errorf("a process without the hook has %+v", h)
		}

		w.keeper.did()
		w.put(func(s *spec.StatefulSetSpec, _ *spec.Template) { *s.Replicas = 4 }, main, sleeper("side"))
		settle(5 * time.Second)
		told("after what it names has changed,", "web-0 of 4")
		if got := w.keeper.did(); runsOf(got, "update") != 1 {
			t.Errorf("it was told by %v, want one update", got)
		}

		w.keeper.upgrade()
		settle(5 * time.Second)
		if got := w.keeper.did(); runsOf(got, "update default/web-0 main") != 1 || len(got) != 1 {
			t.Errorf("a keeper that knows hooks now was told by %v, want one update", got)
		}
		told("after an upgrade", "web-0 of 4")
	})
}

func TestPreStopWithinTheStopTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.hookRuns(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
			if r.Timeout != 30*time.Second {
				t.Errorf("the hook has %s, want the stop timeout", r.Timeout)
			}
			if !pause(ctx, 12*time.Second) {
				return keeper.RunResult{}, ctx.Err()
			}
			return keeper.RunResult{Code: 1}, nil
		})
		w.put(nil, hooked("main", "preStop"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.keeper.did()
		w.stop(0)
		settle(11 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/preStop") != 1 || runsOf(got, "stop default") != 0 {
			t.Fatalf("while the hook runs: %v", got)
		}
		settle(5 * time.Second)
		want := []string{"update default/web-0 main 18s", "stop default/web-0 main", "giveup default/web-0 1", "forget default/web-0 main"}
		if got := w.keeper.did(); !slices.Equal(got, want) {
			t.Errorf("after the hook: %v, want %v", got, want)
		}
		w.want(0, spec.MemberStopped, false)
		if h := w.told(0, "preStop"); h.State != spec.HookFailed || !strings.Contains(h.Message, "exited with 1") {
			t.Errorf("the hook is told as %+v", h)
		}
		if e := w.events("HookFailed"); len(e) != 1 {
			t.Errorf("events %q, want one", e)
		}
	})
}

// TestPreStopThatHangs: it costs no more than the stop timeout and the least grace.
func TestPreStopThatHangs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.hookRuns(func(ctx context.Context, _ keeper.Run) (keeper.RunResult, error) {
			<-ctx.Done()
			return keeper.RunResult{}, ctx.Err()
		})
		w.put(nil, hooked("main", "preStop"))
		w.reserve(1)
		end := w.running(nil)
		w.start(0)
		settle(2 * time.Second)
		w.stop(0)
		settle(20 * time.Second)
		end() // supd comes back with ten seconds left
		end = w.running(nil)
		w.keeper.did()
		settle(8 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/preStop") != 1 || runsOf(got, "stop default") != 0 {
			t.Errorf("with time left: %v", got)
		}
		settle(4 * time.Second)
		if got := w.keeper.did(); runsOf(got, "update default/web-0 main 2s") != 1 || runsOf(got, "stop default") != 1 {
			t.Errorf("with no time left: %v", got)
		}
		w.want(0, spec.MemberStopped, false)
		end()
	})
}

// TestShorterStopTimeoutHoldsAtOnce: also for a stop under way, in its preStop hook or after it.
func TestShorterStopTimeoutHoldsAtOnce(t *testing.T) {
	t.Parallel()
	within := func(p spec.Process, d time.Duration) spec.Process {
		timeout := spec.Duration(d)
		p.Stop.Timeout = &timeout
		return p
	}
	inBubble(t, func(t *testing.T, w *world) {
		w.hookRuns(func(ctx context.Context, _ keeper.Run) (keeper.RunResult, error) {
			<-ctx.Done()
			return keeper.RunResult{}, ctx.Err()
		})
		w.keeper.hangs()
		w.put(nil, within(hooked("main", "preStop"), time.Hour))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.stop(0)
		settle(20 * time.Second)
		w.keeper.did()
		w.put(nil, within(hooked("main", "preStop"), 2*time.Hour))
		settle(time.Second)
		if got := w.keeper.did(); len(got) != 0 {
			t.Fatalf("with more time than before: %v", got)
		}
		w.put(nil, within(hooked("main", "preStop"), 30*time.Second))
		settle(7 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/preStop") != 1 || runsOf(got, "stop default") != 0 {
			t.Fatalf("with ten seconds left: %v", got)
		}
		w.put(nil, within(hooked("main", "preStop"), 10*time.Second))
		settle(time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/preStop") != 0 || runsOf(got, "update default/web-0 main 2s") != 1 || runsOf(got, "stop default") != 1 {
			t.Fatalf("with no time left: %v", got)
		}
		w.put(nil, within(hooked("main", "preStop"), time.Second))
		settle(time.Second)
		if got := w.keeper.did(); runsOf(got, "update default/web-0 main 1s") != 1 || len(got) != 1 {
			t.Fatalf("while the process ends: %v", got)
		}
		w.keeper.drop()
		settle(time.Second)
		w.want(0, spec.MemberStopped, false)
	})
}

// TestPreStopMayEndTheProcess: it is not started again meanwhile, and the hook is not blamed.
func TestPreStopMayEndTheProcess(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.hookRuns(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			s := keeper.Status{Member: "default/web-0", Process: "main", Epoch: 1, State: keeper.Failed, LastExit: keeper.Exit{At: time.Now()}}
			w.keeper.set(s)
			return keeper.RunResult{Code: -1, Signal: "SIGKILL"}, nil
		})
		w.put(nil, hooked("main", "preStop"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.stop(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberStopped, false)
		if h := w.told(0, "preStop"); h.State != spec.HookSucceeded {
			t.Errorf("the hook is told as %+v", h)
		}
	})
}

// mortal has a preStop hook, and is restarted when /alive fails once.
func mortal() spec.Process {
	p := hooked("main", "preStop")
	second := spec.Duration(time.Second)
	p.Liveness = &spec.Probe{Exec: []string{"/alive"}, Period: &second, SuccessThreshold: 1, FailureThreshold: 1}
	return p
}

// TestPreStopBeforeALivenessRestart: as before every stop that supd asks for.
func TestPreStopBeforeALivenessRestart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var sick atomic.Bool
		w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			if sick.Load() && r.Argv[0] == "/alive" {
				return keeper.RunResult{Code: 1}, nil
			}
			if r.Argv[0] != "/alive" {
				sick.Store(false)
			}
			return keeper.RunResult{}, nil
		})
		w.put(nil, mortal())
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(3 * time.Second)
		w.keeper.did()
		sick.Store(true)
		settle(3 * time.Second)
		got := slices.DeleteFunc(w.keeper.did(), func(c string) bool { return strings.Contains(c, "/alive") })
		want := []string{"run default/web-0 [/hook/preStop web-0]", "restart default/web-0 main"}
		if !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
	})
}

// TestWhyAProbeRestarts: as long as a process that a probe has restarted is down, its member says
// which probe it was, and what that said.
func TestWhyAProbeRestarts(t *testing.T) {
	t.Parallel()
	for reason, set := range map[string]func(*spec.Process, *spec.Probe){
		StartupFailed:  func(p *spec.Process, ask *spec.Probe) { p.Startup = ask },
		LivenessFailed: func(p *spec.Process, ask *spec.Probe) { p.Liveness = ask },
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
				if r.Argv[0] == "/alive" {
					return keeper.RunResult{Code: 1, Output: []byte("no heart")}, nil
				}
				return keeper.RunResult{}, w.keeper.crash("default/web-0", "main", time.Minute) // in the preStop hook: it is down for a while
			})
			p := hooked("main", "preStop")
			second := spec.Duration(time.Second)
			set(&p, &spec.Probe{Exec: []string{"/alive"}, Period: &second, SuccessThreshold: 1, FailureThreshold: 2})
			w.put(nil, p)
			w.reserve(1)
			defer w.running(nil)()
			w.start(0)
			settle(10 * time.Second)
			seen := w.member(0).Seen
			if seen.Reason != reason || !strings.Contains(seen.Message, "process main: its "+strings.ToLower(strings.TrimSuffix(reason, "Failed"))+" probe failed, it is restarted: ") || !strings.Contains(seen.Message, "no heart") {
				t.Errorf("it says %s, %s; want %s and what the probe said", seen.Reason, seen.Message, reason)
			}
		})
	}
}

// TestPreStopThatRestarts: a process that its preStop hook ends before a restart is started again
// by that, once, and probed as ever.
func TestPreStopThatRestarts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var sick atomic.Bool
		w.keeper.runs(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
			switch {
			case sick.Load() && r.Argv[0] == "/alive":
				return keeper.RunResult{Code: 1}, nil
			case r.Argv[0] == "/hook/preStop":
				sick.Store(false)
				if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
					t.Error(err)
				}
				pause(ctx, 100*time.Millisecond) // the agent has seen the new one before the hook ends
			}
			return keeper.RunResult{}, nil
		})
		w.put(nil, mortal())
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(3 * time.Second)
		for range 2 {
			w.keeper.did()
			sick.Store(true)
			settle(5 * time.Second)
			if got := w.keeper.did(); runsOf(got, "/hook/preStop") != 1 || runsOf(got, "restart default") != 0 {
				t.Errorf("did %v", got)
			}
		}
	})
}

// TestPreStopWithinTheProbesStopTimeout: a probe's own stop timeout is for the hook too.
func TestPreStopWithinTheProbesStopTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var given atomic.Int64
		var sick atomic.Bool
		w.keeper.runs(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
			switch {
			case r.Argv[0] != "/alive":
				given.Store(int64(r.Timeout))
				<-ctx.Done()
				return keeper.RunResult{}, ctx.Err()
			case sick.Swap(false):
				return keeper.RunResult{Code: 1}, nil
			}
			return keeper.RunResult{}, nil
		})
		p := hooked("main", "preStop")
		second, five := spec.Duration(time.Second), spec.Duration(5*time.Second)
		p.Liveness = &spec.Probe{Exec: []string{"/alive"}, Period: &second, Timeout: &second, SuccessThreshold: 1, FailureThreshold: 1, StopTimeout: &five}
		w.put(nil, p)
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(3 * time.Second)
		sick.Store(true)
		settle(10 * time.Second)
		w.keeper.mu.Lock()
		graces := slices.Clone(w.keeper.graces)
		w.keeper.mu.Unlock()
		if given := time.Duration(given.Load()); given != 5*time.Second || !slices.Equal(graces, []time.Duration{keeper.LeastGrace}) {
			t.Errorf("the hook had %v, the process then %v, want 5s and once the least grace %v", given, graces, keeper.LeastGrace)
		}
	})
}
