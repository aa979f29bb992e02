package keeper_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// teller is a program that speaks sd_notify. It does what the lines of the FIFO in its first argument say:
//
//	tell A|B   sends A and B as one message, and waits until it was taken
//	fork A|B   has a child send it that stays
//	raw N      sends N bytes that are no message; flood N sends N messages
//	fds        sends descriptors along
//	background VERB
//	exit N     ends
//
// Further arguments are told when SIGTERM comes, after which the last of them ends it: a duration or "never".
func teller() int {
	if m := os.Getenv("TELLER_CHILD"); m != "" {
		if err := tell(m); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("child told", m)
		select {}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	go func() {
		<-term
		last := os.Args[len(os.Args)-1]
		for _, m := range os.Args[2:max(2, len(os.Args)-1)] {
			if err := tell(m); err != nil {
				fmt.Println(err)
			}
		}
		if last == "never" {
			return
		}
		d, err := time.ParseDuration(last)
		if err != nil {
			d = 0
		}
		<-time.After(d) // its way of stopping
		os.Exit(0)
	}()
	f, err := os.OpenFile(os.Args[1], os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		verb, rest, _ := strings.Cut(sc.Text(), " ")
		if err := tellerDoes(verb, rest); err != nil {
			fmt.Println("failed:", verb, err)
		}
		fmt.Println("did", sc.Text())
	}
	return 1
}

func tellerDoes(verb, rest string) error {
	n := 0
	_, _ = fmt.Sscan(rest, &n) // of those verbs that have a number
	switch verb {
	case "tell":
		return tell(rest)
	case "fork":
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "TELLER_CHILD="+rest)
		c.Stdout = os.Stdout
		return c.Start()
	case "raw":
		return send(strings.Repeat("READY=1\n\xff\x00", n)[:n])
	case "flood":
		for i := range n {
			if err := send(fmt.Sprintf("STATUS=%d", i)); err != nil {
				return err
			}
		}
		return tell("WATCHDOG=1")
	case "fds":
		return send("FDSTORE=1\nFDNAME=x", 0, 1, 2, 1, 2)
	case "background":
		verb, rest, _ := strings.Cut(rest, " ")
		go tellerDoes(verb, rest) //nolint:errcheck // ends with the program
		return nil
	case "exit":
		os.Exit(n)
	}
	return fmt.Errorf("%q is no verb", verb)
}

// send sends one message, blocking while the queue is full.
func send(message string, fds ...int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(fd, []byte(message), oob, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0)
}

// tell sends a message and waits, as sd_notify_barrier does, until it was taken.
func tell(lines string) error {
	if err := send(strings.ReplaceAll(lines, "|", "\n")); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = send("BARRIER=1", int(w.Fd()))
	w.Close()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// teller starts a member that speaks sd_notify; the function it gives tells it what to do and waits until it has.
func (r *rig) teller(member string, change func(*keeper.Start), args ...string) func(line string) {
	r.t.Helper()
	fifo := filepath.Join(r.t.TempDir(), "do")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		r.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	s := r.shell(member, "")
	s.Argv = append([]string{self, fifo}, args...)
	s.Env = append(s.Env, "KEEPER_TEST_CHILD=teller", "NOTIFY_SOCKET=/nonsense")
	s.Notify, s.LogDir = true, filepath.Join(r.logs, member)
	log := func() string { return logIn(r.t, s.LogDir) }
	if change != nil {
		change(&s)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // before it is removed and after a restart too
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { f.Close() })
	r.mustStart(s)
	return func(line string) {
		r.t.Helper()
		before := strings.Count(log(), "did "+line+"\n")
		if _, err := fmt.Fprintln(f, line); err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(line, "exit") {
			return
		}
		within(r.t, "the member does "+line, func() bool {
			return strings.Count(log(), "did "+line+"\n") > before
		})
		if s := log(); strings.Contains(s, "failed:") {
			r.t.Fatalf("%s:\n%s", line, s)
		}
	}
}

func (r *rig) seeNotify(member, what string, ok func(keeper.NotifyStatus) bool) keeper.Status {
	r.t.Helper()
	return r.see(member, what, func(s keeper.Status) bool { return s.State == keeper.Running && ok(s.Notify) })
}

func isReady(n keeper.NotifyStatus) bool { return n.Ready }

func TestNotify(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		const m = "default/web-0"
		do := r.teller(m, nil)
		do("tell STATUS=half way\x1b[31m \u202eup\xff|MAINPID=1|X")
		do("fds")
		do("raw 6000") // too long
		do("raw 30")   // with zero bytes
		do("tell EXTEND_TIMEOUT_USEC=60000000")
		s := r.seeNotify(m, "EXTEND", func(n keeper.NotifyStatus) bool { return n.Extending })
		if want := (keeper.NotifyStatus{Text: "half way [31m  up?", Extending: true}); s.Notify != want {
			t.Errorf("before READY=1: got %+v, want %+v", s.Notify, want)
		}
		do("tell READY=1|STATUS=all the way|READY=1")
		s = r.seeNotify(m, "READY", isReady)
		if want := (keeper.NotifyStatus{Ready: true, Watched: true, Text: "all the way"}); s.Notify != want {
			t.Errorf("after READY=1: got %+v, want %+v", s.Notify, want)
		}
		do("tell RELOADING=1")
		r.seeNotify(m, "RELOADING", func(n keeper.NotifyStatus) bool { return n.Reloading })
		do("tell READY=1")
		r.seeNotify(m, "READY again", func(n keeper.NotifyStatus) bool { return !n.Reloading && n.Ready })
		do("tell WATCHDOG=trigger|ERRNO=5|STOPPING=1")
		r.seeNotify(m, "STOPPING", func(n keeper.NotifyStatus) bool { return n.Stopping && n.Trigger && n.Errno == 5 })

		do("exit 3")
		s = r.see(m, "the restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		if s.Notify != (keeper.NotifyStatus{}) {
			t.Errorf("after a restart in place: %+v", s.Notify)
		}
		do("tell READY=1")
		r.seeNotify(m, "READY of the second", isReady)
	})
}

