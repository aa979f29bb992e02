package main_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

const (
	linearNodes   = 3
	linearClients = 6
	linearKills   = 5
	linearWrites  = 40 // done before each kill
)

// casInput is a conditional write (of a value never used before) or a read.
type casInput struct {
	read     bool
	old, new string
}

type casOutput struct {
	value   string // of a read
	done    bool   // the write took effect
	unknown bool   // nobody knows whether it did
}

// casModel is one register. A write of unknown outcome may have taken effect or not.
var casModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(string), input.(casInput), output.(casOutput)
		switch {
		case in.read && out.value == s:
			return []any{s}
		case in.read:
			return nil
		case out.unknown && s == in.old:
			return []any{s, in.new}
		case out.unknown:
			return []any{s}
		case out.done == (s == in.old):
			if out.done {
				return []any{in.new}
			}
			return []any{s}
		}
		return nil
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}

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
	h := &history{t0: time.Now()}
	h.create(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range linearClients {
		wg.Go(func() { h.client(ctx, w, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	for i := range linearKills {
		err := until(eventually, func() error {
			if n, want := h.done.Load(), int64(i+1)*linearWrites; n < want {
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
	t.Logf("%d operations, %d writes done, %d refused as stale, %d of unknown outcome", len(h.ops), h.done.Load(), h.stale.Load(), h.unknown.Load())
	model := casModel.ToModel()
	result, info := porcupine.CheckOperationsVerbose(model, h.ops, 2*time.Minute)
	if result != porcupine.Ok {
		file := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model, info, file); err != nil {
			t.Error(err)
		}
		t.Errorf("linearizable: %s; the history is in %s", result, file)
	}
}

// history collects operations of all clients.
type history struct {
	t0                   time.Time
	done, stale, unknown atomic.Int64
	writes               atomic.Int64

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

func (h *history) now() int64 { return time.Since(h.t0).Nanoseconds() }

func (h *history) add(client int, in casInput, out casOutput, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: ret})
}

func socket(w *world, node int) string {
	return fmt.Sprintf("unix://%s/node-%d/supd.sock", w.dir, node+1)
}

func register(value string) *spec.Service {
	return &spec.Service{
		APIVersion: spec.APIVersion, Kind: spec.KindService,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: "register", Labels: map[string]string{"value": value}},
	}
}

// create makes the register with its first value.
func (h *history) create(t *testing.T, w *world) {
	t.Helper()
	c, err := client.New(socket(w, 0), client.Options{RequestTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call := h.now()
	if _, _, err := c.PutService(t.Context(), register("v0"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.add(0, casInput{old: "", new: "v0"}, casOutput{done: true}, call, h.now())
}

// client reads and writes through one node after the other.
func (h *history) client(ctx context.Context, w *world, id int, rng *rand.Rand) {
	var cs []*client.Client
	for n := range linearNodes {
		c, err := client.New(socket(w, n), client.Options{RequestTimeout: 4 * time.Second})
		if err != nil {
			panic(err) // the address is ours
		}
		defer c.Close()
		cs = append(cs, c)
	}
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		// A request is never cut short: its outcome would be unknown for no reason.
		h.once(context.WithoutCancel(ctx), cs[rng.IntN(len(cs))], cs[rng.IntN(len(cs))], id)
		for range 1 + rng.IntN(5) {
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
}

// once reads through one node and writes what was read through another.
func (h *history) once(ctx context.Context, reader, writer *client.Client, id int) {
	call := h.now()
	got, _, err := client.Get[spec.Service](ctx, reader, client.Services, spec.DefaultNS, "register", client.ReadOptions{Consistent: true})
	if err != nil {
		return // a read that failed says nothing
	}
	old := got.Metadata.Labels["value"]
	h.add(id, casInput{read: true}, casOutput{value: old}, call, h.now())

	in := casInput{old: old, new: fmt.Sprintf("v%d", h.writes.Add(1))}
	call = h.now()
	_, _, err = writer.PutService(ctx, register(in.new), client.WriteOptions{IfVersion: got.Metadata.ResourceVersion})
	ret := h.now()
	var e *spec.Error
	switch {
	case err == nil:
		h.done.Add(1)
		h.add(id, in, casOutput{done: true}, call, ret)
	case errors.As(err, &e) && e.Code == spec.CodeConflict:
		h.stale.Add(1)
		h.add(id, in, casOutput{}, call, ret)
	default:
		h.unknown.Add(1)
		h.add(id, in, casOutput{unknown: true}, call, math.MaxInt64)
	}
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
