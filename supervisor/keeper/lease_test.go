package keeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// sinceBoot is the outside clock.
func sinceBoot(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// lease grants one of a length that ends in left, and returns its end.
func (r *rig) lease(t *testing.T, left, length time.Duration) time.Duration {
	t.Helper()
	end := sinceBoot(t) + left
	within(t, "the keeper takes the lease", func() bool {
		err := r.Renew(t.Context(), end, length)
		if err != nil && !errors.Is(err, keeper.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	return end
}

// good is a lease that outlasts the test.
func (r *rig) good(t *testing.T) time.Duration { return r.lease(t, time.Hour, time.Hour) }

// fenced is a start of a script that lives by the lease.
func (r *rig) fenced(member, script string, args ...string) keeper.Start {
	s := r.shell(member, script, args...)
	s.Fence = true
	return s
}

// stubborn ignores SIGTERM, and so does its child in a session of its own.
const stubborn = `trap "" TERM; setsid sh -c 'echo up; while :; do sleep 0.05; done' "$1" & while :; do sleep 0.05; done`

// short is a lease of which the graceful stop begins after 300 ms and the kill a second later.
const short, shortLength = 2300 * time.Millisecond, 6 * time.Second

func (r *rig) seeFenced(t *testing.T, member string) keeper.Status {
	t.Helper()
	s := r.seeState(member, keeper.Stopped)
	if !s.Fenced || s.Message != "lease ended" {
		t.Errorf("%s: got %+v, want it fenced", member, s)
	}
	return s
}

func TestLeaseLapses(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		if err := r.Start(t.Context(), r.fenced("a", "exec sleep 1000")); !errors.Is(err, keeper.ErrNoLease) {
			t.Fatalf("start without a lease: %v", err)
		}
		r.good(t)
		if i, err := r.Hello(t.Context()); err != nil || i.Lease == nil || i.Lease.Length != time.Hour {
			t.Errorf("got %+v, %v", i, err)
		}
		// The lease in force is long; a keeper that knows only the short one is the next.
		r.mustStart(r.fenced("a", `trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done`))
		r.logHas("up")
		other := r.shell("k", "exec sleep 1000")
		other.LogDir = ""
		keep := r.mustStart(other)
		r.shorten(t, short, shortLength)
		got := r.seeFenced(t, "a")
		if got.LastExit.Code != 3 && !got.LastExit.Unknown || got.Restarts != 0 {
			t.Errorf("got %+v, want a graceful end", got)
		}
		r.logHas("bye")
		if err := r.Start(t.Context(), r.fenced("b", "exec sleep 1000")); !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("start with the lease lapsed: %v", err)
		}
		r.good(t)
		if got := r.seeState("a", keeper.Stopped); !got.Fenced {
			t.Errorf("renewed: got %+v", got)
		}
		s := r.fenced("a", "exec sleep 1000")
		s.Epoch = 2
		if got := r.mustStart(s); got.Fenced || got.State != keeper.Running {
			t.Errorf("the next epoch: %+v", got)
		}
		if k := r.seeState("k", keeper.Running); k.PID != keep.PID || k.Restarts != 0 {
			t.Errorf("the one that isn't fenced: %+v, want %+v", k, keep)
		}
	})
}

// shorten puts the next keeper in place, which knows a lease that ends in left.
func (r *rig) shorten(t *testing.T, left, length time.Duration) time.Duration {
	t.Helper()
	r.crash()
	end := sinceBoot(t) + left
	edit(t, filepath.Join(r.dir, "lease.json"), func(m map[string]any) { m["deadline"], m["length"] = int64(end), int64(length) })
	r.up()
	return end
}

// TestLeaseEnds: nothing is left before the lease ends, by an outside clock.
func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		end := r.lease(t, 2600*time.Millisecond, 3*time.Second)
		s := r.fenced("a", stubborn, word)
		s.StopTimeout = time.Hour
		r.mustStart(s)
		r.logHas("up")
		within(t, "all of it is dead", func() bool { return len(copies(t, word)) == 0 })
		if now := sinceBoot(t); now > end {
			t.Errorf("killed %s after the lease's end", now-end)
		}
		r.seeFenced(t, "a")
	})
}

