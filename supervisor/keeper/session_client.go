package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// OpenSession is a command that runs beside a member's process, as its client sees it.
type OpenSession struct{ cc *clientConn }

// Exec runs a command beside a live process of a member: as its user, in its view, host name and cgroup, with its
// environment and limits. files are a terminal, which becomes the command's controlling one, or its input, output and
// errors; the caller closes its own copies. Exec returns when the program has been exec'ed, or with why not: ErrNotFound
// (no such process), ErrBusy (it does not run), ErrInvalid or a *ErrExec. The session lasts until the command ends, the process
// beside it ends, or Hangup is called.
func (c *Client) Exec(ctx context.Context, s Session, files ...*os.File) (*OpenSession, error) {
	req := &request{Op: "exec", Session: &s}
	line, err := json.Marshal(req)
	if err != nil {
		return nil, invalid("cannot encode the request: %v", err)
	}
	if len(line) >= maxLine {
		return nil, invalid("the request has %d bytes, the most is %d", len(line), maxLine)
	}
	cc, err := c.conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := req.suits(cc.protocol); err != nil {
		c.release(cc)
		return nil, err
	}
	if err := cc.sendWith(append(line, '\n'), files); err != nil {
		cc.Close()
		return nil, fmt.Errorf("%w: %v", ErrDown, err)
	}
	r, err := cc.exchange(ctx, nil)
	if err != nil {
		cc.Close()
		return nil, err
	}
	if err := r.Error.err(); err != nil {
		c.release(cc)
		return nil, err
	}
	if !r.Started {
		cc.Close()
		return nil, fmt.Errorf("%w: no word of a start in its answer", ErrProtocol)
	}
	return &OpenSession{cc}, nil
}

// Wait returns how the command has ended. ErrDown: the keeper has gone, or Hangup was called; the command is killed then.
func (s *OpenSession) Wait() (SessionResult, error) {
	r, err := s.cc.exchange(context.Background(), nil)
	if err != nil {
		return SessionResult{}, err
	}
	if err := r.Error.err(); err != nil {
		return SessionResult{}, err
	}
	if r.Session == nil {
		return SessionResult{}, fmt.Errorf("%w: no result in its answer", ErrProtocol)
	}
	return *r.Session, nil
}

// Hangup ends the session if it hasn't ended: SIGHUP for all of it, and SIGKILL a second later. It may be called at any
// time, and must be called once.
func (s *OpenSession) Hangup() error { return s.cc.Close() }

// sendWith sends a line and, with its first byte, descriptors.
func (cc *clientConn) sendWith(line []byte, files []*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn() // Fd would make them block, which is nobody's business here
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds[i], err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			return err
		}
		if err != nil {
			return os.NewSyscallError("fcntl", err)
		}
		defer unix.Close(fds[i])
	}
	n, _, err := cc.Conn.(*net.UnixConn).WriteMsgUnix(line, unix.UnixRights(fds...), nil)
	if err == nil && n < len(line) {
		_, err = cc.Write(line[n:])
	}
	return err
}
