package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// patience is how long tests wait for what must come; in the virtual machine, which is emulated, longer.
var patience = func() time.Duration {
	if os.Getenv("KEEPER_TEST_NEED_LIMITS") != "" {
		return 2 * time.Minute
	}
	return 20 * time.Second
}()

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"run", "stage", "halt", "version", "check-state"}, os.Args[1]) {
		os.Exit(keeper.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	if mode := os.Getenv("KEEPER_TEST_CHILD"); mode != "" {
		os.Exit(testChild(mode))
	}
	goleak.VerifyTestMain(m)
}

// testChild is what this binary does when a test starts it as something else.
func testChild(mode string) int {
	switch mode {
	case "whole-life": // a keeper in this process, from New to the end of Run
		if err := wholeLife(os.Getenv("KEEPER_TEST_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	case "init":
		return initChild()
	case "teller":
		return teller()
	case "writer":
		return writerChild()
	case "stamp": // says when it got to run
		fmt.Println(time.Now().UnixNano())
		select {}
	case "hog":
		return hog()
	case "bomb":
		return bomb()
	case "spin":
		return spin()
	}
	return 2
}

// rig is a keeper in a process of its own.
type rig struct {
	t      testing.TB
	dir    string // the keeper's
	logs   string
	cgroup string // name, "" = none
	soft   int    // the keeper's soft limit of descriptors, 0 = ours
	binary string // that it is started from
	cmd    *exec.Cmd
	out    *bytes.Buffer
	*keeper.Client
}

var rigs atomic.Int64

// both runs a test with cgroups, where the host lets us, and without.
func both(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run("groups", func(t *testing.T) { t.Parallel(); f(t, newRig(t, "")) })
	t.Run("cgroups", func(t *testing.T) { t.Parallel(); f(t, newCgroupRig(t)) })
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func newCgroupRig(t *testing.T) *rig {
	t.Helper()
	needRoot(t)
	r := newRig(t, fmt.Sprintf("test-%d-%d", os.Getpid(), rigs.Add(1)))
	i, err := r.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i.Cgroup == "" {
		t.Skip("no writable cgroup v2 here")
	}
	return r
}

func newRig(t testing.TB, cgroup string) *rig {
	t.Helper()
	return startRig(t, cgroup, "/proc/self/exe")
}

func startedAs(t testing.TB, binary string) *rig {
	t.Helper()
	return startRig(t, "", binary)
}

func startRig(t testing.TB, cgroup, binary string) *rig {
	t.Helper()
	dir := t.TempDir()
	return (&rig{t: t, dir: filepath.Join(dir, "keeper"), logs: filepath.Join(dir, "logs"), cgroup: cgroup, binary: binary}).begin()
}

// rigAt is a rig whose keeper has a directory given.
func rigAt(t testing.TB, dir, logs string) *rig {
	t.Helper()
	return (&rig{t: t, dir: dir, logs: logs}).begin()
}

func (r *rig) begin() *rig {
	r.t.Helper()
	r.out = new(bytes.Buffer)
	r.Client = keeper.Dial(filepath.Join(r.dir, "keeper.sock"))
	r.up()
	r.t.Cleanup(r.tearDown)
	return r
}

// up starts a keeper and waits until it answers.
func (r *rig) up() {
	r.t.Helper()
	r.spawn("")
	r.answer()
}

// spawn starts a keeper, or this binary in a mode of testChild that gets the keeper's arguments.
func (r *rig) spawn(mode string) {
	r.t.Helper()
	args := []string{"run", "--dir", r.dir}
	switch root := os.Getenv("KEEPER_TEST_CGROUP_ROOT"); {
	case r.cgroup != "" && root != "":
		root = filepath.Join(root, r.cgroup)
		if err := os.MkdirAll(root, 0o755); err != nil {
			r.t.Fatal(err)
		}
		args = append(args, "--cgroup-root", root)
	case r.cgroup != "":
		args = append(args, "--cgroup", r.cgroup)
	}
	if r.binary == "" {
		r.binary = "/proc/self/exe"
	}
	r.cmd = exec.Command(r.binary, args...)
	if r.soft != 0 {
		self, err := os.Executable()
		if err != nil {
			r.t.Fatal(err)
		}
		script := fmt.Sprintf(`ulimit -Sn %d; exec "$0" "$@"`, r.soft)
		r.cmd = exec.Command("/bin/sh", append([]string{"-c", script, self}, args...)...)
	}
	if mode != "" {
		r.cmd = exec.Command("/proc/self/exe", append([]string{mode}, args...)...)
		r.cmd.Env = append(os.Environ(), "KEEPER_TEST_CHILD="+mode)
	}
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) answer() {
	r.t.Helper()
	within(r.t, "the keeper answers", func() bool {
		i, err := r.Hello(r.t.Context())
		return err == nil && i.PID == r.cmd.Process.Pid
	})
}

// crash kills the keeper with kill -9.
func (r *rig) crash() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = r.cmd.Wait() // "signal: killed"
}

// tearDown stops all members, if need be by a new keeper, and then the keeper.
func (r *rig) tearDown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if r.cmd.ProcessState != nil {
		r.up()
	}
	tab, err := r.List(ctx, 0)
	if err != nil {
		r.t.Errorf("list at the end: %v\n%s", err, r.out)
	}
	for _, s := range tab.Processes {
		fast := keeper.Settings{StopTimeout: 0}
		_ = r.Update(ctx, s.Member, s.Process, fast) // a damaged record can't be updated, but stopped
		if err := r.Stop(ctx, s.Member, s.Process); err != nil {
			r.t.Errorf("stop at the end: %v", err)
		}
	}
	for err == nil && !allGone(tab) {
		tab, err = r.List(ctx, tab.Version)
	}
	if err != nil {
		r.t.Errorf("not all stopped: %v: %+v", err, tab)
	}
	if err := errors.Join(r.Close(), r.cmd.Process.Signal(unix.SIGTERM)); err != nil {
		r.t.Error(err)
	}
	if err := r.cmd.Wait(); err != nil {
		r.t.Errorf("the keeper ended badly: %v", err)
	}
	if r.t.Failed() {
		r.t.Logf("keeper's log:\n%s", r.out)
	}
	if r.cgroup != "" {
		for _, root := range []string{"/sys/fs/cgroup/unified/supd", "/sys/fs/cgroup/supd"} {
			if _, err := os.Stat(filepath.Join(root, r.cgroup)); err == nil {
				r.t.Errorf("its cgroup %s is left in %s", r.cgroup, root)
			}
		}
		if root := os.Getenv("KEEPER_TEST_CGROUP_ROOT"); root != "" {
			_ = os.Remove(filepath.Join(root, r.cgroup)) // a delegated one is not the keeper's
		}
	}
}

func allGone(tab keeper.Table) bool {
	for _, s := range tab.Processes {
		if !s.Gone() {
			return false
		}
	}
	return true
}

// within waits for something that can only be looked for.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// see waits until a process's status is as wanted.
func (r *rig) see(member string, what string, ok func(keeper.Status) bool) keeper.Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var last keeper.Status
	for after := uint64(0); ; {
		tab, err := r.List(ctx, after)
		if err != nil {
			r.t.Fatalf("%s: waited in vain for %s: %v; last seen %+v\nkeeper's log:\n%s", member, what, err, last, r.out)
		}
		after = tab.Version
		s, found := tab.Find(member, "main")
		if found && ok(s) {
			return s
		}
		last = s
	}
}

func (r *rig) seeState(member string, want keeper.State) keeper.Status {
	r.t.Helper()
	return r.see(member, string(want), func(s keeper.Status) bool { return s.State == want })
}

// shell is a start of a shell script.
func (r *rig) shell(member string, script string, args ...string) keeper.Start {
	return keeper.Start{
		Member: member, Process: "main", Epoch: 1,
		Exec:     keeper.Exec{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Env: []string{"PATH=/usr/bin:/bin"}, Umask: -1},
		LogDir:   r.logs,
		Settings: keeper.Settings{StopTimeout: 5 * time.Second, BackoffFirst: 10 * time.Millisecond, BackoffMax: 40 * time.Millisecond},
	}
}

func (r *rig) mustStart(s keeper.Start) keeper.Status {
	r.t.Helper()
	if err := r.Start(r.t.Context(), s); err != nil {
		r.t.Fatalf("start %s: %v", s.Member, err)
	}
	tab, err := r.List(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	st, ok := tab.Find(s.Member, s.Process)
	if !ok {
		r.t.Fatalf("%s isn't listed", s.Member)
	}
	return st
}

// logHas waits for a line in the log.
func (r *rig) logHas(want string) {
	r.t.Helper()
	within(r.t, fmt.Sprintf("%q in the log", want), func() bool { return strings.Contains(r.log(keeper.LogOptions{}), want) })
}

func (r *rig) log(o keeper.LogOptions) string {
	r.t.Helper()
	return logOf(r.t, r.logs, o)
}

func logIn(t testing.TB, dir string) string { t.Helper(); return logOf(t, dir, keeper.LogOptions{}) }

func logOf(t testing.TB, dir string, o keeper.LogOptions) string {
	t.Helper()
	l, err := keeper.OpenLog(dir, "main", o)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := io.ReadAll(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alive looks at a process from outside.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	return b[bytes.LastIndexByte(b, ')')+2] != 'Z'
}

// copies counts the live processes with this word among their arguments.
func copies(t *testing.T, word string) (pids []int) {
	t.Helper()
	return copiesOf(t, word)[word]
}

// copiesOf is copies for many words, by one look.
func copiesOf(t *testing.T, words ...string) map[string][]int {
	t.Helper()
	found := map[string][]int{}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, arg := range bytes.Split(b, []byte{0}) {
			if word := string(arg); slices.Contains(words, word) {
				if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && alive(pid) {
					found[word] = append(found[word], pid)
				}
			}
		}
	}
	return found
}

// uniqueWord marks the processes of one test among the host's.
func uniqueWord() string { return fmt.Sprintf("word-%d-%d", os.Getpid(), rigs.Add(1)) }

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.mustStart(r.shell("default/web-0", "echo hello; exec sleep 1000"))
		if s.State != keeper.Running || !alive(s.PID) || s.Epoch != 1 {
			t.Fatalf("got %+v, want it running", s)
		}
		if err := r.Start(t.Context(), r.shell("default/web-0", "exit 1")); err != nil {
			t.Errorf("a second start in the same epoch: %v", err)
		}
		r.logHas("hello")
		if err := r.Stop(t.Context(), "default/web-0", "main"); err != nil {
			t.Fatal(err)
		}
		e := r.seeState("default/web-0", keeper.Stopped)
		if e.LastExit.Signal != "SIGTERM" || alive(s.PID) || e.PID != 0 || e.Restarts != 0 {
			t.Errorf("got %+v, want it ended by SIGTERM", e)
		}
		if err := r.Forget(t.Context(), "default/web-0", "main"); err != nil {
			t.Fatal(err)
		}
		if tab, err := r.List(t.Context(), 0); err != nil || len(tab.Processes) != 0 {
			t.Errorf("after Forget: %+v, %v", tab, err)
		}
	})
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", `trap "" TERM; sleep 1000 & echo child $!; while :; do wait; done`)
		s.StopTimeout = 50 * time.Millisecond
		st := r.mustStart(s)
		r.logHas("child ")
		child, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(r.log(keeper.LogOptions{}), "child ")))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		e := r.seeState("a", keeper.Stopped)
		if e.LastExit.Signal != "SIGKILL" || alive(st.PID) || alive(child) {
			t.Errorf("got %+v, want all of it killed", e)
		}
	})
}