func TestRenewedInTime(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		first := r.lease(t, 2500*time.Millisecond, 3*time.Second)
		st := r.mustStart(r.fenced("a", "exec sleep 1000"))
		last := r.lease(t, 3*time.Minute, 3*time.Minute)
		if err := r.Renew(t.Context(), first, 3*time.Second); err != nil {
			t.Errorf("late news: %v", err)
		}
		if err := r.Renew(t.Context(), last+time.Hour, time.Minute); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("later than can be: %v", err)
		}
		if i, err := r.Hello(t.Context()); err != nil || i.Lease == nil || i.Lease.Deadline != last {
			t.Errorf("got %+v, %v, want %s", i.Lease, err, last)
		}
		within(t, "the first lease would have ended", func() bool { return sinceBoot(t) > first })
		if got := r.seeState("a", keeper.Running); got.PID != st.PID {
			t.Errorf("got %+v, want %+v", got, st)
		}
	})
}

// TestAStopBegunIsCompleted: renewing the lease in between doesn't take it back.
func TestAStopBegunIsCompleted(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.lease(t, short, shortLength)
		s := r.fenced("a", `trap "" TERM; echo up; while :; do sleep 0.05; done`)
		s.StopTimeout = 400 * time.Millisecond
		r.mustStart(s)
		r.see("a", "the stop begins", func(s keeper.Status) bool { return s.State == keeper.Stopping && s.Fenced })
		life, err := os.ReadFile(filepath.Join(r.dir, "records", "a@main.life"))
		if err != nil || !strings.Contains(string(life), `"fenced":true`) {
			t.Errorf("%s, %v: the stop isn't noted", life, err)
		}
		r.good(t)
		if got := r.seeFenced(t, "a"); got.Restarts != 0 || got.LastExit.Signal != "SIGKILL" {
			t.Errorf("got %+v", got)
		}
		record, err := os.ReadFile(filepath.Join(r.dir, "records", "a@main.json"))
		if err != nil || !strings.Contains(string(record), `"want":"stop"`) {
			t.Errorf("%s, %v", record, err)
		}
	})
}

