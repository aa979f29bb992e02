package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// TestAnEpochOfALostLogIsStopped: the counter of the View is past it, so the View is not
// just old.
func TestAnEpochOfALostLogIsStopped(t *testing.T) {
	t.Parallel()
	m := &state.Member{Namespace: "default", Set: "web", Node: "n1", Wish: state.WishRun, Epoch: 5}
	tpl := &spec.Template{Processes: []spec.Process{{Name: "a"}}}
	f := Facts{Fresh: true, Records: []keeper.Status{{Member: "default/web-0", Process: "a", Epoch: 9, State: keeper.Running, PID: 7}}}
	for last, want := range map[uint64]string{8: "[]", 9: "[stop a epoch 9 (its epoch was given in a log that is lost)]"} {
		p := Part{Member: m, Template: tpl, Cluster: &state.Cluster{Epoch: last}}
		if got := fmt.Sprint(Diff(p, f)); got != want {
			t.Errorf("the last epoch given is %d: %s, want %s", last, got, want)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	tpl := &spec.Template{Processes: []spec.Process{{Name: "a"}, {Name: "b"}}}
	member := func(wish state.Wish, epoch uint64) *state.Member {
		return &state.Member{Namespace: "default", Set: "web", Node: "n1", Wish: wish, Epoch: epoch}
	}
	seen := func(m *state.Member, phase string, pid int) *state.Member {
		m.Seen = state.Observation{Epoch: m.Epoch, Phase: phase, Processes: []spec.ProcessStatus{{Name: "a", PID: pid}}}
		return m
	}
	rec := func(process string, epoch uint64, s keeper.State) keeper.Status {
		return keeper.Status{Member: "default/web-0", Process: process, Epoch: epoch, State: s, PID: 7}
	}
	failed := rec("a", 5, keeper.Failed)
	failed.LastExit = keeper.Exit{Code: 78, At: now}
	fenced, fencing := rec("a", 5, keeper.Stopped), rec("a", 5, keeper.Stopping)
	fenced.Fenced, fencing.Fenced = true, true
	run, live := member(state.WishRun, 5), func(more ...keeper.Status) []keeper.Status { return more }
	passed := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	both := live(rec("a", 5, keeper.Running), rec("b", 5, keeper.Running))
	for _, c := range []struct {
		name string
		m    *state.Member
		f    Facts
		want string
	}{
		{"an old View is not acted on", run, Facts{Lease: true}, ""},
		{"reserved", member(state.WishReserved, 0), Facts{Fresh: true, Lease: true}, ""},
		{"reserved, with leftovers", member(state.WishReserved, 0), Facts{Fresh: true, Records: live(rec("a", 2, keeper.Running))}, "stop a epoch 2 (left of an earlier member of this name)"},
		{"start", run, Facts{Fresh: true, Lease: true}, "prepare epoch 5 with init"},
		{"no lease", run, Facts{Fresh: true}, ""},
		{"after a failure", run, Facts{Fresh: true, Lease: true, Retry: now.Add(1)}, ""},
		{"prepared", run, Facts{Fresh: true, Lease: true, Prepared: 5}, "start a epoch 5"},
		{"prepared, the lease is gone", run, Facts{Fresh: true, Prepared: 5}, ""},
		{"prepared for another epoch", run, Facts{Fresh: true, Lease: true, Prepared: 4}, "prepare epoch 5 with init"},
		{"first not passed", run, Facts{Fresh: true, Lease: true, Prepared: 5, Records: live(rec("a", 5, keeper.Running))}, ""},
		{"first passed", run, Facts{Fresh: true, Lease: true, Prepared: 5, Passed: passed("a"), Records: live(rec("a", 5, keeper.Running))}, "start b epoch 5"},
		{"all run", run, Facts{Fresh: true, Lease: true, Prepared: 5, Passed: passed("a", "b"), Records: both}, ""},
		{"found running", run, Facts{Fresh: true, Passed: passed("a", "b"), Records: both}, "adopt epoch 5"},
		{"found half started, no lease", run, Facts{Fresh: true, Passed: passed("a"), Records: both[:1]}, "adopt epoch 5"},
		{"found half started", run, Facts{Fresh: true, Lease: true, Prepared: 5, Passed: passed("a"), Records: both[:1]}, "start b epoch 5"},
		{"restart in place is the keeper's", run, Facts{Fresh: true, Lease: true, Prepared: 5, Passed: passed("b"), Records: live(rec("a", 5, keeper.Backoff), rec("b", 5, keeper.Running))}, ""},
		{"a probe wants a restart", run, Facts{Fresh: true, Prepared: 5, Dead: map[string]Death{"a": {Why: "liveness"}}, Records: both}, "restart a epoch 5 (liveness)"},
		{"new settings, new peers", run, Facts{Fresh: true, Prepared: 5, Outdated: []string{"b"}, Stale: true, Passed: passed("a", "b"), Records: both}, "update b; refresh epoch 5"},
		{"ended for good", run, Facts{Fresh: true, Lease: true, Prepared: 5, Records: live(failed)}, ""},
		{"record damaged", run, Facts{Fresh: true, Lease: true, Records: live(rec("a", 5, keeper.Failed))}, "give-up epoch 5 (RecordDamaged); forget a epoch 5"},
		{"down with its host", run, Facts{Fresh: true, Lease: true, Records: live(rec("a", 5, keeper.Stopped), rec("b", 5, keeper.Stopped))}, "give-up epoch 5 (HostRebooted); forget a epoch 5; forget b epoch 5"},
		{"fenced", run, Facts{Fresh: true, Lease: true, Records: live(fenced)}, "give-up epoch 5 (LeaseEnded); forget a epoch 5"},
		{"being fenced", run, Facts{Fresh: true, Lease: true, Prepared: 5, Records: live(fencing)}, ""},
		{"one went down", run, Facts{Fresh: true, Lease: true, Records: live(rec("a", 5, keeper.Stopped), rec("b", 5, keeper.Running))}, "stop b epoch 5 (HostRebooted)"},
		{"keeper has forgotten", seen(member(state.WishRun, 5), spec.MemberRunning, 7), Facts{Fresh: true, Lease: true}, "give-up epoch 5 (KeeperLost)"},
		{"start was interrupted", seen(member(state.WishRun, 5), spec.MemberStarting, 0), Facts{Fresh: true, Lease: true}, "prepare epoch 5 with init"},
		{"given up", run, Facts{Fresh: true, Lease: true, GivenUp: 5}, ""},
		{"reported stopped", seen(member(state.WishRun, 5), spec.MemberStopped, 0), Facts{Fresh: true, Lease: true}, ""},
		{"vouched for, and runs", seen(member(state.WishRun, 5), spec.MemberStopped, 0), Facts{Fresh: true, Lease: true, Prepared: 5, Passed: passed("a", "b"), Records: both}, "stop b epoch 5 (it was declared over: )"},
		{"lower epoch", run, Facts{Fresh: true, Lease: true, Records: live(rec("a", 4, keeper.Running))}, "stop a epoch 4 (a lower epoch than the member's)"},
		{"lower epoch, gone", run, Facts{Fresh: true, Lease: true, Records: live(rec("a", 4, keeper.Stopped))}, "give-up epoch 4 (a lower epoch than the member's); forget a epoch 4"},
		{"lower epoch, given up", run, Facts{Fresh: true, Lease: true, GivenUp: 4, Records: live(rec("a", 4, keeper.Stopped))}, "forget a epoch 4"},
		{"higher epoch", run, Facts{Fresh: true, Lease: true, Records: live(rec("a", 6, keeper.Running))}, ""},
		{"not ours", nil, Facts{Fresh: true, Records: both}, "stop b epoch 5 (not assigned to this node)"},
		{"not ours, gone", nil, Facts{Fresh: true, GivenUp: 5, Traces: true}, "clean"},
		{"not ours, old View", nil, Facts{Records: both}, ""},
		{"stop, last first", member(state.WishStop, 5), Facts{Fresh: true, Records: both}, "stop b epoch 5"},
		{"stop, asked", member(state.WishStop, 5), Facts{Fresh: true, Now: now, Asked: map[string]time.Time{"b": now}, Records: both}, ""},
		{"stop, asked long ago", member(state.WishStop, 5), Facts{Fresh: true, Asked: map[string]time.Time{"b": now.Add(-time.Minute)}, Records: both}, "stop b epoch 5"},
		{"stop of what a probe restarts", member(state.WishGone, 5), Facts{Fresh: true, Records: live(rec("a", 5, keeper.Stopping))}, "stop a epoch 5"},
		{"stopping takes its time", member(state.WishGone, 5), Facts{Fresh: true, Asked: map[string]time.Time{"a": now.Add(-time.Hour)}, Records: live(rec("a", 5, keeper.Stopping))}, ""},
		{"stop, then the first", member(state.WishStop, 5), Facts{Fresh: true, Records: live(rec("a", 5, keeper.Running), rec("b", 5, keeper.Stopped))}, "stop a epoch 5"},
		{"stop, all gone", member(state.WishStop, 5), Facts{Fresh: true, Records: live(rec("a", 5, keeper.Stopped))}, "give-up epoch 5; forget a epoch 5"},
		{"stop of what never was", member(state.WishStop, 5), Facts{Fresh: true}, "give-up epoch 5"},
		{"stop, given up", member(state.WishStop, 5), Facts{Fresh: true, GivenUp: 5}, ""},
		{"gone, never started", member(state.WishGone, 0), Facts{Fresh: true}, ""},
	} {
		p := Part{Key: Key{"default", "web", 0}, Member: c.m, Template: tpl}
		if c.f.Now.IsZero() {
			c.f.Now = now
		}
		steps := Diff(p, c.f)
		got := make([]string, len(steps))
		for i, s := range steps {
			got[i] = fmt.Sprint(s)
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"default/web-0", "a/b-c-12"} {
		if k, ok := keyOf(s); !ok || k.String() != s {
			t.Errorf("keyOf(%q) = %v, %v", s, k, ok)
		}
	}
	for _, s := range []string{"", "x", "/web-0", "default/web", "default/web-01", "default/"} {
		if k, ok := keyOf(s); ok {
			t.Errorf("keyOf(%q) = %v, want none", s, k)
		}
	}
}

func TestDiffVolume(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		vol  state.Volume
		want string
	}{
		{state.Volume{Phase: spec.VolumeBound}, ""},
		{state.Volume{Phase: spec.VolumeRetained}, ""},
		{state.Volume{Phase: spec.VolumeReleasing}, state.VolumeTrashed},
		{state.Volume{Phase: spec.VolumeReleasing, Trashed: true}, ""},
		{state.Volume{Phase: spec.VolumeReleasing, Trashed: true, Undo: true}, state.VolumeRestored},
		{state.Volume{Phase: spec.VolumeReleasing, Undo: true}, state.VolumeRestored},
		{state.Volume{Phase: spec.VolumeReleasing, Trashed: true, Emptying: true}, state.VolumeEmptied},
		{state.Volume{Phase: spec.VolumeAbandoned}, state.VolumeMarked},
		{state.Volume{Phase: spec.VolumeAbandoned, Marked: true}, ""},
	} {
		got := ""
		if s := DiffVolume(&c.vol); s != nil {
			got = s.Do
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.vol, got, c.want)
		}
	}
}
