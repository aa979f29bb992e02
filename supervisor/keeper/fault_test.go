package keeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

func (r *rig) cgroupDir(member string) string {
	r.t.Helper()
	i, err := r.Hello(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return filepath.Join(i.Cgroup, member, "main")
}

func put(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

func kill9(t testing.TB, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, "it is dead", func() bool { return !alive(pid) })
}

// TestFrozen: a cgroup that somebody has frozen hinders no stop and no restart, and one above does not make the keeper hang.
func TestFrozen(t *testing.T) {
	t.Parallel()
	r := newCgroupRig(t)
	s := r.shell("a", "exec sleep 1000")
	s.StopTimeout = 50 * time.Millisecond
	st := r.mustStart(s)
	dir := r.cgroupDir("a")
	put(t, filepath.Join(dir, "cgroup.freeze"), "1")
	if _, err := r.tryExec(keeper.Session{Member: "a", Process: "main", Argv: []string{"/bin/true"}}, ""); err == nil || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("a command beside it: %v", err)
	}
	run := keeper.Run{Member: "a", Process: "main", Exec: keeper.Exec{Argv: []string{"/bin/true"}, Umask: -1}, Timeout: time.Second}
	if _, err := r.Run(t.Context(), run); err == nil || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("a run beside it: %v", err)
	}
	kill9(t, st.PID)
	r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
	put(t, filepath.Join(dir, "cgroup.freeze"), "1")
	if err := r.Stop(t.Context(), "a", "main"); err != nil {
		t.Fatal(err)
	}
	r.seeState("a", keeper.Stopped)

	s.Epoch = 2
	st = r.mustStart(s)
	root := filepath.Dir(filepath.Dir(dir))
	put(t, filepath.Join(root, "cgroup.freeze"), "1")
	thaw := func() { put(t, filepath.Join(root, "cgroup.freeze"), "0") }
	t.Cleanup(thaw)
	kill9(t, st.PID)
	r.see("a", "why it is not restarted", func(s keeper.Status) bool { return strings.Contains(s.Message, root+" is frozen") })
	if err := r.Start(t.Context(), r.shell("b", "exec sleep 1000")); !errors.Is(err, keeper.ErrBusy) || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("a start below: %v", err)
	}
	r.crash()
	r.up() // it tries its own forks at first
	thaw()
	r.seeState("a", keeper.Running)
}

// TestCgroupsElsewhere: the keeper is started with another place for cgroups than before. What it adopts is where it was.
func TestCgroupsElsewhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const script = `(exec 731>&-; exec setsid sh -c 'echo up; while :; do sleep 1000; done' "$1") & while :; do sleep 1000; done`
	for name, change := range map[string][2]bool{"another": {true, true}, "none": {true, false}, "now some": {false, true}} {
		for _, end := range []string{"stopped", "dies", "dies before"} {
			t.Run(name+" "+end, func(t *testing.T) {
				t.Parallel()
				r := newCgroupRig(t)
				was, now := r.cgroup, r.cgroup+"-now"
				if !change[0] {
					r = newRig(t, "")
				}
				word := uniqueWord()
				text := script
				if name != "another" { // without the lock nothing would lead to it
					text = strings.Replace(script, "exec 731>&-; ", "", 1)
				}
				s := r.shell("a", text, word)
				s.Argv[0], s.StopTimeout = "/bin/bash", 300*time.Millisecond // a plain sh closes no such descriptor
				st := r.mustStart(s)
				r.logHas("up")
				r.crash()
				if r.cgroup = now; !change[1] {
					r.cgroup = ""
				}
				t.Cleanup(func() {
					for _, root := range []string{"/sys/fs/cgroup/unified/supd", "/sys/fs/cgroup/supd"} {
						_ = os.Remove(filepath.Join(root, was, "a", "main"))
						_ = os.Remove(filepath.Join(root, was, "a"))
						_ = os.Remove(filepath.Join(root, was))
					}
				})
				old := copies(t, word)
				if end == "dies before" {
					kill9(t, st.PID)
				}
				r.up()
				if end != "dies before" {
					if got := r.seeState("a", keeper.Running); got.PID != st.PID {
						t.Errorf("got %+v, want %d adopted", got, st.PID)
					}
				}
				switch end {
				case "stopped":
					if err := r.Stop(t.Context(), "a", "main"); err != nil {
						t.Fatal(err)
					}
					r.seeState("a", keeper.Stopped)
				case "dies":
					kill9(t, st.PID)
				}
				if end != "stopped" {
					r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
				}
				for _, pid := range old {
					if alive(pid) {
						t.Errorf("process %d of the life before is left", pid)
					}
				}
			})
		}
	}
}

