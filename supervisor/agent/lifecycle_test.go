package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/volumes"
)

func TestLifecycle(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, sleeper("main"))
		w.reserve(1)
		end := w.running(nil)
		defer end()
		settle(time.Second)
		if got := w.keeper.did(); len(got) != 0 {
			t.Fatalf("a reservation was acted upon: %v", got)
		}
		w.said()
		w.start(0)
		settle(time.Millisecond)
		m := w.want(0, spec.MemberRunning, true)
		if m.Seen.Steady {
			t.Error("steady at once, want after a second")
		}
		if got := w.said(); len(got) != 1 || len(got[0].Volumes) != 1 {
			t.Errorf("the start took %d reports, want 1 with its volume: %+v", len(got), got)
		}
		if vol := w.View().Volume("default", "data-web-0"); vol.Phase != spec.VolumeBound || vol.Path == "" {
			t.Errorf("the volume is %s at %q, want Bound", vol.Phase, vol.Path)
		}
		settle(1200 * time.Millisecond)
		if !w.member(0).Seen.Steady {
			t.Error("not steady after a second")
		}
		if got := w.said(); len(got) != 1 {
			t.Errorf("%d reports to be steady, want 1", len(got))
		}

		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(100 * time.Millisecond)
		m = w.want(0, spec.MemberRunning, true)
		if m.Seen.Restarts != 1 || m.Seen.Steady {
			t.Errorf("after a crash: %d restarts, steady %v; want 1, false", m.Seen.Restarts, m.Seen.Steady)
		}
		settle(2 * time.Second)
		if !w.member(0).Seen.Steady {
			t.Error("not steady two seconds after one crash")
		}
		w.keeper.did()

		w.stop(0)
		settle(time.Second)
		w.want(0, spec.MemberStopped, false)
		want := []string{"stop default/web-0 main", "giveup default/web-0 1", "forget default/web-0 main"}
		if got := w.keeper.did(); !slices.Equal(got, want) {
			t.Errorf("the stop was %v, want %v", got, want)
		}
		if lock := w.keeper.startOf("default/web-0", "main").Lock; lock == "" || !slices.Equal(w.keeper.asked["default/web-0"], []string{lock}) {
			t.Errorf("it was given up with the locks %q asked, want %q", w.keeper.asked["default/web-0"], lock)
		}
		w.start(0)
		settle(time.Second)
		if m := w.want(0, spec.MemberRunning, true); m.Epoch != 2 {
			t.Errorf("epoch %d, want 2", m.Epoch)
		}
		w.said()
		settle(time.Minute)
		for _, r := range w.said() {
			for _, m := range r.Members {
				if !m.Seen.Steady {
					t.Errorf("with nothing going on this was reported: %+v", r)
				}
			}
		}
	})
}

func TestGoneMemberLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, sleeper("main"))
		w.reserve(1)
		w.start(0)
		defer w.running(nil)()
		settle(2 * time.Second)
		run := filepath.Join(w.dir, "run", "default", "web-0")
		if _, err := os.Stat(run); err != nil {
			t.Fatal(err)
		}
		w.apply(&state.DeleteSet{Namespace: "default", Name: "web"})
		m := w.member(0)
		w.apply(&state.StopMember{Namespace: "default", Set: "web", Ordinal: 0, Gone: true, Why: "SetDeleted", IfEpoch: m.Epoch, IfGeneration: m.Generation})
		settle(time.Second)
		m = w.want(0, spec.MemberStopped, false)
		w.apply(&state.DropMember{Namespace: "default", Set: "web", Ordinal: 0, IfEpoch: m.Epoch, IfGeneration: m.Generation})
		settle(time.Second)
		if _, err := os.Stat(run); !os.IsNotExist(err) {
			t.Errorf("the run directory is still there: %v", err)
		}
		vol := w.View().Volume("default", "data-web-0")
		if _, err := os.Stat(vol.Path); err != nil || vol.Phase != spec.VolumeRetained {
			t.Errorf("the directory must be retained: %s, %v", vol.Phase, err)
		}
	})
}

func TestRestartOfTheDaemonTouchesNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		second := spec.Duration(time.Second)
		p.Readiness = &spec.Probe{Exec: []string{"check"}, Period: &second, FailureThreshold: 3}
		p.Files = []spec.File{{Path: "${volume.data}/app.conf", Content: "me=${member.name}\n"}, {Path: "/etc/app.conf", Content: "x"}}
		w.put(withVolume, p, sleeper("side"))
		w.reserve(2)
		w.start(0)
		w.start(1)
		end := w.running(nil)
		settle(3 * time.Second)
		m := w.want(0, spec.MemberRunning, true)
		if !m.Seen.Steady {
			t.Fatal("not steady")
		}
		end()
		if last := w.beats[len(w.beats)-1]; !last.Leaving {
			t.Error("the last heartbeat does not say that the node leaves")
		}
		conf := filepath.Join(w.View().Volume("default", "data-web-0").Path, "app.conf")
		if err := os.WriteFile(conf, []byte("changed by the program\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.keeper.did()
		w.said()
		var failing atomic.Bool
		failing.Store(true)
		w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			if failing.Load() {
				return keeper.RunResult{Code: 1}, nil
			}
			return keeper.RunResult{}, nil
		})
		before := *w.member(0)

		end = w.running(nil)
		settle(time.Second)
		if got := w.member(0); got.Index != before.Index {
			t.Errorf("the member was changed in the log: %+v", got.Seen)
		}
		settle(700 * time.Millisecond)
		w.want(0, spec.MemberRunning, true)
		failing.Store(false)
		settle(10 * time.Second)
		for _, call := range w.keeper.did() {
			if !strings.HasPrefix(call, "run ") {
				t.Errorf("the keeper was asked: %s", call)
			}
		}
		if got := w.said(); len(got) != 0 {
			t.Errorf("reports without any news: %+v", got)
		}
		if b, err := os.ReadFile(conf); err != nil || string(b) != "changed by the program\n" {
			t.Errorf("the program's file was written again: %q, %v", b, err)
		}
		// Seeded readiness is no licence: it must fail often enough, then it counts.
		failing.Store(true)
		settle(5 * time.Second)
		w.want(0, spec.MemberRunning, false)
		end()
	})
}

func TestNothingStartsWithoutLease(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(2)
		w.start(0)
		w.setCut(true)
		defer w.running(nil)()
		settle(30 * time.Second)
		if got := w.keeper.did(); len(got) != 0 {
			t.Fatalf("without a lease the agent did %v", got)
		}
		w.setAhead(5)
		w.setCut(false)
		settle(5 * time.Second)
		if got := w.keeper.did(); len(got) != 0 {
			t.Fatalf("with a View behind the leader's the agent did %v", got)
		}
		w.setAhead(0)
		for range 5 { // the entries that it lacked
			w.propose(&state.SetStopping{})
		}
		settle(time.Second)
		w.want(0, spec.MemberRunning, true)
		// The lease runs out: nothing new starts, what runs runs on.
		w.setCut(true)
		settle(11 * time.Second)
		w.keeper.did()
		w.start(1)
		settle(time.Minute)
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("after the lease the agent did %v", got)
		}
		w.setCut(false)
		settle(5 * time.Second)
		w.want(1, spec.MemberRunning, true)
	})
}

func TestOldViewStopsNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		w.keeper.set(keeper.Status{Member: "default/web-0", Process: "main", Epoch: 7, PID: 9, State: keeper.Running, StartedAt: time.Now()})
		w.keeper.set(keeper.Status{Member: "default/other-0", Process: "main", Epoch: 6, PID: 10, State: keeper.Running, StartedAt: time.Now()})
		w.setAhead(100)
		defer w.running(nil)()
		settle(time.Minute)
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("on an old View the agent did %v", got)
		}
		w.setAhead(0)
		w.setCut(true)
		settle(time.Minute)
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("without a leader the agent did %v", got)
		}
	})
}

func TestStraysAreStopped(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		w.start(0)
		w.stop(0)
		w.propose(&state.Report{Node: "n1", Run: "earlier", Seq: 1, Members: []state.MemberReport{{
			Namespace: "default", Set: "web",
			Seen: state.Observation{Epoch: 1, Phase: spec.MemberStopped},
		}}})
		if e := w.start(0); e != 2 {
			t.Fatalf("epoch %d, want 2", e)
		}
		w.keeper.hangs()
		w.keeper.set(keeper.Status{Member: "default/web-0", Process: "main", Epoch: 1, PID: 9, State: keeper.Running, StartedAt: time.Now()})
		w.keeper.set(keeper.Status{Member: "default/gone-3", Process: "main", Epoch: 1, PID: 10, State: keeper.Running, StartedAt: time.Now()})
		defer w.running(nil)()
		settle(3 * time.Second)
		got := w.keeper.did()
		slices.Sort(got)
		if want := []string{"stop default/gone-3 main", "stop default/web-0 main"}; !slices.Equal(got, want) {
			t.Fatalf("the agent did %v, want %v", got, want)
		}
		w.keeper.drop()
		settle(3 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if w.keeper.gaveUp("default/gone-3") != 1 || w.keeper.gaveUp("default/web-0") != 1 {
			t.Error("epoch 1 was not given up of both")
		}
		if len(w.keeper.rows) != 1 {
			t.Errorf("records left: %v", w.keeper.rows)
		}
	})
}

