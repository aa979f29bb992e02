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
