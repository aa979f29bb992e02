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
	Role      Kind = "role"      // what the process is among its peers: leader, follower, ...
	MayStop   Kind = "mayStop"   // its member may be stopped now
)

// Kinds are all, in the order in which they shield each other.
func Kinds() []Kind { return []Kind{Startup, Readiness, Liveness, Role, MayStop} }

// Timing is when a probe runs and how many results in a row count.
type Timing struct {
	InitialDelay time.Duration
	Period       time.Duration
	Timeout      time.Duration
	Success      int
	Failure      int
	// Stop is the stop timeout of a restart that this probe asks for; 0: the process's own.
	Stop time.Duration
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
	if p.StopTimeout != nil {
		t.Stop = p.StopTimeout.D()
	}
	return t
}

// Seed is what is known of a process that ran before this Tracker was made: it
// stays so until a probe fails often enough, so a restart of the daemon changes
// nobody's readiness.
type Seed struct {
	Started, Ready bool
	Role           string
	MayStop        bool
}

// Tracker judges the results of one process's probes, from one exec to the next:
// a process that was restarted gets a new Tracker. It is a pure state machine:
// time comes in as an argument. It is not for use by several goroutines at once.
//
// Until its first judgement a process has not started, is not ready, is alive, has
// no role, and may not be stopped.
type Tracker struct {
	rungs    []rung // of the kinds it has; a map would take four times the memory
	role     string
	failed   *Failure
	stopping bool
}

// Failure says which probe asks for the process's restart, and why.
type Failure struct {
	Kind    Kind
	Message string
	// Stop is the probe's own stop timeout; 0: it has none.
	Stop time.Duration
}

// rung is one probe's count.
type rung struct {
	kind    Kind
	timing  Timing
	next    time.Time
	began   time.Time // of the check under way; zero: there is none
	passing bool      // the judgement
	ok      bool      // the newest result that counts
	run     int       // how many newest ones were equal
	last    Last      // the newest, whether it counts or not
	message string    // why that is no pass
}

// Last is the newest result of a probe.
type Last struct {
	Result
	Kind Kind
	// At is when it came, zero: none yet; Took, how long the check was.
	At   time.Time
	Took time.Duration
	// Run is how many of the newest results that count were the same; Passing, what is
	// judged.
	Run     int
	Passing bool
}

// Probes are the timings of a process's probes, of those kinds that it has.
type Probes map[Kind]Timing

// NewTracker begins at now with a process that was started at started. With a
// seed the process was found running: jitter (0 to 1) spreads its first probes
// over their periods, so a thousand members found are not all asked at once.
func NewTracker(p Probes, started, now time.Time, seed *Seed, jitter float64) *Tracker {
	passing := map[Kind]bool{Liveness: true}
	t := &Tracker{rungs: make([]rung, 0, len(p))}
	if seed != nil {
		passing[Startup], passing[Readiness] = seed.Started, seed.Ready
		passing[Role], passing[MayStop] = seed.Role != "", seed.MayStop
		t.role = seed.Role
	}
	for kind, timing := range p {
		r := rung{kind: kind, timing: timing, passing: passing[kind], next: started.Add(timing.InitialDelay)}
		if seed != nil {
			r.next = later(r.next, now.Add(time.Duration(jitter*float64(timing.Period))))
		}
		t.rungs = append(t.rungs, r)
	}
	return t
}

// rung is the count of a probe, nil if there is none of its kind.
func (t *Tracker) rung(kind Kind) *rung {
	for i := range t.rungs {
		if t.rungs[i].kind == kind {
			return &t.rungs[i]
		}
	}
	return nil
}

// Started tells whether the startup probe has passed, or there is none.
func (t *Tracker) Started() bool { return t.passes(Startup) }

// Ready tells whether the process serves: startup passed, and the readiness
// probe passes or there is none.
func (t *Tracker) Ready() bool { return t.Started() && t.failed == nil && t.passes(Readiness) }

// Role is what the role probe has found last, "" while it fails, or has not told yet.
func (t *Tracker) Role() string { return t.role }

