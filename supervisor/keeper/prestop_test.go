package keeper_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/supervisor/keeper"
)

// A preStop hook is run by a halt, within the stop timeout and before the signal, whether a keeper runs or not; a stop that
// somebody else asks for is without.
func TestHaltRunsPreStop(t *testing.T) {
	t.Parallel()
	halt := func(r *rig) { r.halt() }
	for _, c := range []struct {
		name   string
		hook   string // $1 is the file, which holds the main process's pid in its first line
		end    func(*rig)
		want   string // in the file, after the pid
		says   string // the keeper's log; how a hook went that has ended the process may come too late for it
		signal string
	}{
		{"before the signal", `echo "hook $SUP_ATTEMPT $OWN" >>$1`, halt, "hook 1 mine\nterm\n", "the preStop hook has run", ""},
		{"where it fails", `echo hook >>$1; exit 3`, halt, "hook\nterm\n", "it exited with 3", ""},
		{"where it hangs", `echo hook >>$1; exec sleep 1000`, halt, "hook\nterm\n", "it did not end within 500ms", ""},
		{"where it can't be run", "", halt, "term\n", "the preStop hook has failed", ""},
		{"where it ends the process", `kill -KILL $(head -n 1 $1)`, halt, "", "", "SIGKILL"},
		{"but not by a stop", `echo hook >>$1`, func(r *rig) {
			if err := r.Stop(r.t.Context(), "d/a-0", "main"); err != nil {
				r.t.Error(err)
			}
		}, "term\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, r *rig) {
				file := filepath.Join(t.TempDir(), "file")
				s := r.shell("d/a-0", `echo $$ >$1; trap 'echo term >>$1; exit 0' TERM; : >$1.up; while :; do sleep 1 & wait $!; done`, file)
				s.Env = append(s.Env, "OWN=mine")
				s.StopTimeout = 5 * time.Second
				s.PreStop = &keeper.PreStop{Argv: []string{"/bin/sh", "-c", c.hook, "sh", file}, Env: []string{"SUP_ATTEMPT=1"}, Timeout: 500 * time.Millisecond}
				if c.hook == "" {
					s.PreStop.Argv = []string{"/nowhere/hook"}
				}
				if st := r.mustStart(s); !st.PreStop {
					t.Errorf("the keeper shows %+v, want that it knows the hook", st)
				}
				up := func() bool { _, err := os.Stat(file + ".up"); return err == nil }
				within(t, "it has set its trap", up)
				c.end(r)
				st := r.seeState("d/a-0", keeper.Stopped)
				b, err := os.ReadFile(file)
				if _, after, _ := strings.Cut(string(b), "\n"); err != nil || after != c.want {
					t.Errorf("it was stopped with %q, %v, want %q", after, err, c.want)
				}
				if st.Restarts != 0 || st.LastExit.Signal != c.signal {
					t.Errorf("afterwards: %+v", st)
				}
				r.crash() // its log is whole then
				defer r.up()
				if said := r.out.String(); !strings.Contains(said, c.says) {
					t.Errorf("the keeper's log has no %q:\n%s", c.says, said)
				}
			})
		})
	}
}

