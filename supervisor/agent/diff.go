package agent

import (
	"fmt"
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// Action is what a Step does.
type Action string

// The actions.
const (
	DoStop     Action = "stop"     // ask the keeper to stop one process
	DoGiveUp   Action = "give-up"  // make the keeper refuse the epoch for ever
	DoForget   Action = "forget"   // drop the keeper's record of a process that is gone
	DoPrepare  Action = "prepare"  // volumes, directories, files, init steps
	DoPosition Action = "position" // tell how new the data is; part of a start that is held
	DoAdopt    Action = "adopt"    // learn how a member that runs was prepared, change nothing
	DoRefresh  Action = "refresh"  // render again, as what it is made from has changed
	DoStart    Action = "start"    // start one process
	DoRestart  Action = "restart"  // a probe asks for it: stop, and start in place
	DoUpdate   Action = "update"   // new settings of stop and restart
	DoClean    Action = "clean"    // remove what is left of a member that is gone
)

// Step is one thing to do for one member.
type Step struct {
	Do      Action
	Process string
	Epoch   uint64
	// Init: the init steps belong to this Prepare.
	Init bool
	Why  string
	// Stop is the stop timeout of this Restart; 0: the process's own.
	Stop time.Duration
}

func (s Step) String() string {
	out := string(s.Do)
	if s.Process != "" {
		out += " " + s.Process
	}
	if s.Epoch != 0 {
		out += fmt.Sprintf(" epoch %d", s.Epoch)
	}
	if s.Init {
		out += " with init"
	}
	if s.Why != "" {
		out += " (" + s.Why + ")"
	}
	return out
}

// aside tells that what runs can do without the step.
func (s Step) aside() bool {
	switch s.Do {
	case DoAdopt, DoRefresh, DoUpdate, DoRestart, DoForget, DoClean:
		return true
	case DoStop, DoGiveUp, DoPrepare, DoPosition, DoStart:
	}
	return false
}

// Facts are what is known of one member on this host.
type Facts struct {
	// Fresh: the View has caught up with the leader once since this agent began,
	// and the keeper's table is known. Nothing is done before: an old View may
	// want what was taken back long ago.
	Fresh bool
	// Lease: members may be started: the lease holds, and the View is at or past
	// the index that the leader named last.
	Lease bool
	Now   time.Time
	// Records are the keeper's of this member.
	Records []keeper.Status
	// GivenUp is the highest epoch that was given up in this run of the agent.
	GivenUp uint64
	// Prepared is the epoch that all is ready for; 0: none.
	Prepared uint64
	// Positioned: the position of this epoch is known.
	Positioned bool
	// Stale: what was rendered was made from something else than the View has now.
	Stale bool
	// Retry: after a failure, not before.
	Retry time.Time
	// Passed are the processes whose startup has passed in their present run.
	Passed map[string]bool
	// Dead are the processes that a probe wants restarted.
	Dead map[string]Death
	// Outdated are the processes whose settings the keeper has to be told anew.
	Outdated []string
	// Asked are the processes that the keeper was asked to stop, with when.
	Asked map[string]time.Time
	// Traces: there is a run directory of the member.
	Traces bool
}

// Death is why a probe wants a process restarted, and its own stop timeout for that; 0:
// it has none.
type Death struct {
	Why  string
	Stop time.Duration
}

// askAgain is how long a stop that shows no effect is waited for.
const askAgain = 5 * time.Second

// Diff is what to do next for a member, the first step first. Nothing: it is as
// it should be, or something has to happen by itself before.
func Diff(p Part, f Facts) []Step {
	m := p.Member
	switch {
	case !f.Fresh:
		return nil
	case m == nil:
		if len(f.Records) == 0 && f.Traces {
			return []Step{{Do: DoClean}}
		}
		return end(p, f, f.Records, "not assigned to this node")
	}
	if m.Epoch == 0 {
		// It was never started: what runs is left of an earlier member of the name.
		return end(p, f, f.Records, "left of an earlier member of this name")
	}
	if strays := below(f.Records, m.Epoch); len(strays) > 0 {
		return end(p, f, strays, "a lower epoch than the member's")
	}
	if lost := fromLostLog(p, f.Records); len(lost) > 0 {
		return end(p, f, lost, "its epoch was given in a log that is lost")
	}
	if above(f.Records, m.Epoch) {
		return nil // not ours to judge: nothing is stopped on an older word
	}
	switch m.Wish {
	case state.WishStop, state.WishGone:
		return stop(p, f)
	case state.WishRun:
		return run(p, f)
	case state.WishReserved:
		return nil
	}
	return nil
}

// settled tells that what runs needs no further step. One that failed was done by another then: a keeper that did not know
// the process has adopted it after all.
func settled(p Part, f Facts) bool {
	f.Retry, f.Lease = time.Time{}, true
	return f.Fresh && !slices.ContainsFunc(Diff(p, f), func(s Step) bool { return !s.aside() })
}

// stop brings a member down whose stop is asked for.
func stop(p Part, f Facts) []Step {
	m := p.Member
	if m.Epoch == 0 || m.Down() {
		return end(p, f, f.Records, m.Why)
	}
	if f.GivenUp >= m.Epoch && len(f.Records) == 0 {
		return nil
	}
	if len(f.Records) > 0 {
		return end(p, f, f.Records, m.Why)
	}
	if retryLater(f) {
		return nil
	}
	return []Step{{Do: DoGiveUp, Epoch: m.Epoch, Why: m.Why}}
}

// end stops processes in reverse order, one after the other, gives their epoch up
// when all are gone, and drops their records.
func end(p Part, f Facts, records []keeper.Status, why string) []Step {
	if len(records) == 0 || retryLater(f) {
		return nil
	}
	top := uint64(0)
	for _, s := range inStopOrder(p.Template, records) {
		top = max(top, s.Epoch)
		switch {
		case s.Gone():
			continue
		case f.waitsFor(s) && slices.Contains(f.Outdated, s.Process):
			return []Step{{Do: DoUpdate, Process: s.Process, Epoch: s.Epoch}} // its stop timeout may be shorter now
		case f.waitsFor(s):
			return nil
		}
		return []Step{{Do: DoStop, Process: s.Process, Epoch: s.Epoch, Why: why}}
	}
	var steps []Step
	if f.GivenUp < top {
		steps = append(steps, Step{Do: DoGiveUp, Epoch: top, Why: why})
	}
	for _, s := range records {
		steps = append(steps, Step{Do: DoForget, Process: s.Process, Epoch: s.Epoch})
	}
	return steps
}

// waitsFor tells whether the stop of s is under way. Stopping alone is not enough:
// a probe may be having it restarted.
func (f Facts) waitsFor(s keeper.Status) bool {
	asked, ok := f.Asked[s.Process]
	return ok && (s.State == keeper.Stopping || f.Now.Before(asked.Add(askAgain)))
}

// run brings a member up, or keeps it up.
func run(p Part, f Facts) []Step {
	m := p.Member
	if p.Template == nil || f.GivenUp >= m.Epoch && len(f.Records) == 0 ||
		m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped && len(f.Records) == 0 {
		return nil // given up: the planner gives a new epoch
	}
	if m.Seen.Epoch == m.Epoch && m.Seen.Phase == spec.MemberStopped {
		// Its end was vouched for while this node was away: it may run elsewhere by now.
		return end(p, f, f.Records, "it was declared over: "+m.Seen.Reason)
	}
	if why := lost(p, f); why != "" {
		if len(f.Records) > 0 {
			return end(p, f, f.Records, why)
		}
		if retryLater(f) {
			return nil
		}
		return []Step{{Do: DoGiveUp, Epoch: m.Epoch, Why: why}}
	}
	if s := tend(p, f); len(s) > 0 {
		return s
	}
	return bringUp(p, f)
}

// tend follows changes and failing probes of what runs already.
func tend(p Part, f Facts) []Step {
	var steps []Step
	for _, proc := range p.Template.Processes {
		if d, dead := f.Dead[proc.Name]; dead {
			if s, ok := record(f.Records, proc.Name); ok && s.State == keeper.Running {
				steps = append(steps, Step{Do: DoRestart, Process: proc.Name, Epoch: s.Epoch, Why: d.Why, Stop: d.Stop})
			}
		}
	}
	if retryLater(f) {
		return steps
	}
	if f.Prepared == p.Member.Epoch {
		for _, name := range f.Outdated {
			if _, ok := record(f.Records, name); ok {
				steps = append(steps, Step{Do: DoUpdate, Process: name})
			}
		}
		if f.Stale {
			steps = append(steps, Step{Do: DoRefresh, Epoch: p.Member.Epoch})
		}
	} else if len(f.Records) > 0 {
		steps = append(steps, Step{Do: DoAdopt, Epoch: p.Member.Epoch})
	}
	return steps
}

// bringUp starts the next process whose turn it is.
func bringUp(p Part, f Facts) []Step {
	if p.Member.Held {
		if f.Positioned || !f.Lease || retryLater(f) || len(f.Records) > 0 {
			return nil
		}
		return []Step{{Do: DoPosition, Epoch: p.Member.Epoch}}
	}
	for _, proc := range p.Template.Processes {
		s, ok := record(f.Records, proc.Name)
		if ok {
			if s.State == keeper.Failed || !f.Passed[proc.Name] {
				return nil
			}
			continue
		}
		switch {
		case !f.Lease, retryLater(f):
			return nil
		case f.Prepared != p.Member.Epoch:
			return []Step{{Do: DoPrepare, Epoch: p.Member.Epoch, Init: len(f.Records) == 0}}
		}
		return []Step{{Do: DoStart, Process: proc.Name, Epoch: p.Member.Epoch}}
	}
	return nil
}

// Reasons why a start ended without anybody asking for it. The planner starts the
// member again with a new epoch.
const (
	HostRebooted  = "HostRebooted"
	KeeperLost    = "KeeperLost"
	RecordDamaged = "RecordDamaged"
	LeaseEnded    = "LeaseEnded"
)

// lost tells why the present epoch has ended by itself, or "". A process that died
// is restarted in place by the keeper; one that it has as Stopped, or has forgotten
// though it was seen to run, went down with the host or with the keeper's records,
// or was fenced.
func lost(p Part, f Facts) string {
	m := p.Member
	for _, s := range f.Records {
		switch {
		case s.State == keeper.Stopped && s.Fenced:
			return LeaseEnded
		case s.State == keeper.Stopped:
			return HostRebooted
		case s.State == keeper.Failed && s.LastExit.At.IsZero():
			return RecordDamaged // it did not fail by an exit code
		}
	}
	if m.Seen.Epoch != m.Epoch || f.Prepared == m.Epoch {
		return ""
	}
	for _, ps := range m.Seen.Processes {
		if _, ok := record(f.Records, ps.Name); !ok && ps.PID != 0 {
			return KeeperLost
		}
	}
	return ""
}

// inStopOrder sorts records for a stop: the template's last process first, what it
// does not name before all, by age.
func inStopOrder(t *spec.Template, records []keeper.Status) []keeper.Status {
	place := map[string]int{}
	if t != nil {
		for i, p := range t.Processes {
			place[p.Name] = i + 1
		}
	}
	out := slices.Clone(records)
	slices.SortStableFunc(out, func(a, b keeper.Status) int {
		pa, pb := place[a.Process], place[b.Process]
		switch {
		case pa == 0 && pb == 0:
			return b.StartedAt.Compare(a.StartedAt)
		case pa == 0:
			return -1
		case pb == 0:
			return 1
		}
		return pb - pa
	})
	return out
}

func retryLater(f Facts) bool { return f.Now.Before(f.Retry) }

func record(records []keeper.Status, process string) (keeper.Status, bool) {
	for _, s := range records {
		if s.Process == process {
			return s, true
		}
	}
	return keeper.Status{}, false
}

func below(records []keeper.Status, epoch uint64) []keeper.Status {
	var out []keeper.Status
	for _, s := range records {
		if s.Epoch < epoch {
			out = append(out, s)
		}
	}
	return out
}

// fromLostLog are the records whose epoch is higher than the member's, and not higher
// than the last that any member was given. A View that is only old has not counted so
// far: the counter leaps when a cluster is recovered from a log that lacked entries.
func fromLostLog(p Part, records []keeper.Status) []keeper.Status {
	var out []keeper.Status
	for _, s := range records {
		if p.Cluster != nil && s.Epoch > p.Member.Epoch && s.Epoch <= p.Cluster.Epoch {
			out = append(out, s)
		}
	}
	return out
}

func above(records []keeper.Status, epoch uint64) bool {
	return slices.ContainsFunc(records, func(s keeper.Status) bool { return s.Epoch > epoch })
}
