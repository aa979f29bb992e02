package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// runtime is what the loop remembers of one member. Only the loop touches it.
type runtime struct {
	key   Key
	part  Part
	print uint64

	// table are the keeper's records; overlay changes them until the table follows.
	table   []keeper.Status
	overlay map[string]overlay // by process; nil without any, as mostly: an emptied one holds 2 KB

	assigned assignment
	busy     *busy
	calling  *calling // a hook
	hooks    map[string]spec.HookStatus
	peers    map[string]peersMark
	position *int64      // of a start that is, or was, held
	memory   *sync.Mutex // guards the member's memory on disk
	failure  *Failure
	aside    *Failure // of a step that what runs does not need
	failures int
	retry    time.Time
	progress progress
	failedAt int // the part of a long step at which it failed last
	// callRetry: a hook could not be run; not before.
	callRetry    time.Time
	callFailures int

	givenUp    uint64
	givenUpWhy string
	prepared   *prepared
	told       map[string]*keeper.Settings // pointers: a map makes room for eight of what it holds
	asked      map[string]time.Time
	traces     bool
	warned     bool

	procs                map[string]*procRuntime
	consent              spec.Consent // newest answer of the mayStop probe; zero: there is none
	startedAt, startedOK time.Time
	wakeAt               time.Time
	logMax               int64     // of every process
	keeperHooks          bool      // the keeper knows preStop hooks
	updated              time.Time // the keeper was told settings last; its table follows
}

// assignment is what a step is done for: when it changes, the step is cut off.
type assignment struct {
	epoch uint64
	wish  state.Wish
}

// busy is the step under way.
type busy struct {
	step   Step
	cancel context.CancelFunc
}

// overlay is what is known of a record before the table shows it.
type overlay struct {
	status keeper.Status
	gone   bool // forgotten
	until  time.Time
}

// overlayFor bounds how long the table may lag behind an answer of the keeper.
const overlayFor = 5 * time.Second

func newRuntime(k Key) *runtime {
	return &runtime{
		key: k, told: map[string]*keeper.Settings{},
		asked: map[string]time.Time{}, procs: map[string]*procRuntime{}, memory: &sync.Mutex{}, peers: map[string]peersMark{},
	}
}

