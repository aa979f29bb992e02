package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"supd/supervisor/spec"
)

func TestJudgeAWord(t *testing.T) {
	t.Parallel()
	sure, wait := Result{OK: true, Sure: true}, Result{Message: "it has not said READY=1: 40 %", Wait: true}
	for _, c := range []struct {
		kind Kind
		word Word
		want Result
	}{
		{Startup, Word{}, Result{Message: "it has not said READY=1"}},
		{Startup, Word{Extending: true, Text: "40 %"}, wait},
		{Startup, Word{Stopping: true}, Result{Message: "it has not said READY=1"}},
		{Startup, Word{Ready: true}, sure},
		{Startup, Word{Ready: true, Reloading: true}, sure},
		{Readiness, Word{}, Result{Message: "it has not said READY=1"}},
		{Readiness, Word{Extending: true, Text: "40 %"}, Result{Message: "it has not said READY=1: 40 %"}},
		{Readiness, Word{Ready: true, Text: "fine"}, sure},
		{Readiness, Word{Ready: true, Reloading: true}, Result{Message: "it said RELOADING=1", Sure: true}},
		{Readiness, Word{Ready: true, Stopping: true}, Result{Message: "it said STOPPING=1", Sure: true}},
		{Liveness, Word{}, Result{Message: "it has not said WATCHDOG=1"}},
		{Liveness, Word{Watched: true}, Result{OK: true}},
		{Liveness, Word{Watched: true, Missed: 2}, Result{Message: "it has not said WATCHDOG=1 for 2 periods"}},
		{Liveness, Word{Watched: true, Missed: 3}, Result{Message: "it has not said WATCHDOG=1 for 3 periods", Sure: true}},
		{Liveness, Word{Watched: true, Trigger: true}, Result{Message: "it said WATCHDOG=trigger", Sure: true}},
	} {
		check, err := New(&spec.Probe{Notify: true, FailureThreshold: 3}, Resolve{Kind: c.kind})
		if err != nil {
			t.Fatal(err)
		}
		n, ok := check.(*notifyCheck)
		if !ok {
			t.Fatalf("a notify probe is a %T", check)
		}
		if got := n.judge(c.word); got != c.want {
			t.Errorf("%s of %+v: got %+v, want %+v", c.kind, c.word, got, c.want)
		}
	}
}

// told is a Watch of notify probes in a bubble.
func told(t *testing.T, o Options) *Watch {
	t.Helper()
	o.Checks = Checks{}
	for kind, timing := range o.Probes {
		o.Checks[kind] = &notifyCheck{kind: kind, failures: timing.Failure}
	}
	o.Started = time.Now()
	w := NewWatch(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return w
}

func (w *Watch) is(t *testing.T, what string, started, ready, failed bool) {
	t.Helper()
	synctest.Wait()
	if s := w.State(); s.Started != started || s.Ready != ready || (s.Failed != nil) != failed {
		t.Errorf("%s: started %v, ready %v, failed %+v; want %v, %v, %v", what, s.Started, s.Ready, s.Failed, started, ready, failed)
	}
}

func TestAWordCountsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := told(t, Options{Probes: Probes{Startup: timing(1, 3), Readiness: timing(2, 3)}})
		for range 10 { // texts, which say nothing of it
			w.Tell(Word{Text: "recovering"})
		}
		w.is(t, "before", false, false, false)
		w.Tell(Word{Ready: true})
		w.is(t, "READY=1", true, true, false)
		w.Tell(Word{Ready: true, Reloading: true})
		w.is(t, "RELOADING=1", true, false, false)
		w.Tell(Word{Ready: true})
		w.is(t, "READY=1 again", true, true, false)
		w.Tell(Word{Ready: true, Stopping: true})
		time.Sleep(10 * time.Second)
		w.is(t, "STOPPING=1", true, false, false)
	})
}

func TestStartupWithoutReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := told(t, Options{Probes: Probes{Startup: timing(1, 3)}})
		w.Tell(Word{Extending: true})
		time.Sleep(time.Minute)
		w.is(t, "while it asks for more time", false, false, false)
		w.Tell(Word{})
		time.Sleep(1500 * time.Millisecond)
		w.is(t, "soon after", false, false, false)
		time.Sleep(2 * time.Second)
		w.is(t, "three periods after", false, false, true)
	})
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		words  []Word // one a second, from the first
		failed int    // when; 0: never
	}{
		{"pings", []Word{{Watched: true}, {Watched: true}, {Watched: true}, {Watched: true}, {Watched: true}}, 0},
		{"misses one now and then", []Word{{Watched: true}, {Watched: true, Missed: 1}, {Watched: true}, {Watched: true, Missed: 1}, {Watched: true}}, 0},
		{"never pings", []Word{{}, {}, {}, {}, {}}, 3},
		{"stops pinging", []Word{{Watched: true}, {Watched: true, Missed: 1}, {Watched: true, Missed: 2}, {Watched: true, Missed: 3}}, 4},
		{"was silent while nobody looked", []Word{{Watched: true, Missed: 17}}, 1},
		{"triggers", []Word{{Watched: true}, {Watched: true, Trigger: true}}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := told(t, Options{Probes: Probes{Liveness: timing(1, 3)}})
			failed := 0
			for i, word := range c.words {
				w.Tell(word)
				synctest.Wait()
				if w.State().Failed != nil && failed == 0 {
					failed = i + 1
				}
				time.Sleep(time.Second + time.Millisecond)
				synctest.Wait()
				if w.State().Failed != nil && failed == 0 {
					failed = i + 1
				}
			}
			if failed != c.failed {
				t.Errorf("%s: failed in second %d, want %d", c.name, failed, c.failed)
			}
		})
	}
}

// A single miss is enough here, but the first ping has a period to come.
func TestFirstPingHasTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := told(t, Options{Probes: Probes{Liveness: timing(1, 1)}})
		w.is(t, "at first", true, true, false)
		time.Sleep(1500 * time.Millisecond)
		w.is(t, "after a period", true, false, true)
	})
}
