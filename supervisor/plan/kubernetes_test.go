package plan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

const kubeMinReady = 10 * time.Second

// timePasses stands among ordinals for the time of minReady.
const timePasses = -1

// beside drives the planner, with Apply and agents that do as they are told, and the model
// of Kubernetes through the same script.
type beside struct {
	*bench
	k    *kube
	pick func(n int) int // of what may happen next, which does
	told []string        // the script so far, for who reads a failure
	did  []string        // what was started and stopped, as batches that began together
}

func newBeside(t *testing.T, w wish, pick func(n int) int) *beside {
	b := &beside{bench: newBench(t, "n1", "n2", "n3"), k: newKube(w), pick: pick}
	b.put(w)
	return b
}

// put applies a definition and goes on until nothing happens any more.
func (b *beside) put(w wish) {
	b.t.Helper()
	b.tell("apply %s", w)
	err := b.set(w.replicas, w.template, func(s *spec.StatefulSetSpec) {
		s.PodManagementPolicy, s.Ordinals = w.policy, &spec.Ordinals{Start: w.start}
		s.UpdateStrategy = spec.UpdateStrategy{Type: w.strategy}
		if w.strategy == spec.RollingUpdate {
			s.UpdateStrategy.RollingUpdate = &spec.RollingUpdateOptions{
				Partition: w.partition, MaxUnavailable: spec.IntOrString(w.max),
			}
		}
		if w.minReady {
			s.MinReady = spec.Duration(kubeMinReady)
		}
	})
	if err != nil {
		b.fail("it is refused: %v", err)
	}
	b.k.want = w
	b.rest()
}

// delete deletes members by hand, all in one moment.
func (b *beside) delete(ordinals ...int) {
	b.t.Helper()
	b.tell("delete %v", ordinals)
	for _, o := range ordinals {
		b.do(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: o})
		b.k.delete(o)
	}
	b.rest()
}

// rest compares after each thing that happens what both do next, until nothing is to come.
func (b *beside) rest() {
	b.t.Helper()
	for range 1000 {
		var got []string
		for _, did := range b.settle() {
			var what string
			var o int
			switch n, _ := fmt.Sscan(did, &what, &o); {
			case n == 2 && what == "start":
				got = append(got, fmt.Sprintf("start %d of %s", o, b.program(b.v.Member("default", "web", o))))
			case n == 2 && what == "stop":
				got = append(got, fmt.Sprintf("stop %d", o))
			}
		}
		want := b.k.act()
		if batch := strings.Join(got, ", "); batch != "" {
			b.tell("    supd does: %s", batch)
			b.did = append(b.did, batch)
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			b.fail("supd does %q, Kubernetes %q", got, want)
		}
		if !b.next() {
			b.k.settled()
			return
		}
	}
	b.fail("it never comes to rest")
}

// next lets one thing happen; false: nothing is to come.
func (b *beside) next() bool {
	b.t.Helper()
	events := b.k.pending()
	if slices.ContainsFunc(slices.Collect(maps.Values(b.k.pods)), func(p *pod) bool { return p.phase == ready }) {
		events = append(events, timePasses)
	}
	if len(events) == 0 {
		return false
	}
	o := events[b.pick(len(events))]
	if o == timePasses {
		b.tell("  minReady passes")
		b.now = b.now.Add(kubeMinReady)
		b.k.passes()
		return true
	}
	if b.k.pods[o].phase == stopping {
		b.tell("  %d has stopped", o)
		b.say(spec.MemberStopped, o)
	} else {
		b.tell("  %d is ready", o)
		b.say(spec.MemberRunning, o)
	}
	b.k.happens(o)
	return true
}

func (b *beside) tell(format string, args ...any) {
	b.told = append(b.told, fmt.Sprintf(format, args...))
}

func (b *beside) fail(format string, args ...any) {
	b.t.Helper()
	b.t.Fatalf("%s\n%s\nwaits: %s", fmt.Sprintf(format, args...), strings.Join(b.told, "\n"), b.waits())
}

// TestAsKubernetes runs random scripts of what people do to a set, each step from rest to
// rest and with members that stop and start in random order, and wants each start and stop
// to come exactly when Kubernetes' documentation says. SUPD_KUBE_SEED repeats one.
func TestAsKubernetes(t *testing.T) {
	t.Parallel()
	first, seeds := uint64(1), uint64(400)
	if text := os.Getenv("SUPD_KUBE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SUPD_KUBE_SEED: %v", err)
		}
		first, seeds = n, 1
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			kubeScript(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

// kubeScript is one of them.
func kubeScript(t *testing.T, rng *rand.Rand) {
	w := wish{
		replicas: rng.IntN(6), policy: []string{spec.OrderedReady, spec.Parallel}[rng.IntN(2)],
		strategy: spec.RollingUpdate, max: "1", minReady: rng.IntN(4) == 0, template: "a",
	}
	b := newBeside(t, w, rng.IntN)
	for range 8 {
		if running := len(b.k.pods); running > 0 && rng.IntN(4) == 0 {
			var ordinals []int
			for o := range b.k.pods {
				ordinals = append(ordinals, o)
			}
			slices.Sort(ordinals)
			rng.Shuffle(running, func(i, j int) { ordinals[i], ordinals[j] = ordinals[j], ordinals[i] })
			b.delete(ordinals[:1+rng.IntN(running)]...)
			continue
		}
		w = b.k.want
		for range 1 + rng.IntN(2) { // mostly one thing, or two in one apply
			change(rng, &w)
		}
		b.put(w)
	}
}

func change(rng *rand.Rand, w *wish) {
	switch rng.IntN(6) {
	case 0, 1:
		w.replicas = rng.IntN(7)
	case 2:
		w.start = rng.IntN(4)
	case 3, 4:
		w.template = string(rune('a' + rng.IntN(3)))
	case 5:
		w.strategy, w.partition, w.max = spec.OnDelete, 0, ""
		if rng.IntN(3) > 0 {
			w.strategy, w.partition, w.max = spec.RollingUpdate, rng.IntN(7), []string{"1", "1", "2", "3", "30%"}[rng.IntN(5)]
		}
	}
}
