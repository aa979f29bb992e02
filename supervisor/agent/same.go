package agent

import (
	"slices"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// same tells whether b says nothing that a did not: messages of a running member
// are not compared, for a probe's output may differ each time and only transitions
// belong in the log; but one that says why, where the last did not, is told.
func same(a, b state.Observation) bool {
	if a.Fenced != b.Fenced || a.Phase != b.Phase || a.Started != b.Started || a.Ready != b.Ready || a.Steady != b.Steady || a.DiedYoung != b.DiedYoung ||
		a.Restarts != b.Restarts || a.Reason != b.Reason || a.Role != b.Role || answer(a) != answer(b) || !sameTime(a.StartedAt, b.StartedAt) ||
		(a.Position == nil) != (b.Position == nil) || a.Position != nil && *a.Position != *b.Position ||
		len(a.Processes) != len(b.Processes) || !slices.EqualFunc(a.Hooks, b.Hooks, sameHook) {
		return false
	}
	if a.Phase == spec.MemberFailed && a.Message != b.Message || a.Message != "" && strings.HasPrefix(b.Message, a.Message+": ") {
		return false
	}
	for i := range a.Processes {
		if !sameProcess(a.Processes[i], b.Processes[i]) {
			return false
		}
	}
	return true
}

func sameHook(a, b spec.HookStatus) bool {
	at, bt := a.At, b.At
	a.At, b.At = time.Time{}, time.Time{}
	return a == b && sameTime(at, bt)
}

func answer(o state.Observation) string {
	if o.MayStop == nil {
		return ""
	}
	return o.MayStop.Answer
}

func sameProcess(a, b spec.ProcessStatus) bool {
	if a.Name != b.Name || a.PID != b.PID || a.State != b.State || a.Restarts != b.Restarts ||
		a.Started != b.Started || a.Ready != b.Ready || (a.LastExit == nil) != (b.LastExit == nil) {
		return false
	}
	return a.LastExit == nil || a.LastExit.Code == b.LastExit.Code && a.LastExit.Signal == b.LastExit.Signal &&
		a.LastExit.Reason == b.LastExit.Reason &&
		sameTime(a.LastExit.At, b.LastExit.At)
}

// sameTime bears what a journey through the log does to a time.
func sameTime(a, b time.Time) bool {
	d := a.Sub(b)
	return d > -time.Millisecond && d < time.Millisecond
}
