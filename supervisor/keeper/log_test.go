package keeper_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

func TestEachStartHasItsLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	s := r.shell("a", `echo "life $(cat `+r.dir+`/n)"; exit 0`)
	n := filepath.Join(r.dir, "n")
	s.Argv[2] = `i=$(cat "$1"); i=$((i+1)); echo $i > "$1"; echo life $i; [ $i -lt 8 ] || exec sleep 1000`
	s.Argv = append(s.Argv, n)
	if err := os.WriteFile(n, []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.mustStart(s)
	r.logHas("life 8")
	if got := r.log(keeper.LogOptions{Previous: true}); got != "life 7\n" {
		t.Errorf("previous is %q", got)
	}
	for i := 1; i <= keeper.KeptLogs+1; i++ {
		b, err := os.ReadFile(fmt.Sprintf("%s.%d", keeper.LogPath(r.logs, "main"), i))
		if i > keeper.KeptLogs {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("one too many is kept: %q, %v", b, err)
			}
		} else if want := fmt.Sprintf("life %d\n", 8-i); err != nil || string(b) != want {
			t.Errorf("log %d is %q, %v, want %q", i, b, err, want)
		}
	}
	st, err := os.Stat(keeper.LogPath(r.logs, "main"))
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
}

func TestFollowGoesOnOverARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	st := r.mustStart(r.shell("a", "echo life $$; exec sleep 1000"))
	r.logHas("life")
	l, err := keeper.OpenLog(r.logs, "main", keeper.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(l)
	for i := range 4 {
		if !lines.Scan() || lines.Text() != fmt.Sprint("life ", st.PID) {
			t.Fatalf("life %d: got %q, %v, want that of %d", i, lines.Text(), lines.Err(), st.PID)
		}
		if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		st = r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == i+1 })
	}
	ended := make(chan bool)
	go func() {
		more := lines.Scan()
		ended <- more && lines.Scan()
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if <-ended {
		t.Error("it reads on after Close")
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all []string
	for i := range 20000 {
		all = append(all, fmt.Sprintf("line %d of a log that is longer than a block", i))
	}
	for _, end := range []string{"", "\n"} {
		text := strings.Join(all, "\n") + end
		if err := os.WriteFile(keeper.LogPath(dir, "main"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 2, 700, 19999, 20000, 20001, 0, -1} {
			l, err := keeper.OpenLog(dir, "main", keeper.LogOptions{Tail: n})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(l)
			from := 0
			if n > 0 {
				from = max(0, len(all)-n)
			}
			want := strings.Join(all[from:], "\n") + end
			if n < 0 {
				want = ""
			}
			if err != nil || string(b) != want {
				t.Errorf("tail %d: got %d bytes, %v, want %d", n, len(b), err, len(want))
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := keeper.OpenLog(dir, "main", keeper.LogOptions{Previous: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no previous log: %v", err)
	}
}

func TestFollowCatchesUpWithManyRotations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := keeper.LogPath(dir, "main")
	write := func(p, text string) {
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "one\n")
	l, err := keeper.OpenLog(dir, "main", keeper.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lines := bufio.NewScanner(l)
	if !lines.Scan() || lines.Text() != "one" {
		t.Fatalf("got %q", lines.Text())
	}
	for _, err := range []error{os.Rename(path, path+".3")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	write(path+".2", "two\n")
	write(path+".1", "three\n")
	write(path, "four\n")
	for _, want := range []string{"two", "three", "four"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
}