func TestNotifyOfAChild(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		do := r.teller("default/web-0", nil)
		do("fork READY=1|STATUS=a child's")
		if s := r.seeNotify("default/web-0", "the child's READY", isReady); s.Notify.Text != "a child's" {
			t.Errorf("got %+v", s.Notify)
		}
	})
}

func TestNotifyOfAStranger(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		do := r.teller("default/web-0", nil)
		r.teller("default/web-1", func(s *keeper.Start) {
			s.Env = append(s.Env, "NOTHING=1")
		})
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		at := &unix.SockaddrUnix{Name: filepath.Join(r.dir, "notify", "default_web-0@main")}
		for range 3 {
			if err := unix.Sendto(fd, []byte("READY=1"), 0, at); err != nil {
				t.Fatal(err)
			}
		}
		do("tell STOPPING=1") // in line behind them
		if s := r.seeNotify("default/web-0", "STOPPING", func(n keeper.NotifyStatus) bool { return n.Stopping }); s.Notify.Ready {
			t.Errorf("a stranger's READY=1 was taken: %+v", s.Notify)
		}
		r.crash() // its log is read
		if n := strings.Count(r.out.String(), "not the member's"); n != 1 {
			t.Errorf("told %d times of a stranger, want once:\n%s", n, r.out)
		}
		r.up()
	})
}

func TestNotifyOutlivesTheKeeper(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		const m = "default/web-0"
		do := r.teller(m, func(s *keeper.Start) { s.Watchdog = time.Hour })
		do("tell READY=1|STATUS=fine")
		before := r.seeNotify(m, "READY", isReady)
		r.crash()
		r.up()
		s := r.see(m, "the adoption", func(s keeper.Status) bool { return s.Adopted })
		if s.Notify != before.Notify || s.PID != before.PID {
			t.Errorf("adopted: got %+v, want %+v", s, before)
		}
		do("tell RELOADING=1|STATUS=later")
		s = r.seeNotify(m, "a message after the adoption", func(n keeper.NotifyStatus) bool { return n.Reloading })
		if s.Notify.Text != "later" {
			t.Errorf("got %+v", s.Notify)
		}
	})
}

func TestNotifyWatchdog(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		const m = "default/web-0"
		do := r.teller(m, func(s *keeper.Start) { s.Watchdog = 30 * time.Millisecond })
		do("tell STATUS=not yet")
		do("tell WATCHDOG=1")
		r.seeNotify(m, "missed pings", func(n keeper.NotifyStatus) bool { return n.Watched && n.Missed >= 3 })
		r.crash()
		r.up()
		s := r.see(m, "the adoption", func(s keeper.Status) bool { return s.Adopted })
		if s.Notify.Missed > 2 {
			t.Logf("%d missed so soon: a busy machine", s.Notify.Missed)
		}
		r.seeNotify(m, "missed pings", func(n keeper.NotifyStatus) bool { return n.Missed >= 3 })
		last := r.seeNotify(m, "the last that is counted", func(n keeper.NotifyStatus) bool { return n.Missed == 100 })
		do("tell WATCHDOG=1")
		r.seeNotify(m, "counted anew", func(n keeper.NotifyStatus) bool { return n.Missed < last.Notify.Missed })
	})
}

func TestPingsAreNoNews(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		do := r.teller("default/web-0", func(s *keeper.Start) { s.Watchdog = time.Hour })
		do("tell READY=1")
		r.seeNotify("default/web-0", "READY", isReady)
		before, err := r.List(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			do("tell WATCHDOG=1")
		}
		do("flood 500") // with texts
		after, err := r.List(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if after.Version != before.Version {
			t.Errorf("pings and texts woke the agent: version %d became %d", before.Version, after.Version)
		}
		if got := after.Processes[0].Notify.Text; got != "499" {
			t.Errorf("the text is %q", got)
		}
	})
}

