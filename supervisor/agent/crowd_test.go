package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
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
		w := newWorld(t, dir)
		w.put(nil, sleeper("main"))
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

func quietly(o *Options) { o.Logger = nil }
