package raftstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// What is synced in a file is lost with its name, and the sync of a file does not make its name safe: that of its
// directory does. Neither bbolt nor raft's snapshot store sees to all names.

// makeDir makes a directory that outlives a power cut, and those above it.
func makeDir(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	} else if err != nil {
		return err
	}
	err := syncDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrPermission) {
		return nil // a directory that only others may look into is theirs, and was there
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeBolt makes the log if there is none: whole, or not at all, since a file that was cut short in the making is damage to
// whoever opens it next. Meanwhile the directory is locked, so that of two supds one finds the other's.
func makeBolt(path string, options *bbolt.Options) (err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("cannot lock %s: %w", dir.Name(), err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) { // cut short, and nobody's yet
		return err
	}
	db, err := bbolt.Open(fresh, 0o600, options)
	if err != nil {
		return boltError(err)
	}
	return errors.Join(db.Close(), os.Rename(fresh, path))
}

// snapshotStore is raft's, with the names of a snapshot's files safe before the snapshot has its own: without them a
// power cut leaves a newest snapshot that can't be read, and the log behind it is gone.
type snapshotStore struct {
	*raft.FileSnapshotStore

	dir string
}

// Create begins a snapshot. Both its files have their names then.
func (s *snapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(v, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Join(s.dir, sink.ID()+".tmp")); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot begin a snapshot: %w", err), sink.Cancel())
	}
	return &snapshotSink{sink, filepath.Join(s.dir, sink.ID())}, nil
}

// A snapshot's description, with the membership in it, has no sum but this.
const (
	snapshotMeta = "meta.json"
	snapshotSum  = "meta.sum"
)

// snapshotSink is raft's; a finished snapshot gets the sum of its description.
type snapshotSink struct {
	raft.SnapshotSink

	dir string
}

// Close finishes the snapshot. A crash before its sum is there leaves it without one.
func (s *snapshotSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	sum, err := sumFile(filepath.Join(s.dir, snapshotMeta))
	if err != nil {
		return fmt.Errorf("cannot finish a snapshot: %w", err)
	}
	if err := writeDurably(filepath.Join(s.dir, snapshotSum), sum); err != nil {
		return fmt.Errorf("cannot finish a snapshot: %w", err)
	}
	return nil
}

// check compares the description of a snapshot with its sum, where there is one.
func (s *snapshotStore) check(id string) error {
	want, err := os.ReadFile(filepath.Join(s.dir, id, snapshotSum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an earlier build's
	}
	if err != nil {
		return err
	}
	got, err := sumFile(filepath.Join(s.dir, id, snapshotMeta))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: the description of snapshot %s is not as it was written", ErrDamaged, id)
	}
	return nil
}

func sumFile(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	sum := sha256.Sum256(b)
	return fmt.Appendf(nil, "%x\n", sum), err
}

// writeDurably writes a file that is there whole, or not at all.
func writeDurably(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
