package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/configs"
	"supd/supervisor"
	"supd/supervisor/client"
)

// keptGeneration tells whether a node keeps the keys of a generation, in a file of its own.
func keptGeneration(c configs.Daemon, want int) error {
	path := filepath.Join(c.DataDir, "pki", "gossip")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Mode().Perm() != 0o600 {
		return fmt.Errorf("%s has mode %04o", path, st.Mode().Perm())
	}
	if !strings.Contains(string(b), fmt.Sprintf(`"generation":%d,`, want)) {
		return fmt.Errorf("%s is of another generation", path)
	}
	return nil
}

// TestGossipKeyIsRotated: all nodes take the new key and go on hearing each other; one
// without the secret, as those that don't vote, gets it by TLS.
func TestGossipKeyIsRotated(t *testing.T) {
	t.Parallel()
	var nodes []*node
	for i := range 3 {
		c := conf(t, fmt.Sprintf("node-%d", i+1), 3)
		if i > 0 {
			c.Join = []string{nodes[0].cfg.Gossip}
		}
		nodes = append(nodes, startWith(t, supervisor.Options{Config: c, GossipKeyPause: 500 * time.Millisecond}))
	}
	eventually(t, "all are ready", func(ctx context.Context) error { return allReady(ctx, nodes[2], 3) })
	if err := keptGeneration(nodes[0].cfg, 0); err != nil {
		t.Error(err)
	}
	if _, err := nodes[1].api.RotateGossipKey(t.Context(), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes[1].api.RotateGossipKey(t.Context(), client.WriteOptions{}); err == nil {
		t.Error("rotated again at once")
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" has the new key", func(context.Context) error { return keptGeneration(n.cfg, 1) })
	}
	// What a node gossips from now on is heard: it was away, and is found anew.
	last := nodes[2].cfg
	nodes[2].end()
	for _, name := range []string{"seed", "gossip"} {
		if err := os.Remove(filepath.Join(last.DataDir, "pki", name)); err != nil {
			t.Fatal(err)
		}
	}
	last.BootstrapSecret, last.BootstrapExpect = "", 0
	back := startWith(t, supervisor.Options{Config: last, GossipKeyPause: 500 * time.Millisecond})
	eventually(t, "it gets the keys by TLS", func(context.Context) error { return keptGeneration(last, 1) })
	eventually(t, "all are ready again", func(ctx context.Context) error { return allReady(ctx, back, 3) })
}
