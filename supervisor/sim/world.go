package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
)

// Machine is what is under test: the real functions, or (to prove the checker)
// the same with a bug planted.
type Machine struct {
	Plan  func(v *state.View, now time.Time, f plan.Facts) plan.Plan
	Apply func(v *state.View, index uint64, e state.Entry) (*state.View, state.Result)
	// Resolve answers a name with addresses as the DNS server would; nil: not checked.
	Resolve func(v *state.View, name string) []string
}

// Real is the machine as it ships.
func Real() Machine {
	return Machine{
		Plan:  plan.Make,
		Apply: func(v *state.View, i uint64, e state.Entry) (*state.View, state.Result) { return v.Apply(i, e) },
	}
}

// Timings of the cluster, as the daemon's defaults are.
const (
	lease        = 10 * time.Second
	leaseMargin  = 2 * time.Second
	heartbeat    = 500 * time.Millisecond
	suspectAfter = 2 * time.Second
	silentAfter  = time.Second
	resend       = 2 * time.Second
)

// World is a whole cluster and its operators. It is not for concurrent use.
type World struct {
	m    Machine
	seed uint64
	rng  *rand.Rand
	// now is the true time since the world began; clocks of hosts may differ.
	now   time.Duration
	step  int
	calm  bool // no more faults
	hasty bool // a planted bug: agents act on whatever View they find on disk
	// Planted bugs of node loss: agents report a fence that the set asks for, whatever
	// the keeper has; they count leases from the answer; they start beside what is stale;
	// keepers do not end what is fenced.
	trusting, lateLease, careless, lenient bool
	slow                                   bool // messages take longer
	gullible                               bool // a planted bug: leaders plan by answers of long ago, while agents report no change of them
	plain                                  bool // sets have no volumes
	narrow                                 bool // operators neither undo, pause nor ask for autoRollback
	coy                                    bool // all sets ask their members before they are stopped
	// rough is how often faults come, busy how often wishes do.
	rough, busy float64
	log         [][]byte
	hosts       []*host
	lead        *leader
	terms       uint64
	net         []*message
	// late are commands of planners that nobody may still hear: they reach the log
	// long after, or twice.
	late []state.Command
	ops  []*operated
	// keep is the chance of snapshots, which only a third of the worlds have: the
	// others walk as they would without.
	keep *rand.Rand
	// disks is the chance of disks that go away, which a quarter of the worlds have.
	disks  *rand.Rand
	saved  []*saved          // snapshots that operators keep
	asked  map[string]*saved // those that were to be restored, by the incarnation
	uids   int
	check  *checker
	trace  trace
	waits  []plan.Wait
	booted bool
}

// birth is the wall clock's time when the world begins.
var birth = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// NewWorld makes a cluster of one to five hosts.
func NewWorld(seed uint64, m Machine) *World {
	w := &World{m: m, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5bd1e995)), asked: map[string]*saved{}, keep: rand.New(rand.NewPCG(seed, 1))}
	if seed%4 == 3 {
		w.disks = rand.New(rand.NewPCG(seed, 2))
	}
	w.check = newChecker(w)
	w.rough = []float64{0.1, 0.5, 1, 1, 2}[w.rng.IntN(5)]
	w.busy = []float64{0.05, 0.12, 0.25}[w.rng.IntN(3)]
	n := []int{1, 3, 3, 3, 5}[w.rng.IntN(5)]
	for i := range n {
		w.hosts = append(w.hosts, newHost(w, fmt.Sprintf("n%d", i+1)))
	}
	for i := range 3 {
		w.ops = append(w.ops, &operated{name: string(rune('a' + i)), hooked: (seed+uint64(i))%5 < 2})
	}
	return w
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return w.rng.Float64() < p }

// among returns a duration between lo and hi.
func (w *World) among(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

func (w *World) uid(prefix string) string {
	w.uids++
	return fmt.Sprintf("%s%06d", prefix, w.uids)
}

func (w *World) say(format string, args ...any) { w.trace.add(w, format, args...) }

// Walk runs steps of chaos, then calm until all is as wished, then checks that
// nothing moves any more. It returns the first violation, or nil.
func (w *World) Walk(steps int) *Violation {
	for range steps {
		w.turn()
		if v := w.check.broken; v != nil {
			return v
		}
	}
	w.settleDown()
	// What is still on its way when the faults end is a wish as well.
	least := settling
	for round := 0; round < least || !w.check.arrived(); round++ {
		w.turn()
		switch {
		case round == calmRounds/3:
			w.now += 2 * time.Hour // what was released is now gone, and so is every lease
			least = round + settling
		case round%40 == 10:
			w.mend()
		}
		if v := w.check.broken; v != nil {
			return v
		}
		if round > calmRounds {
			w.check.fail("S7", "not as wished %d rounds after the last fault: %s", round, w.check.missing())
			return w.check.broken
		}
	}
	w.idleTurns()
	return w.check.broken
}

const settling = 8

// calmRounds bounds recovery: a round is 250 ms of the world's time.
const calmRounds = 1200

// idleTurns: with no faults and no wishes nothing happens, whoever leads and
// whichever daemon restarts (S6, S13).
func (w *World) idleTurns() {
	for range 12 {
		w.turn() // what was reached may still be noted (formed, rolled out)
	}
	w.check.freeze()
	for i := range len(w.hosts) + 2 {
		if i < len(w.hosts) {
			w.killDaemon(w.hosts[i])
			w.startDaemon(w.hosts[i])
		} else {
			w.depose("an election")
		}
		for range 5 {
			w.turn()
		}
	}
	for range 50 { // longer than a lease
		w.turn()
		if w.check.broken != nil {
			return
		}
	}
}

// turn lets everything that lives do a little.
func (w *World) turn() {
	w.step++
	if w.calm {
		w.now += 250 * time.Millisecond
	} else {
		w.now += w.among(10*time.Millisecond, 400*time.Millisecond)
		if w.chance(0.02) {
			w.now += w.among(time.Second, 20*time.Second)
		}
		w.fault()
		if w.chance(w.busy) {
			w.operate()
		}
		w.snapshots()
	}
	for _, h := range w.hosts {
		h.tickProcesses()
	}
	w.deliver()
	w.elect()
	w.commit()
	for _, h := range w.hosts {
		h.follow()
		if w.calm || w.chance(0.7) {
			h.tickAgent()
		}
	}
	if w.calm || w.chance(0.6) {
		w.tickLeader()
	}
	w.check.everyTurn()
}
