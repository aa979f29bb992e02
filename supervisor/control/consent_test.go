package control

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// A yes counts for a moment only, a no keeps nobody from being asked again, and one
// question at a time is enough.
func TestConsents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := plan.Ask{Namespace: "default", Set: "web", Ordinal: 1, Node: "n1", Epoch: 7}
		m := &state.Member{Namespace: "default", Set: "web", Ordinal: 1, Node: "n1", Epoch: 7}
		again := *m
		again.Epoch = 8
		c := newConsents()
		is := func(what string, want plan.Word) {
			t.Helper()
			if got := c.word(m); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			if got := c.word(&again); got != plan.NotAsked {
				t.Errorf("%s: another epoch has said %q", what, got)
			}
		}
		if got := c.due([]plan.Ask{q}); len(got) != 1 {
			t.Fatalf("due: %v", got)
		}
		if got := c.due([]plan.Ask{q}); len(got) != 0 {
			t.Errorf("asked twice at once: %v", got)
		}
		is("while it is asked", plan.NotAsked)
		changed := c.changed()
		c.answer(q, Answer{Yes: true}, nil)
		select {
		case <-changed:
		default:
			t.Error("nobody hears of the answer")
		}
		is("yes", plan.SaidYes)
		time.Sleep(answerHolds + time.Millisecond)
		is("a yes of long ago", plan.NotAsked)
		if got := c.due([]plan.Ask{q}); len(got) != 1 {
			t.Errorf("it is not asked again: %v", got)
		}
		time.Sleep(answerHolds + time.Second)
		c.answer(q, Answer{Yes: true, Took: 5 * time.Millisecond}, nil)
		is("a yes that was long on its way", plan.NotAsked)
		c.due([]plan.Ask{q})
		time.Sleep(answerHolds + time.Second)
		c.answer(q, Answer{Yes: true, Took: 2 * time.Second}, nil)
		is("a yes that took its time", plan.SaidYes)
		time.Sleep(2 * time.Second)
		c.due([]plan.Ask{q})
		c.answer(q, Answer{}, nil)
		is("no", plan.SaidNo)
		if got := c.due([]plan.Ask{q}); len(got) != 0 {
			t.Errorf("asked again at once: %v", got)
		}
		if d := c.next(); d <= 0 || d > askPause+time.Millisecond {
			t.Errorf("looks again in %s", d)
		}
		time.Sleep(c.next())
		if got := c.due([]plan.Ask{q}); len(got) != 1 {
			t.Errorf("a no is for ever: %v", got)
		}
	})
}

func TestWhoCannotBeAskedSaysNo(t *testing.T) {
	t.Parallel()
	q := plan.Ask{Namespace: "default", Set: "web", Node: "n1", Epoch: 7}
	m := &state.Member{Namespace: "default", Set: "web", Node: "n1", Epoch: 7}
	for _, ask := range []func(context.Context, plan.Ask) (Answer, error){
		nil,
		func(context.Context, plan.Ask) (Answer, error) { return Answer{Yes: true}, errors.New("no such node") },
	} {
		c := &Control{o: Options{MayStop: ask}, log: slog.New(slog.DiscardHandler)}
		asked := newConsents()
		asked.due([]plan.Ask{q})
		c.ask(t.Context(), asked, q)
		if got := asked.word(m); got != plan.SaidNo {
			t.Errorf("%q, want no", got)
		}
	}
}

// Who was asked in vain is told with why and since when, until he answers or is asked no more;
// so is a question that stays open.
func TestMutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := plan.Ask{Namespace: "default", Set: "web", Ordinal: 1, Node: "n1", Epoch: 7}
		m := &state.Member{Namespace: "default", Set: "web", Ordinal: 1, Node: "n1", Epoch: 7}
		c := newConsents()
		is := func(what, want string) {
			t.Helper()
			if got := c.mute(m); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			all := c.mutes(time.Now())
			if want == "" && len(all) != 0 || want != "" && (len(all) != 1 || all[0] != client.Mute{Namespace: "default", Set: "web", Ordinal: 1, Epoch: 7, Why: want}) {
				t.Errorf("%s: told are %v, want %q", what, all, want)
			}
		}
		ask := func() { t.Helper(); c.due([]plan.Ask{q}) }
		is("not asked", "")
		ask() // at 00:00:00
		time.Sleep(askPatience - time.Millisecond)
		is("just asked", "")
		time.Sleep(time.Second)
		is("no answer yet", "node n1 is silent since 00:00:00")
		c.answer(q, Answer{}, spec.Errorf(spec.CodeNoLeader, "cannot reach supd at n1"))
		is("not reached", "node n1 is silent since 00:00:00")
		time.Sleep(askPause + time.Millisecond)
		ask()
		c.answer(q, Answer{}, spec.Errorf(spec.CodeInternal, "it has no such member"))
		is("not told", "node n1 cannot ask it: it has no such member, since 00:00:00")
		time.Sleep(askPause + time.Millisecond)
		ask()
		c.answer(q, Answer{}, nil)
		is("it says no", "")
		time.Sleep(askPause + time.Millisecond)
		ask()
		c.answer(q, Answer{}, context.DeadlineExceeded)
		is("silent again", "node n1 is silent since 00:00:06")
		time.Sleep(muteHolds)
		is("asked no more", "")
	})
}
