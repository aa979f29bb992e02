package keeper_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// writerChild writes numbered lines: so many, each time it gets a byte from the file named, or without one at once. Then
// it says so in another file, and waits.
func writerChild() int {
	n, err := strconv.Atoi(os.Getenv("LINES"))
	if err != nil {
		return 3
	}
	var tokens *os.File
	if path := os.Getenv("TOKENS"); path != "" {
		if tokens, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return 4
		}
	}
	next := 0
	for {
		if tokens != nil {
			if _, err := tokens.Read(make([]byte, 1)); err != nil {
				return 5
			}
		}
		var b []byte
		for range n {
			b = append(numbered(b[:0], next), '\n')
			next++
			for len(b) > 0 { // what a full disk doesn't take is lost, not waited for
				w, err := os.Stdout.Write(b)
				if err != nil && !errors.Is(err, unix.ENOSPC) {
					return 6
				}
				if b = b[w:]; err != nil {
					break
				}
			}
		}
		if err := os.WriteFile(os.Getenv("DONE"), []byte(strconv.Itoa(next)), 0o600); err != nil {
			return 7
		}
		if tokens == nil {
			select {}
		}
	}
}

func numbered(b []byte, n int) []byte {
	return fmt.Appendf(b, "%012d the quick brown fox jumps over the lazy dog", n)
}

// writer is a start of the above.
func (r *rig) writer(output string, lines int, tokens string) (s keeper.Start, done string) {
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	done = filepath.Join(r.dir, "done")
	s = r.shell("a", "")
	s.Argv = []string{self}
	s.Env = []string{"KEEPER_TEST_CHILD=writer", "LINES=" + strconv.Itoa(lines), "TOKENS=" + tokens, "DONE=" + done}
	s.Output = output
	return s, done
}

// wrote waits until the writer has written so many lines.
func (r *rig) wrote(done string, lines int) {
	r.t.Helper()
	within(r.t, fmt.Sprintf("%d lines written", lines), func() bool {
		b, err := os.ReadFile(done)
		return err == nil && string(b) == strconv.Itoa(lines)
	})
}

func outputs(t *testing.T, f func(t *testing.T, output string)) {
	for _, o := range []string{keeper.OutputFile, keeper.OutputPipe} {
		t.Run(o, func(t *testing.T) { t.Parallel(); f(t, o) })
	}
}

func tokenFile(t *testing.T) (path string, give func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tokens")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() {
		if _, err := f.Write([]byte{1}); err != nil {
			t.Error(err)
		}
	}
}

