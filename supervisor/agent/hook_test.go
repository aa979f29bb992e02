package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// hooked is a process with hooks of these names, each of which runs /hook/NAME.
func hooked(name string, hooks ...string) spec.Process {
	p := sleeper(name)
	p.Hooks = spec.Hooks{}
	for _, h := range hooks {
		p.Hooks[h] = spec.Hook{Command: []string{"/hook/" + h, "${member.name}"}}
	}
	return p
}

// hookRuns answers hooks by their command; others succeed.
func (w *world) hookRuns(f func(ctx context.Context, r keeper.Run) (keeper.RunResult, error)) {
	w.keeper.runs(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
		if strings.HasPrefix(r.Argv[0], "/hook/") {
			return f(ctx, r)
		}
		return keeper.RunResult{}, nil
	})
}

func runsOf(calls []string, command string) (n int) {
	for _, c := range calls {
		if strings.Contains(c, command) {
			n++
		}
	}
	return n
}

// told is a hook's status in the log.
func (w *world) told(i int, hook string) spec.HookStatus {
	w.t.Helper()
	for _, h := range w.member(i).Seen.Hooks {
		if h.Name == hook {
			return h
		}
	}
	w.t.Fatalf("the log knows nothing of hook %s of web-%d: %+v", hook, i, w.member(i).Seen.Hooks)
	return spec.HookStatus{}
}

func (w *world) events(reason string) (out []string) {
	for e := range w.View().Events() {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

func TestPostStartComesBeforeStarted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.hookRuns(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
			if r.Epoch != 0 || r.Lock != "" || !slices.Contains(r.Env, "SUP_ATTEMPT=1") || r.Argv[1] != "web-0" {
				t.Errorf("the hook is run as %+v", r)
			}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return keeper.RunResult{}, ctx.Err()
		})
		w.put(nil, hooked("main", "postStart"), sleeper("side"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(time.Minute)
		w.want(0, spec.MemberStarting, false)
		w.wantReason(0, PostStartPending, "postStart")
		if n := runsOf(w.keeper.did(), "start default/web-0 side"); n != 0 {
			t.Error("the next process was started before the hook had ended")
		}
		close(release)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if h := w.told(0, "postStart"); h.State != spec.HookSucceeded || h.Attempts != 1 || h.Process != "main" {
			t.Errorf("the hook is told as %+v", h)
		}
		if e := w.events("HookSucceeded"); len(e) != 1 {
			t.Errorf("events %q, want one", e)
		}
	})
}

// TestPostStartOncePerExec: a restart of supd repeats nothing, one of the process does.
func TestPostStartOncePerExec(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, hooked("main", "postStart"))
		w.reserve(1)
		end := w.running(nil)
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		end()
		w.keeper.did()

		w.setDeaf(true) // nor does it need the log to know
		end = w.running(nil)
		settle(2 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/") != 0 {
			t.Errorf("after a restart of supd: %v", got)
		}
		w.setDeaf(false)
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/postStart") != 1 {
			t.Errorf("after a restart in place: %v", got)
		}
		w.want(0, spec.MemberRunning, true)
		end()

		// In place while supd was away: it is made up for.
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		end = w.running(nil)
		settle(2 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/postStart") != 1 {
			t.Errorf("after a restart in place without supd: %v", got)
		}
		w.want(0, spec.MemberRunning, true)
		if e := w.events("HookSucceeded"); len(e) != 3 {
			t.Errorf("events %q, want three", e)
		}
		end()
	})
}

func TestPostStartAddedLaterIsForLaterStarts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.keeper.did()
		w.put(nil, hooked("main", "postStart"))
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if got := w.keeper.did(); runsOf(got, "/hook/")+runsOf(got, "restart") != 0 {
			t.Errorf("a new hook touched what runs: %v", got)
		}
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/postStart") != 1 {
			t.Errorf("after a restart in place: %v", got)
		}
	})
}

