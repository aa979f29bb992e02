package probe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"supd/supervisor/spec"
)

func TestRoleInAnAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expect, output string
		secret         bool
		role           string // "": it fails
		message        string
	}{
		{"", "leader\n", false, "leader", ""},
		{"", "  PRIMARY ", false, "primary", ""},
		{"", "leader\n", true, "leader", ""},
		{"", "", false, "", "is no role"},
		{"", "the leader", false, "", "is no role, which is one word of letters, digits and '-': the leader"},
		{"", strings.Repeat("a", 64), false, "", "is no role"},
		{"", "canary_1", true, "", "its output is not shown"},
		{"role:(master|slave)", "a:1\nrole:master\nb:2", false, "master", ""},
		{"leader|follower", "I am a follower now", false, "follower", ""},
		{"role:(master|slave)", "LOADING", false, "", "not what is expected: LOADING"},
	} {
		r := resolve("h", &fakeRunner{exit: Exit{Output: []byte(c.output)}})
		r.Kind, r.Secret = Role, c.secret
		res := check(t, &spec.Probe{Exec: []string{"role"}, Expect: c.expect}, r)
		if res.OK != (c.role != "") || res.Role != c.role || !strings.Contains(res.Message, c.message) || strings.Contains(res.Message+res.Output, "canary") {
			t.Errorf("%q expect %q: %+v, want role %q, %q", c.output, c.expect, res, c.role, c.message)
		}
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	r := resolve("h", &fakeRunner{exit: Exit{Output: []byte(strings.Repeat("a\n\xff", MaxBody))}})
	res := check(t, &spec.Probe{Exec: []string{"x"}}, r)
	if len(res.Output) > maxOutput+3 || !res.OK || !strings.HasPrefix(res.Output, "a\n?a") {
		t.Errorf("%d bytes of output are kept: %.20q", len(res.Output), res.Output)
	}
}

func TestRoleAndMayStopTracked(t *testing.T) {
	t.Parallel()
	tr := NewTracker(Probes{Role: timing(1, 3), MayStop: timing(1, 1), Startup: timing(1, 3)}, t0, t0, nil, 0)
	if _, ok := tr.Next(Role); ok || tr.Role() != "" || tr.MayStop() {
		t.Error("asked before startup has passed")
	}
	feed(tr, Startup, "+")
	if at, ok := tr.Next(MayStop); !ok || at.After(t0) {
		t.Error("not asked when startup has passed")
	}
	say := func(kind Kind, res Result) bool {
		tr.Begin(kind, t0)
		return tr.Note(kind, t0, res)
	}
	for _, c := range []struct {
		res     Result
		changed bool
		role    string
	}{
		{Result{}, false, ""},
		{Result{OK: true, Role: "leader"}, true, "leader"},
		{Result{OK: true, Role: "leader"}, false, "leader"},
		{Result{OK: true, Role: "follower"}, true, "follower"},
		{Result{}, false, "follower"},
		{Result{Void: true}, false, "follower"},
		{Result{}, false, "follower"},
		{Result{}, true, ""},
		{Result{}, false, ""},
	} {
		if changed := say(Role, c.res); changed != c.changed || tr.Role() != c.role {
			t.Errorf("after %+v: role %q, changed %v; want %q, %v", c.res, tr.Role(), changed, c.role, c.changed)
		}
	}
	for _, c := range []struct {
		res Result
		may bool
	}{
		{Result{OK: true}, true}, {Result{}, false}, {Result{OK: true}, true}, {Result{Void: true}, false},
	} {
		say(MayStop, c.res)
		if tr.MayStop() != c.may {
			t.Errorf("after %+v it may be stopped: %v", c.res, tr.MayStop())
		}
	}
	if !tr.Ready() || tr.Failed() != nil {
		t.Error("role and mayStop say nothing of readiness and life")
	}
	tr.Stop()
	for _, k := range []Kind{Role, MayStop} {
		if _, ok := tr.Next(k); ok {
			t.Errorf("%s is asked of what is being stopped", k)
		}
	}
}

// As in Kubernetes, who can't be asked has not failed: the count goes on as if nothing
// had been.
func TestVoidCountsForNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Startup, Readiness, Liveness} {
		tr := NewTracker(Probes{kind: timing(1, 2)}, t0, t0, &Seed{Ready: true}, 0)
		note := func(res Result) {
			tr.Begin(kind, t0)
			tr.Note(kind, t0.Add(time.Second), res)
		}
		for range 5 {
			note(Result{Void: true, Message: "no keeper"})
		}
		note(Result{Message: "no"})
		note(Result{Void: true, Message: "no keeper"})
		if l, ok := tr.Last(kind); !ok || !l.Void || l.Run != 1 || l.Message != "no keeper" || l.Took != time.Second || tr.Failed() != nil {
			t.Errorf("%s: last %+v, failed %v", kind, l, tr.Failed())
		}
		before := tr.Ready()
		note(Result{Message: "no"})
		if kind == Readiness && (!before || tr.Ready()) || kind != Readiness && tr.Failed() == nil {
			t.Errorf("%s: two failures in a row do not count", kind)
		}
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		may := false
		hang := make(chan struct{})
		w := NewWatch(Options{
			Started: time.Now(),
			Probes:  Probes{MayStop: {Period: time.Hour, Timeout: time.Second, Success: 1, Failure: 1}},
			Checks: Checks{MayStop: checkFunc(func(ctx context.Context) Result {
				if may {
					<-ctx.Done()
					return Result{Message: "late"}
				}
				return Result{OK: true}
			})},
		})
		if st, err := w.Ask(t.Context()); err != nil || !st.MayStop {
			t.Errorf("asked: %+v, %v", st, err)
		}
		may = true
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-hang; cancel() }()
		close(hang)
		if _, err := w.Ask(ctx); !errors.Is(err, context.Canceled) || !w.State().MayStop {
			t.Errorf("who asks has left: %v, %+v", err, w.State())
		}
		if st, err := w.Ask(t.Context()); err != nil || st.MayStop || st.WhyNot != "late" {
			t.Errorf("too late: %+v, %v", st, err)
		}
		w.Stop()
		if _, err := w.Ask(t.Context()); err == nil {
			t.Error("asked while it is being stopped")
		}
	})
}
