package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
)

// plant is a bug for the checker to find. Those in Apply stand around the real one:
// it refuses much, so they change the command, or what it is applied to, until the
// refusal is silent, as a missing rule would have it.
type plant struct {
	name string
	// by are the properties that may notice it first.
	by      []string
	apply   func(v *state.View, i uint64, e state.Entry) (*state.View, state.Result)
	plan    func(v *state.View, out plan.Plan) plan.Plan
	resolve func(was resolver) resolver
	world   func(w *World)
	// from is the first seed to walk: some bugs show only when much comes together.
	from uint64
	// hooks: sets have some, which the other bugs need not.
	hooks bool
	// wide: operators also pause, undo and reshape, without which most bugs show sooner.
	wide bool
}

type resolver = func(*state.View, string) []string

// plantSeeds: each bug is to be found within so many walks.
const plantSeeds = 60

func TestPlantedBugsAreFound(t *testing.T) {
	t.Parallel()
	for _, p := range plants() {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			for seed := max(1, p.from); seed < max(1, p.from)+plantSeeds; seed++ {
				w := NewWorld(seed, p.machine())
				for _, o := range w.ops {
					o.hooked = p.hooks
				}
				w.narrow = !p.wide
				if p.world != nil {
					p.world(w)
				}
				if v := w.Walk(walkSteps); v != nil {
					if !slices.Contains(p.by, v.Property) {
						t.Errorf("found by %s, want one of %v: %v", v.Property, p.by, v)
					}
					t.Logf("seed %d, step %d, %s: %s", seed, v.Step, v.Property, v.Message)
					return
				}
			}
			t.Errorf("not found in %d walks", plantSeeds)
		})
	}
}

func (p plant) machine() Machine {
	m := real()
	if p.resolve != nil {
		m.Resolve = p.resolve(m.Resolve)
	}
	if p.apply != nil {
		m.Apply = p.apply
	}
	if p.plan != nil {
		make := m.Plan
		m.Plan = func(v *state.View, now time.Time, f plan.Facts) plan.Plan { return p.plan(v, make(v, now, f)) }
	}
	return m
}

func plants() []plant {
	return append(plantsInApply(), plantsInPlan()...)
}
