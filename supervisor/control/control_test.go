package control

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// fakeStore is a log of one server, whose leadership the test gives and takes.
type fakeStore struct {
	mu        sync.Mutex
	view      *state.View
	changed   chan struct{}
	leaderCh  chan struct{}
	term      uint64
	leads     bool
	verified  int
	verifyErr error
	// hold, when not nil, keeps Propose of SetNode from returning.
	hold    chan error
	entries []state.Entry
}

func newFakeStore() *fakeStore {
	return &fakeStore{view: state.New(), changed: make(chan struct{}), leaderCh: make(chan struct{})}
}

func (f *fakeStore) Now() time.Time { return time.Now() }

func (f *fakeStore) View() *state.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}

func (f *fakeStore) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeStore) Propose(ctx context.Context, e state.Entry) (state.Result, error) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	var after error
	if set, ok := e.Cmd.(*state.SetNode); ok && set.State == spec.NodeLost && hold != nil {
		select {
		case after = <-hold:
		case <-ctx.Done():
			return state.Result{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.leads {
		return state.Result{}, &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader}
	}
	if after != nil {
		return state.Result{}, after
	}
	f.entries = append(f.entries, e)
	v, r := f.view.Apply(f.view.Index+1, e)
	f.view = v
	close(f.changed)
	f.changed = make(chan struct{})
	return r, nil
}

func (f *fakeStore) ProposeAll(ctx context.Context, in []state.Entry) ([]state.Result, error) {
	var out []state.Result
	for _, e := range in {
		r, err := f.Propose(ctx, e)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (f *fakeStore) Barrier(context.Context) error { return nil }

func (f *fakeStore) Verify(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verified++
	return f.verifyErr
}

func (f *fakeStore) Leading() (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.term, f.leads
}

func (f *fakeStore) LeaderChanged() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leaderCh
}

func (f *fakeStore) lead(leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leads = leads; leads {
		f.term++
	}
	close(f.leaderCh)
	f.leaderCh = make(chan struct{})
}

func (f *fakeStore) Servers() []Server {
	return []Server{{ID: "a.1", Addr: "127.0.0.1:1", Voter: true}}
}
func (f *fakeStore) Demote(context.Context, string) error              { return nil }
func (f *fakeStore) Remove(context.Context, string) error              { return nil }
func (f *fakeStore) Transfer(context.Context) error                    { return nil }
func (f *fakeStore) AddVoter(context.Context, string, string) error    { return nil }
func (f *fakeStore) AddNonvoter(context.Context, string, string) error { return nil }

type noPeers struct{ never chan struct{} }

func (noPeers) Peers() []Peer              { return nil }
func (p noPeers) Changed() <-chan struct{} { return p.never }

// lab runs a Control on a fake store in a bubble.
type lab struct {
	*Control
	f     *fakeStore
	pause time.Duration
}

func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{f: newFakeStore()}
		began := time.Now()
		c, err := New(Options{
			Node: "a", ID: "a.1", Store: l.f, Peers: noPeers{make(chan struct{})}, Staleness: stale,
			UID:      func() string { return "uid" },
			Boottime: func() time.Duration { return time.Since(began) + l.pause },
			Init: func(context.Context) (*state.InitCluster, error) {
				return &state.InitCluster{ID: "c", Incarnation: "i", Plan: "none", Zone: "cluster.local"}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Control = c
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		f(t, l)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// begin leads and registers node a.
func (l *lab) begin(t *testing.T) {
	t.Helper()
	l.f.lead(true)
	synctest.Wait()
	res, err := l.f.Propose(t.Context(), state.Entry{Cmd: &state.RegisterNode{Node: state.Node{Name: "a", ID: "a.1", HostIP: "127.0.0.1", Machine: "m", Run: "r"}}})
	if err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	synctest.Wait()
}

func (l *lab) beat(t *testing.T) (client.HeartbeatAnswer, error) {
	t.Helper()
	return l.Heartbeat(t.Context(), client.Heartbeat{Node: "a", ID: "a.1", Run: "r"})
}

func (l *lab) stateOf(name string) string {
	synctest.Wait()
	return l.f.View().Node(name).State
}

func TestHeartbeatIsAnsweredByAVerifiedLeaderOnly(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		if _, err := l.beat(t); err == nil {
			t.Error("answered by who does not lead")
		}
		l.begin(t)
		if l.f.View().Cluster.ID != "c" {
			t.Error("the leader did not form the cluster")
		}
		before := l.f.verified
		ans, err := l.beat(t)
		if err != nil {
			t.Fatal(err)
		}
		if l.f.verified != before+1 {
			t.Errorf("%d verifications for a heartbeat, want 1", l.f.verified-before)
		}
		if ans.Leader != "a" || ans.Term != 1 || ans.Lease != 10*time.Second || ans.Index != l.f.View().Index {
			t.Errorf("answer %+v", ans)
		}
		if _, err := l.Heartbeat(t.Context(), client.Heartbeat{Node: "a", ID: "a.2", Run: "r"}); spec.CodeOf(err) != spec.CodeRefused {
			t.Errorf("another id: %v", err)
		}
		if _, err := l.Heartbeat(t.Context(), client.Heartbeat{Node: "a", ID: "a.1", Run: "old"}); spec.CodeOf(err) != spec.CodeConflict {
			t.Errorf("another run: %v", err)
		}
		if _, err := l.Heartbeat(t.Context(), client.Heartbeat{Node: "b", ID: "b.1", Run: "r"}); spec.CodeOf(err) != spec.CodeNotFound {
			t.Errorf("an unknown node: %v", err)
		}
		l.f.mu.Lock()
		l.f.verifyErr = errors.New("no quorum")
		l.f.mu.Unlock()
		if _, err := l.beat(t); err == nil {
			t.Error("answered without a quorum")
		}
		l.f.lead(false)
		synctest.Wait()
		if _, err := l.beat(t); err == nil {
			t.Error("answered after leadership was lost")
		}
		if !l.Silent("a") || l.Leases() != nil {
			t.Error("a deposed leader still accounts for leases")
		}
	})
}

func TestNoAnswerAfterAPause(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.begin(t)
		if _, err := l.beat(t); err != nil {
			t.Fatal(err)
		}
		l.pause = 30 * time.Second // the clock that counts suspend jumps
		if _, err := l.beat(t); err == nil {
			t.Error("answered right after a pause")
		}
		time.Sleep(stale + beatEvery)
		if _, err := l.beat(t); err != nil {
			t.Error(err)
		}
	})
}

func TestSuspectLostAndBack(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.begin(t)
		time.Sleep(5 * time.Second) // past settling, which would put the loss off
		if _, err := l.beat(t); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := l.beat(t); err != nil {
			t.Fatal(err)
		}
		heard := time.Now()
		time.Sleep(1999 * time.Millisecond)
		if got := l.stateOf("a"); got != spec.NodeReady {
			t.Errorf("%s before 2 s of silence", got)
		}
		time.Sleep(time.Millisecond)
		if got := l.stateOf("a"); got != spec.NodeSuspect {
			t.Errorf("%s after 2 s of silence", got)
		}
		time.Sleep(time.Until(heard.Add(12099 * time.Millisecond)))
		if got := l.stateOf("a"); got != spec.NodeSuspect {
			t.Errorf("%s before lease and margin are over", got)
		}
		hold := make(chan error)
		l.f.mu.Lock()
		l.f.hold = hold
		l.f.mu.Unlock()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if _, err := l.beat(t); err == nil {
			t.Error("answered while Lost is under way")
		}
		hold <- nil
		if got := l.stateOf("a"); got != spec.NodeLost {
			t.Errorf("%s after lease and margin", got)
		}
		// The heartbeat has the node called ready again; a lease may come with that
		// entry, never before.
		if ans, err := l.beat(t); err == nil && ans.Index < l.f.View().Node("a").Index {
			t.Errorf("a lost node gets a lease at index %d", ans.Index)
		}
		if got := l.stateOf("a"); got != spec.NodeReady {
			t.Errorf("%s after a lost node's heartbeat", got)
		}
		if _, err := l.beat(t); err != nil {
			t.Error(err)
		}
	})
}