func blocks(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// isNumbered gives the number of a line, and fails the test if it is torn.
func isNumbered(t *testing.T, line string) int {
	t.Helper()
	n, err := strconv.Atoi(line[:min(12, len(line))])
	if err != nil || line != string(numbered(nil, n)) {
		t.Fatalf("a torn line: %q", line)
	}
	return n
}

const smallLog = 256 << 10

// TestBoundedLogLosesNoLineOfAReaderWhoKeepsUp: sixteen times the bound goes through, and a follower sees all of it.
func TestBoundedLogLosesNoLineOfAReaderWhoKeepsUp(t *testing.T) {
	t.Parallel()
	outputs(t, func(t *testing.T, output string) {
		const batch, batches = 1000, 70 // 57 kB each
		r := newRig(t, "")
		tokens, give := tokenFile(t)
		s, _ := r.writer(output, batch, tokens)
		s.LogMax = smallLog
		r.mustStart(s)
		l, err := keeper.OpenLog(r.logs, "main", keeper.LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		lines := bufio.NewScanner(l)
		for i := range batch * batches {
			if i%batch == 0 {
				give()
			}
			if !lines.Scan() {
				t.Fatalf("the log ends before line %d: %v", i, lines.Err())
			}
			if n := isNumbered(t, lines.Text()); n != i {
				t.Fatalf("line %d came after %d", n, i-1)
			}
		}
		r.bounded(batch*batches - 1)
	})
}

// bounded looks at a log that ended with a line: no more blocks than allowed, whole lines, none missing between.
func (r *rig) bounded(last int) {
	t := r.t.(*testing.T)
	t.Helper()
	path := keeper.LogPath(r.logs, "main")
	within(t, "blocks are given back", func() bool { return blocks(t, path) <= smallLog+4096 })
	if st, err := os.Stat(path); err != nil || st.Size() <= smallLog {
		t.Errorf("the size is %v, %v: offsets must stay", st, err)
	}
	lines := strings.Split(strings.TrimSuffix(r.log(keeper.LogOptions{}), "\n"), "\n")
	first := isNumbered(t, lines[0])
	for i, line := range lines {
		if n := isNumbered(t, line); n != first+i {
			t.Fatalf("line %d follows %d", n, first+i-1)
		}
	}
	if got := first + len(lines) - 1; got != last {
		t.Errorf("the last line is %d, want %d", got, last)
	}
	if least := smallLog / 2 / 57; len(lines) < least {
		t.Errorf("%d lines are left, want %d or more", len(lines), least)
	}
	if got := r.log(keeper.LogOptions{Tail: 3}); strings.Count(got, "\n") != 3 || !strings.HasSuffix(got, lines[len(lines)-1]+"\n") {
		t.Errorf("the tail is %q", got)
	}
}

// TestBoundedLogAtFullSpeed: a reader who may fall behind sees whole lines in order, and is told where some are missing.
func TestBoundedLogAtFullSpeed(t *testing.T) {
	t.Parallel()
	outputs(t, func(t *testing.T, output string) {
		const count = 200000
		r := newRig(t, "")
		s, done := r.writer(output, count, "")
		s.LogMax = smallLog
		r.mustStart(s)
		l, err := keeper.OpenLog(r.logs, "main", keeper.LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		lines := bufio.NewScanner(l)
		for last, told := -1, true; last < count-1; { // it may begin late
			if !lines.Scan() {
				t.Fatalf("the log ends after line %d: %v", last, lines.Err())
			}
			if strings.HasPrefix(lines.Text(), "[supd: ") {
				told = true
				continue
			}
			if line := lines.Text(); len(line) < 57-1 { // it was overtaken just behind the end of what it had read
				if !lines.Scan() || !strings.HasPrefix(lines.Text(), "[supd: ") {
					t.Fatalf("a torn line: %q, then %q", line, lines.Text())
				}
				told = true
				continue
			}
			n := isNumbered(t, lines.Text())
			if n != last+1 && (!told || n <= last) {
				t.Fatalf("line %d came after %d, told: %v", n, last, told)
			}
			last, told = n, false
		}
		r.wrote(done, count)
		r.bounded(count - 1)
	})
}

// TestQuietLogIsBoundedWhenItWakes: nothing looks at a quiet log but the kernel, which tells of the first write.
func TestQuietLogIsBoundedWhenItWakes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	tokens, give := tokenFile(t)
	s, done := r.writer(keeper.OutputFile, 20000, tokens)
	s.LogMax = smallLog
	r.mustStart(s)
	for life := 1; life <= 2; life++ {
		within(t, "the log is watched", func() bool { return watches(t, r.cmd.Process.Pid) == 1 })
		give()
		r.wrote(done, life*20000)
		r.bounded(life*20000 - 1)
		if life == 1 {
			r.crash()
			r.up()
		}
	}
}

// watches counts the inotify watches that a process has on its logs.
func watches(t testing.TB, pid int) (n int) {
	t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range infos {
		b, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			_, mask, ok := strings.Cut(string(line), " mask:")
			if !ok {
				continue
			}
			if m, err := strconv.ParseUint(strings.Fields(mask)[0], 16, 64); err == nil && m&unix.IN_MODIFY != 0 { // its directories are watched for what goes only
				n++
			}
		}
	}
	return n
}

// TestPipeOutlivesKeepers: keepers are killed, or replaced, while a member writes as fast as it can. It gets no SIGPIPE, and no line is
// lost, torn or doubled.
func TestPipeOutlivesKeepers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		const count = 300000
		s, done := r.writer(keeper.OutputPipe, count, "")
		st := r.mustStart(s)
		for i := range 6 {
			r.logHasMoreThan()
			if i%3 == 2 {
				r.mustUpgrade()
				continue
			}
			r.crash()
			r.up()
		}
		r.wrote(done, count)
		within(t, "all is in the log", func() bool {
			return strings.HasSuffix(r.log(keeper.LogOptions{Tail: 1}), string(numbered(nil, count-1))+"\n")
		})
		lines := strings.Split(r.log(keeper.LogOptions{}), "\n")
		for i := range count {
			if n := isNumbered(t, lines[i]); n != i {
				t.Fatalf("line %d follows %d", n, i-1)
			}
		}
		now := r.seeState("a", keeper.Running)
		if now.PID != st.PID || now.Restarts != 0 || len(lines) != count+1 {
			t.Errorf("got %+v and %d lines, want process %d and %d lines", now, len(lines), st.PID, count+1)
		}
	})
}