// TestNotifyFlood shows that a member that floods its socket keeps nobody else waiting.
func TestNotifyFlood(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	noisy := r.teller("default/noisy-0", nil)
	noisy("tell READY=1")
	noisy("background flood 1000000000")
	within(t, "the flood", func() bool {
		tab, err := r.List(t.Context(), 0)
		s, _ := tab.Find("default/noisy-0", "main")
		return err == nil && s.Notify.Text != ""
	})
	do := r.teller("default/web-0", nil)
	for range 20 {
		do("tell RELOADING=1")
		do("tell READY=1")
	}
	r.seeNotify("default/web-0", "READY", isReady)
	if err := r.Stop(t.Context(), "default/noisy-0", "main"); err != nil {
		t.Fatal(err)
	}
	r.seeState("default/noisy-0", keeper.Stopped)
}

func TestExtendedStop(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		do0 := r.teller("default/web-0", func(s *keeper.Start) { s.StopTimeout = time.Second }, "STOPPING=1|EXTEND_TIMEOUT_USEC=5000000", "1500ms")
		do1 := r.teller("default/web-1", func(s *keeper.Start) { s.StopTimeout = 100 * time.Millisecond }, "EXTEND_TIMEOUT_USEC=3600000000", "never")
		do0("tell READY=1") // SIGTERM is caught by now
		do1("tell READY=1")
		for _, m := range []string{"default/web-0", "default/web-1"} {
			if err := r.Stop(t.Context(), m, "main"); err != nil {
				t.Fatal(err)
			}
		}
		if s := r.seeState("default/web-0", keeper.Stopped); s.LastExit.Code != 0 || s.LastExit.Signal != "" {
			t.Errorf("one that asked for more time ended with %+v, want 0", s.LastExit)
		}
		if s := r.seeState("default/web-1", keeper.Stopped); s.LastExit.Signal != "SIGKILL" {
			t.Errorf("one that asks for ever ended with %+v, want SIGKILL", s.LastExit)
		}
	})
}

func TestNotifyOfAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r := newRig(t, "")
	open(t, r.dir)
	self := filepath.Join(filepath.Dir(r.dir), "teller")
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(self, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	do := r.teller("default/web-0", func(s *keeper.Start) {
		s.Argv[0], s.SetUser, s.UID, s.GID = self, true, 65534, 65534
	})
	do("tell READY=1")
	r.seeNotify("default/web-0", "READY", isReady)
	st, err := os.Stat(filepath.Join(r.dir, "notify", "default_web-0@main"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the socket of an ordinary user has mode %v", st.Mode())
	}
	// Nothing else of the keeper's can be reached that way.
	for _, name := range []string{"records", "epochs", "locks"} {
		if st, err := os.Stat(filepath.Join(r.dir, name)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

// open lets other users pass through the directories above dir.
func open(t *testing.T, dir string) {
	t.Helper()
	for d := filepath.Dir(dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotifyInADeepDirectory shows that the socket's name is a hash, then an abstract one, where the directory's is long.
func TestNotifyInADeepDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	long := "default/" + strings.Repeat("long-", 14) + "0"
	do := r.teller(long, func(s *keeper.Start) {})
	do("tell READY=1")
	r.seeNotify(long, "READY", isReady)

	r2 := &rig{t: t, dir: filepath.Join(t.TempDir(), strings.Repeat("deep", 25), "keeper"), logs: filepath.Join(t.TempDir(), "logs"), out: new(bytes.Buffer)}
	r2.Client = keeper.Dial(filepath.Join(r2.dir, "keeper.sock"))
	r2.up()
	t.Cleanup(r2.tearDown)
	do = r2.teller("default/web-0", nil)
	do("tell READY=1")
	r2.seeNotify("default/web-0", "READY", isReady)
	r2.crash()
	r2.up()
	do("tell STOPPING=1")
	s := r2.seeNotify("default/web-0", "STOPPING", func(n keeper.NotifyStatus) bool { return n.Stopping })
	if !s.Notify.Ready {
		t.Errorf("READY was forgotten: %+v", s.Notify)
	}
}

// TestNotifyEnvironment shows what the program is told, once, and that a Run is told nothing.
func TestNotifyEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	s := r.shell("default/web-0", `/usr/bin/env; echo all told; exec sleep 1000`)
	s.Env = append(s.Env, "NOTIFY_SOCKET=/mine", "WATCHDOG_PID=1")
	s.Notify, s.Watchdog = true, 1500*time.Millisecond
	r.mustStart(s)
	r.logHas("all told")
	var got []string
	for line := range strings.Lines(r.log(keeper.LogOptions{})) {
		if strings.HasPrefix(line, "NOTIFY") || strings.HasPrefix(line, "WATCHDOG") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(got)
	if want := []string{"NOTIFY_SOCKET=" + filepath.Join(r.dir, "notify", "default_web-0@main"), "WATCHDOG_USEC=1500000"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
