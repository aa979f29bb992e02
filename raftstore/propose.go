package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// ErrNotLeader is returned for what only the leader can do. Nothing was done: the
// entry is in no log and may be proposed again, here or elsewhere.
var ErrNotLeader = errors.New("this node is not the leader")

// ErrFateUnknown is returned when leadership, or the caller's time, ran out after
// an entry was handed over: it may have been committed, or be so later, or never.
// Look at the View before proposing it again.
var ErrFateUnknown = errors.New("the entry's fate is unknown")

// ErrTooLarge refuses an entry of more than MaxEntry bytes.
var ErrTooLarge = errors.New("the request is too large")

// MaxEntry bounds an encoded entry, so that one never holds up heartbeats.
const MaxEntry = spec.MaxEntry

// maxRestore bounds the one entry that may be larger: a snapshot that is restored.
const maxRestore = 12 << 20

// enqueueTimeout bounds the wait for a place in raft's queue.
const enqueueTimeout = 5 * time.Second

// Propose appends one entry and waits until it is committed and applied here. An
// entry that Apply refused is no error: see Result.Err; nor is one that a node of the
// View would not understand, which is refused here and enters no log. Only the leader can; see
// ErrNotLeader and ErrFateUnknown. At is stamped when zero.
func (s *Store) Propose(ctx context.Context, e state.Entry) (state.Result, error) {
	res, err := s.ProposeAll(ctx, []state.Entry{e})
	if len(res) == 1 {
		return res[0], err
	}
	return state.Result{}, err
}

// ProposeAll appends entries in this order, without waiting in between, and waits
// for all. One that carries no time, or an earlier one than Now, gets that. It returns the
// results of those known to be committed, up to the first that is not, and that one's error.
func (s *Store) ProposeAll(ctx context.Context, entries []state.Entry) ([]state.Result, error) {
	encoded, refused := make([][]byte, 0, len(entries)), make([]*spec.Error, len(entries))
	v := s.View()
	for i, e := range entries {
		if now := s.Now(); e.At.Before(now) {
			e.At = now
		}
		if e.Cmd, refused[i] = v.Fit(e.Cmd); refused[i] != nil {
			continue
		}
		b, err := state.Encode(e)
		if err != nil {
			return nil, err
		}
		most := MaxEntry
		if _, restores := e.Cmd.(*state.RestoreCluster); restores {
			most = maxRestore
		}
		if len(b) > most {
			return nil, fmt.Errorf("%w: it takes %d bytes in the log, %d are allowed", ErrTooLarge, len(b), most)
		}
		encoded = append(encoded, b)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if why := s.Trouble(); why != "" {
		return nil, fmt.Errorf("%w: it needs a newer supd: %s", ErrNotLeader, why)
	}
	if !s.enter() {
		return nil, ErrNotLeader
	}
	timeout := enqueueTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = max(time.Millisecond, min(timeout, time.Until(d)))
	}
	futures := make([]raft.ApplyFuture, len(encoded))
	for i, b := range encoded {
		futures[i] = s.raft.Apply(b, timeout)
	}
	results, err := s.collect(ctx, futures)
	return interleave(results, refused), err
}

// interleave puts the results of what was proposed and the refusals of what was not
// in the order of the entries, up to the first whose fate is not known.
func interleave(results []state.Result, refused []*spec.Error) []state.Result {
	var out []state.Result
	for _, r := range refused {
		switch {
		case r != nil:
			out = append(out, state.Result{Err: r})
		case len(results) == 0:
			return out
		default:
			out, results = append(out, results[0]), results[1:]
		}
	}
	return out
}

// collect waits for futures in order. It takes over the caller's enter.
func (s *Store) collect(ctx context.Context, futures []raft.ApplyFuture) ([]state.Result, error) {
	answers := make(chan error, len(futures))
	go func() { // ends when raft has answered them all
		defer s.waits.Done()
		for _, f := range futures {
			answers <- f.Error()
		}
	}()
	var out []state.Result
	for _, f := range futures {
		select {
		case err := <-answers:
			if err != nil {
				return out, proposeError(err)
			}
			res, ok := f.Response().(state.Result)
			if !ok {
				return out, fmt.Errorf("raft answered %T for an entry", f.Response())
			}
			out = append(out, res)
		case <-ctx.Done():
			return out, fmt.Errorf("%w: %w", ErrFateUnknown, ctx.Err())
		case <-s.stopped:
			return out, fmt.Errorf("%w: this node is shutting down", ErrFateUnknown)
		}
	}
	return out, nil
}

// enter notes a call that waits for raft; false when raft does not run. The caller
// sees to s.waits.Done.
func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || !s.running() {
		return false
	}
	s.waits.Add(1)
	return true
}

// proposeError tells what certainly did not happen from what may have.
func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %v", ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %v", ErrFateUnknown, err)
}

// await waits for a future that is safe to abandon.
func (s *Store) await(ctx context.Context, begin func(*raft.Raft) raft.Future) error {
	if !s.enter() {
		return ErrNotLeader
	}
	f := begin(s.raft)
	done := make(chan error, 1)
	go func() { // ends with raft's answer
		defer s.waits.Done()
		done <- f.Error()
	}()
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) ||
			errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return fmt.Errorf("%w: %v", ErrNotLeader, err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrNotLeader
	}
}

// Barrier waits until all that was committed before is applied here. Only the
// leader can; it costs an entry of the log.
func (s *Store) Barrier(ctx context.Context) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future { return r.Barrier(enqueueTimeout) })
}

// Verify asks a quorum whether this node is still the leader. See Staleness.
func (s *Store) Verify(ctx context.Context) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future { return r.VerifyLeader() })
}

// Snapshot writes a snapshot now and compacts the log behind it.
func (s *Store) Snapshot(ctx context.Context) error {
	err := s.await(ctx, func(r *raft.Raft) raft.Future { return r.Snapshot() })
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