// TestStrangersGroup: where there are no cgroups, strangers in a group of the dead process's number are not signalled.
func TestStrangersGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	st := r.mustStart(r.shell("a", "exec sleep 1000"))
	r.crash()
	kill9(t, st.PID)
	c := exec.Command("/bin/sh", "-c", "sleep 1000 >&- 2>&- & echo $!")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	other, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if alive(other) {
			kill9(t, other)
		}
	})
	edit(t, filepath.Join(r.dir, "records", "a@main.life"), func(m map[string]any) { m["pid"], m["ticks"] = c.Process.Pid, 1 })
	r.up()
	r.see("a", "what it waits for", func(s keeper.Status) bool {
		return strings.Contains(s.Message, fmt.Sprintf("process %d may be of its group", other))
	})
	if err := r.Stop(t.Context(), "a", "main"); err != nil {
		t.Fatal(err)
	}
	r.see("a", "what its stop waits for", func(s keeper.Status) bool {
		return s.State == keeper.Stopping && strings.Contains(s.Message, "may be of its group")
	})
	if !alive(other) {
		t.Fatal("the stranger was killed")
	}
	kill9(t, other)
	r.seeState("a", keeper.Stopped)
}

// TestRebootedToTheSameNumbers: after a boot a stranger has the very pid and start time of the record.
func TestRebootedToTheSameNumbers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		st := r.mustStart(r.shell("a", "exec sleep 1000"))
		r.crash()
		kill9(t, st.PID)
		other := stranger(t)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", other.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		ticks, err := strconv.Atoi(strings.Fields(string(stat))[21])
		if err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{".json", ".life"} {
			edit(t, filepath.Join(r.dir, "records", "a@main"+ext), func(m map[string]any) {
				m["boot"] = "00000000-0000-0000-0000-000000000000"
				if ext == ".life" {
					m["pid"], m["ticks"] = other.Process.Pid, ticks
				}
			})
		}
		for range 2 { // the second has the first one's word only
			r.up()
			if got := r.seeState("a", keeper.Stopped); got.Message != "host rebooted" || got.PID != 0 {
				t.Errorf("got %+v", got)
			}
			if err := errors.Join(r.Stop(t.Context(), "a", "main"), r.GiveUp(t.Context(), "a", 1)); err != nil {
				t.Error(err)
			}
			if err := r.Signal(t.Context(), "a", "main", "TERM"); !errors.Is(err, keeper.ErrNotFound) {
				t.Errorf("a signal: %v", err)
			}
			r.crash()
		}
		r.up()
		s := r.shell("a", "exec sleep 1000")
		s.Epoch = 2
		r.mustStart(s)
		if !alive(other.Process.Pid) {
			t.Error("the stranger was killed")
		}
	})
}

// initChild is a host's init as it should be: it starts a keeper, and reaps at once whoever has lost its parent.
func initChild() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c := exec.Command("/proc/self/exe", os.Args[2:]...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "KEEPER_TEST_CHILD=") {
			c.Env = append(c.Env, kv)
		}
	}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			return 0
		}
	}
}

// upBelowInit replaces the keeper by one whose orphans are reaped at once. crash kills the new one.
func (r *rig) upBelowInit() (crash func()) {
	r.t.Helper()
	r.crash()
	r.spawn("init")
	init := r.cmd
	var pid int
	within(r.t, "the keeper below init answers", func() bool {
		i, err := r.Hello(r.t.Context())
		pid = i.PID
		return err == nil
	})
	r.t.Cleanup(func() { // the rig's keeper has no children of init's then
		_ = init.Process.Kill()
		_ = init.Wait()
	})
	return func() {
		kill9(r.t, pid)
		r.out = new(bytes.Buffer) // init still has the other
		within(r.t, "it is reaped, with all its threads", func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) })
	}
}