// TestKeeperDiesInALapse: the note of the stop counts, though the record is not written yet and the lease is good again.
func TestKeeperDiesInALapse(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.good(t)
		st := r.mustStart(r.fenced("a", "exec sleep 1000"))
		r.crash()
		edit(t, filepath.Join(r.dir, "records", "a@main.life"), func(m map[string]any) { m["fenced"] = true })
		r.up()
		if got := r.seeFenced(t, "a"); alive(st.PID) || got.Restarts != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestNextKeeperReadsTheLease: before anything else.
func TestNextKeeperReadsTheLease(t *testing.T) {
	t.Parallel()
	path := func(r *rig) string { return filepath.Join(r.dir, "lease.json") }
	ended := func(m map[string]any) { m["deadline"] = 1 }
	for _, c := range []struct {
		name    string
		between func(t *testing.T, r *rig)
	}{
		{"ended", func(t *testing.T, r *rig) { edit(t, path(r), ended) }},
		{"lost", func(t *testing.T, r *rig) {
			if err := os.Remove(path(r)); err != nil {
				t.Fatal(err)
			}
		}},
		{"damaged", func(t *testing.T, r *rig) {
			if err := os.WriteFile(path(r), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"of another boot", func(t *testing.T, r *rig) { edit(t, path(r), func(m map[string]any) { m["boot"] = "x" }) }},
		{"ended, its main process is dead", func(t *testing.T, r *rig) {
			edit(t, path(r), ended)
			tab := readPID(t, r)
			if err := unix.Kill(tab, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}},
		{"ended, the record is damaged", func(t *testing.T, r *rig) {
			edit(t, path(r), ended)
			if err := os.WriteFile(filepath.Join(r.dir, "records", "a@main.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"ended, record and life are damaged", func(t *testing.T, r *rig) {
			edit(t, path(r), ended)
			for _, f := range []string{"a@main.json", "a@main.life"} {
				if err := os.WriteFile(filepath.Join(r.dir, "records", f), []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, r *rig) {
				word, other := uniqueWord(), uniqueWord()
				r.good(t)
				s := r.fenced("a", stubborn, word)
				s.StopTimeout = time.Hour
				r.mustStart(s)
				r.logHas("up")
				r.mustStart(r.shell("k", `while :; do sleep 0.05; done`, other))
				r.crash()
				c.between(t, r)
				r.up()
				within(t, "all that is fenced is dead", func() bool { return len(copies(t, word)) == 0 })
				r.good(t)
				got := r.see("a", "it is over", keeper.Status.Gone)
				if damaged := strings.Contains(c.name, "damaged"); !got.Fenced && !(damaged && got.State == keeper.Failed) {
					t.Errorf("got %+v", got)
				}
				if k := r.seeState("k", keeper.Running); !k.Adopted || k.Restarts != 0 {
					t.Errorf("the one that isn't fenced: %+v", k)
				}
				s.Epoch = 2
				within(t, "the next epoch starts", func() bool { return r.Start(t.Context(), s) == nil })
			})
		})
	}
}

func readPID(t *testing.T, r *rig) int {
	t.Helper()
	pid := 0
	edit(t, filepath.Join(r.dir, "records", "a@main.life"), func(m map[string]any) {
		if n, ok := m["pid"].(interface{ Int64() (int64, error) }); ok {
			v, err := n.Int64()
			if err != nil {
				t.Fatal(err)
			}
			pid = int(v)
		}
	})
	return pid
}

// TestDamagedRecordNotFenced: its life says that the lease is none of its business.
func TestDamagedRecordNotFenced(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", "exec sleep 1000")
		st := r.mustStart(s)
		r.crash()
		if err := os.WriteFile(filepath.Join(r.dir, "records", "a@main.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.up()
		r.seeState("a", keeper.Failed)
		if !alive(st.PID) {
			t.Error("it was killed")
		}
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.Epoch = 2
		within(t, "a start when it has gone", func() bool { return r.Start(t.Context(), s) == nil })
	})
}

// TestKeeperStoppedPastTheLease: that it isn't is an assumption, but when it goes on it acts at once, and a renewal that
// waits in its socket helps nobody.
func TestKeeperStoppedPastTheLease(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		end := r.lease(t, 2500*time.Millisecond, 3*time.Second)
		s := r.fenced("a", `trap "" TERM; echo up; while :; do sleep 0.05; done`)
		s.StopTimeout = time.Hour
		st := r.mustStart(s)
		if err := r.cmd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		within(t, "all its threads stand still", func() bool { return stopped(t, r.cmd.Process.Pid) })
		renewed := make(chan error, 1)
		go func() { renewed <- r.Renew(t.Context(), end+time.Minute, 2*time.Minute) }()
		within(t, "the lease ends", func() bool { return sinceBoot(t) > end })
		if err := r.cmd.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := <-renewed; err != nil && !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("renew: %v", err)
		}
		if got := r.seeFenced(t, "a"); alive(st.PID) || got.Restarts != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// stopped tells whether every thread of a process is: a signal only begins that.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || b[bytes.LastIndexByte(b, ')')+2] != 'T' {
			return false
		}
	}
	return len(files) > 0
}

// TestNoRestartInPlace: what waits for its next start when the lease lapses gets none.
func TestNoRestartInPlace(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.lease(t, short, shortLength)
		s := r.fenced("a", "exit 1")
		s.BackoffFirst, s.BackoffMax = time.Hour, time.Hour
		r.mustStart(s)
		r.see("a", "a pause", func(s keeper.Status) bool { return s.State == keeper.Backoff || s.Fenced })
		r.seeFenced(t, "a")
	})
}

// TestDecidedBeforeTheLapse: a start that was on its way when the lease lapsed doesn't count under the next.
func TestDecidedBeforeTheLapse(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.lease(t, 1200*time.Millisecond, 3*time.Second)
		before := sinceBoot(t)
		s := r.fenced("a", "exec sleep 1000")
		s.Decided = before
		within(t, "the lease lapses", func() bool { return sinceBoot(t) > before+300*time.Millisecond })
		r.good(t)
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("start: %v", err)
		}
		run := keeper.Run{Member: "a", Process: "main", Epoch: 1, Exec: s.Exec, Fence: true, Decided: before}
		if _, err := r.Run(t.Context(), run); !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("run: %v", err)
		}
		s.Decided = sinceBoot(t)
		r.mustStart(s)
	})
}

