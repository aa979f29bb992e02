package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// newLimitRig is a keeper that can limit what is named. Where the host offers no controllers the test is skipped; with
// KEEPER_TEST_NEED_LIMITS set, as in the virtual machine, it fails. KEEPER_TEST_CGROUP_ROOT names a delegated cgroup.
func newLimitRig(t *testing.T, controllers ...string) *rig {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("KEEPER_TEST_NEED_LIMITS") != "" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("needs root")
	}
	r := newRig(t, fmt.Sprintf("test-%d-%d", os.Getpid(), rigs.Add(1)))
	i, err := r.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range controllers {
		if !slices.Contains(i.Controllers, c) {
			skip("the controller %s is not offered (cgroup %q offers %v): boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all",
				c, i.Cgroup, i.Controllers)
		}
	}
	return r
}

// limited is a start of this binary as a child of a test.
func (r *rig) limited(member string, l keeper.Limits, mode string, env ...string) keeper.Start {
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	s := r.shell(member, "")
	s.Argv = []string{self}
	s.Env = append(env, "PATH=/usr/bin:/bin", "KEEPER_TEST_CHILD="+mode)
	s.Limits = &l
	return s
}

// hog takes memory until something ends it, and says how far it came.
func hog() int {
	for i := 1; ; i++ {
		b, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return 1
		}
		for j := 0; j < len(b); j += 4096 {
			b[j] = 1
		}
		fmt.Println("has", i, "MiB")
	}
}

// bomb forks until it may not, says how often it could, and waits.
func bomb() int {
	for n := 0; ; n++ {
		if _, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{}); err != nil {
			fmt.Println("forks:", n, err)
			select {}
		}
	}
}

// spin uses two CPUs for ever.
func spin() int {
	fmt.Println("spins")
	var n [2]uint
	for i := range n {
		go func() {
			for n[i] = 0; ; n[i]++ {
			}
		}()
	}
	select {}
}

func TestLimitsMemory(t *testing.T) {
	t.Parallel()
	r := newLimitRig(t, "memory")
	word := "oom-" + strconv.Itoa(os.Getpid())
	s := r.limited("a", keeper.Limits{MemoryMax: 64 << 20}, "hog")
	// The main process only waits; a child of it takes the memory. All of it must go.
	s.Argv = []string{"/bin/sh", "-c", `"$0" & wait; echo survived; exec sleep 1000`, s.Argv[0], word}
	r.mustStart(s)
	got := r.see("a", "an end for want of memory", func(s keeper.Status) bool { return s.OOMKills >= 2 })
	if !got.LastExit.OOMKilled || got.LastExit.Signal != "SIGKILL" || got.Restarts < 1 {
		t.Errorf("got %+v", got)
	}
	got = r.see("a", "a pause", func(s keeper.Status) bool { return s.State == keeper.Backoff && s.OOMKills >= 3 })
	if !strings.Contains(got.Message, "out of memory") || !strings.Contains(got.Message, strconv.Itoa(64<<20)) {
		t.Errorf("the message is %q", got.Message)
	}
	if l := r.log(keeper.LogOptions{Previous: true}); strings.Contains(l, "survived") || !strings.Contains(l, "has 40 MiB") || strings.Contains(l, "has 65 MiB") {
		t.Errorf("it came this far: %q", l[max(0, len(l)-200):])
	}
}

// TestLimitsMemoryNoKeeper: the keeper is dead when it happens; the next one finds it out from the cgroup.
func TestLimitsMemoryNoKeeper(t *testing.T) {
	t.Parallel()
	r := newLimitRig(t, "memory")
	s := r.limited("a", keeper.Limits{MemoryMax: 64 << 20}, "hog")
	begin := filepath.Join(t.TempDir(), "go")
	s.Argv = []string{"/bin/sh", "-c", `while ! [ -e "$1" ]; do sleep 0.01; done; exec "$0"`, s.Argv[0], begin}
	st := r.mustStart(s)
	r.crash()
	if err := os.WriteFile(begin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, "the kernel kills it", func() bool { return !alive(st.PID) })
	r.up()
	got := r.see("a", "a restart", func(s keeper.Status) bool { return s.OOMKills >= 1 })
	if !got.LastExit.OOMKilled {
		t.Errorf("got %+v", got)
	}
	// It runs into its limit again and again: that is written anew each time.
	r.see("a", "more of them", func(s keeper.Status) bool { return s.OOMKills >= 3 })
}

