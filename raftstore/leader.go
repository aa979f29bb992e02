package raftstore

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
)

// Leader names the leader as this node's Raft knows it; "" when there is none.
func (s *Store) Leader() (id, addr string) {
	if !s.running() {
		return "", ""
	}
	a, i := s.raft.LeaderWithID()
	return string(i), string(a)
}

// Leading tells whether this node believes to lead, and in which term.
func (s *Store) Leading() (term uint64, ok bool) {
	if !s.running() {
		return 0, false
	}
	// Raft leaves the leader's state before it takes a higher term, so a state read
	// between two equal terms belongs to that term.
	for {
		term = s.raft.CurrentTerm()
		leads := s.raft.State() == raft.Leader
		if s.raft.CurrentTerm() == term {
			return term, leads && s.Trouble() == ""
		}
	}
}

// Term is Raft's present term.
func (s *Store) Term() uint64 {
	if !s.running() {
		return 0
	}
	return s.raft.CurrentTerm()
}

// LeaderChanged returns a channel that is closed when the leader, or this node's
// part, changes. Take it before Leader or Leading.
func (s *Store) LeaderChanged() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaderChanged
}

// Transfer hands leadership to another voter and returns when that is under way.
// Without another voter it is an error.
func (s *Store) Transfer(ctx context.Context) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future { return r.LeadershipTransfer() })
}

// TransferTo hands leadership to a voter by its id and returns when that is under way. An
// id that is no voter's is an error.
func (s *Store) TransferTo(ctx context.Context, id string) error {
	for _, srv := range s.Servers() {
		if srv.ID == id && srv.Voter {
			return s.await(ctx, func(r *raft.Raft) raft.Future {
				return r.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(srv.Addr))
			})
		}
	}
	return fmt.Errorf("cannot hand leadership to %s: it is no voter", id)
}

func isLeadership(o *raft.Observation) bool {
	switch o.Data.(type) {
	case raft.LeaderObservation, raft.RaftState:
		return true
	}
	return false
}

// observe publishes changes of leadership.
func (s *Store) observe(ctx context.Context, seen <-chan raft.Observation) error {
	for {
		select {
		case <-seen:
		case <-s.raft.LeaderCh(): // holds the newest, should an observation be lost
		case <-s.troubled:
		case <-ctx.Done():
			return nil
		}
		if s.Trouble() != "" && s.raft.State() == raft.Leader {
			// Another version may understand what this one does not.
			if err := s.raft.LeadershipTransfer().Error(); err != nil {
				s.log.Error("this node cannot lead, and no other takes over", "err", err)
			}
		}
		s.mu.Lock()
		close(s.leaderChanged)
		s.leaderChanged = make(chan struct{})
		s.mu.Unlock()
	}
}

// Indexes returns raft's indexes of the last entry applied here, committed as far
// as this node knows, and in this node's log.
func (s *Store) Indexes() (applied, committed, last uint64) {
	if !s.running() {
		return 0, 0, 0
	}
	return s.raft.AppliedIndex(), s.raft.CommitIndex(), s.raft.LastIndex()
}
