package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// cmdPty runs a command on a terminal of its own: pty STATUS TALK CMD... . The lines of TALK are "expect TEXT", "send TEXT"
// (with Go's escapes) and "resize ROWS COLS". The terminal must be at the end as it was before.
func cmdPty(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	master, slave, err := keeper.OpenTerminal()
	ts.Check(err)
	defer master.Close()
	defer slave.Close()
	ts.Check(keeper.ResizeTerminal(master, 30, 100))
	before, err := termios(slave)
	ts.Check(err)
	cmd := exec.Command(filepath.Join(worldOf(ts).bin, args[2]), args[3:]...) // one of ours
	cmd.Env = append(os.Environ(), "TERM=vt220", "PATH="+ts.Getenv("PATH"), "SUPCTL_ADDR="+ts.Getenv("SUPCTL_ADDR"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	s := &screen{}
	var wg sync.WaitGroup
	wg.Go(func() { s.read(master) })
	talkErr := talk(master, s, ts.ReadFile(args[1]))
	if talkErr != nil {
		_ = cmd.Process.Kill() // its end is awaited below
	}
	err = cmd.Wait()
	ts.Check(master.SetReadDeadline(time.Now()))
	wg.Wait()
	ts.Logf("%s", s.String())
	ts.Check(talkErr)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	after, err := termios(slave)
	ts.Check(err)
	if *after != *before {
		ts.Fatalf("the terminal was left as %+v, it was %+v", after, before)
	}
}

func termios(f *os.File) (*unix.Termios, error) {
	return unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
}

func talk(master *os.File, s *screen, script string) error {
	for line := range strings.Lines(script) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		text, err := strconv.Unquote(`"` + rest + `"`)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		switch verb {
		case "expect":
			err = until(eventually, func() error { return s.takeUpTo(text) })
		case "send":
			_, err = master.WriteString(text)
		case "resize":
			var rows, cols uint16
			if _, err = fmt.Sscan(text, &rows, &cols); err == nil {
				err = keeper.ResizeTerminal(master, rows, cols)
			}
		default:
			err = errors.New("want expect, send or resize")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
	}
	return nil
}

// screen is what was shown.
type screen struct {
	mu    sync.Mutex // guards what follows
	all   bytes.Buffer
	taken int
}

func (s *screen) read(master *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		s.mu.Lock()
		s.all.Write(buf[:n])
		s.mu.Unlock()
		if err != nil { // nobody has the terminal any more, or the deadline
			return
		}
	}
}

func (s *screen) takeUpTo(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.all.Bytes()[s.taken:]
	i := bytes.Index(rest, []byte(text))
	if i < 0 {
		return fmt.Errorf("not in %q", rest)
	}
	s.taken += i + len(text)
	return nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}
