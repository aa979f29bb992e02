package keeper_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkManyMembers starts a thousand members and reports how long that takes beside a bare loop of fork and exec, what
// memory of the keeper's each costs, and the keeper's CPU while nothing happens.
func BenchmarkManyMembers(b *testing.B) {
	const members, clients = 1000, 16
	tiny := tinyProgram(b)
	for b.Loop() {
		floor := startBare(b, tiny, members)
		r := newRig(b, "")
		empty := privateKiB(b, r.cmd.Process.Pid)
		began := time.Now()
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := c; i < members; i += clients {
					s := r.shell(fmt.Sprintf("default/web-%d", i), "")
					s.Argv, s.LogDir = []string{tiny}, fmt.Sprintf("%s/%d", r.logs, i)
					if err := r.Start(b.Context(), s); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		took := time.Since(began)
		b.ReportMetric(took.Seconds(), "s/1000-starts")
		b.ReportMetric(took.Seconds()/floor.Seconds(), "x-bare")
		b.ReportMetric(float64(threads(b, r.cmd.Process.Pid)), "threads")
		b.ReportMetric(idle(b, r.cmd.Process.Pid), "idle-ms/s")
		b.ReportMetric(float64(privateKiB(b, r.cmd.Process.Pid)-empty)/members, "KiB/member")
	}
}

// startBare forks and execs n programs, one after the other, and ends them.
func startBare(b *testing.B, program string, n int) time.Duration {
	b.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	began := time.Now()
	pids := make([]int, 0, n)
	for range n {
		pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{
			Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err != nil {
			b.Fatal(err)
		}
		pids = append(pids, pid)
	}
	took := time.Since(began)
	for _, pid := range pids {
		if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
	return took
}

// idle is the CPU time in milliseconds that a process uses in a second in which nothing is asked of it, over ten of them.
func idle(b *testing.B, pid int) float64 {
	b.Helper()
	const span = 10
	cpu := func() (ticks int) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, s := range f[11:13] { // utime, stime
			n, err := strconv.Atoi(s)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
		return ticks
	}
	<-time.After(2 * time.Second) // what the starts have left to do
	before := cpu()
	<-time.After(span * time.Second)
	return float64(cpu()-before) * 10 / span // a tick is 10 ms
}

// procFigure reads the number after a word in a file of a process's.
func procFigure(b *testing.B, pid int, file, word string) (n int) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), word)
	if _, err := fmt.Sscan(after, &n); err != nil {
		b.Fatal(err)
	}
	return n
}

func privateKiB(b *testing.B, pid int) int {
	b.Helper()
	return procFigure(b, pid, "smaps_rollup", "Private_Dirty:")
}

func threads(b *testing.B, pid int) int {
	b.Helper()
	return procFigure(b, pid, "status", "Threads:")
}