// TestLimitsSurvive: a stop by cgroup.kill and the keeper's crash leave nobody without limits.
func TestLimitsSurvive(t *testing.T) {
	t.Parallel()
	r := newLimitRig(t, "memory", "cpu", "pids")
	s := r.shell("default/web-0", `trap "" TERM; echo up; while :; do sleep 0.05; done`)
	s.Limits = &keeper.Limits{MemoryMax: 256 << 20, CPUMilli: 700, PidsMax: 50}
	r.mustStart(s)
	i, err := r.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	has := func(when string) {
		t.Helper()
		for file, want := range map[string]string{
			"memory.max": strconv.Itoa(256 << 20), "memory.oom.group": "1", "cpu.max": "70000 100000", "pids.max": "50", "cgroup.subtree_control": "",
		} {
			b, err := os.ReadFile(filepath.Join(i.Cgroup, "default_web-0", "main", file))
			if err != nil || strings.TrimSpace(string(b)) != want {
				t.Errorf("%s: %s is %q, %v; want %q", when, file, b, err, want)
			}
		}
	}
	has("at first")
	r.logHas("up")
	if err := r.Restart(t.Context(), "default/web-0", "main", 10*time.Millisecond, "test"); err != nil {
		t.Fatal(err)
	}
	r.see("default/web-0", "what is wanted", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
	has("after a kill of the cgroup")
	r.crash()
	r.up()
	st := r.seeState("default/web-0", keeper.Running)
	has("adopted")
	if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.see("default/web-0", "what is wanted", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 2 })
	has("restarted in place by the next keeper")
	if st := r.see("default/web-0", "what is wanted", func(keeper.Status) bool { return true }); st.LastExit.OOMKilled {
		t.Errorf("a SIGKILL of ours is taken for the kernel's: %+v", st)
	}
}

func TestLimitsPids(t *testing.T) {
	t.Parallel()
	r := newLimitRig(t, "pids")
	r.mustStart(r.limited("a", keeper.Limits{PidsMax: 40}, "bomb"))
	r.logHas("forks:")
	var n int
	if _, err := fmt.Sscanf(r.log(keeper.LogOptions{}), "forks: %d", &n); err != nil || n < 1 || n >= 40 {
		t.Errorf("%d forks, %v: want less than 40, for threads count too", n, err)
	}
	if err := r.Stop(t.Context(), "a", "main"); err != nil {
		t.Fatal(err)
	}
	r.seeState("a", keeper.Stopped) // nothing of the bomb is left
}

func TestLimitsCPU(t *testing.T) {
	t.Parallel()
	r := newLimitRig(t, "cpu")
	r.mustStart(r.limited("a", keeper.Limits{CPUMilli: 200}, "spin"))
	r.logHas("spins")
	i, err := r.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// How long it ran says nothing on a busy host; that it was held back and that its periods are not exceeded does.
	within(t, "it is held back", func() bool {
		periods, throttled, used := cpuStat(t, filepath.Join(i.Cgroup, "a", "main"))
		if periods < 10 || throttled < 5 {
			return false
		}
		if most := (periods + 3) * 20_000 * 3 / 2; used > most {
			t.Fatalf("it has used %d us in %d periods, want at most %d", used, periods, most)
		}
		return true
	})
}

func cpuStat(t *testing.T, dir string) (periods, throttled, used int64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "nr_periods":
			periods = n
		case "nr_throttled":
			throttled = n
		case "usage_usec":
			used = n
		}
	}
	return periods, throttled, used
}

func TestLimitsIO(t *testing.T) {
	t.Parallel()
	r := newLimitRig(t, "io")
	s := r.shell("a", "exec sleep 1000")
	s.Limits = &keeper.Limits{IOWeight: 300}
	err := r.Start(t.Context(), s)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel has no io.weight:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	i, err := r.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(i.Cgroup, "a", "main", "io.weight"))
	if err != nil || !strings.HasPrefix(string(b), "default 300") {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestLimitsRefused: what can't be limited isn't started, and leaves nothing.
func TestLimitsRefused(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		s := r.shell("a", "exec sleep 1000")
		s.Limits = &keeper.Limits{PidsMax: 50, MemoryMax: 64 << 20}
		i, err := r.Hello(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(i.Controllers, "memory") {
			t.Skip("they can be limited here")
		}
		err = r.Start(t.Context(), s)
		var ex *keeper.ErrExec
		if !errors.As(err, &ex) || ex.Step != "limits" || !strings.Contains(err.Error(), "memory") {
			t.Fatalf("got %v, want the step limits", err)
		}
		if i.Cgroup != "" {
			if !strings.Contains(err.Error(), filepath.Dir(filepath.Dir(i.Cgroup))) {
				t.Errorf("the cgroup isn't named: %v", err)
			}
			if _, err := os.Stat(filepath.Join(i.Cgroup, "a")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its cgroup: %v", err)
			}
		}
		if tab, err := r.List(t.Context(), 0); err != nil || len(tab.Processes) != 0 {
			t.Errorf("listed: %+v, %v", tab, err)
		}
		s.Limits = nil
		r.mustStart(s)
	})
}