// TestLeaseEndsRuns: init steps end when the lease lapses.
func TestLeaseEndsRuns(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		end := r.lease(t, short, shortLength)
		exec := r.shell("a", stubborn, word).Exec
		_, err := r.Run(t.Context(), keeper.Run{Member: "a", Process: "main", Epoch: 1, Exec: exec, Fence: true})
		if !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("got %v, want %v", err, keeper.ErrNoLease)
		}
		within(t, "all of it is dead", func() bool { return len(copies(t, word)) == 0 })
		if now := sinceBoot(t); now > end {
			t.Errorf("killed %s after the lease's end", now-end)
		}
		if _, err := r.Run(t.Context(), keeper.Run{Member: "a", Process: "main", Epoch: 1, Exec: exec, Fence: true}); !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("without a lease: %v", err)
		}
	})
}

// TestFenceChangesWhileItRuns: onNodeLoss of a live set.
func TestFenceChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		keep, fence := r.shell("keep", "exec sleep 1000"), r.shell("fence", "exec sleep 1000")
		r.mustStart(fence)
		off, on := keep.Settings, fence.Settings
		on.Fence = true
		if err := r.Update(t.Context(), "fence", "main", on); !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("update without a lease: %v", err)
		}
		r.lease(t, 3*time.Second, 6*time.Second) // lapses in a second
		keep.Fence = true
		st := r.mustStart(keep)
		if err := r.Update(t.Context(), "fence", "main", on); err != nil {
			t.Fatal(err)
		}
		if err := r.Update(t.Context(), "keep", "main", off); err != nil {
			t.Fatal(err)
		}
		r.seeFenced(t, "fence")
		if got := r.seeState("keep", keeper.Running); got.PID != st.PID {
			t.Errorf("got %+v, want %+v", got, st)
		}
	})
}

// TestKillWaitsForNobody: another process of the member hangs in its start, as on a disk that is gone.
func TestKillWaitsForNobody(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		fifo := filepath.Join(t.TempDir(), "secret")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		end := r.lease(t, 3*time.Second, 3*time.Second)
		s := r.fenced("a", stubborn, word)
		r.mustStart(s)
		r.logHas("up")
		hanging := r.fenced("a", "echo started; exec sleep 1000", word)
		hanging.Process, hanging.Secrets = "side", []keeper.SecretEnv{{Name: "X", File: fifo}}
		started := make(chan error, 1)
		go func() { started <- r.Start(t.Context(), hanging) }()
		within(t, "all of it is dead", func() bool { return len(copies(t, word)) == 0 })
		if now := sinceBoot(t); now > end {
			t.Errorf("killed %s after the lease's end", now-end)
		}
		// The start goes on, and is not forked any more.
		if err := os.WriteFile(fifo, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := <-started; !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("got %v, want %v", err, keeper.ErrNoLease)
		}
		r.seeFenced(t, "a")
		if n := len(copies(t, word)); n != 0 {
			t.Errorf("%d processes run", n)
		}
	})
}

// TestGivenUpForEver: also when the host has been down since.
func TestGivenUpForEver(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", "exec sleep 1000")
		s.Epoch = 4
		r.mustStart(s)
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("a", keeper.Stopped)
		if err := r.GiveUp(t.Context(), "a", 5); err != nil {
			t.Fatal(err)
		}
		r.crash()
		reboot := func(m map[string]any) { m["boot"] = "00000000-0000-0000-0000-000000000000" }
		edit(t, filepath.Join(r.dir, "records", "a@main.json"), reboot)
		edit(t, filepath.Join(r.dir, "records", "a@main.life"), reboot)
		r.up()
		for s.Epoch = 4; s.Epoch <= 5; s.Epoch++ {
			if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
				t.Errorf("epoch %d: %v", s.Epoch, err)
			}
		}
		if err := r.Forget(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		s.Epoch = 5
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
			t.Errorf("forgotten, epoch %d: %v", s.Epoch, err)
		}
		s.Epoch = 6
		r.mustStart(s)
	})
}

