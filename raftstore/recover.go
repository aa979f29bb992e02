package raftstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"supd/raftstore/state"
)

// Inspection is what is found in a store that nobody has open.
type Inspection struct {
	// Last is the newest entry of the log, or what the snapshot covers: the store
	// with the greatest (term, index) has all that any quorum ever acknowledged, if
	// all voters are compared.
	LastTerm, LastIndex uint64
	// Term is the newest term that this server has seen.
	Term uint64
	// Servers are the newest membership that the store has.
	Servers []Server
	// Cluster is what the View knows of itself; it may lag behind Last.
	Cluster state.Cluster
	Objects map[string]int
	// Trouble: an entry that this version does not understand.
	Trouble string
}

// openClosed opens a store's files without taking part in Raft.
func openClosed(o Options) (*Store, error) {
	s := closed(o)
	if err := s.openFiles(); err != nil {
		return nil, fmt.Errorf("cannot open the raft store in %s: %w", o.Dir, err)
	}
	if !s.hadRaft {
		s.closeFiles()
		return nil, fmt.Errorf("the raft store in %s is empty", o.Dir)
	}
	return s, nil
}

// closed is a Store that takes no part in Raft.
func closed(o Options) *Store {
	s := newStore(o.withDefaults())
	s.closed = true
	return s
}

// Inspect looks into a store that no daemon has open; of o only Dir and ID are used.
// Errors are those of Open.
func Inspect(o Options) (Inspection, error) {
	s, err := openClosed(o)
	if err != nil {
		return Inspection{}, err
	}
	defer s.closeFiles()
	return s.inspect()
}

func (s *Store) inspect() (in Inspection, err error) {
	in.Term, err = s.bolt.GetUint64([]byte(keyTerm))
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return in, err
	}
	if list, err := s.snaps.List(); err == nil && len(list) > 0 {
		in.LastTerm, in.LastIndex = list[0].Term, list[0].Index
	}
	last, err := s.bolt.LastIndex()
	if err != nil {
		return in, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if last > in.LastIndex {
		var l raft.Log
		if err := s.bolt.GetLog(last, &l); err != nil {
			return in, fmt.Errorf("%w: log entry %d: %v", ErrDamaged, last, err)
		}
		in.LastTerm, in.LastIndex = l.Term, l.Index
	}
	_, trans := raft.NewInmemTransport("")
	c, err := raft.GetConfiguration(s.config(), &fsm{s}, s.bolt, s.bolt, s.snaps, trans)
	if err != nil {
		return in, fmt.Errorf("cannot read the membership: %w", err)
	}
	for _, srv := range c.Servers {
		in.Servers = append(in.Servers, Server{ID: string(srv.ID), Addr: string(srv.Address), Voter: srv.Suffrage == raft.Voter})
	}
	in.Cluster, in.Objects, in.Trouble = s.View().Cluster, s.View().Counts(), s.Trouble()
	return in, nil
}

// Recover makes this server the only one of its cluster, with all entries that its log
// has, committed or not, and the View that change makes of the result. The log is
// compacted into a snapshot. Whoever else was a server must not go on with its old
// store: the greeting keeps it apart.
func Recover(o Options, addr string, change func(*state.View) *state.View) error {
	s, err := openClosed(o)
	if err != nil {
		return err
	}
	defer s.closeFiles()
	_, trans := raft.NewInmemTransport("")
	f := &recovery{fsm: &fsm{s}, change: change}
	if err := raft.RecoverCluster(s.config(), f, s.bolt, s.bolt, s.snaps, trans, alone(s.o.ID, addr)); err != nil {
		return fmt.Errorf("cannot recover: %w", errors.Join(f.err, err))
	}
	return nil
}

// CreateFrom makes a new store in o.Dir, which must not be there, whose only server is this
// one, with v and nothing else. It is there for good when CreateFrom returns, after a crash
// perhaps in part.
func CreateFrom(o Options, addr string, v *state.View, term uint64) (err error) {
	if _, err := os.Stat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot make a raft store: %s is there (%v)", o.Dir, err)
	}
	s := closed(o)
	s.closed = false
	if err := s.openFiles(); err != nil {
		return fmt.Errorf("cannot make a raft store in %s: %w", o.Dir, err)
	}
	defer s.closeFiles()
	if err := s.bolt.SetUint64([]byte(keyTerm), term); err != nil {
		return fmt.Errorf("cannot make a raft store in %s: %w", o.Dir, err)
	}
	_, trans := raft.NewInmemTransport("")
	sink, err := s.snaps.Create(raft.SnapshotVersionMax, v.Index, term, alone(s.o.ID, addr), 1, trans)
	if err == nil {
		err = snapshot{v}.Persist(sink)
	}
	if err != nil {
		return fmt.Errorf("cannot make a raft store in %s: %w", o.Dir, err)
	}
	return nil
}

// alone is a membership of one.
func alone(id, addr string) raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(addr),
	}}}
}

// recovery replays a log and takes its one snapshot from the View as it is changed.
type recovery struct {
	*fsm
	change func(*state.View) *state.View
	err    error
}

// Restore replaces the View by a snapshot; the newest must be readable.
func (r *recovery) Restore(in io.ReadCloser) error {
	err := r.fsm.Restore(in)
	r.err = errors.Join(r.err, err)
	return err
}

// Snapshot is of the changed View.
func (r *recovery) Snapshot() (raft.FSMSnapshot, error) {
	if r.err != nil {
		return nil, r.err
	}
	if why := r.s.Trouble(); why != "" {
		return nil, notUnderstood(why)
	}
	return snapshot{r.change(r.s.View())}, nil
}
