package raftstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
)

// TestEntryOfANewerVersion: what this version can't read must not be passed over.
// The View stays before it, also after a restart, and no snapshot forgets it.
func TestEntryOfANewerVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	open := func() (s *Store, end func()) {
		t.Helper()
		stream, err := Listen("127.0.0.1:0", "")
		if err != nil {
			t.Fatal(err)
		}
		s, err = Open(Options{Dir: dir, ID: "a", Stream: stream, TLS: NodeTLS("whatever secret, of 32 characters or more", "a")})
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(run) }()
		return s, func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	s, end := open()
	if err := s.Bootstrap(ctx, []Server{{ID: "a", Addr: s.o.Stream.Addr().String(), Voter: true}}); err != nil {
		t.Fatal(err)
	}
	for s.Barrier(ctx) != nil {
		select {
		case <-s.LeaderChanged():
		case <-time.After(10 * time.Millisecond):
		}
	}
	res, err := s.Propose(ctx, state.Entry{Who: "test", Cmd: &state.InitCluster{ID: "c", Incarnation: "i", Plan: "none", Zone: "z"}})
	if err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	index, hash := s.View().Index, s.View().Hash()
	good, err := state.Encode(state.Entry{At: time.Unix(1, 0), Cmd: &state.SetStopping{Stopping: true}})
	if err != nil {
		t.Fatal(err)
	}
	// The second rests on the first, for all this version can tell.
	first := s.raft.Apply([]byte(`{"v":1,"kind":"OfTheFuture","at":"2026-01-01T00:00:00Z","cmd":{}}`), time.Second)
	second := s.raft.Apply(good, time.Second)
	for _, f := range []interface {
		Error() error
		Response() any
	}{first, second} {
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		if r, ok := f.Response().(state.Result); !ok || r.Err == nil || r.Err.Reason != "NotUnderstood" {
			t.Errorf("answered %v", f.Response())
		}
	}
	check := func(when string) {
		t.Helper()
		if v := s.View(); v.Index != index || v.Hash() != hash {
			t.Errorf("%s: the View is at %d, want %d as it was", when, v.Index, index)
		}
		if !strings.Contains(s.Trouble(), "OfTheFuture") {
			t.Errorf("%s: trouble is %q", when, s.Trouble())
		}
		if _, leads := s.Leading(); leads {
			t.Errorf("%s: it leads", when)
		}
		if _, err := s.Propose(ctx, state.Entry{Cmd: &state.SetStopping{}}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("%s: proposed: %v", when, err)
		}
	}
	check("at once")
	if err := s.Snapshot(ctx); err == nil {
		t.Error("a snapshot was taken")
	}
	end()
	s, end = open()
	defer end()
	for deadline := time.After(20 * time.Second); s.Trouble() == ""; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("the restarted node does not meet the entry")
		}
	}
	check("after a restart")
}