// records are the keeper's, with what it has answered since.
func (r *runtime) records(now time.Time) []keeper.Status {
	if len(r.overlay) == 0 {
		return r.table
	}
	out := make([]keeper.Status, 0, len(r.table)+1)
	for _, s := range r.table {
		o, ok := r.overlay[s.Process]
		switch {
		case !ok, now.After(o.until), o.gone && o.status.Epoch < s.Epoch, !o.gone && s.Epoch >= o.status.Epoch:
			out = append(out, s)
			if ok {
				delete(r.overlay, s.Process)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.overlay)) {
		o := r.overlay[name]
		_, inTable := record(r.table, name)
		switch {
		case now.After(o.until), o.gone && !inTable:
			delete(r.overlay, name)
		case !o.gone:
			out = append(out, o.status)
		}
	}
	if len(r.overlay) == 0 {
		r.overlay = nil
	}
	return out
}

// takeTold notes what the keeper was told of stopping and restarting processes.
func (r *runtime) takeTold(told map[string]keeper.Settings) {
	for name, s := range told {
		r.told[name] = &s
	}
}

// overlie notes what is known of a process's record before the table shows it.
func (r *runtime) overlie(o overlay) {
	if r.overlay == nil {
		r.overlay = map[string]overlay{}
	}
	r.overlay[o.status.Process] = o
}

// assign takes a new part of the View over and says whether the assignment is
// another than before.
func (r *runtime) assign(p Part, print uint64) {
	before, old := r.assigned, r.part
	r.part, r.print = p, print
	r.assigned = assignment{}
	if p.Member != nil {
		r.assigned = assignment{p.Member.Epoch, p.Member.Wish}
	}
	if before == r.assigned {
		if r.busy != nil && r.busy.step.Do == DoStop && stopTimeout(p, r.busy.step.Process) < stopTimeout(old, r.busy.step.Process) {
			r.busy.cancel() // in its preStop hook: it is tried again, with what is left
		}
		return
	}
	if r.busy != nil && r.busy.step.Do != DoClean && !r.stopGoesOn(before) {
		r.busy.cancel()
	}
	if r.calling != nil {
		r.calling.cancel()
	}
	r.failure, r.aside, r.failures, r.retry, r.progress, r.failedAt = nil, nil, 0, time.Time{}, progress{}, 0
	clear(r.asked)
	if before.epoch != r.assigned.epoch {
		r.prepared = nil
		r.startedAt, r.startedOK, r.consent = time.Time{}, time.Time{}, spec.Consent{}
		clear(r.told)
		clear(r.peers)
		r.takeHooks()
	}
}

// stopGoesOn: the stop under way is wanted as before, for another reason.
func (r *runtime) stopGoesOn(before assignment) bool {
	m := r.part.Member
	return r.busy.step.Do == DoStop && m != nil && m.Stopping() && before.epoch == m.Epoch
}

// takeHooks begins with what was told of this epoch's hooks.
func (r *runtime) takeHooks() {
	r.hooks, r.callFailures, r.callRetry, r.position = nil, 0, time.Time{}, nil
	if m := r.part.Member; m != nil && m.Seen.Epoch == m.Epoch {
		r.position = m.Seen.Position
		for _, s := range m.Seen.Hooks {
			r.noteHook(s)
		}
	}
}

// facts are what Diff is told.
func (r *runtime) facts(now time.Time, fresh Fresh) Facts {
	f := Facts{
		Fresh: fresh.Caught, Lease: fresh.Start && (fresh.Fence || !r.part.fenced()), Now: now, Records: r.records(now), GivenUp: r.givenUp,
		Retry: r.retry, Asked: r.asked, Traces: r.traces, Positioned: r.position != nil, Passed: map[string]bool{}, Dead: map[string]Death{},
	}
	for name, p := range r.procs {
		if p.started {
			f.Passed[name] = true
		}
		if d, ok := p.dead(now); ok {
			f.Dead[name] = d
		}
	}
	if r.prepared != nil && r.part.Template != nil && r.part.Set != nil {
		f.Prepared = r.prepared.epoch
		f.Stale = r.prepared.print != r.print || r.prepared.revision != r.part.Revision || !r.asksNewest()
		for _, proc := range r.part.Template.Processes {
			if told, ok := r.told[proc.Name]; ok && (!sameSettings(*told, r.settings(proc)) || told.PreStop != nil && r.untold(f.Records, proc.Name, now)) {
				f.Outdated = append(f.Outdated, proc.Name)
			}
		}
	}
	return f
}

// settings are what the keeper is to be told of a process.
func (r *runtime) settings(proc spec.Process) keeper.Settings {
	s := settingsOf(r.part, proc, r.logMax)
	s.PreStop = r.prepared.preStop[proc.Name]
	return s
}

// untold: the keeper was told of a preStop hook when it did not know what that is, and does now.
func (r *runtime) untold(records []keeper.Status, process string, now time.Time) bool {
	s, ok := record(records, process)
	return ok && r.keeperHooks && !s.Gone() && !s.PreStop && !now.Before(r.updated.Add(askAgain))
}

// asksNewest tells whether what the member is asked before it is stopped was rendered from the newest definition.
func (r *runtime) asksNewest() bool {
	process, ask := r.part.mayStop()
	return ask == nil || r.prepared.asks(process, ask)
}

// sight is what Observe is told.
func (r *runtime) sight(now time.Time) Sight {
	s := Sight{
		Now: now, Records: r.records(now), GivenUp: r.givenUp, GivenUpWhy: r.givenUpWhy, Failure: r.failure, Aside: r.aside,
		Hooks: r.hookList(), Position: r.position, Progress: r.progress.text, StartedAt: r.startedAt, StartedOK: r.startedOK, Consent: r.consent,
		Processes: make(map[string]ProcessSight, len(r.procs)),
	}
	for name, p := range r.procs {
		s.Processes[name] = p.sight()
	}
	return s
}

// stopTimeout is how long a process has to stop, 0 if the member has none of that name.
func stopTimeout(part Part, process string) time.Duration {
	if part.Template != nil {
		for _, p := range part.Template.Processes {
			if p.Name == process {
				return settingsOf(part, p, 0).StopTimeout
			}
		}
	}
	return 0
}

// settingsOf are what the keeper is told of stopping and restarting a process, but for its preStop hook, which is rendered.
func settingsOf(part Part, p spec.Process, logMax int64) keeper.Settings {
	s := keeper.Settings{
		StopSignal: p.Stop.Signal, StopTimeout: spec.DefaultStopTimeout.D(), NeverOn: p.Restart.NeverOn,
		BackoffFirst: spec.DefaultBackoffFirst.D(), BackoffMax: spec.DefaultBackoffMax.D(), Fence: part.fenced(),
		LogMax: logMax,
	}
	if p.Stop.Timeout != nil {
		s.StopTimeout = p.Stop.Timeout.D()
	}
	if p.Restart.Backoff.First != nil {
		s.BackoffFirst = p.Restart.Backoff.First.D()
	}
	if p.Restart.Backoff.Max != nil {
		s.BackoffMax = p.Restart.Backoff.Max.D()
	}
	return s
}

func sameSettings(a, b keeper.Settings) bool {
	return a.StopSignal == b.StopSignal && a.StopTimeout == b.StopTimeout && a.BackoffFirst == b.BackoffFirst &&
		a.BackoffMax == b.BackoffMax && a.Fence == b.Fence && a.LogMax == b.LogMax && slices.Equal(a.NeverOn, b.NeverOn) &&
		a.PreStop.Same(b.PreStop)
}
