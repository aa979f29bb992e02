package raftstore

import (
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
	return sink, nil
}
