package agent

import (
	"context"
	"fmt"
	goruntime "runtime"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// A thousand members of one node come up, and then cost next to nothing.
func TestCrowd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a thousand members")
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		w := crowded(t, dir, n, sleeper("main"))
		defer w.running(quietly)()
		settle(5 * time.Second)
		for i := range n {
			if m := w.want(i, "Running", true); !m.Seen.Steady {
				t.Fatalf("%s is not steady", m.Name())
			}
		}
		if got := len(startsOf(w.keeper.did())); got != n {
			t.Errorf("%d starts of %d members", got, n)
		}
		t.Logf("%d reports for %d members", len(w.said()), n)
	})
}

// crowded is a world whose node has n members of one set to start.
func crowded(t *testing.T, dir string, n int, p spec.Process) *world {
	w := newWorld(t, dir)
	w.put(nil, p)
	w.apply(&state.ScaleSet{Namespace: "default", Name: "web", Replicas: n})
	s := w.View().Set("default", "web")
	c := &state.Reserve{Namespace: "default", Set: "web", IfGeneration: s.Meta.Generation}
	for i := range n {
		c.Slots = append(c.Slots, state.Slot{Ordinal: i, UID: fmt.Sprint("m", i), Node: "n1", IP: fmt.Sprintf("127.64.%d.%d", i/250, i%250+1)})
	}
	w.apply(c)
	for i := range n {
		w.start(i)
	}
	return w
}

// What is held of a member does not grow with its set, though its environment and /etc/hosts name all of it. Not parallel:
// it looks at the heap.
func TestCrowdMemory(t *testing.T) { //nolint:paralleltest // see above
	if testing.Short() {
		t.Skip("hundreds of members")
	}
	never := sleeper("main")
	never.Startup = &spec.Probe{Notify: true}
	fails := sleeper("main")
	fails.Startup = &spec.Probe{Exec: []string{"/bin/false"}, FailureThreshold: 1000}
	for _, c := range []struct {
		name string
		p    spec.Process
		want string // phase
	}{
		{"ready", sleeper("main"), spec.MemberRunning},
		{"never started", never, spec.MemberStarting},
		{"probed in vain", fails, spec.MemberStarting},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				const n, most = 700, 12 << 10 // bytes for each, what the View says of it included
				w := crowded(t, dir, n, c.p)
				w.keeper.forgetsStarts()
				w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) { return keeper.RunResult{Code: 1}, nil })
				before := heap()
				defer w.running(quietly)()
				settle(5 * time.Second)
				w.want(n-1, c.want, c.want == spec.MemberRunning)
				w.said()
				w.keeper.did()
				each := (heap() - before) / n
				t.Logf("%d bytes for each member", each)
				if each > most {
					t.Errorf("each of %d members costs %d bytes, %d at most are right", n, each, most)
				}
			})
		})
	}
}

// heap is what is in use.
func heap() int64 {
	goruntime.GC()
	goruntime.GC() // what finalizers and pools held in the first
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func quietly(o *Options) { o.Logger = nil }