func TestProcessesInOrder(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		a := sleeper("a")
		ms := spec.Duration(100 * time.Millisecond)
		a.Startup = &spec.Probe{Exec: []string{"up"}, Period: &ms, FailureThreshold: 1000}
		w.put(nil, a, sleeper("b"), sleeper("c"))
		w.reserve(1)
		var up atomic.Bool
		w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			if up.Load() {
				return keeper.RunResult{}, nil
			}
			return keeper.RunResult{Code: 1, Output: []byte("still loading\n")}, nil
		})
		defer w.running(nil)()
		settle(time.Second)
		w.start(0)
		settle(time.Second)
		w.want(0, spec.MemberStarting, false)
		w.wantReason(0, "StartupPending", "still loading")
		if got := startsOf(w.keeper.did()); !slices.Equal(got, []string{"start default/web-0 a 1"}) {
			t.Fatalf("started: %v, want a alone", got)
		}
		up.Store(true)
		settle(time.Second)
		if m := w.want(0, spec.MemberRunning, true); m.Seen.StartedOK.IsZero() || !m.Seen.Started {
			t.Error("it does not say when its startup had passed")
		}
		if got := startsOf(w.keeper.did()); !slices.Equal(got, []string{"start default/web-0 b 1", "start default/web-0 c 1"}) {
			t.Fatalf("started: %v, want b, c", got)
		}
		w.keeper.hangs()
		w.stop(0)
		for _, name := range []string{"c", "b", "a"} {
			settle(time.Second)
			if got := w.keeper.did(); !slices.Equal(got, []string{"stop default/web-0 " + name}) {
				t.Fatalf("stopped: %v, want %s alone", got, name)
			}
			w.keeper.drop()
		}
		settle(time.Second)
		w.want(0, spec.MemberStopped, false)
	})
}

func startsOf(calls []string) []string {
	return slices.DeleteFunc(calls, func(s string) bool { return !strings.HasPrefix(s, "start ") })
}

// settles forgets the heartbeats so far, or looks at them: a node is not settled before the log has that its
// member has ended, and then it is.
func (w *world) settles(begin bool) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if begin {
		w.beats, w.known = nil, nil
		return
	}
	if n := len(w.beats); n == 0 || w.beats[n-1].Unsettled {
		w.t.Errorf("of %d heartbeats the last still says that the node is not settled", n)
	}
	for i, h := range w.beats {
		if !h.Unsettled && w.known[i] != spec.MemberStopped {
			w.t.Errorf("the node is settled, and the log has its member %s", w.known[i])
		}
	}
}

func TestHostRebooted(t *testing.T) {
	t.Parallel()
	for _, forget := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			w.put(nil, sleeper("main"))
			w.reserve(1)
			w.start(0)
			end := w.running(nil)
			settle(2 * time.Second)
			end()
			w.keeper.reboot(forget)
			w.keeper.did()
			w.settles(true)
			defer w.running(nil)()
			settle(time.Second)
			m := w.want(0, spec.MemberStopped, false)
			w.settles(false)
			want := HostRebooted
			if forget {
				want = KeeperLost
			}
			if m.Seen.Reason != want {
				t.Errorf("reason %q, want %q", m.Seen.Reason, want)
			}
			if got := startsOf(w.keeper.did()); len(got) != 0 {
				t.Errorf("an epoch that ended was started again: %v", got)
			}
			if w.keeper.gaveUp("default/web-0") != 1 {
				t.Error("the epoch was not given up")
			}
			w.start(0)
			settle(time.Second)
			w.want(0, spec.MemberRunning, true)
		})
	}
}

