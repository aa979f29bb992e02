package probe

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// State is what a Watch knows of its process.
type State struct {
	Started, Ready bool
	// Failed: the process is to be restarted.
	Failed *Failure
	// Message is the newest failure of the probe that holds it back.
	Message string
}

// Checks are a process's probes; a nil Check: none of that kind.
type Checks struct{ Startup, Readiness, Liveness Check }

// Options of a Watch.
type Options struct {
	Probes  Probes
	Checks  Checks
	Started time.Time
	// Seed: the process was found running; see NewTracker.
	Seed *Seed
	// Word is what it has told so far; see Watch.Tell.
	Word Word
	// OnChange is called, never by two goroutines at once, after each change of
	// the State, and must not block for long.
	OnChange func(State)
}

// Watch runs one process's probes from one exec to the next.
type Watch struct {
	o Options

	mu      sync.Mutex // guards what follows; held while OnChange is called
	tracker *Tracker
	word    Word
	moved   chan struct{} // closed and replaced when what is due may have changed
}

// NewWatch makes a Watch; Run runs it.
func NewWatch(o Options) *Watch {
	return &Watch{
		o: o, word: o.Word, moved: make(chan struct{}),
		tracker: NewTracker(o.Probes, o.Started, time.Now(), o.Seed, rand.Float64()),
	}
}

// State is what is known now.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stateLocked()
}

func (w *Watch) stateLocked() State {
	return State{
		Started: w.tracker.Started(), Ready: w.tracker.Ready(),
		Failed: w.tracker.Failed(), Message: w.tracker.Message(),
	}
}

// Stop tells that the process is being stopped: liveness and startup are off.
func (w *Watch) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tracker.Stop()
	w.wakeLocked()
}

// Tell says what the process has told of itself by now. What it says counts at
// once, what it doesn't once a period. The caller looks at the State afterwards.
func (w *Watch) Tell(word Word) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.word = word
	changed := false
	for _, k := range w.kinds() {
		c, ok := k.check.(*notifyCheck)
		if !ok || !w.tracker.open(k.kind) {
			continue
		}
		if res := c.judge(word); res.Sure {
			changed = w.tracker.Note(k.kind, time.Now(), res) || changed
		}
	}
	if changed {
		w.wakeLocked()
	}
}

type kindCheck struct {
	kind  Kind
	check Check
}

// kinds are in the order in which they shield each other.
func (w *Watch) kinds() []kindCheck {
	c := w.o.Checks
	return []kindCheck{{Startup, c.Startup}, {Readiness, c.Readiness}, {Liveness, c.Liveness}}
}

func (w *Watch) wakeLocked() {
	close(w.moved)
	w.moved = make(chan struct{})
}

// Run runs the probes until ctx ends, and returns nil then.
func (w *Watch) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, k := range w.kinds() {
		if k.check != nil {
			g.Go(func() error { w.loop(ctx, k.kind, k.check); return nil })
		}
	}
	return g.Wait()
}

func (w *Watch) loop(ctx context.Context, kind Kind, check Check) {
	for ctx.Err() == nil {
		w.mu.Lock()
		at, due := w.tracker.Next(kind)
		moved := w.moved
		w.mu.Unlock()
		if !due {
			select {
			case <-ctx.Done():
			case <-moved:
			}
			continue
		}
		if d := time.Until(at); d > 0 {
			timer := time.NewTimer(d)
			select {
			case <-ctx.Done():
			case <-moved:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		w.once(ctx, kind, check)
	}
}

func (w *Watch) once(ctx context.Context, kind Kind, check Check) {
	w.mu.Lock()
	w.tracker.Begin(kind, time.Now())
	timeout := w.tracker.rung(kind).timing.Timeout
	w.mu.Unlock()

	told, isTold := check.(*notifyCheck)
	var res Result
	if !isTold {
		cctx, cancel := context.WithTimeout(ctx, timeout)
		res = check.Check(cctx)
		cancel()
	}
	if ctx.Err() != nil {
		return // cut off by the owner: says nothing of the process
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if isTold {
		res = told.poll(w.word)
	}
	before := w.stateLocked()
	changed := w.tracker.Note(kind, time.Now(), res)
	if changed {
		w.wakeLocked()
	}
	if after := w.stateLocked(); w.o.OnChange != nil && (changed || after.Message != before.Message) {
		w.o.OnChange(after)
	}
}
