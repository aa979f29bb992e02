package keeper_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// tinyProgram is an ELF file whose first instructions write one byte to standard output; then it waits for ever. So what
// is measured is the supervisor, not a program's start.
func tinyProgram(tb testing.TB) string {
	tb.Helper()
	if runtime.GOARCH != "amd64" {
		tb.Skip("the tiny program is in amd64's instructions")
	}
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, SYS_write
		0xbf, 1, 0, 0, 0, // mov edi, 1
		0x48, 0x8d, 0x35, 16, 0, 0, 0, // lea rsi, [rip+16]
		0xba, 1, 0, 0, 0, // mov edx, 1
		0x0f, 0x05, // syscall
		0xb8, 34, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to pause
		'x',
	}
	const base, head = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := append([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, make([]byte, 9)...)
	b = le.AppendUint16(b, 2)         // executable
	b = le.AppendUint16(b, 62)        // amd64
	b = le.AppendUint32(b, 1)         // version
	b = le.AppendUint64(b, base+head) // entry
	b = le.AppendUint64(b, 64)        // program headers
	b = le.AppendUint64(b, 0)         // no sections
	b = le.AppendUint32(b, 0)         // flags
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // load
	b = le.AppendUint32(b, 5) // read, execute
	for _, v := range []uint64{0, base, base, uint64(head + len(code)), uint64(head + len(code)), 0x1000} {
		b = le.AppendUint64(b, v)
	}
	path := filepath.Join(tb.TempDir(), "tiny")
	if err := os.WriteFile(path, append(b, code...), 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}

// BenchmarkCrashToRestart measures from kill -9 to the first instruction of the process that follows. The median is the
// figure; compare it with bare, a loop of fork, exec and wait in Go, of the same run.
func BenchmarkCrashToRestart(b *testing.B) {
	b.Run("bare", benchBare)
	b.Run("plain", func(b *testing.B) { benchKeeper(b, false, func(*keeper.Start) {}) })
	b.Run("no_new_privs", func(b *testing.B) { benchKeeper(b, false, func(s *keeper.Start) { s.NoNewPrivs = true }) })
	b.Run("cgroup", func(b *testing.B) { benchKeeper(b, true, func(s *keeper.Start) { s.NoNewPrivs = true }) })
	b.Run("stage", func(b *testing.B) {
		benchKeeper(b, true, func(s *keeper.Start) {
			s.Hostname, s.NoNewPrivs = "web-0", true
			s.Mounts = []keeper.Mount{{Source: "/etc/hosts", Target: "/etc/hosts"}, {Source: "/tmp", Target: "/mnt"}}
		})
	})
}

// kills measures one restart after the other: next gives the pid that lives, a byte from out says that it does.
func kills(b *testing.B, out *os.File, next func(last int) int) {
	b.Helper()
	var one [1]byte
	if _, err := out.Read(one[:]); err != nil {
		b.Fatal(err)
	}
	pid := next(0)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			b.Fatal(err)
		}
		if _, err := out.Read(one[:]); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		pid = next(pid)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func fifo(b *testing.B, path string) *os.File {
	b.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), unix.Mkfifo(path, 0o600)); err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func benchBare(b *testing.B) {
	tiny := tinyProgram(b)
	out := fifo(b, filepath.Join(b.TempDir(), "out"))
	pids := make(chan int, 1)
	ended := make(chan error)
	stop := make(chan struct{})
	go func() {
		for {
			pid, err := syscall.ForkExec(tiny, []string{tiny}, &syscall.ProcAttr{
				Files: []uintptr{out.Fd(), out.Fd(), out.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
			})
			if err != nil {
				ended <- err
				return
			}
			pids <- pid
			var ws syscall.WaitStatus
			if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
				ended <- err
				return
			}
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
		}
	}()
	var last int
	kills(b, out, func(int) int { last = <-pids; return last })
	close(stop)
	if err := errors.Join(unix.Kill(last, unix.SIGKILL), <-ended); err != nil {
		b.Fatal(err)
	}
}

func benchKeeper(b *testing.B, cgroup bool, change func(*keeper.Start)) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	name := ""
	if cgroup {
		name = fmt.Sprintf("bench-%d-%d", os.Getpid(), rigs.Add(1))
	}
	r := newRig(b, name)
	out := fifo(b, keeper.LogPath(r.logs, "main"))
	s := r.shell("a", "")
	s.Argv = []string{tinyProgram(b)}
	s.BackoffFirst, s.BackoffMax = 1, 1 // so that it needs no second of life before each death
	change(&s)
	if err := r.Start(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	kills(b, out, func(last int) int {
		return r.see("a", "the next life", func(s keeper.Status) bool { return s.PID != 0 && s.PID != last }).PID
	})
}
