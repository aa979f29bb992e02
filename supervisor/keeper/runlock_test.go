package keeper_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// step is an init step that never ends, whatever happens to its output.
func step(r *rig, word string) keeper.Run {
	return keeper.Run{
		Member: "default/web-0", Process: "main", Epoch: 1, Timeout: time.Hour, Lock: filepath.Join(filepath.Dir(r.dir), "lock.main"),
		Exec: keeper.Exec{Argv: []string{"/bin/sh", "-c", "trap '' PIPE; echo up; while :; do sleep 1000; done", word}, Umask: -1},
	}
}

// begin runs a step until end is called, which waits for it.
func begin(t *testing.T, r *rig, run keeper.Run) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := r.Run(ctx, run); done <- err }()
	return func() error { cancel(); return <-done }
}

// TestStepOutlivesItsKeeper: the keeper is killed while an init step runs. The next try of the step must not run beside
// it: two of them in one directory would spoil it.
func TestStepOutlivesItsKeeper(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		end := begin(t, r, step(r, word))
		within(t, "the step runs", func() bool { return len(copies(t, word)) == 1 })
		r.crash()
		_ = end() // its keeper was killed: some error
		before := copies(t, word)
		if len(before) != 1 {
			t.Fatalf("copies after the crash: %v", before)
		}
		t.Cleanup(func() {
			for _, pid := range before {
				_ = unix.Kill(-pid, unix.SIGKILL) // mostly it is gone
			}
		})
		r.up()
		next := step(r, word)
		next.Argv[2] = "exit 7"
		if r.cgroup == "" { // nobody may be killed on a guess: it waits until the lock is free
			if _, err := r.Run(t.Context(), next); !errors.Is(err, keeper.ErrLocked) {
				t.Fatalf("beside what is left: %v, want ErrLocked", err)
			}
			for _, pid := range before {
				if err := unix.Kill(-pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		within(t, "nothing is left", func() bool { return len(copies(t, word)) == 0 })
		var res keeper.RunResult
		within(t, "the next try", func() bool {
			var err error
			res, err = r.Run(t.Context(), next)
			if err != nil && !errors.Is(err, keeper.ErrLocked) {
				t.Fatal(err)
			}
			return err == nil
		})
		if res.Code != 7 {
			t.Errorf("got %+v", res)
		}
	})
}

// TestStepKeepsTheEpoch: while an init step runs its epoch can't be given up, and afterwards there is no further one.
func TestStepKeepsTheEpoch(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		run := step(r, word)
		end := begin(t, r, run)
		within(t, "the step runs", func() bool { return len(copies(t, word)) == 1 })
		if err := r.GiveUp(t.Context(), run.Member, 1); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("given up under a step: %v, want ErrBusy", err)
		}
		if _, err := r.Run(t.Context(), run); !errors.Is(err, keeper.ErrLocked) {
			t.Errorf("a second step: %v, want ErrLocked", err)
		}
		s := r.shell(run.Member, "exec sleep 1000")
		s.Lock = run.Lock
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrLocked) && !errors.Is(err, keeper.ErrBusy) && r.cgroup == "" {
			t.Errorf("started beside a step: %v", err)
		}
		_ = end() // canceled
		if r.cgroup != "" {
			// Without an answer of the keeper's it may be at it still.
			if err := r.Stop(t.Context(), run.Member, "main"); err != nil && !errors.Is(err, keeper.ErrNotFound) {
				t.Fatal(err)
			}
		}
		within(t, "the epoch is given up", func() bool { return r.GiveUp(t.Context(), run.Member, 1) == nil })
		if left := copies(t, word); len(left) != 0 {
			t.Errorf("given up while %v run", left)
		}
		if _, err := r.Run(t.Context(), run); !errors.Is(err, keeper.ErrGivenUp) {
			t.Errorf("a step of an epoch given up: %v, want ErrGivenUp", err)
		}
	})
}

// TestStepsChildrenDieWithIt: what a step leaves behind must not write beside the member.
func TestStepsChildrenDieWithIt(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		run := step(r, word)
		run.Argv[2] = `setsid sh -c 'while :; do sleep 1000; done' "$0" >/dev/null 2>&1 & exit 0`
		if _, err := r.Run(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if left := copies(t, word); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		s := r.shell(run.Member, "exec sleep 1000")
		s.Lock = run.Lock
		r.mustStart(s)
	})
}

// TestMovedOutOfItsCgroup: the member has closed the lock's descriptor, somebody moves it to another cgroup, and the
// keeper is killed. Its number and start time still tell that it lives.
func TestMovedOutOfItsCgroup(t *testing.T) {
	t.Parallel()
	r := newCgroupRig(t)
	i, err := r.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	word := uniqueWord()
	st := r.mustStart(r.shell("default/web-0", `exec bash -c 'exec 731>&-; echo up; while :; do sleep 1000; done' "$1"`, word))
	r.logHas("up")
	within(t, "one copy", func() bool { return len(copies(t, word)) == 1 })
	elsewhere := filepath.Join(filepath.Dir(i.Cgroup), filepath.Base(i.Cgroup)+"-elsewhere")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { within(t, "the cgroup is empty", func() bool { return os.Remove(elsewhere) == nil }) })
	b, err := os.ReadFile(filepath.Join(i.Cgroup, "default_web-0", "main", "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(b)) {
		if err := os.WriteFile(filepath.Join(elsewhere, "cgroup.procs"), []byte(pid), 0o644); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Kill(n, unix.SIGKILL) }) // mostly it is gone
	}
	r.crash()
	r.up()
	got := r.seeState("default/web-0", keeper.Running)
	if got.PID != st.PID || !got.Adopted || !alive(st.PID) {
		t.Errorf("got %+v, want process %d adopted", got, st.PID)
	}
	if n := copies(t, word); len(n) != 1 {
		t.Errorf("copies: %v", n)
	}
	if err := r.Stop(t.Context(), "default/web-0", "main"); err != nil {
		t.Fatal(err)
	}
	within(t, "it is dead", func() bool { return !alive(st.PID) })
}
