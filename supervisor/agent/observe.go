package agent

import (
	"fmt"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// Sight is what is seen of one member on this host.
type Sight struct {
	Now     time.Time
	Records []keeper.Status
	// GivenUp is the epoch given up here, and why.
	GivenUp    uint64
	GivenUpWhy string
	// Failure: the start did not succeed, and is tried again.
	Failure *Failure
	// Aside: something that what runs can do without did not succeed.
	Aside *Failure
	// Hooks that have run in this epoch.
	Hooks    []spec.HookStatus
	Position *int64 // as the position hook told it
	// Progress: what a start that takes long is at.
	Progress  string
	Processes map[string]ProcessSight
	// StartedAt is when the epoch's first process was started, StartedOK when all
	// had passed their startup.
	StartedAt, StartedOK time.Time
	// Consent is what the mayStop probe says; zero: there is none.
	Consent spec.Consent
}

// ProcessSight is what probes and the keeper's history tell of one process.
type ProcessSight struct {
	Started, Ready bool
	Role           string // "" while it is not known
	Message        string // the newest probe failure
	Reason         string // of not being ready, if it is a special one
	ReadySince     time.Time
	// Crashes are when it ended in place lately.
	Crashes []time.Time
	// Steady: it was reported so by an earlier agent and nothing has happened since.
	Steady bool
}

// How long a member must run well to be called steady.
const (
	steadyRun     = time.Second      // without a readiness probe, since its start
	steadyCrashes = 10 * time.Second // ready for so long after a second crash
	crashWindow   = time.Minute      // within so long
)

// Observe is what is said of a member. ok is false when nothing is to be said:
// its stop is under way, or it is not this epoch that is seen. next is when to look
// again although nothing has changed; zero: not needed.
func Observe(p Part, s Sight) (obs state.Observation, next time.Time, ok bool) {
	m := p.Member
	if m == nil || m.Epoch == 0 || above(s.Records, m.Epoch) {
		return obs, next, false
	}
	if s.GivenUp >= m.Epoch && allGone(s.Records) {
		return stopped(p, s), next, true
	}
	if m.Wish != state.WishRun || s.GivenUp >= m.Epoch {
		return obs, next, false
	}
	records := make([]keeper.Status, 0, len(s.Records))
	for _, r := range s.Records {
		if r.Epoch == m.Epoch {
			records = append(records, r)
		}
	}
	s.Records = records
	obs = state.Observation{Epoch: m.Epoch, StartedAt: s.StartedAt, Hooks: s.Hooks, Position: s.Position}
	if p.Template == nil {
		obs.Phase, obs.Reason = spec.MemberFailed, RevisionUnknown
		obs.Message = fmt.Sprintf("the log has no revision %s", m.Revision)
		obs.Fenced = allFenced(m, s.Records)
		return obs, next, true
	}
	obs.Fenced = allFenced(m, s.Records)
	if s.Consent.Answer != "" {
		obs.MayStop = &s.Consent
	}
	next = tally(p.Template, s, &obs)
	phase(p.Template, s, &obs)
	obs.DiedYoung = diedYoung(m, s, obs)
	if m.Held && obs.Phase == spec.MemberStarting {
		obs.Reason, obs.Message = "Held", "all of the set was down: it starts when every member has told its position"
	}
	return obs, next, true
}

// diedYoung: a leftover of an earlier revision may make a probe pass for a moment, of a program that can't run at all.
func diedYoung(m *state.Member, s Sight, obs state.Observation) bool {
	if obs.Steady {
		return false
	}
	if m.Seen.Epoch == m.Epoch && m.Seen.DiedYoung {
		return true
	}
	return obs.Restarts > 1 && !s.StartedAt.IsZero() && s.Now.Sub(s.StartedAt) < crashWindow
}

// tally fills in the processes and what follows from them.
func tally(t *spec.Template, s Sight, obs *state.Observation) (next time.Time) {
	obs.Started, obs.Ready, obs.Steady = true, true, true
	for _, proc := range t.Processes {
		ps := spec.ProcessStatus{Name: proc.Name, State: spec.ProcessWaiting}
		r, have := record(s.Records, proc.Name)
		sight := s.Processes[proc.Name]
		if have {
			ps = processStatus(proc.Name, r, sight)
		}
		obs.Processes = append(obs.Processes, ps)
		obs.Restarts += ps.Restarts
		if ps.State == spec.ProcessRunning && sight.Role != "" {
			obs.Role = sight.Role
		}
		obs.Started = obs.Started && ps.Started
		obs.Ready = obs.Ready && ps.Ready
		at := steadyAt(proc, r, sight)
		if !ps.Ready {
			obs.Steady = false
		} else if !sight.Steady && s.Now.Before(at) {
			obs.Steady = false
			if next.IsZero() || at.After(next) {
				next = at
			}
		}
	}
	if !s.StartedOK.IsZero() {
		obs.Started, obs.StartedOK = true, s.StartedOK
	} else if obs.Started {
		obs.StartedOK = s.Now
	}
	return next
}

// steadyAt is when a process that is ready now may be called steady.
func steadyAt(proc spec.Process, r keeper.Status, sight ProcessSight) time.Time {
	at := sight.ReadySince
	if proc.Readiness == nil {
		at = later(at, r.StartedAt.Add(steadyRun))
	}
	recent := 0
	for _, c := range sight.Crashes {
		if r.StartedAt.Sub(c) < crashWindow {
			recent++
		}
	}
	if recent > 0 {
		at = later(at, sight.ReadySince.Add(r.Backoff))
		at = later(at, r.StartedAt.Add(steadyRun)) // the first restart has no back-off before it
	}
	if recent > 1 {
		at = later(at, sight.ReadySince.Add(steadyCrashes))
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// phase finds the one word for it, and why it is not better.
func phase(t *spec.Template, s Sight, obs *state.Observation) {
	for _, proc := range t.Processes {
		r, ok := record(s.Records, proc.Name)
		if ok && r.State == keeper.Failed {
			obs.Phase, obs.Reason = spec.MemberFailed, ExitedForGood
			obs.Message = fmt.Sprintf("process %s %s, after which it is not to be restarted", proc.Name, ended(r.LastExit))
			if r.LastExit.At.IsZero() {
				obs.Reason, obs.Message = CannotStart, oneLine("process "+proc.Name+": "+r.Message)
			}
			return
		}
	}
	switch {
	case s.Failure != nil && s.Failure.Reason == KeeperDown && len(s.Records) > 0:
		// What runs runs on.
	case s.Failure != nil:
		obs.Phase, obs.Reason, obs.Message = spec.MemberFailed, s.Failure.Reason, s.Failure.Message
		return
	}
	if !obs.Started {
		obs.Phase = spec.MemberStarting
		obs.Reason, obs.Message = unready(t, s, *obs)
		return
	}
	obs.Phase = spec.MemberRunning
	if !obs.Ready {
		obs.Reason, obs.Message = unready(t, s, *obs)
	}
}

// unready tells why a member does not serve.
func unready(t *spec.Template, s Sight, obs state.Observation) (reason, message string) {
	switch {
	case s.Progress != "" && len(s.Records) == 0:
		return "Init", s.Progress
	case s.Aside != nil:
		return s.Aside.Reason, s.Aside.Message
	}
	for i, proc := range t.Processes {
		ps, sight := obs.Processes[i], s.Processes[proc.Name]
		r, _ := record(s.Records, proc.Name)
		switch {
		case ps.Ready:
			continue
		case r.Fenced:
			return LeaseEnded, fmt.Sprintf("process %s is being stopped: the node's lease was not renewed in time", proc.Name)
		case sight.Reason != "":
			return sight.Reason, oneLine(fmt.Sprintf("process %s: %s", proc.Name, sight.Message))
		case r.State == keeper.Backoff:
			return orWord(exitReason(r.LastExit), "CrashLoop"), oneLine(fmt.Sprintf("process %s %s and is started again%s", proc.Name, ended(r.LastExit), because(r.Message)))
		case r.State != keeper.Running:
			return "Starting", fmt.Sprintf("process %s is not running yet", proc.Name)
		case !ps.Started:
			return "StartupPending", oneLine(fmt.Sprintf("the startup probe of process %s has not passed yet%s", proc.Name, because(sight.Message)))
		}
		return "NotReady", oneLine(fmt.Sprintf("the readiness probe of process %s does not pass%s", proc.Name, because(sight.Message)))
	}
	return "Starting", "it is being started"
}

func because(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func ended(e keeper.Exit) string {
	switch {
	case e.At.IsZero():
		return "did not start"
	case e.OOMKilled:
		return "was killed by the kernel"
	case e.Unknown:
		return "ended"
	case e.Signal != "":
		return "was ended by signal " + strings.TrimPrefix(e.Signal, "signal ")
	}
	return fmt.Sprintf("exited with %d", e.Code)
}

func exitOf(e keeper.Exit) *spec.Exit {
	return &spec.Exit{Code: e.Code, Signal: e.Signal, Reason: exitReason(e), Message: oneLine(e.Why), At: e.At.UTC().Round(0)}
}

func exitReason(e keeper.Exit) string {
	if e.OOMKilled {
		return spec.OOMKilled
	}
	return ""
}

func processStatus(name string, r keeper.Status, sight ProcessSight) spec.ProcessStatus {
	ps := spec.ProcessStatus{
		Name: name, PID: r.PID, State: processState(r), Restarts: r.Restarts,
		Started: sight.Started, Ready: sight.Ready,
		Message: oneLine(orWord(orWord(sight.Message, r.Message), r.Notify.Text)),
	}
	if !r.StartedAt.IsZero() {
		at := r.StartedAt.UTC().Round(0)
		ps.StartedAt = &at
	}
	if !r.LastExit.At.IsZero() {
		ps.LastExit = exitOf(r.LastExit)
	}
	if ps.State != spec.ProcessRunning {
		ps.PID, ps.Started, ps.Ready = 0, false, false
	}
	return ps
}

func processState(r keeper.Status) string {
	switch r.State {
	case keeper.Running:
		return spec.ProcessRunning
	case keeper.Stopping:
		if r.PID != 0 {
			return spec.ProcessRunning
		}
		return spec.ProcessExited
	case keeper.Backoff:
		return spec.ProcessBackoff
	case keeper.Starting:
		return spec.ProcessWaiting
	case keeper.Stopped, keeper.Failed:
		return spec.ProcessExited
	}
	return spec.ProcessUnknown
}

// stopped is what is said of an epoch that was given up.
func stopped(p Part, s Sight) state.Observation {
	obs := state.Observation{Epoch: p.Member.Epoch, Phase: spec.MemberStopped, StartedAt: s.StartedAt, Hooks: s.Hooks}
	for _, ps := range p.Member.Seen.Processes {
		if p.Member.Seen.Epoch != p.Member.Epoch {
			break
		}
		obs.Restarts += ps.Restarts
		ps.PID, ps.State, ps.Started, ps.Ready, ps.Message = 0, spec.ProcessExited, false, false, ""
		if r, ok := record(s.Records, ps.Name); ok && !r.LastExit.At.IsZero() {
			ps.LastExit = exitOf(r.LastExit)
		}
		obs.Processes = append(obs.Processes, ps)
	}
	switch s.GivenUpWhy {
	case HostRebooted:
		obs.Reason, obs.Message = HostRebooted, "it went down with its host or with the keeper"
	case KeeperLost:
		obs.Reason, obs.Message = KeeperLost, "the keeper does not know it any more"
	case LeaseEnded:
		obs.Reason, obs.Message = LeaseEnded, "the node's lease was not renewed in time"
	case RecordDamaged:
		obs.Reason, obs.Message = RecordDamaged, "the keeper's record of it cannot be read"
	}
	return obs
}

func allGone(records []keeper.Status) bool {
	for _, r := range records {
		if !r.Gone() {
			return false
		}
	}
	return true
}