// TestShorterStopTimeoutHoldsAtOnce: for a stop under way; a longer one changes nothing.
func TestShorterStopTimeoutHoldsAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", `trap "" TERM; echo up; while :; do sleep 0.01; done`)
		s.StopTimeout = time.Hour
		r.mustStart(s)
		r.logHas("up")
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		first := r.see("a", "a stop", func(s keeper.Status) bool { return s.State == keeper.Stopping })
		set := s.Settings
		set.StopTimeout = 2 * time.Hour
		if err := r.Update(t.Context(), "a", "main", set); err != nil {
			t.Fatal(err)
		}
		if st := r.see("a", "a stop", func(keeper.Status) bool { return true }); !st.KillAt.Equal(first.KillAt) {
			t.Errorf("killed at %s, want %s as before", st.KillAt, first.KillAt)
		}
		set.StopTimeout = 50 * time.Millisecond
		if err := r.Update(t.Context(), "a", "main", set); err != nil {
			t.Fatal(err)
		}
		if e := r.seeState("a", keeper.Stopped); e.LastExit.Signal != "SIGKILL" {
			t.Errorf("got %+v, want it killed", e)
		}
	})
}

func TestStopIsPassedOnToWhatTheMainProcessLeaves(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		// The shell dies of SIGTERM at once, its child needs the signal too and says good-bye.
		s := r.shell("a", `sh -c 'trap "echo bye; exit" TERM; echo up; while :; do sleep 0.01; done' & wait`)
		r.mustStart(s)
		r.logHas("up")
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("a", keeper.Stopped)
		if got := r.log(keeper.LogOptions{}); !strings.Contains(got, "bye\n") {
			t.Errorf("log is %q, want the child's good-bye in it", got)
		}
	})
}