// knowsExit tells whether the kernel says how a process ended that isn't one's child (Linux 6.15).
func knowsExit(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 15
}

// TestAdoptedObeys: all that can be done to a process of the keeper's own can be done to an adopted one.
func TestAdoptedObeys(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		crash := r.upBelowInit()
		s := r.shell("a", `trap "echo usr1" USR1; trap "exit 42" TERM
sh -c 'trap "echo bye; exit" TERM; echo child; while :; do sleep 0.01; done' &
while :; do sleep 0.01; done`)
		r.mustStart(s)
		r.logHas("child")
		follow, err := keeper.OpenLog(r.logs, "main", keeper.LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer follow.Close()
		crash()
		r.up()
		r.see("a", "adopted", func(s keeper.Status) bool { return s.Adopted })
		if err := r.Signal(t.Context(), "a", "main", "USR1"); err != nil {
			t.Fatal(err)
		}
		seen := ""
		for b := make([]byte, 100); !strings.Contains(seen, "usr1"); {
			n, err := follow.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			seen += string(b[:n])
		}
		if e, err := r.tryExec(keeper.Session{Member: "a", Process: "main", Argv: []string{"/bin/sh", "-c", "echo beside; exit 3"}}, ""); err != nil || e.Code != 3 || e.out != "beside\n" {
			t.Errorf("a command beside it: %+v, %v", e, err)
		}
		if err := r.Restart(t.Context(), "a", "main", 5*time.Second, "asked"); err != nil {
			t.Fatal(err)
		}
		got := r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
		if e := got.LastExit; knowsExit(t) && (e.Unknown || e.Code != 42) {
			t.Errorf("exit is %+v, want 42", e)
		}
		l, err := keeper.OpenLog(r.logs, "main", keeper.LogOptions{Previous: true})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		b := make([]byte, 1<<16)
		if n, _ := l.Read(b); !strings.Contains(string(b[:n]), "bye\n") {
			t.Errorf("log is %q, want the child's good-bye in it", b[:n])
		}
	})
}

// TestAbsurdTimes: the clock was set by years, or the life is nonsense: no long pause, no life that begins in the future.
func TestAbsurdTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	for i, at := range []string{"2199-01-01T00:00:00Z", "1971-01-01T00:00:00Z"} {
		for _, lives := range []bool{true, false} {
			m := fmt.Sprintf("a-%d-%t", i, lives)
			s := r.shell(m, "exec sleep 1000")
			s.LogDir = filepath.Join(r.logs, m)
			st := r.mustStart(s)
			r.crash()
			if !lives {
				kill9(t, st.PID)
			}
			edit(t, filepath.Join(r.dir, "records", m+"@main.life"), func(l map[string]any) {
				l["started"], l["pause"], l["streak"] = at, int64(1)<<60, []int{1 << 40, -7}[i]
				l["exit"] = map[string]any{"code": 1, "at": at}
				if !lives {
					l["state"] = []string{"Backoff", "Running"}[i]
				}
			})
			r.up()
			got := r.seeState(m, keeper.Running)
			if got.StartedAt.After(time.Now()) || lives && got.PID != st.PID || !lives && got.Restarts != 1 {
				t.Errorf("%s: got %+v", m, got)
			}
			for n := got.Restarts + 1; n < got.Restarts+3; n++ {
				kill9(t, r.seeState(m, keeper.Running).PID)
				r.see(m, "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == n })
			}
		}
	}
}

