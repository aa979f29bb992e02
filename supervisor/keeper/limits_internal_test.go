package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCPUMax(t *testing.T) {
	for milli, want := range map[int64]string{
		1: "1000 1000000", 5: "5000 1000000", 9: "9000 1000000", 10: "1000 100000", 500: "50000 100000", 1500: "150000 100000",
		128000: "12800000 100000",
	} {
		if got := cpuMax(milli); got != want {
			t.Errorf("%d: got %q, want %q", milli, got, want)
		}
	}
}

func TestBFQWeight(t *testing.T) {
	for w, want := range map[int]int{1: 1, 100: 100, 101: 100, 1200: 200, 10000: 1000} {
		if got := bfqWeight(w); got != want {
			t.Errorf("%d: got %d, want %d", w, got, want)
		}
	}
}

// fakeTree is a tree of plain files that looks like cgroups; controllers offered are handed down as far as they are enabled.
type fakeTree struct {
	t    *testing.T
	root string
}

func (f fakeTree) make(dir string, files map[string]string) string {
	f.t.Helper()
	path := filepath.Join(f.root, dir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		f.t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	return path
}

func (f fakeTree) read(file string) string {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.root, file))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// offer has a cgroup that is offered what it needs, and passes on what is said.
func offer(on string) map[string]string {
	return map[string]string{"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": on}
}

