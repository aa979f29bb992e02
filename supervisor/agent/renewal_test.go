package agent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// TestTheKeeperIsToldTheLease: each answer's deadline, and a keeper that hangs
// delays no heartbeat.
func TestTheKeeperIsToldTheLease(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		defer w.running(nil)()
		settle(10*time.Second + time.Millisecond)
		told := w.keeper.renewed()
		if len(told) < 20 || !slices.IsSorted(told) || told[len(told)-1] != 20*time.Second {
			t.Errorf("told %v, want one every 500ms, the last 20s", told)
		}
		w.keeper.renewsWith(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		w.mu.Lock()
		w.beats = nil
		w.mu.Unlock()
		settle(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.beats) < 20 {
			t.Errorf("%d heartbeats in 10s", len(w.beats))
		}
	})
}

// TestFencedStartsWait: until the keeper knows the lease.
func TestFencedStartsWait(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.keeper.renewsWith(func(context.Context) error { <-release; return nil })
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(3 * time.Second)
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("the agent did %v", got)
		}
		close(release)
		settle(time.Second)
		w.want(0, spec.MemberRunning, true)
		s := w.keeper.startOf("default/web-0", "main")
		if !s.Fence || s.Decided < 3*time.Second {
			t.Errorf("fence %v, decided %s", s.Fence, s.Decided)
		}
	})
}

// TestFenceFollowsTheSet: a member with volumes isn't fenced, and onNodeLoss of a
// live set reaches what runs.
func TestFenceFollowsTheSet(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		with := func(loss string) func(*spec.StatefulSetSpec, *spec.Template) {
			return func(s *spec.StatefulSetSpec, tpl *spec.Template) {
				withVolume(s, tpl)
				withInit(spec.InitStep{Name: "make", Exec: spec.Exec{Command: []string{"make"}}})(s, tpl)
				s.OnNodeLoss = loss
			}
		}
		var runs []keeper.Run
		w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			runs = append(runs, r)
			return keeper.RunResult{}, nil
		})
		w.put(with(spec.Keep), sleeper("main"))
		w.reserve(2)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		if s := w.keeper.startOf("default/web-0", "main"); s.Fence || runs[0].Fence {
			t.Error("a member that is to be kept is fenced")
		}
		w.keeper.did()
		w.put(with(spec.Fence), sleeper("main"))
		settle(2 * time.Second)
		if got := w.keeper.did(); !slices.Equal(got, []string{"update default/web-0 main 30s"}) {
			t.Errorf("the agent did %v, want one update", got)
		}
		w.start(1)
		settle(2 * time.Second)
		if s := w.keeper.startOf("default/web-1", "main"); !s.Fence || !runs[1].Fence || runs[1].Decided == 0 {
			t.Errorf("not fenced: %v, init %+v", s.Fence, runs[1])
		}
	})
}

// TestLeaseEnded: a member that the keeper has fenced is given up, reported, and
// comes back with a new epoch only.
func TestLeaseEnded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(2)
		defer w.running(nil)()
		w.start(0)
		w.start(1)
		settle(2 * time.Second)
		w.setCut(true)
		settle(11 * time.Second)
		w.keeper.did()
		for i := range 2 {
			w.keeper.set(keeper.Status{
				Member: fmt.Sprintf("default/web-%d", i), Process: "main", Epoch: w.member(i).Epoch, State: keeper.Stopped, Fenced: true,
			})
		}
		settle(5 * time.Second)
		if m := w.member(0); m.Seen.Phase != spec.MemberRunning {
			t.Errorf("reported without a leader: %+v", m.Seen)
		}
		w.setCut(false)
		settle(3 * time.Second)
		for i := range 2 {
			if m := w.want(i, spec.MemberStopped, false); m.Seen.Reason != LeaseEnded || w.keeper.gaveUp(fmt.Sprintf("default/web-%d", i)) != m.Epoch {
				t.Errorf("reason %q, given up %d", m.Seen.Reason, w.keeper.gaveUp("default/web-0"))
			}
		}
		if got := startsOf(w.keeper.did()); len(got) != 0 {
			t.Errorf("an epoch that ended was started again: %v", got)
		}
		// One comes back; the other one's wish has changed meanwhile.
		w.stop(1)
		e := w.start(0)
		settle(3 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if got := startsOf(w.keeper.did()); !slices.Equal(got, []string{fmt.Sprintf("start default/web-0 main %d", e)}) {
			t.Errorf("started %v", got)
		}
	})
}

// TestKeeperThatCannotFence: the reason says to upgrade it.
func TestKeeperThatCannotFence(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		old := fmt.Errorf("%w: the keeper speaks version 1, this call needs 2: upgrade it", keeper.ErrProtocol)
		w.keeper.renewsWith(func(context.Context) error { return old })
		w.keeper.startsWith(old)
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(3 * time.Second)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, KeeperRefused, "upgrade it")
	})
}

// TestNoLeaseIsTriedAgain: the keeper has just begun and knows none yet.
func TestNoLeaseIsTriedAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.keeper.startsWith(keeper.ErrNoLease)
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.wantReason(0, NoLease, "no lease")
		w.keeper.startsWith(nil)
		settle(6 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if w.member(0).Epoch != 1 || w.member(0).Wish != state.WishRun {
			t.Errorf("got %+v", w.member(0))
		}
	})
}