func TestRestartInPlace(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "sleep 1.2; echo old enough; exec sleep 1000"))
		r.logHas("old enough")
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s := r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		if s.Backoff != 0 || s.LastExit.Signal != "SIGKILL" || s.PID == st.PID || s.Epoch != 1 {
			t.Errorf("got %+v, want a restart at once", s)
		}
		if late := s.StartedAt.Sub(s.LastExit.At); late > time.Second {
			t.Errorf("restarted %s after the death", late)
		}
	})
}

func TestBackoffGrowsAndNeverGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.mustStart(r.shell("a", "exit 3"))
	s := r.see("a", "many restarts", func(s keeper.Status) bool { return s.Restarts >= 8 && s.State == keeper.Backoff })
	if s.LastExit.Code != 3 || s.Backoff < 30*time.Millisecond || s.Backoff > 40*time.Millisecond {
		t.Errorf("got %+v, want exit code 3 and a pause near the greatest", s)
	}
	if err := r.Stop(t.Context(), "a", "main"); err != nil {
		t.Fatal(err)
	}
	r.seeState("a", keeper.Stopped)
}

func TestNeverOn(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", "exit 7")
		s.NeverOn = []int{7}
		r.mustStart(s)
		got := r.seeState("a", keeper.Failed)
		if got.Restarts != 0 || got.LastExit.Code != 7 || !strings.Contains(got.Message, "7") {
			t.Errorf("got %+v", got)
		}
		if err := r.Start(t.Context(), s); err != nil {
			t.Error(err)
		}
		r.crash()
		r.up()
		if got := r.seeState("a", keeper.Failed); got.LastExit.Code != 7 {
			t.Errorf("after the keeper's crash: %+v", got)
		}
		s.Epoch, s.NeverOn = 2, nil
		s.Argv = []string{"sleep", "1000"}
		if got := r.mustStart(s); got.State != keeper.Running || got.LastExit.At != (time.Time{}) {
			t.Errorf("in a new epoch: %+v", got)
		}
	})
}

