package agent

import (
	"context"
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
