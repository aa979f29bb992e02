package keeper_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkManyMembers starts a thousand members and reports how long that takes, and the keeper's memory for each.
func BenchmarkManyMembers(b *testing.B) {
	const members, clients = 1000, 16
	tiny := tinyProgram(b)
	for b.Loop() {
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
		b.ReportMetric(time.Since(began).Seconds(), "s/1000-starts")
		b.ReportMetric(float64(privateKiB(b, r.cmd.Process.Pid)-empty)/members, "KiB/member")
		b.ReportMetric(float64(threads(b, r.cmd.Process.Pid)), "threads")
	}
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
