package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Server is one member of the Raft cluster.
type Server struct {
	ID    string
	Addr  string
	Voter bool
}

// memberTimeout bounds the wait for a place in raft's queue of membership changes.
const memberTimeout = 2 * time.Second

// Servers returns the newest membership this node knows, committed or not.
func (s *Store) Servers() []Server {
	if !s.running() {
		return nil
	}
	var out []Server
	for _, srv := range s.raft.GetConfiguration().Configuration().Servers {
		out = append(out, Server{ID: string(srv.ID), Addr: string(srv.Address), Voter: srv.Suffrage == raft.Voter})
	}
	return out
}

// Bootstrap makes the first membership of a new cluster. Every node named may call
// it, with identical servers; a node that has state refuses.
func (s *Store) Bootstrap(ctx context.Context, servers []Server) error {
	var c raft.Configuration
	for _, srv := range servers {
		suffrage := raft.Nonvoter
		if srv.Voter {
			suffrage = raft.Voter
		}
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: suffrage, ID: raft.ServerID(srv.ID), Address: raft.ServerAddress(srv.Addr),
		})
	}
	select {
	case <-s.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.await(ctx, func(r *raft.Raft) raft.Future { return r.BootstrapCluster(c) }); err != nil {
		if errors.Is(err, raft.ErrCantBootstrap) {
			return fmt.Errorf("cannot bootstrap: this node has been part of a cluster: %w", err)
		}
		return fmt.Errorf("cannot bootstrap: %w", err)
	}
	return nil
}

// AddVoter adds a server as a voter, makes a non-voter one, or changes its address.
func (s *Store) AddVoter(ctx context.Context, id, addr string) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future {
		return r.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), 0, memberTimeout)
	})
}

// AddNonvoter adds a server that follows without a vote, or changes its address;
// a voter stays one.
func (s *Store) AddNonvoter(ctx context.Context, id, addr string) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future {
		return r.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, memberTimeout)
	})
}

// Demote takes a server's vote.
func (s *Store) Demote(ctx context.Context, id string) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future {
		return r.DemoteVoter(raft.ServerID(id), 0, memberTimeout)
	})
}

// Remove takes a server out of the cluster. It must never come back with this id
// and an emptied Dir: it has forgotten its votes.
func (s *Store) Remove(ctx context.Context, id string) error {
	return s.await(ctx, func(r *raft.Raft) raft.Future {
		return r.RemoveServer(raft.ServerID(id), 0, memberTimeout)
	})
}
