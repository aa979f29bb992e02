package raftstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"supd/raftstore"
)

// TestLogCutInTheMaking: what a power cut leaves of a log that was being made is nobody's loss, and in nobody's way.
func TestLogCutInTheMaking(t *testing.T) {
	t.Parallel()
	for name, left := range map[string][]byte{"empty": {}, "torn": make([]byte, 4096), "without its data": make([]byte, 16384)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "raft.db.new"), left, 0o600); err != nil {
			t.Fatal(err)
		}
		o := options(dir, "a")
		o.Stream = silent{}
		s, err := raftstore.Open(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.HasState() {
			t.Errorf("%s: a new store has state", name)
		}
		s.Close()
		if _, err := os.Stat(filepath.Join(dir, "raft.db.new")); err == nil {
			t.Errorf("%s: the leftover is still there", name)
		}
	}
}