// A hook that is a request is asked by the keeper itself; an answer that is none delays nothing.
func TestHaltAsksPreStop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answer, says string }{
		{"HTTP/1.1 204 No Content\r\n\r\n", "the preStop hook has run"},
		{"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", "the preStop hook has run"},
		{"HTTP/1.1 500 Oh\r\n\r\n", "answered 500"},
		{"220 mail.example.org ESMTP\r\n", "is no HTTP"},
		{strings.Repeat("x", 1<<16), "no answer of"},
		{"", "no answer of"},
	} {
		t.Run(c.says, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			r := newRig(t, "")
			file := filepath.Join(t.TempDir(), "file")
			s := r.shell("d/a-0", `trap 'echo term >$1; exit 0' TERM; : >$1.up; while :; do sleep 1 & wait $!; done`, file)
			const request = "GET /bye HTTP/1.1\r\nHost: a\r\n\r\n"
			s.PreStop = &keeper.PreStop{Get: &keeper.Get{To: l.Addr().String(), Request: []byte(request)}, Timeout: time.Second}
			r.mustStart(s)
			within(t, "it has set its trap", func() bool { _, err := os.Stat(file + ".up"); return err == nil })
			if err := r.Halt(t.Context(), "d/a-0", "main"); err != nil {
				t.Fatal(err)
			}
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(request))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != request {
				t.Errorf("it was asked %q, %v", got, err)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("the signal came before the answer")
			}
			_, _ = io.WriteString(conn, c.answer) // it may have heard enough
			conn.Close()
			r.seeState("d/a-0", keeper.Stopped)
			if b, err := os.ReadFile(file); err != nil || string(b) != "term\n" {
				t.Errorf("it was stopped with %q, %v", b, err)
			}
			r.crash() // its log is whole then
			defer r.up()
			if said := r.out.String(); !strings.Contains(said, c.says) {
				t.Errorf("the keeper's log has no %q:\n%s", c.says, said)
			}
		})
	}
}

// What a hook uses of the stop timeout, the process does not get, but for the least grace; and it is killed then.
func TestPreStopCostsNoMoreThanTheStopTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	s := r.shell("d/a-0", `trap '' TERM; while :; do sleep 1; done`)
	s.StopTimeout = 400 * time.Millisecond
	s.PreStop = &keeper.PreStop{Argv: []string{"/bin/sleep", "1000"}}
	r.mustStart(s)
	began := time.Now()
	if err := r.Halt(t.Context(), "d/a-0", "main"); err != nil {
		t.Fatal(err)
	}
	if st := r.seeState("d/a-0", keeper.Stopping); st.KillAt.Before(began.Add(s.StopTimeout)) || st.KillAt.After(time.Now().Add(2*s.StopTimeout)) {
		t.Errorf("it is killed %s after its stop began, want once more its stop timeout of %s", st.KillAt.Sub(began), s.StopTimeout)
	}
	if st := r.seeState("d/a-0", keeper.Stopped); st.LastExit.Signal != "SIGKILL" {
		t.Errorf("afterwards: %+v", st)
	}
}

// A keeper that dies while a hook runs leaves no hook, and the next one goes on with the stop.
func TestKeeperDiesInPreStop(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		file := filepath.Join(t.TempDir(), "file")
		s := r.shell("d/a-0", `trap 'echo term >>$1; exit 0' TERM; while :; do sleep 0.1 & wait $!; done`, file)
		s.PreStop = &keeper.PreStop{Argv: []string{"/bin/sh", "-c", "echo hook >>$1; exec sleep 2", "sh", file}}
		r.mustStart(s)
		if err := r.Halt(t.Context(), "d/a-0", "main"); err != nil {
			t.Fatal(err)
		}
		within(t, "the hook runs", func() bool { b, err := os.ReadFile(file); return err == nil && len(b) > 0 })
		r.crash()
		r.up()
		r.seeState("d/a-0", keeper.Stopped)
		if b, err := os.ReadFile(file); err != nil || string(b) != "hook\nterm\n" {
			t.Errorf("it was stopped with %q, %v", b, err)
		}
	})
}

// An upgrade is refused while a hook runs, and says so.
func TestNoUpgradeInPreStop(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	s := r.shell("d/a-0", `while :; do sleep 1; done`)
	s.PreStop = &keeper.PreStop{Argv: []string{"/bin/sleep", "1000"}}
	r.mustStart(s)
	if err := r.Halt(t.Context(), "d/a-0", "main"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Upgrade(t.Context(), ""); !errors.Is(err, keeper.ErrBusy) {
		t.Errorf("an upgrade while the hook runs = %v, want ErrBusy", err)
	}
	r.seeState("d/a-0", keeper.Stopped)
}
