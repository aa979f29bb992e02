package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// BenchmarkBesideRunit measures from kill -9 to the first instruction of the process that follows, 200 times each and by
// turns: under a bare loop of fork, exec and wait in Go, under the keeper with its default back-off, and under runit's
// runsv. Every process has lived for more than a second when it dies: runit makes others wait for one.
func BenchmarkBesideRunit(b *testing.B) {
	const members, rounds, life = 20, 10, 1100 * time.Millisecond
	runsv, err := exec.LookPath("runsv")
	if err != nil {
		b.Skipf("SKIPPED: runit is not installed (Debian: apt-get install runit): %v", err)
	}
	tiny := tinyProgram(b)
	supervisors := []*supervised{
		bareLoops(b, tiny, members), keeperMembers(b, tiny, members), runitServices(b, runsv, tiny, members),
	}
	for _, s := range supervisors {
		for _, out := range s.outs {
			readByte(b, s.name, out)
		}
	}
	for range rounds {
		<-time.After(life)
		for _, s := range supervisors {
			s.pids = s.now()
		}
		for i := range members {
			for _, s := range supervisors {
				s.kill(b, i)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	floor := supervisors[0].median()
	line := fmt.Sprintf("crash to restart, %d kills each", members*rounds)
	for _, s := range supervisors {
		ratio := float64(s.median()) / float64(floor)
		b.ReportMetric(float64(s.median().Microseconds()), s.name+"-median-µs")
		b.ReportMetric(float64(s.p99().Microseconds()), s.name+"-p99-µs")
		b.ReportMetric(ratio, s.name+"/bare")
		line += fmt.Sprintf("; %s median %v p99 %v (%.2fx)", s.name, s.median().Round(10*time.Microsecond), s.p99().Round(10*time.Microsecond), ratio)
	}
	b.Log(line)
}

// supervised are processes under one supervisor. Each writes a byte into its out when it begins.
type supervised struct {
	name string
	outs []*os.File
	now  func() []int // the pids, when all have run for a while
	pids []int
	took []time.Duration
}

func (s *supervised) kill(b *testing.B, i int) {
	if s.pids[i] <= 1 { // to kill 0 would be to kill this very process group
		b.Fatalf("%s: process %d does not run", s.name, i)
	}
	began := time.Now()
	if err := unix.Kill(s.pids[i], unix.SIGKILL); err != nil {
		b.Fatalf("%s: kill %d: %v", s.name, s.pids[i], err)
	}
	readByte(b, s.name, s.outs[i])
	s.took = append(s.took, time.Since(began))
}

func (s *supervised) median() time.Duration { return s.quantile(0.5) }
func (s *supervised) p99() time.Duration    { return s.quantile(0.99) }

func (s *supervised) quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(s.took))
	return sorted[int(float64(len(sorted))*q)]
}

func readByte(b *testing.B, whose string, out *os.File) {
	b.Helper()
	if err := out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	var one [1]byte
	if _, err := out.Read(one[:]); err != nil {
		b.Fatalf("%s: the process was not started again: %v", whose, err)
	}
}

// bareLoops are the floor: a goroutine for each process that forks, execs and waits.
func bareLoops(b *testing.B, tiny string, n int) *supervised {
	s := &supervised{name: "bare"}
	pids, last := make([]chan int, n), make([]int, n)
	stop, ended := make(chan struct{}), make(chan error, n)
	for i := range n {
		out := fifo(b, filepath.Join(b.TempDir(), "out"))
		s.outs, pids[i] = append(s.outs, out), make(chan int, 1)
		go func() { ended <- bareLoop(tiny, out, pids[i], stop) }()
	}
	s.now = func() []int {
		for i := range n {
			select {
			case last[i] = <-pids[i]:
			default: // it still is the one
			}
		}
		return last
	}
	b.Cleanup(func() {
		close(stop)
		for _, pid := range s.now() {
			if pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL) // one that could not be started has told why
			}
		}
		for range n {
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
	})
	return s
}

func bareLoop(tiny string, out *os.File, pids chan<- int, stop <-chan struct{}) error {
	fd := out.Fd()
	for {
		pid, err := syscall.ForkExec(tiny, []string{tiny}, &syscall.ProcAttr{
			Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err != nil {
			return err
		}
		pids <- pid
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

// keeperMembers run under one keeper, with the back-off that members have by default.
func keeperMembers(b *testing.B, tiny string, n int) *supervised {
	r := newRig(b, "")
	s := &supervised{name: "keeper"}
	name := func(i int) string { return "default/web-" + strconv.Itoa(i) }
	for i := range n {
		st := r.shell(name(i), "")
		st.Argv, st.LogDir, st.Settings = []string{tiny}, filepath.Join(r.logs, strconv.Itoa(i)), keeper.Settings{}
		s.outs = append(s.outs, fifo(b, keeper.LogPath(st.LogDir, "main")))
		if err := r.Start(b.Context(), st); err != nil {
			b.Fatal(err)
		}
	}
	s.now = func() (pids []int) {
		tab, err := r.List(b.Context(), 0)
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			st, _ := tab.Find(name(i), "main")
			pids = append(pids, st.PID)
		}
		return pids
	}
	return s
}

// runitServices run under a runsv each, as runit has it. The run file is the program itself: with a shell in front runit
// takes longer.
func runitServices(b *testing.B, runsv, tiny string, n int) *supervised {
	s := &supervised{name: "runit"}
	var dirs []string
	for range n {
		dir := filepath.Join(b.TempDir(), "service")
		out := fifo(b, filepath.Join(dir, "out"))
		if err := os.Symlink(tiny, filepath.Join(dir, "run")); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(runsv, dir)
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { // at SIGTERM runsv ends its service, then itself
			if err := errors.Join(cmd.Process.Signal(unix.SIGTERM), cmd.Wait()); err != nil {
				b.Errorf("runsv: %v", err)
			}
		})
		s.outs, dirs = append(s.outs, out), append(dirs, dir)
	}
	s.now = func() (pids []int) {
		for _, dir := range dirs {
			text, err := os.ReadFile(filepath.Join(dir, "supervise", "pid"))
			if err != nil {
				b.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				b.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return pids
	}
	return s
}
