package raftstore

import (
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// fullLog is a log on a disk that is full, or not.
type fullLog struct {
	*raft.InmemStore
	err error
}

func (f *fullLog) StoreLogs(logs []*raft.Log) error {
	if f.err != nil {
		return f.err
	}
	return f.InmemStore.StoreLogs(logs)
}

// What cannot be written is told with its place and why, until it is written again.
func TestDiskTroubleIsTold(t *testing.T) {
	t.Parallel()
	s := &Store{disk: &diskTrouble{dir: "/data/raft"}}
	disk := &fullLog{InmemStore: raft.NewInmemStore()}
	log := watchedLog{disk, s.disk}
	entry := &raft.Log{Index: 1, Term: 1}
	if err := log.StoreLog(entry); err != nil || s.DiskTrouble() != "" {
		t.Fatalf("a good disk: %v, %q", err, s.DiskTrouble())
	}
	disk.err = syscall.ENOSPC
	err := log.StoreLog(entry)
	for _, text := range []string{err.Error(), s.DiskTrouble()} {
		if !strings.Contains(text, "/data/raft") || !strings.Contains(text, "no space left") {
			t.Errorf("a full disk is told as %q", text)
		}
	}
	disk.err = nil
	if err := log.StoreLog(entry); err != nil || s.DiskTrouble() != "" {
		t.Errorf("after it was emptied: %v, %q", err, s.DiskTrouble())
	}
}
