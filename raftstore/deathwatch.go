package raftstore

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A leader whose process has died is known to be dead long before its silence says so:
// the kernel closes its connections, and refuses new ones where it listened. A follower
// that sees both asks for an election at once, as after a transfer of leadership. So the
// timeout that a leader's mere silence needs may be long, and a busy machine causes no
// election. This is a hint: Raft elects by votes and terms whoever asks, and whenever.

const (
	// refusalWait bounds the question whether anybody listens where the leader did.
	refusalWait = 200 * time.Millisecond
	// candidateStep is what each voter waits for those before it, lest all ask for votes
	// at once and none gets enough.
	candidateStep = 150 * time.Millisecond
)

// watchLeader asks for an election when the leader's process is known to be dead.
func (s *Store) watchLeader(ctx context.Context) error {
	var asked uint64 // the last term in which it did
	for {
		select {
		case <-s.hangups:
		case <-ctx.Done():
			return nil
		}
		id, addr := s.Leader()
		term := s.Term()
		turn := s.turn(id)
		if id == "" || id == s.o.ID || turn < 0 || term == asked || !refused(ctx, addr) {
			continue
		}
		if !s.stillFollows(ctx, id, term, time.Duration(turn)*candidateStep) {
			continue
		}
		asked = term
		s.log.Info("the leader's process is gone; this node asks for an election", "leader", id, "term", term)
		var resp raft.TimeoutNowResponse
		if err := s.trans.TimeoutNow(raft.ServerID(s.o.ID), s.ownAddr(), &raft.TimeoutNowRequest{RPCHeader: s.header()}, &resp); err != nil {
			s.log.Debug("election not asked for; the leader's silence will", "err", err)
		}
	}
}

// turn is this node's place among the voters that are left without the leader; -1: it
// has no vote.
func (s *Store) turn(leader string) int {
	var ids []string
	for _, srv := range s.Servers() {
		if srv.Voter && srv.ID != leader {
			ids = append(ids, srv.ID)
		}
	}
	slices.Sort(ids)
	return slices.Index(ids, s.o.ID)
}

// stillFollows waits, and tells whether the same leader is still believed in then.
func (s *Store) stillFollows(ctx context.Context, leader string, term uint64, wait time.Duration) bool {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := s.LeaderChanged()
		if id, _ := s.Leader(); id != leader || s.Term() != term {
			return false
		}
		select {
		case <-changed:
		case <-over.C:
			id, _ := s.Leader()
			return id == leader && s.Term() == term
		case <-ctx.Done():
			return false
		}
	}
}

// refused tells whether the host answers that nobody listens there.
func refused(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, refusalWait)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = c.Close() // that somebody listens is all we asked
	return false
}

// ownAddr is this server's address in the membership.
func (s *Store) ownAddr() raft.ServerAddress {
	for _, srv := range s.Servers() {
		if srv.ID == s.o.ID {
			return raft.ServerAddress(srv.Addr)
		}
	}
	return s.trans.LocalAddr()
}

// header names this server in a message of its own.
func (s *Store) header() raft.RPCHeader {
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(s.o.ID),
		Addr: s.trans.EncodePeer(raft.ServerID(s.o.ID), s.trans.LocalAddr()),
	}
}

// hungUp notes that a connection which another server made has ended.
func (s *Store) hungUp() {
	select {
	case s.hangups <- struct{}{}:
	default:
	}
}
