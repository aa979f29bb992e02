package raftstore

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"supd/raftstore/state"
	"supd/supervisor/spec"
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
		next, res := f.s.apply(v, l)
		out[i] = res
		if next != v {
			v, at = next, position{Index: l.Index, Term: l.Term}
		}
	}
	if v != old {
		f.s.publish(v, at)
	}
	return out
}

// apply applies one entry. What can't be decoded comes from a newer version, and
// other nodes may have taken it: the View stays as it is from there on, for what
// follows may rest on it. A newer supd goes on from there.
func (s *Store) apply(v *state.View, l *raft.Log) (*state.View, state.Result) {
	if why := s.Trouble(); why != "" {
		return v, state.Result{Index: l.Index, Err: notUnderstood(why)}
	}
	e, err := state.Decode(l.Data)
	if err != nil {
		why := fmt.Sprintf("log entry %d: %v", l.Index, err)
		s.setTrouble(&why)
		s.log.Error("log entry not understood; this node needs a newer supd, and follows no further without", "index", l.Index, "err", err)
		return v, state.Result{Index: l.Index, Err: notUnderstood(why)}
	}
	s.checkpoints.pass(v, e.At)
	return v.Apply(l.Index, e)
}

func notUnderstood(why string) *spec.Error {
	return &spec.Error{Code: spec.CodeInternal, Reason: "NotUnderstood", Message: "this node needs a newer supd: " + why}
}

func (s *Store) setTrouble(why *string) {
	s.trouble.Store(why)
	select {
	case s.troubled <- struct{}{}:
	default:
	}
}

// Snapshot takes the present View, which is immutable, so nothing waits. One that
// has been left behind must not replace the entries it lacks.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if why := f.s.Trouble(); why != "" {
		return nil, notUnderstood(why)
	}
	return snapshot{f.s.View()}, nil
}

// Restore replaces the View by a snapshot of the leader's.
func (f *fsm) Restore(r io.ReadCloser) error {
	v, err := state.ReadSnapshot(r)
	if err != nil {
		return err
	}
	f.s.setTrouble(nil) // it holds all that was not understood
	f.s.checkpoints.lose()
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
