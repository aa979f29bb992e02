package keeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// ended is what a session has left.
type ended struct {
	keeper.SessionResult
	out, errs string
}

// tryExec runs a session with pipes to its end.
func (r *rig) tryExec(s keeper.Session, stdin string) (ended, error) {
	r.t.Helper()
	var child, ours [3]*os.File
	for i := range child {
		in, out, err := os.Pipe()
		if err != nil {
			r.t.Fatal(err)
		}
		child[i], ours[i] = out, in
		if i == 0 {
			child[i], ours[i] = in, out
		}
		for _, f := range []*os.File{child[i]} { // programs expect it to block
			f.Fd()
		}
		defer child[i].Close()
		defer ours[i].Close()
	}
	open, err := r.Exec(r.t.Context(), s, child[:]...)
	if err != nil {
		return ended{}, err
	}
	defer hangup(r.t, open)
	for _, f := range child {
		f.Close()
	}
	if _, err := io.WriteString(ours[0], stdin); err != nil && !errors.Is(err, unix.EPIPE) {
		r.t.Error(err)
	}
	ours[0].Close()
	var e ended
	for i, into := range []*string{&e.out, &e.errs} {
		b, err := io.ReadAll(ours[i+1])
		if err != nil {
			r.t.Error(err)
		}
		*into = string(b)
	}
	e.SessionResult, err = open.Wait()
	return e, err
}

func (r *rig) mustExec(s keeper.Session, stdin string) ended {
	r.t.Helper()
	e, err := r.tryExec(s, stdin)
	if err != nil {
		r.t.Fatalf("exec %q: %v", s.Argv, err)
	}
	return e
}

func session(argv ...string) keeper.Session {
	return keeper.Session{Member: "default/web-0", Process: "main", Argv: argv}
}

func TestSession(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("default/web-0", "exec sleep 1000")
		s.Dir, s.Env, s.Umask = "/usr", []string{"PATH=/usr/bin:/bin", "COLOUR=red", "TERM=dumb"}, 0o27
		pid := r.mustStart(s).PID
		q := session("/bin/sh", "-c", `pwd; echo $COLOUR $TERM; umask; cat; echo oops >&2; ls /proc/self/fd | tr '\n' ' '; exit 7`)
		q.Env = []string{"TERM=xterm"}
		e := r.mustExec(q, "hello\n")
		if want := "/usr\nred xterm\n0027\nhello\n0 1 2 3 "; e.out != want || e.errs != "oops\n" || e.Code != 7 || e.Signal != "" {
			t.Errorf("got %+v, want %q", e, want)
		}
		if e := r.mustExec(session("sh", "-c", "kill -9 $$"), ""); e.Code != -1 || e.Signal != "SIGKILL" {
			t.Errorf("got %+v, want it killed", e)
		}
		self := session("version")
		self.Self = true
		if e := r.mustExec(self, ""); !strings.HasPrefix(e.out, "supd-keeper") || e.Code != 0 {
			t.Errorf("the keeper's own binary: %+v", e)
		}
		var ex *keeper.ErrExec
		if _, err := r.tryExec(session("no-such-program"), ""); !errors.As(err, &ex) || !errors.Is(err, unix.ENOENT) {
			t.Errorf("a missing program: %v", err)
		}
		for _, c := range []struct {
			what string
			q    keeper.Session
			want error
		}{
			{"no command", session(), keeper.ErrInvalid},
			{"an unknown process", keeper.Session{Member: "default/web-0", Process: "other", Argv: []string{"true"}}, keeper.ErrNotFound},
		} {
			if _, err := r.tryExec(c.q, ""); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.what, err, c.want)
			}
		}
		if _, err := r.Exec(t.Context(), session("true")); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("without descriptors: %v", err)
		}
		if tab, err := r.List(t.Context(), 0); err != nil || tab.Processes[0].PID != pid {
			t.Errorf("the process was touched: %+v, %v", tab, err)
		}
	})
}

// What a session leaves behind is killed with it, and the keeper has none of its descriptors any more.
func TestSessionLeavesNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.mustStart(r.shell("default/web-0", "exec sleep 1000"))
		fds := func() int {
			e, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			return len(e)
		}
		word := uniqueWord()
		run := func() {
			e := r.mustExec(session("/bin/sh", "-c", "sh -c 'sleep 1000; :' "+word+" >/dev/null 2>&1 </dev/null & exit 3"), "")
			if e.Code != 3 {
				t.Errorf("got %+v", e)
			}
			if pids := copies(t, word); len(pids) > 0 {
				t.Errorf("%v live on", pids)
			}
			if _, err := r.tryExec(session("/no/such"), ""); err == nil {
				t.Error("no error")
			}
		}
		run()
		before := fds()
		for range 5 {
			run()
		}
		within(t, "no descriptors are left over", func() bool { return fds() <= before })
	})
}

// A session ends with the process, and doesn't hold up its stop.
func TestSessionEndsWithProcess(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("default/web-0", "exec sleep 1000")
		s.StopTimeout = 1000 * patience
		r.mustStart(s)
		done := make(chan ended, 1)
		word := uniqueWord()
		go func() {
			e, err := r.tryExec(session("/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1000; done", word), "")
			if err != nil {
				t.Error(err)
			}
			done <- e
		}()
		within(t, "the session runs", func() bool { return len(copies(t, word)) > 0 })
		if err := r.Stop(t.Context(), "default/web-0", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("default/web-0", keeper.Stopped)
		if e := <-done; e.Signal != "SIGKILL" || e.Message == "" {
			t.Errorf("got %+v, want it killed, and why", e)
		}
		if _, err := r.tryExec(session("true"), ""); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("beside a stopped process: %v, want ErrBusy", err)
		}
	})
}

