package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// reserveMore makes the record of one more member.
func (w *world) reserveMore(ordinal int) {
	w.t.Helper()
	o := string(rune('0' + ordinal))
	w.apply(&state.Reserve{
		Namespace: "default", Set: "web", IfGeneration: w.View().Set("default", "web").Meta.Generation,
		Slots: []state.Slot{{Ordinal: ordinal, UID: "m" + o, Node: "n1", IP: "127.0.0.1" + o, VolumeUIDs: map[string]string{"data": "aaaaaaaa-data" + o}}},
	})
}

func TestPeersChanged(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		var all sync.Map // what the hook saw, by its turn
		var turns, code atomic.Int64
		w.hookRuns(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			b, err := os.ReadFile(filepath.Join(w.View().Volume("default", "data-web-0").Path, "peers"))
			if err != nil {
				t.Error(err)
			}
			all.Store(int(turns.Add(1)), string(b))
			return keeper.RunResult{Code: int(code.Load())}, nil
		})
		seen := func() (n int, last any) {
			n = int(turns.Load())
			last, _ = all.Load(n)
			return n, last
		}
		p := hooked("main", "onPeersChanged")
		p.Files = []spec.File{{Path: "${volume.data}/peers", Content: "%{for m in members}${m.name} %{endfor}"}}
		w.put(withVolume, p)
		w.reserve(1)
		end := w.running(nil)
		defer func() { end() }()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if n, last := seen(); n != 0 {
			t.Fatalf("told of what it was started with: %q", last)
		}

		w.reserveMore(1)
		settle(time.Second)
		if n, last := seen(); n != 1 || last != "web-0 web-1 " {
			t.Errorf("the hook ran %d times and saw %q, want the file as it is now, once", n, last)
		}
		end() // a restart of supd tells nothing anew
		end = w.running(nil)
		settle(2 * time.Second)
		if n, _ := seen(); n != 1 {
			t.Errorf("the hook ran %d times, want once", n)
		}
		// One of the process does: its command line is that of the start.
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Second)
		if n, _ := seen(); n != 2 {
			t.Errorf("the hook ran %d times after a restart in place, want twice", n)
		}

		// While supd was away; and a failure is tried again.
		end()
		w.reserveMore(2)
		code.Store(1)
		end = w.running(nil)
		settle(time.Minute)
		w.want(0, spec.MemberRunning, true)
		if n, last := seen(); n < 5 || n > 15 || last != "web-0 web-1 web-2 " {
			t.Errorf("the hook ran %d times, at last with %q", n, last)
		}
		if h := w.told(0, "onPeersChanged"); h.State != spec.HookFailed {
			t.Errorf("the hook is told as %+v", h)
		}
		code.Store(0)
		settle(2 * time.Minute) // the longest pause between two tries, and its spread
		n, _ := seen()
		settle(10 * time.Minute)
		more, _ := seen()
		if h := w.told(0, "onPeersChanged"); h.State != spec.HookSucceeded || more != n {
			t.Errorf("the hook is told as %+v, and ran %d times more", h, more-n)
		}

		// A new start knows the list.
		w.stop(0)
		settle(time.Second)
		w.start(0)
		settle(5 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if more, last := seen(); more != n {
			t.Errorf("told of what it was started with: %q", last)
		}
	})
}

func TestPeersChangedByASignal(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		p.Hooks = spec.Hooks{"onPeersChanged": {Signal: "hup"}}
		w.put(nil, p, sleeper("side"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.keeper.did()
		w.reserveMore(1)
		settle(2 * time.Second)
		if got := strings.Join(w.keeper.did(), ", "); got != "signal default/web-0 main SIGHUP" {
			t.Errorf("did %s", got)
		}
		w.told(0, "onPeersChanged")
	})
}
