package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"supd/supervisor/spec"
)

var t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func timing(success, failure int) Timing {
	return Timing{Period: time.Second, Timeout: time.Second, Success: success, Failure: failure}
}

// feed notes results a second apart: + passes, - fails.
func feed(tr *Tracker, kind Kind, results string) {
	now := t0
	for _, c := range results {
		tr.Begin(kind, now)
		tr.Note(kind, now, Result{OK: c == '+', Message: "no"})
		now = now.Add(time.Second)
	}
}

func TestReadinessThresholds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		success, failure int
		seed             *Seed
		results          string
		want             bool
	}{
		{1, 3, nil, "", false},
		{1, 3, nil, "+", true},
		{1, 3, nil, "+--", true},
		{1, 3, nil, "+---", false},
		{1, 3, nil, "+--+--", true},
		{1, 3, nil, "---+", true},
		{2, 3, nil, "+", false},
		{2, 3, nil, "+-+", false},
		{2, 3, nil, "++", true},
		{1, 1, nil, "+-", false},
		{1, 3, &Seed{Started: true, Ready: true}, "", true},
		{1, 3, &Seed{Started: true, Ready: true}, "--", true},
		{1, 3, &Seed{Started: true, Ready: true}, "---", false},
		{1, 3, &Seed{Started: true, Ready: true}, "--+--", true},
		{1, 3, &Seed{Started: true}, "", false},
		{2, 3, &Seed{Started: true}, "+", false},
	} {
		tr := NewTracker(Probes{Readiness: timing(c.success, c.failure)}, t0, t0, c.seed, 0)
		feed(tr, Readiness, c.results)
		if tr.Ready() != c.want {
			t.Errorf("success %d failure %d seed %v results %q: ready %v, want %v", c.success, c.failure, c.seed, c.results, tr.Ready(), c.want)
		}
	}
}

func TestStartupShieldsTheOthers(t *testing.T) {
	t.Parallel()
	tr := NewTracker(Probes{Startup: timing(1, 3), Readiness: timing(1, 3), Liveness: timing(1, 1)}, t0, t0, nil, 0)
	if _, ok := tr.Next(Liveness); ok {
		t.Error("liveness is due before startup has passed")
	}
	if _, ok := tr.Next(Readiness); ok || tr.Ready() {
		t.Error("readiness is due before startup has passed")
	}
	feed(tr, Startup, "--+")
	if !tr.Started() || tr.Ready() {
		t.Errorf("started %v ready %v, want true false", tr.Started(), tr.Ready())
	}
	if _, ok := tr.Next(Startup); ok {
		t.Error("startup is due again")
	}
	if at, ok := tr.Next(Readiness); !ok || at.After(t0.Add(2*time.Second)) {
		t.Errorf("readiness is due %v %v, want at once", at, ok)
	}
	feed(tr, Readiness, "+")
	if !tr.Ready() {
		t.Error("not ready")
	}
	feed(tr, Liveness, "-")
	if f := tr.Failed(); f == nil || f.Kind != Liveness || f.Message != "no" || tr.Ready() {
		t.Errorf("failed %v, ready %v", f, tr.Ready())
	}
	for _, k := range []Kind{Startup, Readiness, Liveness} {
		if _, ok := tr.Next(k); ok {
			t.Errorf("%s is due after the failure", k)
		}
	}
}

func TestStartupFailureRestarts(t *testing.T) {
	t.Parallel()
	tr := NewTracker(Probes{Startup: timing(1, 3)}, t0, t0, nil, 0)
	feed(tr, Startup, "--")
	if tr.Failed() != nil {
		t.Fatal("failed too early")
	}
	feed(tr, Startup, "-")
	if f := tr.Failed(); f == nil || f.Kind != Startup {
		t.Errorf("failed %v, want startup", f)
	}
}

func TestNothingRestartsWhatIsBeingStopped(t *testing.T) {
	t.Parallel()
	tr := NewTracker(Probes{Liveness: timing(1, 1), Readiness: timing(1, 1)}, t0, t0, nil, 0)
	feed(tr, Readiness, "+")
	tr.Begin(Liveness, t0)
	tr.Stop()
	tr.Note(Liveness, t0, Result{})
	if _, ok := tr.Next(Liveness); ok || tr.Failed() != nil {
		t.Error("liveness is on while stopping")
	}
	feed(tr, Readiness, "-")
	if tr.Ready() {
		t.Error("readiness is off while stopping")
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	tm := Timing{InitialDelay: 3 * time.Second, Period: 10 * time.Second, Timeout: time.Second, Success: 1, Failure: 3}
	tr := NewTracker(Probes{Readiness: tm}, t0, t0.Add(time.Second), nil, 0.5)
	due := func(want time.Duration) {
		t.Helper()
		if at, ok := tr.Next(Readiness); !ok || at.Sub(t0) != want {
			t.Errorf("due after %v (%v), want %v", at.Sub(t0), ok, want)
		}
	}
	due(3 * time.Second)
	tr.Begin(Readiness, t0.Add(3*time.Second))
	if _, ok := tr.Next(Readiness); ok {
		t.Error("due while it runs")
	}
	tr.Note(Readiness, t0.Add(4*time.Second), Result{OK: true})
	due(13 * time.Second)
	tr.Begin(Readiness, t0.Add(13*time.Second))
	tr.Note(Readiness, t0.Add(30*time.Second), Result{OK: true}) // slower than its period
	due(30 * time.Second)
	tr = NewTracker(Probes{Readiness: tm}, t0, t0.Add(time.Hour), &Seed{Started: true, Ready: true}, 0.5)
	due(time.Hour + 5*time.Second)
}

func TestTimingOfDefaults(t *testing.T) {
	t.Parallel()
	want := Timing{Period: 10 * time.Second, Timeout: time.Second, Success: 1, Failure: 3}
	if got := TimingOf(&spec.Probe{}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	p, o := spec.Duration(5*time.Millisecond), spec.Duration(2*time.Millisecond)
	want = Timing{InitialDelay: time.Minute, Period: 5 * time.Millisecond, Timeout: 2 * time.Millisecond, Success: 2, Failure: 7}
	if got := TimingOf(&spec.Probe{InitialDelay: spec.Duration(time.Minute), Period: &p, Timeout: &o, SuccessThreshold: 2, FailureThreshold: 7}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestRandomWalk checks the thresholds against a second account of the results.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 500 {
		s, f := r.IntN(3)+1, r.IntN(3)+1
		tr := NewTracker(Probes{Readiness: timing(s, f)}, t0, t0, nil, 0)
		ready, run, last := false, 0, false
		for range 40 {
			ok := r.IntN(2) == 0
			if run > 0 && ok == last {
				run++
			} else {
				last, run = ok, 1
			}
			if ok && run >= s {
				ready = true
			}
			if !ok && run >= f {
				ready = false
			}
			before := tr.Ready()
			tr.Begin(Readiness, t0)
			changed := tr.Note(Readiness, t0, Result{OK: ok})
			if tr.Ready() != ready || changed != (before != ready) {
				t.Fatalf("seed %d: ready %v changed %v, want %v %v", seed, tr.Ready(), changed, ready, before != ready)
			}
		}
	}
}
