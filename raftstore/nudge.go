package raftstore

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"
)

// Followers learn what is committed with the next entry, or when raft's
// CommitTimeout (50 to 100 ms) has passed without one. An ordered start would wait
// that long at each step. So the leader says at once what it has applied: an
// AppendEntries without entries, as Raft has it, with the newest applied entry as
// the previous one. A follower that does not have it refuses, without harm: the entry is
// still on its way, for a majority is enough to commit it, and goes by another connection.
// That one is told again a moment later.

// nudge tells every follower about commits while this node leads.
func (s *Store) nudge(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	followers := map[raft.ServerID]chan commit{}
	for {
		select {
		case <-s.nudges:
		case <-ctx.Done():
			return g.Wait()
		}
		s.mu.Lock()
		at := s.applied
		s.mu.Unlock()
		term, leads := s.Leading()
		if !leads || at.Term != term {
			continue // an entry of an older term tells nothing of this one's leader
		}
		for _, srv := range s.raft.GetConfiguration().Configuration().Servers {
			if string(srv.ID) == s.o.ID {
				continue
			}
			ch := followers[srv.ID]
			if ch == nil {
				ch = make(chan commit, 1)
				followers[srv.ID] = ch
				g.Go(func() error { tellCommits(ctx, ch, s.tell); return nil })
			}
			select { // only the newest matters
			case <-ch:
			default:
			}
			ch <- commit{at, srv}
		}
	}
}

// commit is what one follower is to be told.
type commit struct {
	at position
	to raft.Server
}

// Pauses before a follower is told again double from the first up to the last; by then
// raft itself has told it.
const (
	nudgeFirst = time.Millisecond
	nudgeLast  = 32 * time.Millisecond
)

// tellCommits tells a follower each commit, the newest only, and again while it is behind.
func tellCommits(ctx context.Context, ch <-chan commit, tell func(commit) (behind bool)) {
	var c commit
	var pause time.Duration
	var again <-chan time.Time // nil: it knows
	for {
		select {
		case c = <-ch:
			pause = nudgeFirst
		case <-again:
			pause *= 2
		case <-ctx.Done():
			return
		}
		again = nil
		if tell(c) && pause <= nudgeLast {
			again = time.After(pause)
		}
	}
}

// tell tells whether the follower is behind: it lacks the entry.
func (s *Store) tell(c commit) (behind bool) {
	req := &raft.AppendEntriesRequest{
		RPCHeader:         s.header(),
		Term:              c.at.Term,
		PrevLogEntry:      c.at.Index,
		PrevLogTerm:       c.at.Term,
		LeaderCommitIndex: c.at.Index,
	}
	var resp raft.AppendEntriesResponse
	if err := s.trans.AppendEntries(c.to.ID, c.to.Address, req, &resp); err != nil {
		s.log.Debug("follower not told of a commit", "node", string(c.to.ID), "err", err)
		return false
	}
	return !resp.Success && resp.Term == c.at.Term && resp.LastLog < c.at.Index
}

// remember notes on disk how far the log was applied, at most five times a second.
func (s *Store) remember(ctx context.Context) error {
	for {
		changed := s.Changed()
		if err := s.writeApplied(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
