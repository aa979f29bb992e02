package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// Session is a command that runs in a member of this node. Its files are the caller's to use and to close; with a terminal
// Stdin and Stdout are one file and Stderr is nil. Stdin is nil if nothing is to be read.
type Session struct {
	Stdin, Stdout, Stderr *os.File
	tty                   bool
	open                  *keeper.OpenSession
}

// Exec runs a command beside a live process of a member of this node.
func (a *Agent) Exec(ctx context.Context, namespace, member string, o client.ExecOptions) (*Session, error) {
	set, ordinal, ok := spec.SplitMember(member)
	if !ok || spec.CheckLabel(namespace) != nil || spec.CheckLabel(member) != nil {
		return nil, spec.Errorf(spec.CodeInvalid, "%q in namespace %q is no member's name", member, namespace)
	}
	k := Key{namespace, set, ordinal}
	process, err := a.processFor(k, o.Process)
	if err != nil {
		return nil, err
	}
	if m := a.o.Views.View().Member(namespace, set, ordinal); m != nil && m.Node != a.o.Node {
		return nil, spec.Errorf(spec.CodeNotFound, "member %s is on node %s, not on %s", member, m.Node, a.o.Node)
	}
	s := &Session{tty: o.TTY}
	theirs, err := s.files(o)
	defer closeFiles(theirs)
	if err != nil {
		s.Close()
		return nil, spec.Errorf(spec.CodeInternal, "cannot run a command in member %s: %v", member, err)
	}
	q := keeper.Session{Member: k.String(), Process: process, Argv: o.Command, Self: o.Copy}
	if o.TTY && o.Term != "" {
		q.Env = []string{"TERM=" + o.Term}
	}
	if s.open, err = a.o.Keeper.Exec(ctx, q, theirs...); err != nil {
		s.Close()
		return nil, execError(member, o, err)
	}
	return s, nil
}

// execError says why a command doesn't run.
func execError(member string, o client.ExecOptions, err error) error {
	var ex *keeper.ErrExec
	e := spec.Errorf(spec.CodeInternal, "cannot run %s in member %s: %v", o.Command[0], member, err)
	switch {
	case errors.As(err, &ex) && ex.Step == "exec":
		e.Code, e.Reason = spec.CodeInvalid, client.ReasonNotExecuted
		if errors.Is(err, fs.ErrNotExist) {
			e.Reason = client.ReasonNoCommand
		}
	case errors.Is(err, keeper.ErrBusy), errors.Is(err, keeper.ErrProtocol):
		e.Code = spec.CodeRefused
	case errors.Is(err, keeper.ErrNotFound):
		e.Code = spec.CodeRefused
		e.Message = fmt.Sprintf("cannot run %s in member %s: it does not run: see supctl explain %s", o.Command[0], member, member)
	case errors.Is(err, keeper.ErrInvalid):
		e.Code = spec.CodeInvalid
	case errors.Is(err, keeper.ErrDown):
		e.Code = spec.CodeNoLeader
	}
	return e
}

// files makes both ends of what the command reads and writes. What was made is in s and theirs also when it fails.
func (s *Session) files(o client.ExecOptions) (theirs []*os.File, err error) {
	if o.TTY {
		master, slave, err := keeper.OpenTerminal()
		if err != nil {
			return nil, err
		}
		s.Stdin, s.Stdout = master, master
		return []*os.File{slave}, s.Resize(o.Rows, o.Cols)
	}
	in, err := s.input(o.Stdin)
	if err != nil {
		return nil, err
	}
	theirs = append(theirs, in)
	for _, ours := range []**os.File{&s.Stdout, &s.Stderr} {
		r, w, err := pipe(func(p [2]int) int { return p[1] })
		if err != nil {
			return theirs, err
		}
		*ours = r
		theirs = append(theirs, w)
	}
	return theirs, nil
}

func (s *Session) input(wanted bool) (*os.File, error) {
	if !wanted {
		return os.Open(os.DevNull)
	}
	r, w, err := pipe(func(p [2]int) int { return p[0] })
	s.Stdin = w
	return r, err
}

// pipe makes a pipe of which one end, the program's, blocks as programs expect.
func pipe(theirs func([2]int) int) (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	if err := unix.SetNonblock(theirs(p), false); err != nil {
		return nil, nil, errors.Join(err, unix.Close(p[0]), unix.Close(p[1]))
	}
	return os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe"), nil
}

// Resize changes the size of the command's terminal, if it has one.
func (s *Session) Resize(rows, cols uint16) error {
	if !s.tty || rows == 0 || cols == 0 {
		return nil
	}
	return keeper.ResizeTerminal(s.Stdout, rows, cols)
}

// Files are the input, output and errors; see Session.
func (s *Session) Files() (stdin, stdout, stderr *os.File) { return s.Stdin, s.Stdout, s.Stderr }

// Wait returns how the command ended. When the session was closed, or the keeper has gone, it fails.
func (s *Session) Wait() (client.ExecResult, error) {
	res, err := s.open.Wait()
	if err != nil {
		return client.ExecResult{}, spec.Errorf(spec.CodeInternal, "it is not known how the command ended: %v", err)
	}
	return client.ExecResult(res), nil
}

// Hangup ends the command if it has not ended: SIGHUP, and SIGKILL a second later.
func (s *Session) Hangup() {
	_ = s.open.Hangup() // called twice it fails, which is as good
}

// Close gives back all that the session has.
func (s *Session) Close() {
	if s.open != nil {
		s.Hangup()
	}
	files := []*os.File{s.Stdin, s.Stdout, s.Stderr}
	closeFiles(slices.DeleteFunc(files, func(f *os.File) bool { return f == nil }))
}

// closeFiles closes files that may be closed already.
func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