func TestLeavingSuspendsSuspicion(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.begin(t)
		if _, err := l.Heartbeat(t.Context(), client.Heartbeat{Node: "a", ID: "a.1", Run: "r", Leaving: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if got := l.stateOf("a"); got != spec.NodeReady {
			t.Errorf("%s 9 s after a planned restart", got)
		}
		time.Sleep(2 * time.Second)
		if got := l.stateOf("a"); got != spec.NodeSuspect {
			t.Errorf("%s 11 s after a planned restart", got)
		}
	})
}

func TestHoldsBackOff(t *testing.T) {
	t.Parallel()
	h := holds{}
	cmd := state.Command(&state.Reserve{Namespace: "default", Set: "web", Slots: []state.Slot{{Ordinal: 1, UID: "x"}}})
	again := state.Command(&state.Reserve{Namespace: "default", Set: "web", Slots: []state.Slot{{Ordinal: 1, UID: "y"}}})
	other := state.Command(&state.Reserve{Namespace: "default", Set: "db"})
	now := t0
	h.vain(cmd, now)
	if out, _ := h.free([]state.Command{again, other}, now); len(out) != 2 {
		t.Fatal("held back after one refusal")
	}
	tries := 0
	for range 10_000 {
		out, next := h.free([]state.Command{again}, now)
		if len(out) == 1 {
			tries++
			h.vain(again, now)
			continue
		}
		if !next.After(now) {
			t.Fatal("held back for no time")
		}
		if now = next; now.After(t0.Add(time.Minute)) {
			break
		}
	}
	if tries > 25 {
		t.Errorf("%d tries in a minute", tries)
	}
	if out, _ := h.free([]state.Command{other}, now); len(out) != 1 || len(h) != 0 {
		t.Error("what is not planned any more is still held")
	}
}
