package agent

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

func TestLimitsOf(t *testing.T) {
	t.Parallel()
	all := limitsOf(spec.Process{Limits: &spec.Limits{CPU: "1.5", Memory: "64Mi", Pids: 20, IOWeight: 50, Nofile: 7}})
	if all == nil || *all != (keeper.Limits{MemoryMax: 64 << 20, CPUMilli: 1500, PidsMax: 20, IOWeight: 50}) {
		t.Errorf("got %+v", all)
	}
	for _, none := range []*spec.Limits{nil, {Nofile: 7}} { // what needs no cgroup must ask for none
		if got := limitsOf(spec.Process{Limits: none}); got != nil {
			t.Errorf("%+v: got %+v", none, got)
		}
	}
}

func TestFailureOfLimits(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		NeedsCgroup: errors.New("memory cannot be limited"), NeedsRoot: syscall.EPERM,
	} {
		if got := failureOf(&keeper.ErrExec{Step: "limits", Err: err}); got.Reason != want {
			t.Errorf("%v: %s, want %s", err, got.Reason, want)
		}
	}
}

// TestOutOfMemoryIsTold: as the reason of the process's end and, while it waits, of the member.
func TestOutOfMemoryIsTold(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		w.keeper.mu.Lock()
		r := w.keeper.rows[row("default/web-0", "main")]
		r.State, r.PID, r.OOMKills, r.Message = keeper.Backoff, 0, 1, "out of memory: its memory limit is 5 bytes"
		r.LastExit = keeper.Exit{Code: -1, Signal: "SIGKILL", OOMKilled: true, At: time.Now()}
		w.keeper.bumpLocked()
		w.keeper.mu.Unlock()
		settle(time.Second)
		seen := w.member(0).Seen
		if seen.Reason != spec.OOMKilled || !strings.Contains(seen.Message, "its memory limit is 5 bytes") ||
			seen.Processes[0].LastExit == nil || seen.Processes[0].LastExit.Reason != spec.OOMKilled {
			t.Errorf("got %+v", seen)
		}
	})
}
