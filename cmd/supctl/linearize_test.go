package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/client/registertest"
)

const (
	linearNodes   = 3
	linearClients = 6
	linearKills   = 5
	linearWrites  = 40 // done before each kill
)

// linearizable: several clients write one object through several nodes, each only if
// it is as last read, while leaders are killed. What they see must be as if one
// object had taken their requests one after the other.
func linearizable(t *testing.T, bin, root string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &world{bin: bin, dir: filepath.Join(root, "lin")}
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := w.start(t.Context(), "--nodes", fmt.Sprint(linearNodes)); err != nil {
		t.Fatal(err)
	}
	var cs []*client.Client
	for n := range linearNodes {
		c, err := client.New(socket(w, n), client.Options{RequestTimeout: 4 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		cs = append(cs, c)
	}
	h := registertest.NewHistory()
	if err := until(eventually, func() error { return h.Create(t.Context(), cs[0], "register") }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range linearClients {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			h.Client(ctx, i, r, func(r *rand.Rand) *client.Client { return cs[r.IntN(len(cs))] }, func() string { return "register" })
		})
	}
	for i := range linearKills {
		err := until(eventually, func() error {
			if n, want := h.Done(), int64(i+1)*linearWrites; n < want {
				return fmt.Errorf("%d writes done, want %d", n, want)
			}
			return nil
		})
		if err == nil {
			err = killLeader(ctx, w)
		}
		if err != nil {
			t.Errorf("kill %d: %v", i, err)
			break
		}
	}
	cancel()
	wg.Wait()
	t.Log(h)
	if err := h.Check(2*time.Minute, func() string { return filepath.Join(t.ArtifactDir(), "history.html") }); err != nil {
		t.Error(err)
	}
}

func socket(w *world, node int) string {
	return fmt.Sprintf("unix://%s/node-%d/supd.sock", w.dir, node+1)
}

// killLeader kills whoever leads, waits until another does, and brings it back.
func killLeader(ctx context.Context, w *world) error {
	leader, err := findLeader(ctx, w, "")
	if err != nil {
		return err
	}
	dir := filepath.Join(w.dir, leader)
	pid, err := readPID(filepath.Join(dir, "supd.pid"))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for i, n := range w.nodes {
		if n.Process.Pid == pid {
			_ = n.Wait() // killed
			w.nodes = append(w.nodes[:i], w.nodes[i+1:]...)
			break
		}
	}
	if _, err := findLeader(ctx, w, leader); err != nil {
		return err
	}
	c := exec.Command(filepath.Join(w.bin, "supd"), "run", "--config", filepath.Join(dir, "supd.yaml"))
	if err := c.Start(); err != nil {
		return err
	}
	w.nodes = append(w.nodes, c)
	back, err := client.New("unix://"+filepath.Join(dir, "supd.sock"), client.Options{})
	if err != nil {
		return err
	}
	defer back.Close()
	return until(eventually, func() error {
		_, err := back.Cluster(ctx)
		return err
	})
}

// findLeader asks all nodes but one.
func findLeader(ctx context.Context, w *world, but string) (string, error) {
	var leader string
	err := until(eventually, func() error {
		for n := range linearNodes {
			name := fmt.Sprintf("node-%d", n+1)
			if name == but {
				continue
			}
			c, err := client.New(socket(w, n), client.Options{})
			if err != nil {
				return err
			}
			st, err := c.Cluster(ctx)
			c.Close()
			if err == nil && st.Leader != "" && st.Leader != but {
				leader = st.Leader
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return leader, err
}
