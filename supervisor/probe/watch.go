package probe

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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
	// Role is what the process is among its peers, "" while that is not known.
	Role string
	// Asked: it was asked whether its member may be stopped. MayStop: it has said yes
	// last; WhyNot, why not.
	Asked, MayStop bool
	WhyNot         string
}

// Checks are a process's probes, of those kinds that it has.
type Checks map[Kind]Check

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
	checks   []asking // in the order of Kinds
	onChange func(State)

	mu      sync.Mutex // guards what follows; held while OnChange is called
	tracker *Tracker
	word    Word
	moved   chan struct{} // closed and replaced when what is due may have changed
}

// asking is one of a process's probes.
type asking struct {
	kind    Kind
	check   Check
	timeout time.Duration
}

// NewWatch makes a Watch; Run runs it.
func NewWatch(o Options) *Watch {
	w := &Watch{
		checks: make([]asking, 0, len(o.Checks)), onChange: o.OnChange, word: o.Word, moved: make(chan struct{}),
		tracker: NewTracker(o.Probes, o.Started, time.Now(), o.Seed, rand.Float64()),
	}
	for _, kind := range Kinds() {
		if check := o.Checks[kind]; check != nil {
			w.checks = append(w.checks, asking{kind, check, o.Probes[kind].Timeout})
		}
	}
	return w
}

// State is what is known now.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stateLocked()
}

func (w *Watch) stateLocked() State {
	s := State{
		Started: w.tracker.Started(), Ready: w.tracker.Ready(),
		Failed: w.tracker.Failed(), Message: w.tracker.Message(),
		Role: w.tracker.Role(), MayStop: w.tracker.MayStop(),
	}
	if last, ok := w.tracker.Last(MayStop); ok && !last.At.IsZero() {
		s.Asked, s.WhyNot = true, last.Message
	}
	return s
}

// Results are the newest result of each probe, in the order of Kinds.
func (w *Watch) Results() []Last {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Last
	for _, kind := range Kinds() {
		if last, ok := w.tracker.Last(kind); ok {
			out = append(out, last)
		}
	}
	return out
}

// Has tells whether the process has a probe of that kind.
func (w *Watch) Has(kind Kind) bool {
	return slices.ContainsFunc(w.checks, func(c asking) bool { return c.kind == kind })
}

// Ask asks now whether the process's member may be stopped, beside what is due, and
// returns what is known then. It ends with ctx.
func (w *Watch) Ask(ctx context.Context) (State, error) {
	i := slices.IndexFunc(w.checks, func(c asking) bool { return c.kind == MayStop })
	if i < 0 {
		return State{}, errors.New("the process has no mayStop probe")
	}
	cctx, cancel := context.WithTimeout(ctx, w.checks[i].timeout)
	defer cancel()
	res := w.checks[i].check.Check(cctx)
	if err := ctx.Err(); err != nil {
		return State{}, err // nobody waits: says nothing of the process
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.tracker.open(MayStop) {
		return State{}, errors.New("the process is not asked now: it has not started, or is being stopped")
	}
	w.noteLocked(MayStop, res)
	return w.stateLocked(), nil
}

// noteLocked takes a result and tells the owner.
func (w *Watch) noteLocked(kind Kind, res Result) {
	before := w.stateLocked()
	changed := w.tracker.Note(kind, time.Now(), res)
	if changed {
		w.wakeLocked()
	}
	if after := w.stateLocked(); w.onChange != nil && (changed || after.Message != before.Message || after.WhyNot != before.WhyNot) {
		w.onChange(after)
	}
}

// Stop tells that the process is being stopped: all but readiness is off.
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
	for _, c := range w.checks {
		told, ok := c.check.(*notifyCheck)
		if !ok || !w.tracker.open(c.kind) {
			continue
		}
		if res := told.judge(word); res.Sure {
			changed = w.tracker.Note(c.kind, time.Now(), res) || changed
		}
	}
	if changed {
		w.wakeLocked()
	}
}

func (w *Watch) wakeLocked() {
	close(w.moved)
	w.moved = make(chan struct{})
}

// Run runs the probes until ctx ends, and returns nil then.
func (w *Watch) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, c := range w.checks {
		g.Go(func() error { w.loop(ctx, c); return nil })
	}
	return g.Wait()
}

func (w *Watch) loop(ctx context.Context, c asking) {
	for ctx.Err() == nil {
		w.mu.Lock()
		at, due := w.tracker.Next(c.kind)
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
		w.once(ctx, c)
	}
}

func (w *Watch) once(ctx context.Context, c asking) {
	w.mu.Lock()
	w.tracker.Begin(c.kind, time.Now())
	w.mu.Unlock()

	told, isTold := c.check.(*notifyCheck)
	var res Result
	if !isTold {
		cctx, cancel := context.WithTimeout(ctx, c.timeout)
		res = c.check.Check(cctx)
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
	w.noteLocked(c.kind, res)
}