// logHasMoreThan waits until the log has grown.
func (r *rig) logHasMoreThan() {
	r.t.Helper()
	size := func() int64 {
		st, err := os.Stat(keeper.LogPath(r.logs, "main"))
		if err != nil {
			return 0
		}
		return st.Size()
	}
	was := size()
	within(r.t, "the log grows", func() bool { return size() > was || was > 17000000 })
}

// TestPipeCanBeOpenedAgain: by a program that was given another user, or has taken one.
func TestPipeCanBeOpenedAgain(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const script = `echo one; echo two >/dev/stdout; echo three >>/proc/self/fd/2; [ -p /dev/stdout ] && echo four; exec sleep 1000`
	for _, output := range []string{keeper.OutputPipe, keeper.OutputFile} {
		r := newRig(t, "")
		s := r.shell("a", script)
		s.Output, s.SetUser, s.UID, s.GID, s.NoNewPrivs = output, true, 65534, 65534, true
		r.mustStart(s)
		want := "one\ntwo\nthree\nfour\n"
		if output == keeper.OutputPipe {
			r.logHas("four")
			if got := r.log(keeper.LogOptions{}); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			continue
		}
		r.logHas("ermission denied") // so this is what the pipe is for
	}
}

// TestLastWordsInThePipe: what a process wrote just before its death is in its own log, not in the next one's.
func TestLastWordsInThePipe(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	s := r.shell("a", `i=0; while [ $i -lt 200 ]; do echo "$$ line $i"; i=$((i+1)); done; [ -e "$1" ] && exec sleep 1000; : >"$1"`, filepath.Join(r.dir, "flag"))
	s.Output = keeper.OutputPipe
	r.mustStart(s)
	st := r.see("a", "its second life", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
	r.logHas(fmt.Sprintf("%d line 199", st.PID))
	if got := r.log(keeper.LogOptions{Previous: true}); strings.Count(got, "line") != 200 || strings.Contains(got, strconv.Itoa(st.PID)+" line") {
		t.Errorf("previous is %q", got)
	}
	if got := r.log(keeper.LogOptions{Since: time.Now().Add(-time.Hour)}); strings.Count(got, "line") != 400 {
		t.Errorf("since an hour ago: %q", got)
	}
}

// smallDisk mounts a file system for the logs.
func (r *rig) smallDisk(fstype, options string) {
	t := r.t.(*testing.T)
	t.Helper()
	needRoot(t)
	if err := os.MkdirAll(r.logs, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", r.logs, fstype, 0, options); err != nil {
		t.Skipf("cannot mount a %s: %v", fstype, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(r.logs, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestFullDiskBlocksNobody: neither a member with a pipe nor one with a file, nor the keeper.
func TestFullDiskBlocksNobody(t *testing.T) {
	t.Parallel()
	outputs(t, func(t *testing.T, output string) {
		r := newRig(t, "")
		r.smallDisk("tmpfs", "size=1m")
		ballast := filepath.Join(r.logs, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		kept := keeper.LogPath(r.logs, "main") + ".3"
		if err := os.WriteFile(kept, make([]byte, 100<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, give := tokenFile(t)
		s, done := r.writer(output, 50000, tokens) // 2.9 MB
		r.mustStart(s)
		give()
		r.wrote(done, 50000)
		if output == keeper.OutputPipe {
			r.see("a", "that output is dropped", func(s keeper.Status) bool { return strings.Contains(s.Message, "no space left") })
			if _, err := os.Stat(kept); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("an earlier log is there: %v, want it dropped to make room", err)
			}
			r.mustUpgrade() // the next one knows of what was dropped too
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", r.logs, "tmpfs", unix.MS_REMOUNT, "size=100m"); err != nil {
			t.Fatal(err)
		}
		give()
		r.wrote(done, 100000)
		r.logHas(string(numbered(nil, 99999)))
		if output == keeper.OutputPipe {
			r.logHas(" bytes were dropped here: no space left on device]\n")
			r.see("a", "that all is well", func(s keeper.Status) bool { return s.Message == "" })
		}
	})
}

// TestNoDiskForALog: where no log can be opened at all, a member starts, and one with a pipe gets its log later.
func TestNoDiskForALog(t *testing.T) {
	t.Parallel()
	outputs(t, func(t *testing.T, output string) {
		r := newRig(t, "")
		r.smallDisk("tmpfs", "nr_inodes=1")
		s := r.shell("a", `while :; do echo tick; sleep 0.1; done`)
		s.Output = output
		st := r.mustStart(s)
		if st.State != keeper.Running || !strings.Contains(st.Message, "no space left") {
			t.Errorf("got %+v, want it running and that no log is written", st)
		}
		if output == keeper.OutputFile {
			return
		}
		if err := unix.Mount("none", r.logs, "tmpfs", unix.MS_REMOUNT, "nr_inodes=100"); err != nil {
			t.Fatal(err)
		}
		r.logHas("tick")
		r.see("a", "that all is well", func(s keeper.Status) bool { return s.Message == "" })
	})
}

// TestFileSystemWithoutHoles: the log is bounded all the same, and it is said how.
func TestFileSystemWithoutHoles(t *testing.T) {
	t.Parallel()
	outputs(t, func(t *testing.T, output string) {
		r := newRig(t, "")
		r.smallDisk("ramfs", "")
		tokens, give := tokenFile(t)
		s, done := r.writer(output, 20000, tokens)
		s.LogMax = smallLog
		r.mustStart(s)
		give()
		r.wrote(done, 20000)
		r.see("a", "how it is bounded", func(s keeper.Status) bool { return strings.Contains(s.Message, "can't punch holes") })
		within(t, "the log is emptied", func() bool {
			st, err := os.Stat(keeper.LogPath(r.logs, "main"))
			return err == nil && st.Size() <= smallLog
		})
	})
}

func TestTruncatedAndRemovedLogs(t *testing.T) {
	t.Parallel()
	outputs(t, func(t *testing.T, output string) {
		r := newRig(t, "")
		tokens, give := tokenFile(t)
		s, done := r.writer(output, 10, tokens)
		r.mustStart(s)
		l, err := keeper.OpenLog(r.logs, "main", keeper.LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		lines := bufio.NewReader(l)
		read := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if n := isNumbered(t, strings.TrimSuffix(line, "\n")); n != i {
					t.Fatalf("line %d, want %d", n, i)
				}
			}
		}
		give()
		read(0, 10)
		path := keeper.LogPath(r.logs, "main")
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "[supd: the log was truncated here]\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		give()
		read(10, 20)
		if got := r.log(keeper.LogOptions{}); !strings.HasPrefix(got, string(numbered(nil, 10))) {
			t.Errorf("after the truncation the log is %q", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		give()
		r.wrote(done, 30)
		if output == keeper.OutputPipe { // goes on in a new file
			r.logHas(string(numbered(nil, 29)))
			return
		}
		r.see("a", "that the log is gone", func(s keeper.Status) bool { return strings.Contains(s.Message, "removed") })
		r.crash()
		r.up()
		r.see("a", "that the log is gone, from the next keeper", func(s keeper.Status) bool { return strings.Contains(s.Message, "removed") })
	})
}

// TestSinceReadsOverRestarts shows what was written after a time, and nothing of a life that had ended by then.
func TestSinceReadsOverRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	st := r.mustStart(r.shell("a", `echo "life $$"; exec sleep 1000`))
	var times []time.Time
	want := ""
	for i := range 4 {
		r.logHas(fmt.Sprintf("life %d\n", st.PID))
		at, err := os.Stat(keeper.LogPath(r.logs, "main"))
		if err != nil {
			t.Fatal(err)
		}
		want += fmt.Sprintf("life %d\n", st.PID)
		times = append(times, at.ModTime())
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		st = r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == i+1 })
	}
	r.logHas(fmt.Sprintf("life %d\n", st.PID))
	want += fmt.Sprintf("life %d\n", st.PID)
	rest := want
	for i, at := range times {
		if got := r.log(keeper.LogOptions{Since: at}); got != rest {
			t.Errorf("since life %d: got %q, want %q", i, got, rest)
		}
		_, rest, _ = strings.Cut(rest, "\n")
		if got := r.log(keeper.LogOptions{Since: at.Add(1)}); got != rest {
			t.Errorf("since after life %d: got %q, want %q", i, got, rest)
		}
	}
	all := strings.SplitAfter(strings.TrimSuffix(want, "\n"), "\n")
	for n := 1; n <= 6; n++ {
		got := r.log(keeper.LogOptions{Since: times[0], Tail: n})
		if tail := strings.Join(all[max(0, len(all)-n):], "") + "\n"; got != tail {
			t.Errorf("the last %d: got %q, want %q", n, got, tail)
		}
	}
	if got := r.log(keeper.LogOptions{Since: time.Now().Add(time.Hour)}); got != "" {
		t.Errorf("since a time to come: %q", got)
	}
}

// TestKeptLogsAreBoundedTogether: the earlier logs have as much room as the present one.
func TestKeptLogsAreBoundedTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	if err := os.MkdirAll(r.logs, 0o750); err != nil {
		t.Fatal(err)
	}
	path := keeper.LogPath(r.logs, "main")
	if err := os.WriteFile(path, make([]byte, 4*smallLog), 0o640); err != nil { // grown faster than anybody looked
		t.Fatal(err)
	}
	for n := 1; n < keeper.KeptLogs; n++ {
		if err := os.WriteFile(fmt.Sprintf("%s.%d", path, n), make([]byte, smallLog/4), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	s := r.shell("a", "exec sleep 1000")
	s.LogMax = smallLog
	r.mustStart(s)
	within(t, "the earlier logs are bounded", func() bool {
		var sum int64
		files, err := filepath.Glob(path + ".?")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			sum += blocks(t, f)
		}
		return sum > 0 && sum <= smallLog
	})
}

// TestReaderEndsWhereTheLogEnded: without Follow a log that grows faster than it is read has an end.
func TestReaderEndsWhereTheLogEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := keeper.LogPath(dir, "main")
	if err := os.WriteFile(path, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := keeper.OpenLog(dir, "main", keeper.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(l); err != nil || string(b) != "one\n" {
		t.Errorf("got %q, %v", b, err)
	}
}
