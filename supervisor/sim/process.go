package sim

import (
	"maps"
	"slices"
	"time"
)

// Kinds of programs that templates name.
const (
	kindGood  = "good"  // ready at once
	kindSlow  = "slow"  // ready after seconds
	kindNever = "never" // runs, is never ready
	kindLoop  = "loop"  // dies again and again
)

// process is a member's process group, held by the keeper: from its start until it
// is all gone. Between a crash and the restart in place it counts as held.
type process struct {
	identity string
	epoch    uint64
	kind     string
	probed   bool // has a readiness probe
	fence    bool // lives by the lease, by the keeper's account
	dirs     []*dir

	began   time.Duration // the last exec
	first   time.Duration
	readyAt time.Duration
	crashes []time.Duration
	sick    bool
	// Of one that is asked before it is stopped.
	coy       bool
	unwilling bool
	willingAt time.Duration // when it last would have said yes

	stopping bool
	stopAt   time.Duration
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// exec starts the program, anew or in place.
func (p *process) exec(w *World) {
	p.began = w.now
	switch p.kind {
	case kindSlow:
		p.readyAt = w.now + w.among(time.Second, 4*time.Second)
	case kindGood:
		p.readyAt = w.now
		if w.chance(0.5) {
			p.readyAt += w.among(0, 800*time.Millisecond)
		}
	default:
		p.readyAt = -1
	}
}

// ready as its probe (or, without one, its running) says.
func (p *process) ready(now time.Duration) bool {
	if p.sick || p.stopping {
		return false
	}
	if !p.probed && p.kind != kindLoop {
		return true
	}
	return p.readyAt >= 0 && now >= p.readyAt
}

// steady: see definitions of health; a crash asks for some time of readiness.
func (p *process) steady(now time.Duration) bool {
	if !p.ready(now) {
		return false
	}
	since := max(p.readyAt, p.began)
	need := time.Duration(0)
	if !p.probed {
		need = time.Second
	}
	if n := len(p.crashes); n > 0 {
		need = time.Second
		if n > 1 && p.crashes[n-1]-p.crashes[n-2] < time.Minute {
			need = 10 * time.Second
		}
	}
	return now-since >= need
}

// tickProcesses lets processes live, crash, be restarted in place, and stop.
func (h *host) tickProcesses() {
	if !h.up {
		return
	}
	w := h.w
	for _, id := range sortedKeys(h.procs) {
		p := h.procs[id]
		p.mood(w)
		switch {
		case p.fence && w.now >= h.until-killBefore && !w.lenient:
			w.say("the keeper of %s ends %s: its lease is over", h.name, id)
			delete(h.procs, id)
			w.check.stopped(h, p, false)
		case p.stopping && w.now >= p.stopAt:
			delete(h.procs, id)
			w.check.stopped(h, p, false)
		case p.stopping:
		case p.kind == kindLoop && w.now-p.began > time.Second<<min(len(p.crashes), 5):
			p.crash(w)
		case w.calm:
			p.sick = false
		case w.chance(0.004):
			w.say("%s crashes on %s", id, h.name)
			p.crash(w)
		case !p.sick && w.chance(0.006):
			w.say("%s turns sick on %s", id, h.name)
			p.sick = true
		case p.sick && w.chance(0.05):
			w.say("%s is well again on %s", id, h.name)
			p.sick, p.readyAt = false, max(p.readyAt, w.now)
			if p.kind == kindNever || p.kind == kindLoop {
				p.readyAt = -1
			}
		}
	}
}

func (p *process) crash(w *World) {
	p.crashes = append(p.crashes, w.now)
	p.exec(w)
}

// stop asks the keeper to end the process group; it takes its time.
func (h *host) stop(p *process) {
	if p.stopping {
		return
	}
	w := h.w
	p.stopping, p.stopAt = true, w.now
	if w.chance(0.7) {
		p.stopAt += w.among(0, 6*time.Second)
	}
	w.check.stopBegun(h, p)
	w.say("%s begins to stop %s (epoch %d)", h.name, p.identity, p.epoch)
}
