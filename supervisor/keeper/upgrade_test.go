package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// mustUpgrade has the keeper become its own binary again.
func (r *rig) mustUpgrade() keeper.Info {
	r.t.Helper()
	before, err := r.Hello(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	i, err := r.Upgrade(r.t.Context(), "")
	if err != nil {
		r.t.Fatalf("upgrade: %v\nkeeper's log:\n%s", err, r.out)
	}
	if i.PID != before.PID || i.Upgrades.Done != before.Upgrades.Done+1 {
		r.t.Fatalf("before the upgrade %+v, after it %+v", before, i)
	}
	return i
}

func (r *rig) status(member string) keeper.Status {
	r.t.Helper()
	tab, err := r.List(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	s, ok := tab.Find(member, "main")
	if !ok {
		r.t.Fatalf("%s isn't listed", member)
	}
	return s
}

func TestUpgradeKeepsEverything(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.mustStart(r.shell("d/adopted", `trap 'exit 9' USR1; while :; do sleep 0.01; done`))
		r.seeState("d/adopted", keeper.Running)
		r.crash()
		r.up()

		r.mustStart(r.talks("d/running", `trap 'exit 7' USR1; echo up; while :; do sleep 0.01; done`))
		stubborn := r.talks("d/stopping", `trap '' TERM; echo up; while :; do sleep 0.01; done`)
		stubborn.StopTimeout = 2 * time.Second
		r.mustStart(stubborn)
		failing := r.shell("d/backoff", `exit 3`)
		failing.BackoffFirst, failing.BackoffMax = time.Hour, time.Hour
		if err := r.Start(t.Context(), failing); err != nil {
			t.Fatal(err)
		}
		never := r.shell("d/failed", `exit 4`)
		never.NeverOn = []int{4}
		if err := r.Start(t.Context(), never); err != nil {
			t.Fatal(err)
		}
		within(t, "both trap", func() bool { return r.logged("d/running", "up") && r.logged("d/stopping", "up") })
		if err := r.Stop(t.Context(), "d/stopping", "main"); err != nil {
			t.Fatal(err)
		}
		waiting := r.see("d/backoff", "a pause", func(s keeper.Status) bool { return s.State == keeper.Backoff && !s.NextStart.IsZero() && s.Backoff > 0 })
		r.seeState("d/failed", keeper.Failed)
		before, err := r.List(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}

		r.mustUpgrade()

		after, err := r.List(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if after.Version <= before.Version {
			t.Errorf("the table's version went from %d to %d", before.Version, after.Version)
		}
		for _, was := range before.Processes {
			now, _ := after.Find(was.Member, was.Process)
			if now.State != was.State || now.PID != was.PID || now.Epoch != was.Epoch || now.Restarts != was.Restarts ||
				!now.StartedAt.Equal(was.StartedAt) || now.Adopted != was.Adopted || now.Message != was.Message {
				t.Errorf("before the upgrade\n%+v, after it\n%+v", was, now)
			}
		}
		if now := r.status("d/backoff"); now.NextStart.Sub(waiting.NextStart).Abs() > time.Minute {
			t.Errorf("the pause was to end %s, now %s", waiting.NextStart, now.NextStart)
		}
		s := r.see("d/stopping", "its end", func(s keeper.Status) bool { return s.State == keeper.Stopped })
		if s.LastExit.Signal != "SIGKILL" {
			t.Errorf("the one being stopped ended as %+v", s.LastExit)
		}
		for member, code := range map[string]int{"d/running": 7, "d/adopted": 9} {
			if err := r.Signal(t.Context(), member, "main", "USR1"); err != nil {
				t.Fatal(err)
			}
			s := r.see(member, "its restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
			// The kernel tells of the adopted one's end only once its parent, which the keeper isn't, has reaped it.
			if s.LastExit.Code != code && (member != "d/adopted" || !s.LastExit.Unknown) {
				t.Errorf("%s ended as %+v, want code %d", member, s.LastExit, code)
			}
			if s.Adopted {
				t.Errorf("%s is adopted after its restart", member)
			}
		}
	})
}

// talks is a shell script with a log of its own.
func (r *rig) talks(member, script string) keeper.Start {
	s := r.shell(member, script)
	s.LogDir = filepath.Join(r.logs, filepath.Base(member))
	return s
}

func (r *rig) logged(member, text string) bool {
	b, _ := os.ReadFile(keeper.LogPath(filepath.Join(r.logs, filepath.Base(member)), "main")) // it may not be there yet
	return strings.Contains(string(b), text)
}

// Members die while the keeper is replaced again and again: every end is known and answered once.
func TestUpgradeWhileMembersDie(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		const members, upgrades = 4, 25
		mark := strconv.FormatInt(time.Now().UnixNano(), 10) // in seconds: the sleep does not end
		seen := copyCount{mark}
		var killers sync.WaitGroup
		var deaths atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for m := range members {
			s := r.shell("d/m-"+strconv.Itoa(m), `exec sleep `+mark+"."+strconv.Itoa(m))
			s.LogDir = ""
			s.BackoffFirst, s.BackoffMax = time.Millisecond, time.Millisecond
			r.mustStart(s)
		}
		for m := range members {
			killers.Go(func() {
				name := "d/m-" + strconv.Itoa(m)
				sig := []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGUSR1, unix.SIGSEGV}[m]
				for round := 0; ctx.Err() == nil; round++ {
					s, err := waitStatus(t.Context(), r, name, func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts >= round })
					if err != nil {
						t.Errorf("%s, round %d: %v", name, round, err)
						return
					}
					if s.Restarts != round {
						t.Errorf("%s was restarted %d times, and killed %d times", name, s.Restarts, round)
						return
					}
					if round > 0 && s.LastExit.Signal != unix.SignalName(sig) {
						t.Errorf("%s ended as %+v, killed by %s", name, s.LastExit, sig)
					}
					if err := unix.Kill(s.PID, sig); err != nil {
						t.Errorf("kill %s: %v", name, err)
					}
					deaths.Add(1)
				}
			})
		}
		for range upgrades {
			r.mustUpgrade()
			seen.look(t)
		}
		cancel()
		killers.Wait()
		if n := deaths.Load(); n < upgrades {
			t.Errorf("only %d deaths during %d upgrades", n, upgrades)
		} else {
			t.Logf("%d upgrades during %d deaths", upgrades, n)
		}
	})
}

