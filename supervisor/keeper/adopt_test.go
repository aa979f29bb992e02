package keeper_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

func TestKeeperKilledMemberAdopted(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		s := r.shell("default/web-0", `trap "exit 42" TERM; echo up; while :; do sleep 1000 & wait $!; done`, word)
		// Between its fork and exec a child has its parent's arguments: it is waited for before copies are counted.
		st := r.mustStart(s)
		r.logHas("up")
		r.crash()
		if !alive(st.PID) {
			t.Fatal("the member died with its keeper")
		}
		r.up()
		got := r.seeState("default/web-0", keeper.Running)
		if got.PID != st.PID || !got.Adopted || got.Restarts != 0 || !got.StartedAt.Equal(st.StartedAt) {
			t.Errorf("got %+v, want it adopted as %+v", got, st)
		}
		if err := r.Start(t.Context(), s); err != nil {
			t.Errorf("start of what runs: %v", err)
		}
		within(t, "one copy runs", func() bool { return len(copies(t, word)) == 1 })
		if err := r.Stop(t.Context(), "default/web-0", "main"); err != nil {
			t.Fatal(err)
		}
		end := r.seeState("default/web-0", keeper.Stopped)
		if e := end.LastExit; !e.Unknown && e.Code != 42 {
			t.Errorf("exit is %+v, want 42 or unknown", e)
		}
		if alive(st.PID) {
			t.Error("it runs after its stop")
		}
	})
}

func TestAdoptedIsRestartedInPlace(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "exec sleep 1000"))
		r.crash()
		r.up()
		r.see("a", "adopted", func(s keeper.Status) bool { return s.Adopted })
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s := r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		if s.Adopted || s.PID == st.PID {
			t.Errorf("got %+v", s)
		}
	})
}

func TestMemberDiesWhileNoKeeperRuns(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "exec sleep 1000"))
		r.crash()
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "it is dead", func() bool { return !alive(st.PID) })
		r.up()
		s := r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		if !s.LastExit.Unknown || s.Epoch != 1 {
			t.Errorf("got %+v, want an unknown exit", s)
		}
	})
}

// TestLifeLost: the keeper was killed between the fork and the note of it. The lock finds the process.
func TestLifeLost(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "setsid sleep 1000 & sleep 1000 & echo up; wait"))
		r.logHas("up")
		r.crash()
		if err := os.Remove(filepath.Join(r.dir, "records", "a@main.life")); err != nil {
			t.Fatal(err)
		}
		r.up()
		got := r.seeState("a", keeper.Running)
		if got.PID != st.PID || !got.Adopted {
			t.Errorf("got %+v, want process %d adopted", got, st.PID)
		}
	})
}

// TestOnlyAChildHoldsTheLock: keeper and main process are killed, a child in another session lives on with the lock.
func TestOnlyAChildHoldsTheLock(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		script := `setsid sh -c 'echo up; while :; do sleep 1000; done' "$1" & while :; do sleep 1000; done`
		st := r.mustStart(r.shell("a", script, word))
		r.logHas("up")
		r.crash()
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		before := copies(t, word)
		r.up()
		r.see("a", "a restart or what was left adopted", func(s keeper.Status) bool { return s.State == keeper.Running })
		for _, pid := range before {
			if s := r.seeState("a", keeper.Running); alive(pid) && s.PID != pid {
				t.Errorf("process %d of the first life runs beside %d", pid, s.PID)
			}
		}
	})
}

func TestStopGoesOnInTheNextKeeper(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", `trap "" TERM; echo up; while :; do sleep 0.01; done`)
		s.StopTimeout = 300 * time.Millisecond
		st := r.mustStart(s)
		r.logHas("up")
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		r.crash()
		r.up()
		if got := r.seeState("a", keeper.Stopped); alive(st.PID) || got.Restarts != 0 {
			t.Errorf("got %+v, want it stopped", got)
		}
	})
}

// edit changes fields of a file of the keeper's.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	m := map[string]any{}
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stranger is a process that has nothing to do with the keeper.
func stranger(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command("sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // as like a member as can be
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Process.Kill(); err != nil {
			t.Errorf("the stranger was killed: %v", err)
		}
		_ = c.Wait() // "signal: killed"
	})
	return c
}

func TestHostRebooted(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "exec sleep 1000"))
		r.crash()
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "it is dead", func() bool { return !alive(st.PID) })
		other := stranger(t)
		reboot := func(m map[string]any) {
			m["boot"] = "00000000-0000-0000-0000-000000000000"
			if _, ok := m["pid"]; ok {
				m["ticks"] = 1
				m["pid"] = other.Process.Pid
			}
		}
		edit(t, filepath.Join(r.dir, "records", "a@main.json"), reboot)
		edit(t, filepath.Join(r.dir, "records", "a@main.life"), reboot)
		r.up()
		got := r.seeState("a", keeper.Stopped)
		if got.Message != "host rebooted" || !alive(other.Process.Pid) {
			t.Errorf("got %+v", got)
		}
		r.mustStart(r.shell("a", "exec sleep 1000")) // when asked, in the same epoch: it was not given up
	})
}

func TestPIDUsedAgain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "exec sleep 1000"))
		r.crash()
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "it is dead", func() bool { return !alive(st.PID) })
		other := stranger(t)
		edit(t, filepath.Join(r.dir, "records", "a@main.life"), func(m map[string]any) {
			m["pid"], m["ticks"] = other.Process.Pid, 1
		})
		r.up()
		got := r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running })
		if got.PID == other.Process.Pid || got.Adopted {
			t.Errorf("got %+v: the stranger was adopted", got)
		}
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("a", keeper.Stopped)
		if !alive(other.Process.Pid) {
			t.Error("the stranger was killed")
		}
	})
}

func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", "exec sleep 1000")
		st := r.mustStart(s)
		r.crash()
		path := filepath.Join(r.dir, "records", "a@main.json")
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.up()
		if got := r.seeState("a", keeper.Failed); !strings.Contains(got.Message, "can't be read") {
			t.Errorf("got %+v", got)
		}
		s.Epoch = 2
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrBusy) && !errors.Is(err, keeper.ErrLocked) {
			t.Errorf("start beside it: %v", err)
		}
		if err := r.GiveUp(t.Context(), "a", 1); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("give up beside it: %v", err)
		}
		if !alive(st.PID) {
			t.Error("it was killed")
		}
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "a start when it has gone", func() bool { return r.Start(t.Context(), s) == nil })
	})
}
