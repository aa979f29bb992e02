package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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

// ErrForeign is returned by Open when the store is another server's.
var ErrForeign = errors.New("the raft store is not this server's")

// ErrInUse is returned by Open when another process has the store open.
var ErrInUse = errors.New("another supd has this data directory open")

// lockWait bounds the wait for another process to let go of the store.
const lockWait = 2 * time.Second

// openFiles opens and checks log and snapshots and restores the View.
func (s *Store) openFiles() (err error) {
	if err := makeDir(s.o.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.closeFiles()
		}
	}()
	return guarded(s.openAll)
}

// guarded calls f. A torn file may fault when its mapping is read: that is damage, not a crash.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

func (s *Store) openAll() error {
	options := &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
	if err := makeBolt(s.path("raft.db"), options); err != nil {
		return err
	}
	entries, err := walkBolt(s.path("raft.db"))
	if err != nil {
		return err
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: s.path("raft.db"), BoltOptions: options})
	if err != nil {
		return boltError(err)
	}
	s.bolt = sealed{bolt}
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
	if err := s.checkKept(); err != nil {
		return err
	}
	if err := s.own(); err != nil {
		return err
	}
	return s.restore(entries)
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
// that are known to be committed: reads go on without a quorum. It reads every entry that
// there is: those behind the snapshot may not have a gap.
func (s *Store) restore(indexes []uint64) error {
	v, from, err := s.readSnapshot()
	if err != nil {
		return err
	}
	known, sure := s.readApplied()
	last := from
	var entries []*raft.Log
	reached := false
	for _, i := range indexes {
		l := new(raft.Log)
		if err := s.bolt.GetLog(i, l); err != nil {
			return fmt.Errorf("%w: log entry %d: %v", ErrDamaged, i, err)
		}
		if i <= from {
			continue
		}
		if i != last+1 {
			return fmt.Errorf("%w: log entries %d to %d are missing", ErrDamaged, last+1, i-1)
		}
		last = i
		if i <= known.Index && l.Type == raft.LogCommand {
			entries = append(entries, l)
		}
		reached = reached || i == known.Index && l.Term == known.Term
	}
	if sure && last < known.Index {
		return fmt.Errorf("%w: entry %d was applied, and the log ends at %d", ErrDamaged, known.Index, last)
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
	if err := s.snaps.check(newest); err != nil {
		return nil, 0, err
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

// appliedNote is what stands in the file `applied`.
type appliedNote struct {
	position
	Sum uint32 `json:"sum,omitempty"`
}

func (p position) sum() uint32 {
	return crc32.Checksum(fmt.Appendf(nil, "%d %d", p.Index, p.Term), castagnoli)
}

// readApplied returns how far the log was applied; zero when that is not known. It is
// sure when the note has a sum: then no log ends before it.
func (s *Store) readApplied() (p position, sure bool) {
	var n appliedNote
	b, err := os.ReadFile(s.path("applied"))
	if err != nil || json.Unmarshal(b, &n) != nil || n.Sum != 0 && n.Sum != n.sum() {
		return position{}, false
	}
	return n.position, n.Sum != 0
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
	b, err := json.Marshal(appliedNote{p, p.sum()})
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
	if done || s.bolt.BoltStore == nil {
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