func TestRestartOnRequest(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", `trap "" TERM; echo up; while :; do sleep 1000 & wait; done`))
		r.logHas("up")
		if err := r.Restart(t.Context(), "a", "main", 30*time.Millisecond, "liveness failed"); err != nil {
			t.Fatal(err)
		}
		s := r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		if alive(st.PID) || s.PID == st.PID || s.LastExit.Why != "liveness failed" {
			t.Errorf("got %+v, want another process, and why", s)
		}
		if err := unix.Kill(s.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s = r.see("a", "a crash", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 2 })
		if s.LastExit.Why != "" {
			t.Errorf("got %+v, want nobody to have asked for the end of a crash", s)
		}
	})
}

// TestRestartWaitsForWhatIsLeft: the main process dies, a child of another session holds on to the lock and ignores
// SIGTERM. It is killed, and only then the next is started.
func TestRestartWaitsForWhatIsLeft(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		script := `trap "" TERM; setsid sh -c 'trap "" TERM; echo up; while :; do sleep 1000; done' "$1" & wait`
		st := r.mustStart(r.shell("a", script, word))
		r.logHas("up")
		within(t, "both run", func() bool { return len(copies(t, word)) == 2 })
		before := copies(t, word)
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		for _, pid := range before {
			if alive(pid) {
				t.Errorf("process %d of the first life still runs", pid)
			}
		}
		if err := r.Update(t.Context(), "a", "main", keeper.Settings{StopTimeout: 20 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		if err := r.Stop(t.Context(), "a", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("a", keeper.Stopped)
		if left := copies(t, word); len(left) != 0 {
			t.Errorf("%v run after the stop", left)
		}
	})
}

func TestLockHeldByAStranger(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", "exec sleep 1000")
		s.Lock = filepath.Join(t.TempDir(), "lock.main")
		f, err := os.OpenFile(s.Lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrLocked) {
			t.Fatalf("got %v, want ErrLocked", err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		r.mustStart(s)
	})
}

func TestEpochs(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("default/web-0", "exec sleep 1000")
		s.Epoch = 5
		r.mustStart(s)
		low, high := s, s
		low.Epoch, high.Epoch = 4, 6
		if err := r.Start(t.Context(), low); !errors.Is(err, keeper.ErrGivenUp) {
			t.Errorf("a lower epoch: %v", err)
		}
		if err := r.Start(t.Context(), high); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("a higher epoch beside it: %v", err)
		}
		if err := r.GiveUp(t.Context(), "default/web-0", 5); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("give up while it runs: %v", err)
		}
		if err := r.GiveUp(t.Context(), "default/web-0", 4); err != nil {
			t.Errorf("give up an older epoch: %v", err)
		}
		if err := r.Stop(t.Context(), "default/web-0", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("default/web-0", keeper.Stopped)
		if err := r.GiveUp(t.Context(), "default/web-0", 5); err != nil {
			t.Fatal(err)
		}
		if err := r.Forget(t.Context(), "default/web-0", "main"); err != nil {
			t.Fatal(err)
		}
		r.crash()
		r.up()
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
			t.Errorf("given up, forgotten, and a new keeper: %v", err)
		}
		if st := r.mustStart(high); st.Epoch != 6 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestDamagedEpochRefusesEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	if err := r.GiveUp(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	r.crash()
	if err := os.WriteFile(filepath.Join(r.dir, "epochs", "a.json"), []byte(`{"version":1,"mem`), 0o600); err != nil {
		t.Fatal(err)
	}
	r.up()
	s := r.shell("a", "exec sleep 1000")
	s.Epoch = 9
	if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
		t.Errorf("got %v, want ErrGivenUp", err)
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.mustStart(r.shell("a", `trap "echo got it" HUP; echo up; while :; do sleep 0.01; done`))
	r.logHas("up")
	if err := r.Signal(t.Context(), "a", "main", "HUP"); err != nil {
		t.Fatal(err)
	}
	r.logHas("got it")
	if err := r.Signal(t.Context(), "a", "main", "SIGNONE"); !errors.Is(err, keeper.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	if err := r.Signal(t.Context(), "b", "main", "HUP"); !errors.Is(err, keeper.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestOneKeeperPerDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	out, err := exec.Command("/proc/self/exe", "run", "--dir", r.dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another keeper works on") {
		t.Errorf("got %v, %s", err, out)
	}
	if _, err := r.Hello(t.Context()); err != nil {
		t.Errorf("the first one: %v", err)
	}
}

func TestLongSocketPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	r := &rig{t: t, dir: dir, logs: t.TempDir(), out: new(bytes.Buffer), Client: keeper.Dial(filepath.Join(dir, "keeper.sock"))}
	r.up()
	t.Cleanup(r.tearDown)
	st, err := os.Stat(filepath.Join(dir, "keeper.sock"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", st, err)
	}
}

func TestNoKeeper(t *testing.T) {
	t.Parallel()
	c := keeper.Dial(filepath.Join(t.TempDir(), "keeper.sock"))
	if _, err := c.List(t.Context(), 0); !errors.Is(err, keeper.ErrDown) {
		t.Errorf("got %v, want ErrDown", err)
	}
}

func TestListEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	tab, err := r.List(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.List(ctx, tab.Version); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got, err := r.List(t.Context(), tab.Version+1000); err != nil || got.Version != tab.Version {
		t.Errorf("a version from the future: %+v, %v", got, err)
	}
}

func TestWholeLifeLeavesNoGoroutine(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "KEEPER_TEST_CHILD=whole-life", "KEEPER_TEST_DIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func wholeLife(dir string) error {
	k, err := keeper.New(keeper.Options{Dir: dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	running, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.Run(running) }()
	<-k.Ready()
	c := keeper.Dial(filepath.Join(dir, "keeper.sock"))
	waiting := make(chan error, 1)
	tab, err := c.List(ctx, 0)
	go func() { // a long poll that the end cuts off
		_, err := c.List(ctx, tab.Version+2) // Starting, Running
		waiting <- err
	}()
	err = errors.Join(err, c.Start(ctx, keeper.Start{
		Member: "a", Process: "main", Epoch: 1, Exec: keeper.Exec{Argv: []string{"sleep", "1000"}, Umask: -1},
	}))
	err = errors.Join(err, c.Stop(ctx, "a", "main"))
	for after := uint64(0); err == nil; {
		var tab keeper.Table
		tab, err = c.List(ctx, after)
		if after = tab.Version; allGone(tab) {
			break
		}
	}
	end()
	<-waiting
	return errors.Join(err, <-ended, c.Close(), goleak.Find())
}
