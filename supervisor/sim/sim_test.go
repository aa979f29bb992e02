package sim

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	miekg "github.com/miekg/dns"

	"supd/netid/dns"
	"supd/raftstore/state"
)

var seedFlag = flag.Uint64("seed", 0, "walk this seed only")

const (
	walkSteps    = 240
	defaultSeeds = 200
)

// real is the machine as it ships, with the answers of its DNS server.
func real() Machine {
	m := Real()
	m.Resolve = func(v *state.View, name string) (ips []string) {
		r, _ := dns.Answer(v, miekg.Question{Name: name + ".", Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
		for _, rr := range r.Answer {
			if a, ok := rr.(*miekg.A); ok {
				ips = append(ips, a.A.String())
			}
		}
		return ips
	}
	return m
}

// TestWalk checks the properties of random walks. SUPD_SIM_SEEDS sets how many.
func TestWalk(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		if v := NewWorld(*seedFlag, real()).Walk(walkSteps); v != nil {
			t.Fatal(v)
		}
		return
	}
	seeds := defaultSeeds
	if s := os.Getenv("SUPD_SIM_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SUPD_SIM_SEEDS=%q: %v", s, err)
		}
		seeds = n
	}
	var next atomic.Uint64
	var wg sync.WaitGroup
	var mu sync.Mutex
	reached := map[string]int{} // guarded by mu
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= uint64(seeds); seed = next.Add(1) {
				w := NewWorld(seed, real())
				if v := w.Walk(walkSteps); v != nil {
					t.Errorf("seed %d: %v", seed, v)
				}
				mu.Lock()
				for k, n := range w.check.accepted {
					reached[k] += n
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if seeds < defaultSeeds {
		return
	}
	for _, k := range sortedKeys(reached) {
		t.Logf("%7d %s", reached[k], k)
	}
	for _, c := range state.Commands() {
		switch c.(type) {
		case *state.PutService, *state.DeleteService, *state.PutProgram, *state.DeleteProgram,
			*state.AddJoinToken, *state.RevokeJoinToken, *state.AdmitNode, *state.PutAccount, *state.RevokeAccount,
			*state.RemoveNode, *state.NoteCA, *state.RotateGossipKey, *state.NoteTransfer:
			// nothing of what walks check depends on them
		default:
			if reached[name(c)] == 0 {
				t.Errorf("no walk gets %s accepted: the walks no longer reach what they are to check", name(c))
			}
		}
	}
}