// waitStatus is see for goroutines of a test.
func waitStatus(ctx context.Context, r *rig, member string, ok func(keeper.Status) bool) (keeper.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last keeper.Status
	for after := uint64(0); ; {
		tab, err := r.List(ctx, after)
		if err != nil {
			return last, fmt.Errorf("%w; last seen %+v", err, last)
		}
		after = tab.Version
		last, _ = tab.Find(member, "main")
		if ok(last) {
			return last, nil
		}
	}
}

// copyCount counts, through /proc, how many of each member run.
type copyCount struct{ mark string }

func (c copyCount) look(t *testing.T) {
	t.Helper()
	found := map[string][]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		b, _ := os.ReadFile(d) // it may have ended
		if arg, ok := strings.CutPrefix(string(b), "sleep\x00"+c.mark+"."); ok {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(d)))
			if err != nil {
				t.Fatal(err)
			}
			found[arg] = append(found[arg], pid)
		}
	}
	for arg, pids := range found { // the look took a while: only those that still live were there together
		if len(pids) > 1 && !slices.ContainsFunc(pids, func(pid int) bool { return !alive(pid) }) {
			t.Errorf("processes %v are copies of member %q", pids, arg)
		}
	}
}

// A member that writes all the time loses no line, and clients see no error.
func TestUpgradeManyTimes(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		const upgrades = 50
		const all = 1 << 40 // a slow machine's 50 upgrades see more than the default bound
		s := r.shell("d/chatty", `i=0; while :; do echo line $i; i=$((i+1)); done`)
		s.LogMax = all
		r.mustStart(s)
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		var calls [4]int
		each := []func() error{
			func() error { _, err := r.List(t.Context(), 0); return err },
			func() error { _, err := r.Hello(t.Context()); return err },
			func() error {
				return r.Update(t.Context(), "d/chatty", "main", keeper.Settings{StopTimeout: time.Second, LogMax: all})
			},
			func() error {
				res, err := r.Run(t.Context(), keeper.Run{
					Member: "d/chatty", Process: "main",
					Exec: keeper.Exec{Argv: []string{"/bin/sh", "-c", "echo a; sleep 0.02; echo b; exit 5"}, Umask: -1},
				})
				if err == nil && (res.Code != 5 || string(res.Output) != "a\nb\n") {
					err = fmt.Errorf("a run ended as %+v", res)
				}
				return err
			},
		}
		for i, f := range each {
			clients.Go(func() {
				for ctx.Err() == nil {
					if err := f(); err != nil {
						t.Errorf("client %d, call %d: %v", i, calls[i], err)
						return
					}
					calls[i]++
				}
			})
		}
		pidfd, err := unix.PidfdOpen(r.cmd.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pidfd)
		for range upgrades {
			r.mustUpgrade()
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0); n != 0 {
				t.Fatalf("the keeper's pidfd tells of its end: %v", err)
			}
		}
		cancel()
		clients.Wait()
		t.Logf("%d upgrades during %v calls", upgrades, calls)
		if err := r.Stop(t.Context(), "d/chatty", "main"); err != nil {
			t.Fatal(err)
		}
		r.seeState("d/chatty", keeper.Stopped)
		b, err := os.ReadFile(keeper.LogPath(r.logs, "main"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		for i, l := range lines {
			if l != "line "+strconv.Itoa(i) && i < len(lines)-1 {
				t.Fatalf("line %d of the log is %q", i, l)
			}
		}
	})
}

func TestUpgradeLeaksNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		for _, m := range []string{"d/a", "d/b"} {
			r.mustStart(r.shell(m, `exec sleep 1000`))
		}
		r.mustUpgrade()
		first := r.descriptors()
		for range 20 {
			r.mustUpgrade()
		}
		if now := r.descriptors(); !slices.Equal(first, now) {
			t.Errorf("descriptors after one upgrade:\n%s\nafter 21:\n%s", strings.Join(first, "\n"), strings.Join(now, "\n"))
		}
		env, err := os.ReadFile("/proc/" + strconv.Itoa(r.status("d/a").PID) + "/environ")
		if err != nil || strings.Contains(string(env), "HANDOVER") {
			t.Errorf("a member's environment: %q, %v", env, err)
		}
	})
}

// descriptors lists the kinds of what the keeper has open, once no call is under way.
func (r *rig) descriptors() []string {
	r.t.Helper()
	var last []string
	same := 0
	within(r.t, "the number of descriptors stands still", func() bool {
		links, err := filepath.Glob("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/fd/*")
		if err != nil {
			r.t.Fatal(err)
		}
		var now []string
		for _, l := range links {
			to, _ := os.Readlink(l) // it may be closed
			kind, _, _ := strings.Cut(to, ":[")
			now = append(now, kind)
		}
		slices.Sort(now)
		if slices.Equal(now, last) {
			same++
		} else {
			same = 0
		}
		last = now
		return same > 20
	})
	return last
}

func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		mode       os.FileMode
		want       string
	}{
		{"missing", "", 0, "no such file"},
		{"not executable", "#!/bin/sh\nexit 0\n", 0o644, "permission denied"},
		{"not a program", "\x7fELF\x02\x01\x01", 0o755, "exec format error"},
		{"another machine's", foreign(t, self), 0o755, "exec format error"},
		{"fails", "#!/bin/sh\necho what is this >&2\nexit 1\n", 0o755, "exit status 1: what is this"},
		{"knows no check-state", "#!/bin/sh\necho usage >&2\nexit 2\n", 0o755, "exit status 2: usage"},
		{"is killed", "#!/bin/sh\nkill -9 $$\n", 0o755, "killed by SIGKILL"},
		{"hangs", "#!/bin/sh\nsleep 1000\n", 0o755, "not done after 10s"},
		{"changes", "#!/bin/sh\necho '#' >> $0\n", 0o755, "has changed"},
		{"can't be executed in the end", "#!DIR/sh\nrm DIR/sh\n", 0o755, "no such file"},
		{
			"can't read the state", "#!/bin/sh\nsed 's/\"version\":1,/\"version\":99,/' $2 > DIR/state; exec " + self + " check-state DIR/state\n", 0o755,
			"the state has version 99, this supd-keeper",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "")
			dir := t.TempDir()
			sh, err := os.ReadFile("/bin/sh")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "sh"), sh, 0o755); err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "supd-keeper")
			if c.mode != 0 {
				if err := os.WriteFile(binary, []byte(strings.ReplaceAll(c.file, "DIR", dir)), c.mode); err != nil {
					t.Fatal(err)
				}
			}
			was := r.mustStart(r.talks("d/a", `trap 'exit 7' USR1; echo up; while :; do sleep 0.01; done`))
			within(t, "it traps", func() bool { return r.logged("d/a", "up") })
			_, err = r.Upgrade(t.Context(), binary)
			if !errors.Is(err, keeper.ErrNotUpgraded) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			i, err := r.Hello(t.Context())
			if err != nil || i.PID != r.cmd.Process.Pid || i.Upgrades.Done != 0 || !strings.Contains(i.Upgrades.Refused, c.want) {
				t.Errorf("after it the keeper is %+v, %v", i, err)
			}
			if s := r.status("d/a"); s.PID != was.PID || s.State != keeper.Running {
				t.Errorf("after it the member is %+v", s)
			}
			if err := r.Signal(t.Context(), "d/a", "main", "USR1"); err != nil {
				t.Fatal(err)
			}
			s := r.see("d/a", "its restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
			if s.LastExit.Code != 7 {
				t.Errorf("it ended as %+v", s.LastExit)
			}
			r.mustUpgrade() // and to a good one
		})
	}
}