func TestPostStartThatFailsRestarts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var fails atomic.Bool
		fails.Store(true)
		w.hookRuns(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			if fails.Load() {
				return keeper.RunResult{Code: 3, Output: []byte("no way\n")}, nil
			}
			return keeper.RunResult{}, nil
		})
		p := hooked("main", "postStart")
		h := p.Hooks["postStart"]
		h.Retries = 2
		p.Hooks["postStart"] = h
		w.put(nil, p)
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(500 * time.Millisecond)
		got := w.keeper.did()
		if runsOf(got, "/hook/postStart") < 3 || runsOf(got, "restart default/web-0 main") < 1 {
			t.Fatalf("want three attempts and a restart: %v", got)
		}
		settle(10 * time.Minute)
		w.want(0, spec.MemberStarting, false)
		w.wantReason(0, PostStartFailed, "hook postStart exited with 3: no way")
		if n := runsOf(w.keeper.did(), "restart default/web-0 main"); n > 20 {
			t.Errorf("%d restarts in ten minutes, want pauses that grow to a minute", n)
		}
		fails.Store(false)
		settle(2 * time.Minute)
		w.want(0, spec.MemberRunning, true)
		if e := w.events("HookFailed"); len(e) < 3 || !strings.Contains(e[0], "exited with 3: no way") {
			t.Errorf("events %q", e)
		}
		if h := w.told(0, "postStart"); h.State != spec.HookSucceeded || h.Attempts < 4 {
			t.Errorf("the hook is told as %+v", h)
		}
	})
}

// TestPostStartWaitsForTheKeeper: that a hook cannot be run is no failure of the hook.
func TestPostStartWaitsForTheKeeper(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var away atomic.Bool
		away.Store(true)
		w.hookRuns(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			if away.Load() {
				return keeper.RunResult{}, keeper.ErrNoLease
			}
			return keeper.RunResult{}, nil
		})
		w.put(nil, hooked("main", "postStart"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(time.Minute)
		if got := w.keeper.did(); runsOf(got, "restart") != 0 || runsOf(got, "/hook/") < 5 {
			t.Errorf("did %v", got)
		}
		away.Store(false)
		settle(10 * time.Second)
		w.want(0, spec.MemberRunning, true)
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
		p := hooked("main", "preStop")
		second := spec.Duration(time.Second)
		p.Liveness = &spec.Probe{Exec: []string{"/alive"}, Period: &second, SuccessThreshold: 1, FailureThreshold: 1}
		w.put(nil, p)
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
		p := hooked("main", "preStop")
		second := spec.Duration(time.Second)
		p.Liveness = &spec.Probe{Exec: []string{"/alive"}, Period: &second, SuccessThreshold: 1, FailureThreshold: 1}
		w.put(nil, p)
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

func TestHookErrorsAreTheHooksOwn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{failf(HookFailed, "x"), true},
		{failf(KeeperDown, "x"), false},
		{context.Canceled, false},
		{errors.New("disk"), false},
	} {
		if got := failedHook(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

// form marks the set formed.
func (w *world) form() {
	w.t.Helper()
	w.apply(&state.MarkFormed{Namespace: "default", Name: "web", IfGeneration: w.View().Set("default", "web").Meta.Generation})
}

func TestOnJoin(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var fails atomic.Bool
		fails.Store(true)
		w.hookRuns(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			if r.Epoch == 0 || r.Lock == "" {
				t.Errorf("the hook is run as %+v, want as part of the start", r)
			}
			if fails.Load() {
				return keeper.RunResult{Code: 1, Output: []byte("no quorum yet")}, nil
			}
			return keeper.RunResult{}, nil
		})
		w.put(withVolume, hooked("main", "onJoin"))
		w.form()
		w.reserve(2)
		end := w.running(nil)
		w.start(0)
		settle(time.Minute)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, OnJoinFailed, "hook onJoin exited with 1: no quorum yet")
		if got := w.keeper.did(); runsOf(got, "start default") != 0 || runsOf(got, "/hook/onJoin") < 3 {
			t.Fatalf("did %v", got)
		}
		// Started anew before it could join: it still has to.
		w.stop(0)
		settle(time.Second)
		w.start(0)
		if !w.member(0).Joining {
			t.Fatal("the next start does not join any more")
		}
		fails.Store(false)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if h := w.told(0, "onJoin"); h.State != spec.HookSucceeded || h.Attempts < 4 {
			t.Errorf("the hook is told as %+v", h)
		}
		if got := w.keeper.did(); runsOf(got, "/hook/onJoin") != 1 {
			t.Fatalf("did %v", got)
		}
		// Once it has joined, no start repeats it.
		w.stop(0)
		settle(time.Second)
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if got := w.keeper.did(); runsOf(got, "/hook/onJoin") != 0 {
			t.Errorf("did %v", got)
		}
		end()

		// Nor where the host went down before the log knew of its first process.
		w.setDeaf(true)
		end = w.running(nil)
		w.start(1)
		settle(2 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/onJoin") != 1 || runsOf(got, "start default/web-1") != 1 {
			t.Fatalf("did %v", got)
		}
		end()
		w.keeper.reboot(false)
		w.setDeaf(false)
		end = w.running(nil)
		settle(2 * time.Second)
		w.want(1, spec.MemberStopped, false)
		w.start(1)
		settle(2 * time.Second)
		w.want(1, spec.MemberRunning, true)
		if got := w.keeper.did(); runsOf(got, "/hook/onJoin") != 0 {
			t.Errorf("did %v", got)
		}
		end()
	})
}