// TestUpgradeKeepsTheLease: the next binary goes on with it, also with one that no file holds.
func TestUpgradeKeepsTheLease(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		end := r.lease(t, 7*time.Second, 9*time.Second) // lapses in 4 s, ends what is fenced in 6
		if i := r.mustUpgrade(); i.Lease == nil || i.Lease.Deadline != end {
			t.Fatalf("the lease is %+v, want one until %s", i.Lease, end)
		}
		s := r.fenced("a", stubborn, word)
		s.StopTimeout = time.Hour
		run := make(chan error, 1)
		st := r.mustStart(s)
		go func() {
			_, err := r.Run(t.Context(), keeper.Run{Member: "b", Process: "main", Epoch: 1, Exec: r.shell("b", stubborn, word).Exec, Fence: true})
			run <- err
		}()
		within(t, "both run", func() bool { return len(copies(t, word)) == 4 })
		r.mustUpgradeSoon()
		if got := r.status("a"); got.PID != st.PID || got.State != keeper.Running && !got.Fenced {
			t.Errorf("got %+v, want %+v", got, st)
		}
		if err := <-run; !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("the init step: %v", err)
		}
		r.see("a", "its stop", func(s keeper.Status) bool { return s.Fenced })
		r.mustUpgradeSoon()
		within(t, "all of it is dead", func() bool { return len(copies(t, word)) == 0 })
		if now := sinceBoot(t); now > end {
			t.Errorf("killed %s after the lease's end", now-end)
		}
		r.seeFenced(t, "a")
	})
}

// TestKillWaitsForNoAdoption: the next keeper hangs while it adopts one member, as with a disk that is gone.
func TestKillWaitsForNoAdoption(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		r.good(t)
		hanging := r.shell("a", "exec sleep 1000")
		hanging.LogDir = t.TempDir()
		r.mustStart(hanging)
		for _, m := range []string{"b", "c", "d"} { // whatever the order
			s := r.fenced(m, stubborn, word)
			s.StopTimeout = time.Hour
			r.mustStart(s)
		}
		within(t, "all run", func() bool { return len(copies(t, word)) == 6 })
		log := keeper.LogPath(hanging.LogDir, "main")
		if err := errors.Join(os.Remove(log), unix.Mkfifo(log, 0o600)); err != nil { // opened for writing it waits for a reader
			t.Fatal(err)
		}
		r.crash()
		end := sinceBoot(t) + 3*time.Second
		edit(t, filepath.Join(r.dir, "lease.json"), func(m map[string]any) { m["deadline"], m["length"] = int64(end), int64(9*time.Second) })
		r.spawn("")
		within(t, "all of it is dead", func() bool { return len(copies(t, word)) == 0 })
		if now := sinceBoot(t); now > end {
			t.Errorf("killed %s after the lease's end", now-end)
		}
		f, err := os.OpenFile(log, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r.answer()
		for _, m := range []string{"b", "c", "d"} {
			r.seeFenced(t, m)
		}
		r.seeState("a", keeper.Running)
	})
}

// TestLeaseEndsRunsInAnUpgrade: the command's own call stands still for 3 s, for a start hangs.
func TestLeaseEndsRunsInAnUpgrade(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		fifo := filepath.Join(t.TempDir(), "secret")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		hanging := r.shell("h", "exec sleep 1000")
		hanging.Secrets = []keeper.SecretEnv{{Name: "X", File: fifo}}
		started := make(chan error, 1)
		go func() { started <- r.Start(t.Context(), hanging) }()
		end := r.lease(t, 3*time.Second, 3*time.Second) // lapses in 2 s
		exec := r.shell("b", stubborn, word).Exec
		run := make(chan error, 1)
		go func() {
			_, err := r.Run(t.Context(), keeper.Run{Member: "b", Process: "main", Epoch: 1, Exec: exec, Fence: true})
			run <- err
		}()
		within(t, "it runs", func() bool { return len(copies(t, word)) == 2 })
		upgraded := make(chan error, 1)
		go func() {
			_, err := r.Upgrade(t.Context(), "")
			upgraded <- err
		}()
		within(t, "all of it is dead", func() bool { return len(copies(t, word)) == 0 })
		if now := sinceBoot(t); now > end {
			t.Errorf("killed %s after the lease's end", now-end)
		}
		if err := <-run; !errors.Is(err, keeper.ErrNoLease) {
			t.Errorf("got %v, want %v", err, keeper.ErrNoLease)
		}
		if err := <-upgraded; !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("got %v, want %v", err, keeper.ErrBusy)
		}
		if err := os.WriteFile(fifo, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := <-started; err != nil {
			t.Error(err)
		}
	})
}
