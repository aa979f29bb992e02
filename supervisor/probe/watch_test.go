package probe

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checkFunc answers with the n-th result, or after the deadline.
type checkFunc func(ctx context.Context) Result

func (f checkFunc) Check(ctx context.Context) Result { return f(ctx) }

func TestWatchRunsProbesOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex // guards what follows
		var ran []time.Duration
		ok := true
		var states []State
		w := NewWatch(Options{
			Started: start,
			Probes:  Probes{Readiness: {InitialDelay: 2 * time.Second, Period: 5 * time.Millisecond, Timeout: time.Second, Success: 1, Failure: 2}},
			Checks: Checks{Readiness: checkFunc(func(context.Context) Result {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, time.Since(start))
				return Result{OK: ok, Message: "no"}
			})},
			OnChange: func(s State) {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, s)
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(2*time.Second + 22*time.Millisecond)
		synctest.Wait()
		if len(ran) != 5 || ran[0] != 2*time.Second || ran[4] != 2*time.Second+20*time.Millisecond {
			t.Errorf("ran at %v", ran)
		}
		if len(states) != 1 || !states[0].Ready {
			t.Errorf("states %+v, want one: ready", states)
		}
		mu.Lock()
		ok = false
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if s := w.State(); s.Ready || s.Message != "no" {
			t.Errorf("state %+v, want not ready", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWatchTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := checkFunc(func(ctx context.Context) Result { <-ctx.Done(); return Result{Message: "late"} })
		fast := checkFunc(func(context.Context) Result { return Result{OK: true} })
		w := NewWatch(Options{
			Started: time.Now(),
			Probes:  Probes{Startup: timing(1, 1), Readiness: timing(1, 3), Liveness: timing(1, 2)},
			Checks:  Checks{Startup: fast, Readiness: fast, Liveness: hang},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if s := w.State(); !s.Ready || s.Failed != nil {
			t.Errorf("a slow liveness probe holds the others up: %+v", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := w.State(); s.Failed == nil || s.Failed.Kind != Liveness || s.Failed.Message != "late" {
			t.Errorf("state %+v, want liveness failed", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
