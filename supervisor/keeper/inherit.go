package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const oomScoreFile = "/proc/self/oom_score_adj"

// standing is what the keeper has been given by whoever started it, and its members must not inherit: a priority, and
// its rank with the OOM killer.
type standing struct {
	nice int
	oom  int // its own score
	now  int // its score at present: lent to a child over a fork
	log  *slog.Logger
}

func newStanding(log *slog.Logger) (standing, error) {
	s := standing{log: log}
	b, err := os.ReadFile(oomScoreFile)
	if err != nil {
		return s, err
	}
	if s.oom, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
		return s, fmt.Errorf("%s: %w", oomScoreFile, err)
	}
	s.now = s.oom
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call gives 20 - nice
	s.nice = 20 - n
	return s, os.NewSyscallError("getpriority", err)
}

// nices gives a program that says nothing the usual priority. Only root may raise one that is low.
func (s *standing) nices(e *Exec) *Exec {
	if e.Nice != nil || s.nice == 0 || s.nice > 0 && os.Geteuid() != 0 {
		return e
	}
	c := *e
	c.Nice = new(int)
	return &c
}

// lend gives the keeper the score that the child about to be forked inherits; giveBack undoes it. The score belongs to
// a process, so the child could set it only once it runs, and nothing of ours runs in it. Both are called under the
// launcher's fork lock. A program that says nothing gets the usual score, or the keeper's where only root could lower it.
func (s *standing) lend(e *Exec) error {
	if e.OOMScore != nil {
		return s.set(*e.OOMScore)
	}
	if err := s.set(0); !errors.Is(err, unix.EACCES) {
		return err
	}
	return nil
}

func (s *standing) giveBack() {
	if err := s.set(s.oom); err != nil {
		s.log.Error("the keeper's own oom score can't be set again", "err", err)
	}
}

func (s *standing) set(score int) error {
	if score == s.now {
		return nil
	}
	f, err := os.OpenFile(oomScoreFile, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(strconv.Itoa(score)); err != nil {
		return fmt.Errorf("%d: %w", score, err)
	}
	s.now = score
	return nil
}
