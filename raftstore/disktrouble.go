package raftstore

import (
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// diskTrouble remembers which files of a Store could not be written when that was last
// tried. What is written again is well again.
type diskTrouble struct {
	dir string

	mu    sync.Mutex // guards what follows
	log   error
	votes error
}

// wrote notes how a write of the log, or of term and vote, ended.
func (d *diskTrouble) wrote(what *error, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*what = err
}

// text says what cannot be written, or "".
func (d *diskTrouble) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.log
	if err == nil {
		err = d.votes
	}
	if err == nil {
		return ""
	}
	return fmt.Sprintf("its Raft log in %s cannot be written (%v): it neither leads nor votes, and its copy of the state may be old, until that disk can be written again", d.dir, err)
}

// DiskTrouble says that this node's log, term or vote could not be written when that was
// last tried, and why; or "". Such a node does not lead: Raft takes leadership from who
// cannot write, and who cannot write his vote gets none.
func (s *Store) DiskTrouble() string { return s.disk.text() }

// watchedLog notes how writes of the log end.
type watchedLog struct {
	raft.LogStore
	disk *diskTrouble
}

// StoreLog stores one entry.
func (w watchedLog) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries.
func (w watchedLog) StoreLogs(logs []*raft.Log) error {
	err := w.LogStore.StoreLogs(logs)
	if err != nil {
		err = fmt.Errorf("cannot write the Raft log in %s: %w", w.disk.dir, err)
	}
	w.disk.wrote(&w.disk.log, err)
	return err
}
