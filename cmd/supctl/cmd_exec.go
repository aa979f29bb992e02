package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Exit statuses of a command that did not run, as shells have them.
const (
	exitNotExecuted = 126
	exitNoCommand   = 127
	exitSignalled   = 128 // and the signal's number
)

// commandEnd is a command in a member that ended with another status than 0. It becomes supctl's own.
type commandEnd struct {
	status int
	text   string
}

func (e *commandEnd) Error() string { return e.text }

func (a *app) execCommand() *cobra.Command {
	var o client.ExecOptions
	cmd := &cobra.Command{
		Use:   "exec MEMBER [-c PROCESS] [-i] [-t] -- COMMAND [ARG...]",
		Short: "Run a command in a member, from any node",
		Long: `exec runs a command beside a member's main process, or the one named by -c: as its
user, in its view of files and its host name, with its environment and limits. What
the command leaves behind is killed when it ends; all of it when supctl is interrupted
or the process ends.

Exit status: the command's own; 128 and the signal's number if a signal ended it; 126
if it could not be executed, 127 if there is none of that name. Else: 1 failed; 2 wrong
usage; 3 not found; 4 the member does not run, or refused, also when access ends meanwhile;
5 no daemon, or its node is away.`,
		Example: `  supctl exec web-0 -- ls -l
  supctl exec -it web-0 -- sh
  supctl exec -i db-0 -c main -- psql < dump.sql`,
	}
	cmd.Flags().StringVarP(&o.Process, "process", "c", "", "beside this process (default the main one)")
	cmd.Flags().BoolVarP(&o.Stdin, "stdin", "i", false, "pass standard input to the command")
	cmd.Flags().BoolVarP(&o.TTY, "tty", "t", false, "give the command a terminal")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
			return usagef("want MEMBER -- COMMAND [ARG...]")
		}
		o.Command = args[1:]
		return a.exec(cmd.Context(), args[0], o)
	})
	return cmd
}

// memberName reads MEMBER or KIND/MEMBER.
func memberName(arg string) (string, error) {
	k, name, err := parseTargetOr(arg, "member")
	if err == nil && k.resource != client.Members {
		err = usagef("want a member, not a %s", k.word)
	}
	return name, err
}

func (a *app) exec(ctx context.Context, arg string, o client.ExecOptions) error {
	member, err := memberName(arg)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := a.terminal(&o)
	if err != nil {
		return err
	}
	defer t.restore()
	s, err := c.Exec(ctx, a.namespace, member, o)
	if err != nil {
		return notExecuted(err)
	}
	defer s.Close()
	if err := t.raw(); err != nil {
		return err
	}
	defer t.follow(s)()
	if o.Stdin {
		go func() { // ends with standard input; a read of a terminal can't be cut short, so it may outlast the command
			defer t.restore()
			sendInput(s, a.stdin)
		}()
	}
	res, err := s.Copy(a.stdout, a.stderr)
	t.restore()
	if ctx.Err() != nil {
		return &commandEnd{exitSignalled + int(syscall.SIGINT), "interrupted: the command was told to end"}
	}
	if err != nil {
		return err
	}
	return endOf(res)
}

// sendInput passes input on until it ends or the command does.
func sendInput(s *client.Session, in io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if s.Stdin(buf[:n]) != nil {
			return // the session has ended
		}
		if err != nil {
			_ = s.CloseStdin() // as above
			return
		}
	}
}

// notExecuted gives a command that did not run the status that shells give it.
func notExecuted(err error) error {
	var e *spec.Error
	if errors.As(err, &e) {
		switch e.Reason {
		case client.ReasonNoCommand:
			return &commandEnd{exitNoCommand, "supctl: " + e.Message}
		case client.ReasonNotExecuted:
			return &commandEnd{exitNotExecuted, "supctl: " + e.Message}
		}
	}
	return err
}

// endOf is nil for a command that ended well.
func endOf(res client.ExecResult) error {
	status := res.Code
	if res.Signal != "" {
		status = exitSignalled + int(signalNumber(res.Signal))
	}
	if status == 0 {
		return nil
	}
	text := fmt.Sprintf("command terminated with exit code %d", status)
	if res.Signal != "" {
		text += " (" + res.Signal + ")"
	}
	if res.Message != "" {
		text += ": " + res.Message
	}
	return &commandEnd{status, text}
}

// terminal is the one that supctl runs on, where the command gets one too. Its methods do nothing where it doesn't.
type terminal struct {
	file *os.File

	mu    sync.Mutex  // guards state
	state *term.State // what to restore, nil when nothing is
}

// terminal looks whether the command can have one, and which.
func (a *app) terminal(o *client.ExecOptions) (*terminal, error) {
	if !o.TTY {
		return &terminal{}, nil
	}
	f, ok := a.stdin.(*os.File)
	if o.Stdin && (!ok || !term.IsTerminal(int(f.Fd()))) {
		a.notef("Unable to use a TTY - input is not a terminal")
		o.TTY = false
		return &terminal{}, nil
	}
	if !ok || !term.IsTerminal(int(f.Fd())) {
		if f, ok = a.stdout.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
			o.Rows, o.Cols, o.Term = 24, 80, "dumb"
			return &terminal{}, nil
		}
	}
	cols, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("cannot read the terminal's size: %w", err)
	}
	o.Rows, o.Cols, o.Term = uint16(rows), uint16(cols), os.Getenv("TERM")
	if !o.Stdin {
		return &terminal{}, nil // Ctrl-C is for supctl then
	}
	return &terminal{file: f}, nil
}

// raw passes all keys on as they are.
func (t *terminal) raw() error {
	if t.file == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.state, err = term.MakeRaw(int(t.file.Fd())); err != nil {
		return fmt.Errorf("cannot set up the terminal: %w", err)
	}
	return nil
}

// restore undoes raw; it may be called again and again.
func (t *terminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != nil {
		_ = term.Restore(int(t.file.Fd()), t.state) // it fails when the terminal is gone
		t.state = nil
	}
}

// follow tells the session of every new size, until done is called.
func (t *terminal) follow(s *client.Session) (done func()) {
	if t.file == nil {
		return func() {}
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGWINCH)
	ch <- syscall.SIGWINCH // it may have changed since it was read
	var wg sync.WaitGroup
	wg.Go(func() {
		for range ch {
			if cols, rows, err := term.GetSize(int(t.file.Fd())); err == nil {
				_ = s.Resize(uint16(rows), uint16(cols)) // it fails when the session has ended
			}
		}
	})
	return func() {
		signal.Stop(ch)
		close(ch)
		wg.Wait()
	}
}