// MayStop tells whether the newest answer was yes.
func (t *Tracker) MayStop() bool { r := t.rung(MayStop); return r != nil && r.passing }

// passes tells whether a probe passes, or there is none.
func (t *Tracker) passes(kind Kind) bool { r := t.rung(kind); return r == nil || r.passing }

// Failed tells whether the process is to be restarted; nil: no. It stays so: the
// process that was started instead gets a new Tracker.
func (t *Tracker) Failed() *Failure { return t.failed }

// Message is the newest failure of the probe that holds the process back, or "".
func (t *Tracker) Message() string {
	switch {
	case t.failed != nil:
		return t.failed.Message
	case !t.Started():
		return t.rung(Startup).message
	case !t.passes(Readiness):
		return t.rung(Readiness).message
	}
	return ""
}

// Last is the newest result of a probe of the process; ok is false if it has none of
// the kind.
func (t *Tracker) Last(kind Kind) (l Last, ok bool) {
	r := t.rung(kind)
	if r == nil {
		return l, false
	}
	l = r.last
	l.Kind, l.Run, l.Passing = kind, r.run, r.passing
	return l, true
}

// Stop tells that the process is being stopped: nothing restarts it any more, and
// nobody asks whether it may be stopped. Readiness goes on.
func (t *Tracker) Stop() { t.stopping = true }

// Next is when the probe of kind is due; ok is false while it is not to run:
// shielded by startup, passed once (startup), asked already, or nothing more to learn.
func (t *Tracker) Next(kind Kind) (at time.Time, ok bool) {
	r := t.rung(kind)
	switch {
	case r == nil, !r.began.IsZero(), !t.open(kind):
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
	return kind == Readiness || !t.stopping
}

// Begin notes that the probe of kind runs now.
func (t *Tracker) Begin(kind Kind, now time.Time) {
	if r := t.rung(kind); r != nil {
		r.began = now
		r.next = now.Add(r.timing.Period)
	}
}

// Note takes the result of the probe begun last and tells whether a judgement
// changed: Started, Ready, Failed, Role or MayStop.
func (t *Tracker) Note(kind Kind, now time.Time, res Result) (changed bool) {
	r := t.rung(kind)
	if r == nil {
		return false
	}
	r.last = Last{Result: res, At: now}
	if !r.began.IsZero() {
		r.last.Took, r.began = now.Sub(r.began), time.Time{}
	}
	r.next = later(r.next, now) // a probe slower than its period: the next at once
	if t.failed != nil || kind == Startup && r.passing {
		return false
	}
	if !r.count(kind, res) {
		return false
	}
	before, role := r.passing, t.role
	r.passing = res.OK
	switch {
	case kind == Role:
		t.role = res.Role
		return t.role != role
	case kind == Readiness || kind == MayStop:
		return r.passing != before
	case res.OK:
		if kind == Startup {
			t.lift(now)
		}
		return r.passing != before
	case t.stopping:
		r.passing = before
		return false
	}
	t.failed = &Failure{Kind: kind, Message: res.Message, Stop: r.timing.Stop}
	return true
}

// count notes a result and tells whether there were enough of its like in a row.
func (r *rung) count(kind Kind, res Result) bool {
	r.message = res.Message
	if res.OK {
		r.message = ""
	}
	switch {
	case res.Wait:
		r.run = 0
		return false
	case res.Void && kind != MayStop: // who can't be asked has not said yes
		return false
	case r.run > 0 && res.OK == r.ok:
		r.run++
	default:
		r.ok, r.run = res.OK, 1
	}
	need := r.timing.Failure
	if res.OK {
		need = r.timing.Success
	}
	return res.Sure || r.run >= need
}

// lift makes the other probes due, as startup has passed: at once, or when their
// initial delay is over.
func (t *Tracker) lift(now time.Time) {
	for _, kind := range []Kind{Readiness, Liveness, Role, MayStop} {
		if r := t.rung(kind); r != nil {
			r.next = later(r.next, now)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
