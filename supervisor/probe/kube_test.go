package probe

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// moment is what is known of a process at a time.
type moment struct {
	at                     time.Duration
	started, ready, failed bool
}

// TestKubernetesTiming is what pkg/kubelet/prober/worker.go of Kubernetes makes of answers,
// second by second. A probe answers with the characters of its string, one each time it is
// asked: + passes, - fails, ? cannot be asked; the last one goes on for ever.
func TestKubernetesTiming(t *testing.T) {
	t.Parallel()
	const s = time.Second
	every := func(period, delay time.Duration, success, failure int) Timing {
		return Timing{InitialDelay: delay, Period: period, Timeout: s, Success: success, Failure: failure}
	}
	for _, c := range []struct {
		name    string
		probes  Probes
		answers map[Kind]string
		want    []moment
		asked   map[Kind][]time.Duration // the first times
	}{
		{"without probes it is started and ready", Probes{}, nil, []moment{{0, true, true, false}}, nil},
		{
			"readiness is false before its first answer, and so while it is delayed",
			Probes{Readiness: every(10*s, 5*s, 1, 3)},
			map[Kind]string{Readiness: "+"},
			[]moment{{0, true, false, false}, {5*s - 1, true, false, false}, {5 * s, true, true, false}},
			map[Kind][]time.Duration{Readiness: {5 * s, 15 * s, 25 * s}},
		},
		{
			"liveness is good before its first answer",
			Probes{Liveness: every(10*s, 5*s, 1, 1)},
			map[Kind]string{Liveness: "-"},
			[]moment{{0, true, true, false}, {5*s - 1, true, true, false}, {5 * s, true, false, true}},
			map[Kind][]time.Duration{Liveness: {5 * s}},
		},
		{
			"startup is unknown: neither started nor failed",
			Probes{Startup: every(10*s, 3*s, 1, 3), Readiness: every(10*s, 0, 1, 3), Liveness: every(10*s, 0, 1, 1)},
			map[Kind]string{Startup: "-+", Readiness: "+", Liveness: "-"},
			[]moment{{0, false, false, false}, {3 * s, false, false, false}, {13*s - 1, false, false, false}, {13 * s, true, false, true}},
			map[Kind][]time.Duration{Startup: {3 * s, 13 * s}, Liveness: {13 * s}},
		},
		{
			"failureThreshold failures in a row, no fewer",
			Probes{Readiness: every(s, 0, 1, 3)},
			map[Kind]string{Readiness: "+--+---"},
			[]moment{{0, true, true, false}, {2 * s, true, true, false}, {5 * s, true, true, false}, {6 * s, true, false, false}, {time.Hour, true, false, false}},
			nil,
		},
		{
			"successThreshold successes in a row, no fewer",
			Probes{Readiness: every(s, 0, 3, 1)},
			map[Kind]string{Readiness: "++-+++-+"},
			[]moment{{2 * s, true, false, false}, {4 * s, true, false, false}, {5 * s, true, true, false}, {6 * s, true, false, false}, {9 * s, true, true, false}},
			nil,
		},
		{
			"who cannot be asked has neither passed nor failed",
			Probes{Liveness: every(s, 0, 1, 2)},
			map[Kind]string{Liveness: "+-?-+"},
			[]moment{{2 * s, true, true, false}, {3 * s, true, false, true}},
			nil,
		},
		{
			"initial delays count from the start of the process, not from the end of startup",
			Probes{Startup: every(s, 0, 1, 60), Readiness: every(10*s, 30*s, 1, 3), Liveness: every(10*s, 2*s, 1, 3)},
			map[Kind]string{Startup: "-----+", Readiness: "+", Liveness: "+"},
			[]moment{{5 * s, true, false, false}, {30*s - 1, true, false, false}, {30 * s, true, true, false}},
			map[Kind][]time.Duration{Liveness: {5 * s, 15 * s}, Readiness: {30 * s, 40 * s}},
		},
		{
			"startup is not asked any more once it has passed",
			Probes{Startup: every(s, 0, 1, 3)},
			map[Kind]string{Startup: "-+-"},
			[]moment{{s, true, true, false}, {time.Hour, true, true, false}},
			map[Kind][]time.Duration{Startup: {0, s}},
		},
		{
			"nobody is asked any more once the process is to be restarted",
			Probes{Readiness: every(s, 0, 1, 3), Liveness: every(s, 0, 1, 3)},
			map[Kind]string{Readiness: "+", Liveness: "+---"},
			[]moment{{2 * s, true, true, false}, {3 * s, true, false, true}, {time.Hour, true, false, true}},
			map[Kind][]time.Duration{Liveness: {0, s, 2 * s, 3 * s}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex // guards asked
				asked := map[Kind][]time.Duration{}
				o := Options{Started: start, Probes: c.probes, Checks: Checks{}}
				for kind, answers := range c.answers {
					o.Checks[kind] = checkFunc(func(context.Context) Result {
						mu.Lock()
						defer mu.Unlock()
						x := answers[min(len(asked[kind]), len(answers)-1)]
						asked[kind] = append(asked[kind], time.Since(start))
						return Result{OK: x == '+', Void: x == '?'}
					})
				}
				w := NewWatch(o)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- w.Run(ctx) }()
				for _, m := range c.want {
					time.Sleep(m.at - time.Since(start))
					synctest.Wait()
					got := w.State()
					if got.Started != m.started || got.Ready != m.ready || (got.Failed != nil) != m.failed {
						t.Errorf("after %v: started %v, ready %v, failed %v; want %v, %v, %v", m.at, got.Started, got.Ready, got.Failed != nil, m.started, m.ready, m.failed)
					}
				}
				time.Sleep(time.Minute)
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				for kind, want := range c.asked {
					if len(asked[kind]) < len(want) {
						t.Errorf("%s was asked at %v, want %v", kind, asked[kind], want)
						continue
					}
					for i := range want {
						if asked[kind][i] != want[i] {
							t.Errorf("%s was asked at %v, want %v", kind, asked[kind][:len(want)], want)
							break
						}
					}
				}
			})
		})
	}
}
