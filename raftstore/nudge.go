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
// the previous one; a follower that does not have it refuses, without harm.

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
				g.Go(func() error { return s.nudgeOne(ctx, ch) })
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

func (s *Store) nudgeOne(ctx context.Context, ch <-chan commit) error {
	for {
		select {
		case c := <-ch:
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
			}
		case <-ctx.Done():
			return nil
		}
	}
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