// A client that goes takes its session along, first politely.
func TestSessionHangup(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.mustStart(r.shell("default/web-0", "exec sleep 1000"))
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		word, note := uniqueWord(), filepath.Join(t.TempDir(), "note")
		open, err := r.Exec(t.Context(), session("/bin/sh", "-c", `trap 'echo hup >"$1"' HUP; while :; do sleep 1000; done`, word, note), null, null, null)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "the session runs", func() bool { return len(copies(t, word)) > 0 })
		// The shell has set its trap when it has a child.
		pid := copies(t, word)[0]
		within(t, "its child runs", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
			return err == nil && len(b) > 0
		})
		if err := open.Hangup(); err != nil {
			t.Fatal(err)
		}
		within(t, "the session is killed", func() bool { return len(copies(t, word)) == 0 })
		if b, err := os.ReadFile(note); err != nil || string(b) != "hup\n" {
			t.Errorf("it was not hung up first: %q, %v", b, err)
		}
		r.seeState("default/web-0", keeper.Running)
	})
}

func TestSessionTerminal(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.mustStart(r.shell("default/web-0", "exec sleep 1000"))
		master, slave, err := keeper.OpenTerminal()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		if err := keeper.ResizeTerminal(master, 33, 101); err != nil {
			t.Fatal(err)
		}
		q := session("/bin/sh", "-c", `trap 'stty size; exit 5' WINCH; tty; stty size; echo go >/dev/tty; while :; do sleep 0.01; done`)
		open, err := r.Exec(t.Context(), q, slave)
		if err != nil {
			t.Fatal(err)
		}
		defer hangup(t, open)
		slave.Close()
		var out bytes.Buffer
		buf := make([]byte, 1024)
		read := func(until string) {
			for !strings.Contains(out.String(), until) {
				n, err := master.Read(buf)
				out.Write(buf[:n])
				if err != nil {
					t.Fatalf("%v after %q", err, &out)
				}
			}
		}
		read("go\r\n")
		if !strings.HasPrefix(out.String(), "/dev/pts/") || !strings.Contains(out.String(), "33 101") {
			t.Errorf("got %q", &out)
		}
		if err := keeper.ResizeTerminal(master, 44, 55); err != nil {
			t.Fatal(err)
		}
		read("44 55")
		if res, err := open.Wait(); err != nil || res.Code != 5 {
			t.Errorf("got %+v, %v", res, err)
		}
		// Ctrl-C is a byte.
		master, slave, err = keeper.OpenTerminal()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		open, err = r.Exec(t.Context(), session("/bin/sh", "-c", "echo go; exec sleep 1000"), slave)
		if err != nil {
			t.Fatal(err)
		}
		defer hangup(t, open)
		slave.Close()
		out.Reset()
		read("go\r\n")
		if _, err := master.Write([]byte{3}); err != nil {
			t.Fatal(err)
		}
		if res, err := open.Wait(); err != nil || res.Signal != "SIGINT" {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// A session enters the member's own view, also when another keeper has started it, and stays in its cgroup.
func TestSessionView(t *testing.T) {
	t.Parallel()
	r := newCgroupRig(t)
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "secret"), "s3cret\n")
	write(t, filepath.Join(dir, "hosts"), "mine\n")
	for i, limit := range []map[string]uint64{nil, {"nofile": 77}} { // on a thread, and by the stage
		member := "default/web-" + strconv.Itoa(i)
		s := r.shell(member, "exec sleep 1000")
		s.SetUser, s.UID, s.GID, s.Groups = true, 65534, 65533, []uint32{7}
		s.Hostname, s.Rlimits, s.NoNewPrivs = "web-x", limit, true
		s.Mounts = []keeper.Mount{{Source: filepath.Join(dir, "hosts"), Target: "/etc/hosts"}}
		s.Secrets = []keeper.SecretEnv{{Name: "PW", File: filepath.Join(dir, "secret")}}
		pid := r.mustStart(s).PID
		look := func(when string) {
			q := session("/bin/sh", "-c", `id -u; id -g; id -G; hostname; cat /etc/hosts; echo $PW; ulimit -n
				for n in mnt uts; do readlink /proc/self/ns/$n; done; grep NoNewPrivs /proc/self/status; grep ^0:: /proc/self/cgroup`)
			q.Member = member
			e := r.mustExec(q, "")
			want := "65534\n65533\n65533 7\nweb-x\nmine\ns3cret\n"
			if limit != nil {
				want += "77\n"
			}
			for _, n := range []string{"mnt", "uts"} {
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, n))
				if err != nil {
					t.Fatal(err)
				}
				want += "*" + link + "\n"
			}
			for part := range strings.SplitSeq(want, "*") {
				if !strings.Contains(e.out, part) {
					t.Errorf("%s: %q is not in %q %q", when, part, e.out, e.errs)
				}
			}
			if !strings.Contains(e.out, "NoNewPrivs:\t1") || !strings.Contains(e.out, "/main/aux/") {
				t.Errorf("%s: got %q", when, e.out)
			}
		}
		look("its own child")
		r.crash()
		r.up()
		look("adopted")
	}
	// What the command owns, it may open again by name.
	master, slave, err := keeper.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	open, err := r.Exec(t.Context(), session("/bin/sh", "-c", `stty -echo </dev/tty; echo x >"$(tty)"; stat -c '%u %a' "$(tty)"`), slave)
	if err != nil {
		t.Fatal(err)
	}
	defer hangup(t, open)
	slave.Close()
	b, err := io.ReadAll(master)
	if !errors.Is(err, unix.EIO) || string(b) != "x\r\n65534 620\r\n" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := open.Wait(); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hangup ends a session, which may have ended.
func hangup(t testing.TB, s *keeper.OpenSession) {
	t.Helper()
	if err := s.Hangup(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
