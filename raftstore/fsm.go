package raftstore

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"supd/raftstore/state"
)

// fsm hands committed entries to state.Apply. Raft calls it from one goroutine.
type fsm struct{ s *Store }

var (
	_ raft.FSM         = (*fsm)(nil)
	_ raft.BatchingFSM = (*fsm)(nil)
)

// Apply applies one entry.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries in order and publishes the last View once. Entries
// at or before the View's index were applied before this process started.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	old := f.s.View()
	v, out := old, make([]any, len(logs))
	var at position
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		if l.Index <= v.Index {
			out[i] = state.Result{Index: l.Index}
			continue
		}
		v, out[i] = f.s.apply(v, l)
		at = position{Index: l.Index, Term: l.Term}
	}
	if v != old {
		f.s.publish(v, at)
	}
	return out
}

// apply applies one entry. What can't be decoded comes from a newer version: it is
// refused here, and said loudly, for other nodes may have taken it.
func (s *Store) apply(v *state.View, l *raft.Log) (*state.View, state.Result) {
	e, err := state.Decode(l.Data)
	if err != nil {
		why := fmt.Sprintf("log entry %d: %v", l.Index, err)
		s.trouble.CompareAndSwap(nil, &why)
		s.log.Error("log entry not understood; this node needs a newer supd", "index", l.Index, "err", err)
		e = state.Entry{}
	}
	return v.Apply(l.Index, e)
}

// Snapshot takes the present View, which is immutable, so nothing waits.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.s.View()}, nil }

// Restore replaces the View by a snapshot of the leader's.
func (f *fsm) Restore(r io.ReadCloser) error {
	v, err := state.ReadSnapshot(r)
	if err != nil {
		return err
	}
	f.s.publish(v, position{})
	return nil
}

type snapshot struct{ v *state.View }

// Persist writes the View.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.v.WriteSnapshot(sink); err != nil {
		if cerr := sink.Cancel(); cerr != nil {
			return fmt.Errorf("%w; and the unfinished snapshot could not be removed: %v", err, cerr)
		}
		return err
	}
	return sink.Close()
}

// Release has nothing to let go of.
func (s snapshot) Release() {}
