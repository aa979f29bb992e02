package probe

import (
	"time"

	"supd/supervisor/spec"
)

// Kind is what a probe's result means.
type Kind string

// The kinds.
const (
	Startup   Kind = "startup"   // shields the others until it has passed once
	Readiness Kind = "readiness" // the process serves, or does not
	Liveness  Kind = "liveness"  // the process is to be restarted
)

// Timing is when a probe runs and how many results in a row count.
type Timing struct {
	InitialDelay time.Duration
	Period       time.Duration
	Timeout      time.Duration
	Success      int
	Failure      int
}

// TimingOf reads p's timing; what is left out has Kubernetes' defaults.
func TimingOf(p *spec.Probe) Timing {
	t := Timing{
		InitialDelay: p.InitialDelay.D(), Period: 10 * time.Second, Timeout: time.Second,
		Success: max(1, p.SuccessThreshold), Failure: p.FailureThreshold,
	}
	if p.Period != nil && p.Period.D() > 0 {
		t.Period = p.Period.D()
	}
	if p.Timeout != nil && p.Timeout.D() > 0 {
		t.Timeout = p.Timeout.D()
	}
	if t.Failure <= 0 {
		t.Failure = 3
	}
	return t
}

// Seed is what is known of a process that ran before this Tracker was made: it
// stays so until a probe fails often enough, so a restart of the daemon changes
// nobody's readiness.
type Seed struct{ Started, Ready bool }

// Tracker judges the results of one process's probes, from one exec to the next:
// a process that was restarted gets a new Tracker. It is a pure state machine:
// time comes in as an argument. It is not for use by several goroutines at once.
type Tracker struct {
	startup, readiness, liveness *rung
	failed                       *Failure
	stopping                     bool
}

// Failure says which probe asks for the process's restart, and why.
type Failure struct {
	Kind    Kind
	Message string
}

// rung is one probe's count.
type rung struct {
	timing  Timing
	next    time.Time
	busy    bool
	passing bool // the judgement
	last    bool // the newest result
	run     int  // how many newest results were equal
	message string
}

// Probes are the timings of a process's probes; nil: it has none of that kind.
type Probes struct{ Startup, Readiness, Liveness *Timing }

// NewTracker begins at now with a process that was started at started. With a
// seed the process was found running: jitter (0 to 1) spreads its first probes
// over their periods, so a thousand members found are not all asked at once.
func NewTracker(p Probes, started, now time.Time, seed *Seed, jitter float64) *Tracker {
	t := &Tracker{}
	mk := func(timing *Timing, passing bool) *rung {
		if timing == nil {
			return nil
		}
		r := &rung{timing: *timing, passing: passing, last: passing, next: started.Add(timing.InitialDelay)}
		if seed != nil {
			r.next = later(r.next, now.Add(time.Duration(jitter*float64(timing.Period))))
		}
		return r
	}
	t.startup = mk(p.Startup, seed != nil && seed.Started)
	t.readiness = mk(p.Readiness, seed != nil && seed.Ready)
	t.liveness = mk(p.Liveness, true)
	return t
}

// Started tells whether the startup probe has passed, or there is none.
func (t *Tracker) Started() bool { return t.startup == nil || t.startup.passing }

// Ready tells whether the process serves: startup passed, and the readiness
// probe passes or there is none.
func (t *Tracker) Ready() bool {
	return t.Started() && t.failed == nil && (t.readiness == nil || t.readiness.passing)
}

// Failed tells whether the process is to be restarted; nil: no. It stays so: the
// process that was started instead gets a new Tracker.
func (t *Tracker) Failed() *Failure { return t.failed }

// Message is the newest failure of the probe that holds the process back, or "".
func (t *Tracker) Message() string {
	switch {
	case t.failed != nil:
		return t.failed.Message
	case !t.Started():
		return t.startup.message
	case t.readiness != nil && !t.readiness.passing:
		return t.readiness.message
	}
	return ""
}

// Stop tells that the process is being stopped: nothing restarts it any more.
// Readiness goes on.
func (t *Tracker) Stop() { t.stopping = true }

// Next is when the probe of kind is due; ok is false while it is not to run:
// shielded by startup, passed once (startup), asked already, or nothing more to learn.
func (t *Tracker) Next(kind Kind) (at time.Time, ok bool) {
	r := t.rung(kind)
	switch {
	case r == nil, r.busy, !t.open(kind):
		return time.Time{}, false
	}
	return r.next, true
}

// open tells whether a result of kind would count.
func (t *Tracker) open(kind Kind) bool {
	r := t.rung(kind)
	switch {
	case r == nil, t.failed != nil:
		return false
	case kind == Startup:
		return !r.passing && !t.stopping
	case !t.Started():
		return false
	}
	return kind != Liveness || !t.stopping
}

// Begin notes that the probe of kind runs now.
func (t *Tracker) Begin(kind Kind, now time.Time) {
	if r := t.rung(kind); r != nil {
		r.busy = true
		r.next = now.Add(r.timing.Period)
	}
}

// Note takes the result of the probe begun last and tells whether a judgement
// changed: Started, Ready or Failed.
func (t *Tracker) Note(kind Kind, now time.Time, res Result) (changed bool) {
	r := t.rung(kind)
	if r == nil {
		return false
	}
	r.busy = false
	r.next = later(r.next, now) // a probe slower than its period: the next at once
	if t.failed != nil || kind == Startup && r.passing {
		return false
	}
	if res.Wait {
		r.run, r.message = 0, res.Message
		return false
	}
	if r.run > 0 && res.OK == r.last {
		r.run++
	} else {
		r.last, r.run = res.OK, 1
	}
	r.message = res.Message
	if res.OK {
		r.message = ""
	}
	need := r.timing.Failure
	if res.OK {
		need = r.timing.Success
	}
	if res.Sure {
		need = 1
	}
	if r.run < need {
		return false
	}
	before := r.passing
	r.passing = res.OK
	switch {
	case res.OK:
		if kind == Startup && !before {
			t.lift(now)
		}
		return r.passing != before
	case kind == Readiness:
		return r.passing != before
	case t.stopping:
		r.passing = before
		return false
	}
	t.failed = &Failure{Kind: kind, Message: res.Message}
	return true
}

// lift makes the other probes due, as startup has passed: at once, or when their
// initial delay is over.
func (t *Tracker) lift(now time.Time) {
	for _, r := range []*rung{t.readiness, t.liveness} {
		if r != nil {
			r.next = later(r.next, now)
		}
	}
}

func (t *Tracker) rung(kind Kind) *rung {
	switch kind {
	case Startup:
		return t.startup
	case Readiness:
		return t.readiness
	case Liveness:
		return t.liveness
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
