package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"supd/raftstore/state"
)

// ErrDamaged is returned by Open when the log or the newest snapshot cannot be
// read back as it was written. Nothing is repaired by guessing: the other nodes
// have the state.
var ErrDamaged = errors.New("the raft store is damaged")

// ErrInUse is returned by Open when another process has the store open.
var ErrInUse = errors.New("another supd has this data directory open")

// lockWait bounds the wait for another process to let go of the store.
const lockWait = 2 * time.Second

// openFiles opens and checks log and snapshots and restores the View.
func (s *Store) openFiles() (err error) {
	if err := makeDir(s.o.Dir); err != nil {
		return err
	}
	// A torn file may fault when its mapping is read: that is damage, not a crash.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
		if err != nil {
			s.closeFiles()
		}
	}()
	options := &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
	if err := makeBolt(s.path("raft.db"), options); err != nil {
		return err
	}
	if err := walkBolt(s.path("raft.db")); err != nil {
		return err
	}
	if s.bolt, err = raftboltdb.New(raftboltdb.Options{Path: s.path("raft.db"), BoltOptions: options}); err != nil {
		return boltError(err)
	}
	s.stable = &patientStore{StableStore: s.bolt, log: s.log, disk: s.disk, gone: make(chan struct{})}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(s.o.Dir, 2, adaptLogger(s.log))
	if err != nil {
		return err
	}
	s.snaps = &snapshotStore{snaps, s.path("snapshots")}
	if err := syncDir(s.o.Dir); err != nil { // the names of the log and of the snapshots
		return err
	}
	if s.hadRaft, err = raft.HasExistingState(s.bolt, s.bolt, s.snaps); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return s.restore()
}

// walkBolt reads every page that can be reached, so that damage shows now. It
// opens the log for reading only: opening it for writing looks for free pages in a
// goroutine of bbolt's own, whose panic on a damaged page nobody can catch.
func walkBolt(path string) (err error) {
	if info, serr := os.Stat(path); errors.Is(serr, fs.ErrNotExist) || serr == nil && info.Size() == 0 {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
	if err != nil {
		return boltError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error { return nil })
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return nil
}

func boltError(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrInUse
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, ErrDamaged)
}

// restore makes the View from the newest snapshot and those log entries behind it
// that are known to be committed: reads go on without a quorum.
func (s *Store) restore() error {
	v, from, err := s.readSnapshot()
	if err != nil {
		return err
	}
	known := s.readApplied()
	last, err := s.bolt.LastIndex()
	if err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	var entries []*raft.Log
	reached := false
	for i := from + 1; i <= last; i++ {
		l := new(raft.Log)
		if err := s.bolt.GetLog(i, l); err != nil {
			return fmt.Errorf("%w: log entry %d of %d: %v", ErrDamaged, i, last, err)
		}
		if i <= known.Index && l.Type == raft.LogCommand {
			entries = append(entries, l)
		}
		reached = reached || i == known.Index && l.Term == known.Term
	}
	if reached {
		for _, l := range entries {
			if l.Index > v.Index {
				v, _ = s.apply(v, l)
			}
		}
		s.applied = known
	}
	s.view.Store(v)
	return nil
}

// readSnapshot returns the newest snapshot's View and the index it covers.
func (s *Store) readSnapshot() (*state.View, uint64, error) {
	newest, err := newestSnapshot(s.path("snapshots"))
	if err != nil {
		return nil, 0, err
	}
	list, err := s.snaps.List()
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if newest == "" {
		return state.New(), 0, nil
	}
	known := false
	for _, m := range list {
		known = known || m.ID == newest
	}
	if !known || list[0].ID != newest {
		return nil, 0, fmt.Errorf("%w: snapshot %s cannot be read", ErrDamaged, newest)
	}
	meta, r, err := s.snaps.Open(newest)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: snapshot %s: %v", ErrDamaged, newest, err)
	}
	v, err := state.ReadSnapshot(r)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%w: snapshot %s: %v", ErrDamaged, newest, err), r.Close())
	}
	return v, meta.Index, r.Close()
}

// newestSnapshot finds the finished snapshot with the greatest term and index by
// its name, TERM-INDEX-TIME, whether or not it can be read.
func newestSnapshot(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var newest string
	var best [3]uint64
	for _, e := range entries {
		var at [3]uint64
		if strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if n, err := fmt.Sscanf(e.Name(), "%d-%d-%d", &at[0], &at[1], &at[2]); n != 3 || err != nil {
			continue
		}
		if newest == "" || at[0] > best[0] || at[0] == best[0] && (at[1] > best[1] || at[1] == best[1] && at[2] > best[2]) {
			newest, best = e.Name(), at
		}
	}
	return newest, nil
}

// readApplied returns how far the log was applied; zero when that is not known.
func (s *Store) readApplied() position {
	var p position
	b, err := os.ReadFile(s.path("applied"))
	if err != nil || json.Unmarshal(b, &p) != nil {
		return position{}
	}
	return p
}

// writeApplied notes how far the log was applied. It is a hint, checked against
// the log when read: it needs no sync, and a full disk does no harm.
func (s *Store) writeApplied() error {
	s.mu.Lock()
	p := s.applied
	s.mu.Unlock()
	if p.Index == 0 {
		return nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	tmp := s.path("applied.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		s.log.Debug("applied index not noted", "err", err)
		return nil
	}
	if err := os.Rename(tmp, s.path("applied")); err != nil {
		s.log.Debug("applied index not noted", "err", err)
	}
	return nil
}

func (s *Store) closeFiles() {
	s.mu.Lock()
	done := s.filesClosed
	s.filesClosed = true
	s.mu.Unlock()
	if done || s.bolt == nil {
		return
	}
	if err := s.bolt.Close(); err != nil {
		s.log.Warn("raft log not closed cleanly", "err", err)
	}
}

// patientStore keeps terms and votes. Raft panics when they cannot be written;
// with a full or read-only disk this node must rather fall silent in Raft and go
// on serving reads, so a write is tried until it succeeds or the store stops.
type patientStore struct {
	raft.StableStore
	log  *slog.Logger
	disk *diskTrouble
	once sync.Once
	gone chan struct{}
}

func (p *patientStore) giveUp() { p.once.Do(func() { close(p.gone) }) }

// Set writes until it succeeds.
func (p *patientStore) Set(k, v []byte) error {
	return p.insist(func() error { return p.StableStore.Set(k, v) })
}

// SetUint64 writes until it succeeds.
func (p *patientStore) SetUint64(k []byte, v uint64) error {
	return p.insist(func() error { return p.StableStore.SetUint64(k, v) })
}

func (p *patientStore) insist(write func() error) error {
	for said := false; ; said = true {
		err := write()
		p.disk.wrote(&p.disk.votes, err)
		if err == nil {
			return nil
		}
		if !said {
			p.log.Error("raft cannot write its term or vote; this node takes no part until it can", "err", err)
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-p.gone:
			// Raft must neither go on without the write nor panic: its goroutine ends.
			runtime.Goexit()
		}
	}
}
