package supervisor

import (
	"context"
	"errors"

	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/control"
	"supd/supervisor/spec"
)

// store gives the raft store's errors their codes, for those who never see Raft.
type store struct{ *raftstore.Store }

// coded tells what certainly did not happen from what may have.
func coded(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raftstore.ErrFateUnknown):
		return &spec.Error{
			Code: spec.CodeNoLeader, Reason: client.ReasonUnknown,
			Message: "the leader was lost before the outcome was known; look with get, then try again (" + err.Error() + ")",
		}
	case errors.Is(err, raftstore.ErrNotLeader):
		return &spec.Error{
			Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader,
			Message: "no leader: " + err.Error() + "; nothing was changed",
		}
	case errors.Is(err, raftstore.ErrTooLarge):
		return &spec.Error{
			Code: spec.CodeInvalid, Reason: "TooLarge",
			Message: err.Error() + "; keep large files on the hosts and name their paths",
		}
	}
	return err
}

// Propose appends an entry.
func (s store) Propose(ctx context.Context, e state.Entry) (state.Result, error) {
	r, err := s.Store.Propose(ctx, e)
	return r, coded(err)
}

// ProposeAll appends entries in order.
func (s store) ProposeAll(ctx context.Context, e []state.Entry) ([]state.Result, error) {
	r, err := s.Store.ProposeAll(ctx, e)
	return r, coded(err)
}

// Barrier waits until all that was committed is applied.
func (s store) Barrier(ctx context.Context) error { return coded(s.Store.Barrier(ctx)) }

// Verify asks a quorum whether this node leads.
func (s store) Verify(ctx context.Context) error { return coded(s.Store.Verify(ctx)) }

// Servers returns Raft's membership.
func (s store) Servers() []control.Server {
	var out []control.Server
	for _, srv := range s.Store.Servers() {
		node, n := control.SplitServer(srv.ID)
		out = append(out, control.Server{ID: node, Store: n, Addr: srv.Addr, Voter: srv.Voter})
	}
	return out
}

var _ control.Store = store{}