// foreign is a program for another kind of machine.
func foreign(t *testing.T, self string) string {
	t.Helper()
	b := make([]byte, 4096)
	f, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(b); err != nil {
		t.Fatal(err)
	}
	b[18], b[19] = 0xF3, 0x00 // e_machine: RISC-V
	return string(b)
}

func TestUpgradeHandsRunsOver(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.mustStart(r.shell("d/a", `exec sleep 1000`))
		dir := t.TempDir()
		sh := func(script string) keeper.Run {
			return keeper.Run{Member: "d/a", Process: "main", Exec: keeper.Exec{Argv: []string{"/bin/sh", "-c", script}, Umask: -1, Dir: dir}}
		}
		type end struct {
			res keeper.RunResult
			err error
		}
		start := func(ctx context.Context, run keeper.Run) <-chan end {
			ch := make(chan end, 1)
			go func() { res, err := r.Run(ctx, run); ch <- end{res, err} }()
			return ch
		}
		there := func(file string) {
			within(t, file, func() bool { _, err := os.Stat(filepath.Join(dir, file)); return err == nil })
		}
		script := func(n string) string { return "echo before; echo $$ > pid" + n + "; touch up" + n + "; " }
		ends := start(t.Context(), sh(script("1")+`while [ ! -e go ]; do sleep 0.01; done; echo after; exit 6`))
		late := sh(script("2") + `sleep 1000`)
		late.Timeout = 3 * time.Second
		timesOut := start(t.Context(), late)
		ctx, hangUp := context.WithCancel(t.Context())
		left := start(ctx, sh(script("3")+`sleep 1000`))
		step := sh(script("4") + `while [ ! -e go ]; do sleep 0.01; done; exit 8`)
		step.Member, step.Epoch = "d/b", 3
		initStep := start(t.Context(), step)
		for _, f := range []string{"up1", "up2", "up3", "up4"} {
			there(f)
		}
		r.mustUpgrade()
		r.mustUpgrade()
		if err := r.GiveUp(t.Context(), "d/b", 3); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("the epoch of a step under way is given up: %v", err)
		}
		hangUp()
		if e := <-left; !errors.Is(e.err, context.Canceled) {
			t.Errorf("the run that was left: %+v", e)
		}
		b, err := os.ReadFile(filepath.Join(dir, "pid3"))
		if err != nil {
			t.Fatal(err)
		}
		within(t, "the run that was left is killed", func() bool {
			_, err := os.Stat("/proc/" + strings.TrimSpace(string(b)))
			return err != nil
		})
		if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if e := <-ends; e.err != nil || e.res.Code != 6 || string(e.res.Output) != "before\nafter\n" {
			t.Errorf("the run that ends: %+v %q", e, e.res.Output)
		}
		if e := <-initStep; e.err != nil || e.res.Code != 8 {
			t.Errorf("the init step: %+v", e)
		}
		if e := <-timesOut; e.err != nil || !e.res.TimedOut || string(e.res.Output) != "before\n" {
			t.Errorf("the run that takes too long: %+v %q", e, e.res.Output)
		}
		if err := r.GiveUp(t.Context(), "d/b", 3); err != nil {
			t.Errorf("after the step: %v", err)
		}
	})
}

func TestHangupUpgrades(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	was := r.mustStart(r.shell("d/a", `exec sleep 1000`))
	for n := 1; n <= 5; n++ {
		if err := r.cmd.Process.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		within(t, "the keeper is upgraded", func() bool {
			i, err := r.Hello(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return i.Upgrades.Done == n
		})
	}
	// A storm of them: each is an upgrade or none, the keeper lives.
	for range 200 {
		if err := r.cmd.Process.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Millisecond) // spreads them over the moments of an exec; nothing waits for it
	}
	r.mustUpgradeSoon()
	if s := r.status("d/a"); s.PID != was.PID || s.Restarts != 0 {
		t.Errorf("the member is %+v", s)
	}
}

// mustUpgradeSoon is mustUpgrade while others may be under way.
func (r *rig) mustUpgradeSoon() {
	r.t.Helper()
	within(r.t, "an upgrade", func() bool {
		_, err := r.Upgrade(r.t.Context(), "")
		if err != nil && !errors.Is(err, keeper.ErrBusy) {
			r.t.Fatal(err)
		}
		return err == nil
	})
}

// The binary is found anew by the name the keeper was started under, so a link that was turned to another file is followed.
func TestUpgradeFollowsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "supd-keeper")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	r := startedAs(t, link)
	other := filepath.Join(dir, "other")
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(other, b, 0o755), os.Remove(link), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	if i := r.mustUpgrade(); i.Binary != link {
		t.Errorf("the keeper's file is %s, want %s", i.Binary, link)
	}
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/exe"); err != nil || exe != other {
		t.Errorf("the keeper runs %s, %v", exe, err)
	}
}