// TestFullDisk: the keeper's directory takes nothing more, or is read-only. What runs is kept and can be stopped, for good.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, kind := range []string{"full", "read-only"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			small := t.TempDir()
			if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=128k"); err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(small, 0); err != nil {
					t.Error(err)
				}
			})
			r := rigAt(t, filepath.Join(small, "keeper"), t.TempDir())
			s := r.shell("a", "exec sleep 1000")
			st := r.mustStart(s)
			filler := filepath.Join(small, "filler")
			repair := func() {
				if err := errors.Join(unix.Mount("", small, "", unix.MS_REMOUNT, "size=128k"), os.RemoveAll(filler)); err != nil {
					t.Error(err)
				}
			}
			t.Cleanup(repair)
			if kind == "full" {
				if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
			} else if err := unix.Mount("", small, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			b := r.shell("b", "exec sleep 1000")
			b.Lock = filepath.Join(t.TempDir(), "lock")
			if err := r.Start(t.Context(), b); err == nil || !strings.Contains(err.Error(), "cannot write the record of b") {
				t.Errorf("a start: %v", err)
			}
			kill9(t, st.PID)
			st = r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
			if kind == "full" {
				r.crash()
				r.up()
				if got := r.seeState("a", keeper.Running); got.PID != st.PID || !got.Adopted {
					t.Errorf("got %+v, want %d adopted", got, st.PID)
				}
			}
			if err := r.Stop(t.Context(), "a", "main"); err != nil {
				t.Fatal(err)
			}
			r.seeState("a", keeper.Stopped)
			if kind == "full" {
				r.crash()
				r.up()
				if got := r.seeState("a", keeper.Stopped); got.Restarts != 1 {
					t.Errorf("got %+v, want it stopped still", got)
				}
			}
			repair()
			s.Epoch = 2
			r.mustStart(s)
		})
	}
}

// TestKeeperKilledAtAnyMoment kills the keeper at a random moment after each request. However that was cut short, there is at most one
// copy, a start can be asked for again, and what was given up stays so.
func TestKeeperKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	both(t, func(t *testing.T, r *rig) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		word, epoch := uniqueWord(), uint64(1)
		s := r.shell("a", "")
		s.Argv = []string{"tail", "-f", "/dev/null", word} // it forks nobody, who would look like a second one before its exec
		s.StopTimeout = time.Second
		given := uint64(0)
		for i := range 40 {
			s.Epoch = epoch
			ask := map[string]func() error{
				"start":   func() error { return r.Start(t.Context(), s) },
				"stop":    func() error { return r.Stop(t.Context(), "a", "main") },
				"restart": func() error { return r.Restart(t.Context(), "a", "main", time.Second, "asked") },
				"give up": func() error {
					err := r.GiveUp(t.Context(), "a", epoch)
					if err == nil {
						given = epoch
					}
					return err
				},
			}
			for _, what := range [][]string{{"start"}, {"start", "restart"}, {"stop"}, {"stop", "give up"}, {"start", "stop", "start"}}[rnd.IntN(5)] {
				done := make(chan error, 1)
				go func() { done <- ask[what]() }()
				if rnd.IntN(3) > 0 {
					<-done // its answer is not the point, what comes after the kill is
					continue
				}
				<-time.After(time.Duration(rnd.IntN(6000)) * time.Microsecond) // the moment of the kill, no synchronisation
				r.crash()
				<-done
				if got := copies(t, word); len(got) > 1 {
					t.Fatalf("round %d, %s: %v run", i, what, got)
				}
				r.up()
			}
			if given == epoch {
				if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
					t.Fatalf("round %d: a start in epoch %d, given up: %v", i, epoch, err)
				}
				epoch++
				s.Epoch = epoch
			}
			if rnd.IntN(2) == 0 {
				within(t, "a start that is asked for again", func() bool {
					err := r.Start(t.Context(), s)
					if errors.Is(err, keeper.ErrGivenUp) { // what was cut short was done
						epoch++
						s.Epoch = epoch
					}
					return err == nil
				})
				r.seeState("a", keeper.Running)
				// One that was adopted may have the signal of a restart that was cut short, and be about to die.
				within(t, "one copy", func() bool {
					got := copies(t, word)
					if len(got) > 1 {
						t.Fatalf("round %d: %v run", i, got)
					}
					return len(got) == 1
				})
			}
		}
	})
}