func TestLimitWritesAndEnablesFromTheTop(t *testing.T) {
	f := fakeTree{t, t.TempDir()}
	f.make("", offer("")) // somebody else's
	f.make("slice", offer(""))
	f.make("slice/web-0", offer("cpu memory\n"))
	dir := f.make("slice/web-0/main", map[string]string{
		"cgroup.controllers": "", "cgroup.subtree_control": "", "memory.max": "max\n", "memory.oom.group": "0\n", "cpu.max": "max 100000\n",
		"pids.max": "max\n", "io.weight": "default 100\n",
	})
	root := filepath.Join(f.root, "slice")
	c := &cgroups{mount: f.root, top: root, root: root}
	if err := c.limit(dir, &Limits{MemoryMax: 64 << 20, CPUMilli: 1500, PidsMax: 20, IOWeight: 500}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"cgroup.subtree_control":                  "",
		"slice/cgroup.subtree_control":            "+memory +cpu +pids +io",
		"slice/web-0/cgroup.subtree_control":      "+pids +io",
		"slice/web-0/main/cgroup.subtree_control": "", // it holds processes: nothing may be enabled below
		"slice/web-0/main/memory.max":             "67108864",
		"slice/web-0/main/memory.oom.group":       "1",
		"slice/web-0/main/cpu.max":                "150000 100000",
		"slice/web-0/main/pids.max":               "20",
		"slice/web-0/main/io.weight":              "default 500",
	} {
		// Plain files keep the end of what was longer, cgroups don't.
		if got := f.read(file); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
	for _, spare := range []string{"memory.swap.max", "io.bfq.weight"} { // not on every kernel, and not made by us
		if _, err := os.Stat(filepath.Join(dir, spare)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", spare, err)
		}
	}
}

func TestNoLimitTouchesNothing(t *testing.T) {
	c := &cgroups{top: "/nowhere", root: "/nowhere"}
	for _, l := range []*Limits{nil, {}} {
		if err := c.limit("/nowhere/web-0/main", l); err != nil {
			t.Error(err)
		}
	}
}

func TestLimitNamesControllerAndCgroup(t *testing.T) {
	f := fakeTree{t, t.TempDir()}
	f.make("", map[string]string{"cgroup.controllers": "pids\n", "cgroup.subtree_control": ""})
	dir := f.make("web-0/main", nil)
	f.make("web-0", offer(""))
	c := &cgroups{top: f.root, root: f.root}
	err := c.limit(dir, &Limits{MemoryMax: 1, PidsMax: 5})
	if err == nil || !strings.Contains(err.Error(), "memory cannot be limited") || !strings.Contains(err.Error(), f.root) {
		t.Errorf("got %v", err)
	}
	if got := f.read("cgroup.subtree_control"); got != "" {
		t.Errorf("%q was written all the same", got)
	}
	f.make("", offer(""))
	if err := c.limit(dir, &Limits{PidsMax: 5}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "pids.max") {
		t.Errorf("a file that isn't there: %v", err)
	}
}

func TestControllerAt(t *testing.T) {
	const text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t9\t1\nmemory\t5\t9\t1\nblkio\t0\t1\t0\n"
	for name, want := range map[string]string{"cpu": "", "memory": "cgroup v1 has it", "io": "switched off", "pids": ""} {
		if got := controllerAt(text, name); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestPlaceCgroups(t *testing.T) {
	for _, c := range []struct {
		name, root string
		systemd    bool
		want       cgroups
	}{
		{"n", "", false, cgroups{"/cg", "/cg", "/cg/supd/n"}},
		{"n", "", true, cgroups{"/cg", "/cg/supd", "/cg/supd/n"}},
		{"", "/cg/supd.slice/m.scope/", true, cgroups{"/cg", "/cg/supd.slice/m.scope", "/cg/supd.slice/m.scope"}},
	} {
		if got := placeCgroups("/cg", c.name, c.root, c.systemd); *got != c.want {
			t.Errorf("%+v: got %+v", c, *got)
		}
	}
}

func TestMemoryEvents(t *testing.T) {
	e := parseMemoryEvents("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n")
	if e != (memoryEvents{3, 2}) {
		t.Errorf("got %+v", e)
	}
	limits := &Limits{MemoryMax: 100}
	for _, c := range []struct {
		name     string
		events   memoryEvents
		exit     Exit
		limits   *Limits
		weKilled bool
		oom      bool
		text     string
	}{
		{"killed at its limit", memoryEvents{3, 2}, Exit{Code: -1, Signal: "SIGKILL"}, limits, false, true, "100 bytes"},
		{"killed for the host", memoryEvents{0, 1}, Exit{Code: -1, Signal: "SIGKILL"}, limits, false, true, "the host"},
		{"nobody saw its end", memoryEvents{1, 1}, Exit{Code: -1, Unknown: true}, limits, false, true, "100 bytes"},
		{"a child of it was", memoryEvents{1, 1}, Exit{Code: 1}, limits, false, false, "1 of its processes"},
		{"killed by somebody", memoryEvents{}, Exit{Code: -1, Signal: "SIGKILL"}, limits, false, false, ""},
		{"killed by us", memoryEvents{1, 1}, Exit{Code: -1, Signal: "SIGKILL"}, limits, true, false, ""},
		{"at its limit, not killed", memoryEvents{5, 0}, Exit{Code: -1, Signal: "SIGKILL"}, limits, false, false, ""},
	} {
		oom, text := c.events.endedBy(c.exit, c.limits, c.weKilled)
		if oom != c.oom || !strings.Contains(text, c.text) || c.text == "" && text != "" {
			t.Errorf("%s: got %t, %q", c.name, oom, text)
		}
	}
}

func TestLimitsCheck(t *testing.T) {
	for _, l := range []*Limits{{MemoryMax: -1}, {CPUMilli: -1}, {PidsMax: -1}, {IOWeight: 10001}, {IOWeight: -1}} {
		if err := l.check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", *l, err)
		}
	}
	if (*Limits)(nil).check() != nil || (&Limits{IOWeight: 1}).check() != nil {
		t.Error("what is right was refused")
	}
}

// ownCgroup makes a cgroup for a test.
func ownCgroup(t *testing.T) string {
	t.Helper()
	mount, err := cgroup2Mount("/proc/self/mountinfo")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and a writable cgroup v2:", err)
	}
	dir := filepath.Join(mount, "supd", "test-"+strconv.Itoa(os.Getpid())+"-"+strings.ToLower(t.Name()))
	if err := makeCgroup(dir); err != nil {
		t.Skip("cgroup v2 can't be written:", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(killCgroup(dir), waitEmpty(dir), removeCgroup(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// await waits for something that can only be looked for.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestKillFrozen: what kernels without cgroup.kill need, against programs that are never found where they were seen.
func TestKillFrozen(t *testing.T) {
	t.Parallel()
	dir := ownCgroup(t)
	script := `echo $$ > "$1/cgroup.procs"; walk='sh -c "$0" "$0" & exit'; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sh -c "$walk" "$walk" & done; exec sleep 1000`
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script, "sh", dir}, &syscall.ProcAttr{Env: []string{"PATH=/bin:/usr/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	first := 0
	await(t, "they walk", func() bool {
		procs, err := cgroupProcs(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range procs {
			if first == 0 && p.pid != pid {
				first = p.pid
			}
		}
		return first != 0 && !slices.ContainsFunc(procs, func(p procStat) bool { return p.pid == first })
	})
	if err := errors.Join(killFrozen(dir), waitEmpty(dir)); err != nil {
		t.Error(err)
	}
	if ws, err := awaitChild(pid); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("got %v, %v", ws, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze")); err != nil || strings.TrimSpace(string(b)) != "0" {
		t.Errorf("left frozen: %q, %v", b, err)
	}
}

func awaitChild(pid int) (syscall.WaitStatus, error) {
	var ws syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(pid, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
			return ws, err
		}
	}
}

// TestAbandon: a child that has no pidfd is killed with its group and waited for, and its fork counts no more.
func TestAbandon(t *testing.T) {
	t.Parallel()
	r := newReaper(func(f func()) { f() }, func() {})
	r.begin()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	out := os.NewFile(uintptr(p[0]), "out")
	defer out.Close()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "sleep 1000 & echo x; wait"}, &syscall.ProcAttr{
		Files: []uintptr{0, uintptr(p[1]), 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	unix.Close(p[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.abandon(pid)
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("not waited for: %v", err)
	}
	if r.forks != 0 {
		t.Errorf("%d forks are under way", r.forks)
	}
	rest, err := out.Read(make([]byte, 8)) // the newline, or the end once all who write are dead
	for err == nil && rest > 0 {
		rest, err = out.Read(make([]byte, 8))
	}
	if alive, _ := groupOf(pid); slices.ContainsFunc(alive, func(s procStat) bool { return s.pgrp == pid }) {
		t.Errorf("%v of its group live", alive)
	}
}
