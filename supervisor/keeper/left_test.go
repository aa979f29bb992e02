package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// TestDaemonizing: a program that goes to the background, in a session of its own and with a dead parent, is held: its main
// process's end is an end, what it leaves is killed before the next start, and the status says what is wrong.
func TestDaemonizing(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"child":       `sh -c 'echo up; while :; do sleep 0.05; done' "$1" &`,
		"double fork": `(setsid sh -c 'echo up; while :; do sleep 0.05; done' "$1" &)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, r *rig) {
				word := uniqueWord()
				r.mustStart(r.shell("a", script+`
while ! grep -q up "$2"; do sleep 0.01; done; exit 0`, word, keeper.LogPath(r.logs, "main")))
				s := r.see("a", "restarts with pauses", func(s keeper.Status) bool { return s.Restarts >= 3 && s.State == keeper.Backoff })
				if s.LastExit.Code != 0 || r.cgroup != "" && !strings.Contains(s.Message, "foreground") {
					t.Errorf("got %+v", s)
				}
				if err := r.Stop(t.Context(), "a", "main"); err != nil {
					t.Fatal(err)
				}
				r.seeState("a", keeper.Stopped)
				if left := copies(t, word); len(left) > 0 {
					t.Errorf("%v are left", left)
				}
			})
		})
	}
}

// TestEndingWellAlone: exiting with 0 is not yet daemonizing, not even with something running beside.
func TestEndingWellAlone(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		done := filepath.Join(t.TempDir(), "done")
		r.mustStart(r.shell("a", `while ! [ -e "$1" ]; do sleep 0.01; done; exit 0`, done))
		beside := make(chan error, 1)
		go func() {
			_, err := r.Run(t.Context(), keeper.Run{Member: "a", Process: "main", Exec: keeper.Exec{
				Argv: []string{"/bin/sh", "-c", `echo > "$0"; exec sleep 1000`, done}, Env: []string{"PATH=/usr/bin:/bin"}, Umask: -1,
			}})
			beside <- err
		}()
		s := r.see("a", "a restart", func(s keeper.Status) bool { return s.Restarts >= 2 && s.State == keeper.Backoff })
		if strings.Contains(s.Message, "foreground") {
			t.Errorf("got %+v", s)
		}
		if r.cgroup == "" { // nothing ends it there but its time
			return
		}
		if err := <-beside; err != nil {
			t.Error(err)
		}
	})
}

// TestGiveUpAsksLocks: a member whose record was lost runs on, and there are no cgroups to find it in.
func TestGiveUpAsksLocks(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("keeper's own lock %t", own), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "")
			s := r.shell("ns/a-0", "exec sleep 1000")
			other := r.shell("ns/a-01", "exec sleep 1000") // must not be taken for it
			var locks []string
			if !own {
				s.Lock = filepath.Join(t.TempDir(), "lock.main")
				locks = []string{s.Lock, filepath.Join(t.TempDir(), "never-made")}
			}
			st := r.mustStart(s)
			r.mustStart(other)
			r.crash()
			for _, ext := range []string{".json", ".life"} {
				if err := os.Remove(filepath.Join(r.dir, "records", "ns_a-0@main"+ext)); err != nil {
					t.Fatal(err)
				}
			}
			r.up()
			if err := r.GiveUp(t.Context(), "ns/a-0", 1, locks...); !errors.Is(err, keeper.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprint(st.PID)) {
				t.Errorf("got %v, want it busy with process %d", err, st.PID)
			}
			if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			within(t, "it ends", func() bool { return !alive(st.PID) })
			if err := r.GiveUp(t.Context(), "ns/a-0", 1, locks...); err != nil {
				t.Errorf("when it is gone: %v", err)
			}
			if err := r.GiveUp(t.Context(), "ns/a-0", 2, "lock"); !errors.Is(err, keeper.ErrInvalid) {
				t.Errorf("a lock nowhere: %v", err)
			}
		})
	}
}