func TestOnJoinIsForFormedSets(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, hooked("main", "onJoin"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if got := w.keeper.did(); runsOf(got, "/hook/") != 0 {
			t.Errorf("did %v", got)
		}
	})
}

// TestOnJoinNeedsSomebodyToJoin: the one that goes first has nobody.
func TestOnJoinNeedsSomebodyToJoin(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, hooked("main", "onJoin"))
		w.form()
		w.reserve(1)
		defer w.running(nil)()
		m := w.member(0)
		w.apply(&state.StartMember{Namespace: "default", Set: "web", Revision: m.Revision, Bootstrap: true, IfGeneration: m.Generation})
		settle(2 * time.Second)
		if m := w.want(0, spec.MemberRunning, true); !m.Joining {
			t.Error("it does not join a formed set")
		}
		if got := w.keeper.did(); runsOf(got, "/hook/") != 0 {
			t.Errorf("did %v", got)
		}
	})
}

// ask has the log ask web-0 for a hook.
func (w *world) ask(hook string) state.Result {
	m := w.member(0)
	return w.propose(&state.AskHook{
		Namespace: "default", Set: "web", Hook: hook, IfEpoch: m.Epoch, IfGeneration: m.Generation,
		IfSet: w.View().Set("default", "web").Meta.Generation,
	})
}

// TestAskedHook: one run for each time that it is asked for, whatever becomes of supd.
func TestAskedHook(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var code atomic.Int64
		code.Store(4)
		w.hookRuns(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			return keeper.RunResult{Code: int(code.Load())}, nil
		})
		w.put(nil, hooked("main", "onFormed"))
		w.reserve(1)
		end := w.running(nil)
		defer func() { end() }()
		w.start(0)
		settle(2 * time.Second)
		w.keeper.did()
		if res := w.ask("onFormed"); res.Err != nil {
			t.Fatal(res.Err)
		}
		settle(time.Minute)
		if got := w.keeper.did(); runsOf(got, "/hook/onFormed") != 1 {
			t.Errorf("did %v", got)
		}
		if a := w.member(0).Asked; a.State != spec.HookFailed || !strings.Contains(a.Message, "exited with 4") {
			t.Errorf("the log has %+v", a)
		}
		w.want(0, spec.MemberRunning, true)

		code.Store(0)
		w.setDeaf(true)
		if res := w.ask("onFormed"); res.Err != nil {
			t.Fatal(res.Err)
		}
		settle(2 * time.Second)
		end() // it has run, and the log does not know
		w.setDeaf(false)
		end = w.running(nil)
		settle(2 * time.Second)
		if got := w.keeper.did(); runsOf(got, "/hook/onFormed") != 1 {
			t.Errorf("did %v", got)
		}
		if a := w.member(0).Asked; a.State != spec.HookSucceeded || a.Times != 2 || !w.View().Set("default", "web").HookFormed {
			t.Errorf("the log has %+v", a)
		}
		if res := w.ask("onFormed"); res.Err == nil {
			t.Error("it was asked for again")
		}
	})
}

