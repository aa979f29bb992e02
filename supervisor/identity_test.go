package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIdentityLost: a data directory that was a node's gets no second identity.
func TestIdentityLost(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"raft/raft.db", "keeper/records/x.json"} {
		dir := t.TempDir()
		first, err := openIdentity(dir, "n1")
		if err != nil {
			t.Fatal(err)
		}
		again, err := openIdentity(dir, "n1")
		if err != nil || again.ID != first.ID {
			t.Fatalf("another identity: %v, %v", again, err)
		}
		file := filepath.Join(dir, left)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "node.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := openIdentity(dir, "n1"); err == nil || !strings.Contains(err.Error(), "node.json") {
			t.Errorf("with %s: %v, want it refused", left, err)
		}
	}
}
