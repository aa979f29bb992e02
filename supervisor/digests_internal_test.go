package supervisor

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// logged is a store whose newest View tests set, and whose checkpoints they give.
type logged struct {
	view  atomic.Pointer[state.View]
	some  chan struct{}
	given []*state.View
}

func (l *logged) View() *state.View              { return l.view.Load() }
func (l *logged) Checkpoints() <-chan struct{}   { return l.some }
func (l *logged) TakeCheckpoints() []*state.View { return l.given }

func viewAt(index uint64) *state.View {
	v := state.New()
	v.Index, v.Cluster.ID = index, "c1"
	return v
}

func TestDigestsAreMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &logged{some: make(chan struct{}, 1)}
		l.view.Store(state.New())
		d := &digests{store: l, rest: 10 * time.Second, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.run(ctx) }()
		after := func(wait time.Duration, want ...uint64) {
			t.Helper()
			<-time.After(wait)
			synctest.Wait()
			var got []uint64
			for _, x := range d.told() {
				got = append(got, x.Index)
			}
			if len(got) != len(want) || len(got) > 0 && (got[0] != want[0] || got[len(got)-1] != want[len(want)-1]) {
				t.Errorf("there are digests at %d, want %d", got, want)
			}
		}
		after(time.Minute) // no cluster yet
		l.view.Store(viewAt(5))
		after(9 * time.Second)
		after(3*time.Second, 5)
		after(time.Minute, 5) // once
		for i := range 20 {   // never at rest
			l.view.Store(viewAt(uint64(6 + i)))
			after(3*time.Second, 5)
		}
		l.given = []*state.View{viewAt(4), viewAt(5), viewAt(10), viewAt(20)}
		l.some <- struct{}{}
		after(0, 5, 10, 20)
		after(12*time.Second, 5, 10, 20, 25)
		l.view.Store(viewAt(30))
		after(12*time.Second, 10, 20, 25, 30) // the newest four
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestDifferencesAreTold: trouble accuses the one astray, a warning nobody; each is logged once.
func TestDifferencesAreTold(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	d := &digests{log: slog.New(slog.NewTextHandler(&said, nil))}
	for _, c := range []struct {
		check            spec.StateCheck
		trouble, warning string
		lines            int
	}{
		{spec.StateCheck{}, "", "", 0},
		{spec.StateCheck{Index: 7}, "", "", 0},
		{spec.StateCheck{Index: 9, Differs: &spec.StateDifference{Index: 9, Nodes: []string{"a", "b"}, Parts: []string{"member"}}}, "", "the states of a, b differ (member; seen at log index 9)", 1},
		{spec.StateCheck{Index: 12, Differs: &spec.StateDifference{Index: 9, Nodes: []string{"a", "b"}, Parts: []string{"member", "set"}}}, "", "a, b differ (member, set;", 1},
		{spec.StateCheck{Index: 14, Differs: &spec.StateDifference{Index: 14, Nodes: []string{"a"}, Majority: []string{"b", "c"}, Parts: []string{"set"}}}, "its state differs from that of b, c (set; seen at log index 14)", "", 2},
		{spec.StateCheck{}, "its state differs", "", 2}, // a new leader, which has not compared yet
		{spec.StateCheck{Index: 20}, "", "", 3},
	} {
		d.heard(c.check)
		trouble, warning := d.trouble(), d.warning()
		if (trouble == "") != (c.trouble == "") || !strings.Contains(trouble, c.trouble) || (warning == "") != (c.warning == "") || !strings.Contains(warning, c.warning) {
			t.Errorf("%+v: trouble %q, warning %q; want %q, %q", c.check, trouble, warning, c.trouble, c.warning)
		}
		if n := strings.Count(said.String(), "\n"); n != c.lines {
			t.Errorf("%+v: %d lines in the log, want %d:\n%s", c.check, n, c.lines, said.String())
		}
	}
	if got := allOf("", "one", "", "two"); got != "one; two" {
		t.Errorf("all of it is %q", got)
	}
}