func TestAfterLeaveKnowsWhoLeft(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := hooked("main", "afterLeave")
		p.Hooks["afterLeave"] = spec.Hook{Command: []string{"/hook/afterLeave", "${leaver.name} ${leaver.ordinal} ${leaver.ip} ${leaver.fqdn}"}}
		w.put(nil, p)
		w.reserve(3)
		defer w.running(nil)()
		for i := range 3 {
			w.start(i)
		}
		settle(2 * time.Second)
		w.apply(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: 2})
		m := w.member(2)
		w.apply(&state.StopMember{Namespace: "default", Set: "web", Ordinal: 2, Gone: true, Why: "ScaleDown", IfEpoch: m.Epoch, IfGeneration: m.Generation})
		settle(2 * time.Second)
		m = w.member(2)
		w.apply(&state.DropMember{Namespace: "default", Set: "web", Ordinal: 2, IfEpoch: m.Epoch, IfGeneration: m.Generation})
		if gone := w.View().Set("default", "web").Gone; len(gone) != 1 || gone[0].Ordinal != 2 {
			t.Fatalf("the log has %+v, want web-2", gone)
		}
		w.keeper.did()
		m, s := w.member(0), w.View().Set("default", "web")
		w.apply(&state.AskHook{Namespace: "default", Set: "web", Hook: "afterLeave", Leaver: 2, IfEpoch: m.Epoch, IfGeneration: m.Generation, IfSet: s.Meta.Generation})
		settle(time.Second)
		want := "run default/web-0 [/hook/afterLeave web-2 2 127.0.0.3 web-2.web.default.svc.cluster.local]"
		if got := w.keeper.did(); !slices.Contains(got, want) {
			t.Errorf("did %v, want %s", got, want)
		}
		if gone := w.View().Set("default", "web").Gone; len(gone) != 0 {
			t.Errorf("the log still has %+v", gone)
		}
	})
}

// hold gives web-0 an epoch in which it is to tell its position only.
func (w *world) hold() {
	w.t.Helper()
	m := w.member(0)
	w.apply(&state.StartHeld{Namespace: "default", Set: "web", Revision: m.Revision, IfEpoch: m.Epoch, IfGeneration: m.Generation})
}

func TestPosition(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var output atomic.Value // a string
		output.Store("recovering\nno idea\n")
		w.hookRuns(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			if r.Epoch == 0 || r.Lock == "" {
				t.Errorf("the hook is run as %+v, want as part of the start", r)
			}
			return keeper.RunResult{Output: fmt.Append(nil, output.Load())}, nil
		})
		p := hooked("main", "position")
		p.Command = []string{"/bin/sleep", "${member.bootstrap}"}
		p.Files = []spec.File{{Path: "${volume.data}/first", Content: "${member.bootstrap}"}}
		w.put(withVolume, p)
		w.form()
		w.reserve(1)
		end := w.running(nil)
		defer func() { end() }()
		w.start(0)
		settle(2 * time.Second)
		w.stop(0)
		settle(time.Second)
		w.keeper.did()

		w.hold()
		settle(time.Minute)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, PositionFailed, `printed "no idea"`)
		output.Store("recovering\n -1 \n")
		settle(time.Minute)
		w.want(0, spec.MemberStarting, false)
		w.wantReason(0, "Held", "every member")
		if n, ok := w.member(0).Position(); !ok || n != -1 {
			t.Errorf("the log has position %d, %v", n, ok)
		}
		if got := w.keeper.did(); runsOf(got, "start default") != 0 {
			t.Errorf("it was started: %v", got)
		}
		// A restart of supd asks nobody again.
		end()
		end = w.running(nil)
		settle(time.Minute)
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("did %v", got)
		}

		zero := 0
		w.apply(&state.LetGo{Namespace: "default", Set: "web", Bootstrap: &zero, Epochs: map[int]uint64{0: w.member(0).Epoch}})
		settle(500 * time.Millisecond)
		w.want(0, spec.MemberRunning, true)
		if got := w.keeper.startOf("default/web-0", "main").Argv; !slices.Equal(got, []string{"/bin/sleep", "true"}) {
			t.Errorf("it was started as %q", got)
		}
		first := func() string {
			b, err := os.ReadFile(filepath.Join(w.View().Volume("default", "data-web-0").Path, "first"))
			if err != nil {
				t.Error(err)
			}
			return string(b)
		}
		if got := first(); got != "true" {
			t.Errorf("the file says %s", got)
		}
		// Once it was available, a restart in place finds that it is not the first any more.
		settle(5 * time.Second)
		if got := first(); got != "false" {
			t.Errorf("the file says %s", got)
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
		if given := time.Duration(given.Load()); given != 5*time.Second || !slices.Equal(graces, []time.Duration{leastGrace}) {
			t.Errorf("the hook had %v, the process then %v, want 5s and once the least grace %v", given, graces, leastGrace)
		}
	})
}