func TestNeedsRoot(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*spec.StatefulSetSpec, *spec.Template){
		"user": func(_ *spec.StatefulSetSpec, tpl *spec.Template) { tpl.Processes[0].User = "nobody" },
		"file": func(_ *spec.StatefulSetSpec, tpl *spec.Template) {
			tpl.Processes[0].Files = []spec.File{{Path: "/etc/x"}}
		},
		"limits": func(_ *spec.StatefulSetSpec, tpl *spec.Template) {
			tpl.Processes[0].Limits = &spec.Limits{Memory: "64Mi"}
		},
		"capabilities": func(_ *spec.StatefulSetSpec, tpl *spec.Template) {
			tpl.Processes[0].Capabilities = []string{"KILL"}
		},
		"readOnlyPaths": func(_ *spec.StatefulSetSpec, tpl *spec.Template) { tpl.Processes[0].ReadOnly = []string{"/"} },
		"privateTmp":    func(_ *spec.StatefulSetSpec, tpl *spec.Template) { tpl.Processes[0].PrivateTmp = true },
		"init": func(_ *spec.StatefulSetSpec, tpl *spec.Template) {
			tpl.Init = []spec.InitStep{{Name: "a", Exec: spec.Exec{Command: []string{"a"}}, Privileges: spec.Privileges{PrivateTmp: true}}}
		},
		"volume": func(s *spec.StatefulSetSpec, tpl *spec.Template) {
			withVolume(s, tpl)
			tpl.VolumeMounts = map[string]string{"data": "/var/lib/x"}
		},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.put(change, sleeper("main"))
			w.reserve(1)
			defer w.running(func(o *Options) { o.Root = false })()
			w.start(0)
			settle(2 * time.Second)
			m := w.want(0, spec.MemberFailed, false)
			if m.Seen.Reason != NeedsRoot {
				t.Errorf("%s: reason %q (%s), want NeedsRoot", name, m.Seen.Reason, m.Seen.Message)
			}
			if got := w.keeper.did(); len(got) != 0 {
				t.Errorf("%s: the agent did %v", name, got)
			}
			// A revision that needs no root gets a new epoch and runs.
			w.put(func(s *spec.StatefulSetSpec, tpl *spec.Template) {
				if name == "volume" {
					withVolume(s, tpl)
				}
			}, spec.Process{Name: "main", Exec: spec.Exec{Command: []string{"other"}}})
			w.stop(0)
			settle(time.Second)
			w.want(0, spec.MemberStopped, false)
			w.start(0)
			settle(time.Second)
			if m := w.want(0, spec.MemberRunning, true); m.Epoch != 2 {
				t.Errorf("epoch %d, want 2", m.Epoch)
			}
		})
	}
}

func TestDiskErrorsAreReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		errno  syscall.Errno
		reason volumes.Reason
	}{{syscall.ENOSPC, volumes.ErrFull}, {syscall.EROFS, volumes.ErrReadOnly}} {
		inBubble(t, func(t *testing.T, w *world) {
			w.put(withVolume, sleeper("main"))
			w.reserve(1)
			w.setFault(func(string, string) error { return c.errno })
			defer w.running(nil)()
			w.start(0)
			settle(2 * time.Second)
			w.want(0, spec.MemberFailed, false)
			w.wantReason(0, string(c.reason), "data-web-0")
			if vol := w.View().Volume("default", "data-web-0"); vol.Reason != string(c.reason) || vol.Made {
				t.Errorf("the volume says %q, want %s", vol.Reason, c.reason)
			}
			w.said()
			settle(5 * time.Minute)
			if n := len(w.said()); n > 2 {
				t.Errorf("%d reports of one and the same failure", n)
			}
			w.setFault(nil)
			settle(time.Minute)
			w.want(0, spec.MemberRunning, true)
			if vol := w.View().Volume("default", "data-web-0"); vol.Reason != "" || !vol.Made {
				t.Errorf("the volume still says %q", vol.Reason)
			}
		})
	}
}

func TestMissingVolumeIsNeverMadeAnew(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, sleeper("main"))
		w.reserve(1)
		w.start(0)
		defer w.running(nil)()
		settle(2 * time.Second)
		w.stop(0)
		settle(time.Second)
		container := filepath.Dir(w.View().Volume("default", "data-web-0").Path)
		if err := os.Rename(container, container+".away"); err != nil {
			t.Fatal(err)
		}
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, string(volumes.ErrMissing), "")
		if err := os.Rename(container+".away", container); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.want(0, spec.MemberRunning, true)
	})
}

// lagging is a Views that shows an old View until it may catch up.
type lagging struct {
	*world
	mu      sync.Mutex // guards old
	old     *state.View
	changed chan struct{}
}

func (l *lagging) View() *state.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.old != nil {
		return l.old
	}
	return l.world.View()
}

func (l *lagging) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.old != nil {
		return l.changed
	}
	return l.world.Changed()
}

func (l *lagging) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.old = nil
	close(l.changed)
}

// A daemon killed right after a member turned ready comes back with a View from
// before that: its probes must not begin from there.
func TestRestartWithAnOldViewFlapsNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		second := spec.Duration(time.Second)
		p.Readiness = &spec.Probe{Exec: []string{"check"}, Period: &second, FailureThreshold: 3}
		var ready atomic.Bool
		w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			if ready.Load() {
				return keeper.RunResult{}, nil
			}
			return keeper.RunResult{Code: 1}, nil
		})
		w.put(withVolume, p)
		w.reserve(1)
		w.start(0)
		end := w.running(nil)
		settle(2 * time.Second)
		old := w.View()
		ready.Store(true)
		settle(3 * time.Second)
		w.want(0, spec.MemberRunning, true)
		end()
		before := *w.member(0)

		l := &lagging{world: w, old: old, changed: make(chan struct{})}
		end = w.running(func(o *Options) { o.Views = l })
		settle(500 * time.Millisecond)
		l.catchUp()
		settle(5 * time.Second)
		if got := w.member(0); got.Index != before.Index {
			t.Errorf("the member was changed in the log: %+v", got.Seen)
		}
		end()
	})
}
