package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/keeper"
)

// BenchmarkLogThroughput has a member write 57-byte lines, one write(2) each, as fast as it can: into a file that nobody
// keeps, into its log, and through a pipe. The three take turns; the ratios are the figures. Of
// a small log most is given back while it is written.
func BenchmarkLogThroughput(b *testing.B) {
	b.Run("default", func(b *testing.B) { benchLog(b, 0) })
	b.Run("4MiB", func(b *testing.B) { benchLog(b, 4<<20) })
}

func benchLog(b *testing.B, bound int64) {
	const lines = 300000
	took := map[string]time.Duration{}
	for b.Loop() {
		took["plain"] += plainWriter(b, lines)
		for _, output := range []string{keeper.OutputFile, keeper.OutputPipe} {
			r := newRig(b, "")
			s, done := r.writer(output, lines, "")
			s.LogMax = bound
			began := time.Now()
			r.mustStart(s)
			r.wrote(done, lines)
			took[output] += time.Since(began)
		}
	}
	b.ReportMetric(float64(took["file"])/float64(took["plain"]), "file/plain")
	b.ReportMetric(float64(took["pipe"])/float64(took["plain"]), "pipe/plain")
	b.ReportMetric(57e-6*lines*float64(b.N)/took["plain"].Seconds(), "plain-MB/s")
}

func plainWriter(b *testing.B, lines int) time.Duration {
	b.Helper()
	dir := b.TempDir()
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	done := filepath.Join(dir, "done")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"KEEPER_TEST_CHILD=writer", fmt.Sprint("LINES=", lines), "DONE=" + done}
	cmd.Stdout = out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	(&rig{t: b}).wrote(done, lines)
	took := time.Since(began)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // "signal: killed"
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkQuietLogs has the keeper idle with a thousand members that have written something once, of each output: the
// processor time it takes in a second.
func BenchmarkQuietLogs(b *testing.B) {
	const members = 1000
	for _, output := range []string{keeper.OutputFile, keeper.OutputPipe} {
		b.Run(output, func(b *testing.B) {
			tiny := tinyProgram(b)
			r := newRig(b, "")
			var wg sync.WaitGroup
			for c := range 8 {
				wg.Go(func() {
					for i := c; i < members; i += 8 {
						s := r.shell(fmt.Sprintf("default/web-%d", i), "")
						s.Argv, s.LogDir, s.Output = []string{tiny}, fmt.Sprintf("%s/%d", r.logs, i), output
						if err := r.Start(b.Context(), s); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if output == keeper.OutputFile {
				within(b, "all logs are quiet", func() bool { return watches(b, r.cmd.Process.Pid) == members })
			}
			for before := time.Duration(-1); before != cpuOf(b, r.cmd.Process.Pid); { // until it has come to rest
				before = cpuOf(b, r.cmd.Process.Pid)
				<-time.After(5 * time.Second)
			}
			var used, passed time.Duration
			for b.Loop() {
				before, began := cpuOf(b, r.cmd.Process.Pid), time.Now()
				<-time.After(5 * time.Second)
				used, passed = used+cpuOf(b, r.cmd.Process.Pid)-before, passed+time.Since(began)
			}
			b.ReportMetric(float64(used.Microseconds())/passed.Seconds(), "µs-CPU/s")
		})
	}
}

// cpuOf is the processor time that a process has had.
func cpuOf(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range stats {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		var ns int64
		if _, serr := fmt.Sscan(string(text), &ns); err != nil || serr != nil {
			b.Fatal(err, serr)
		}
		sum += time.Duration(ns)
	}
	return sum
}
