package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"supd/supervisor/spec"
)

// ExecProtocol is what a connection is upgraded to for a command in a member.
const ExecProtocol = "supd-exec/1"

// ReasonNotExecuted and ReasonNoCommand: the command could not be executed, or there is none of that name.
const (
	ReasonNotExecuted = "NotExecuted"
	ReasonNoCommand   = "NoCommand"
)

// ExecOptions say what is run in a member, and how. They are the body of POST .../exec.
type ExecOptions struct {
	Process string   `json:"process,omitempty"` // whose user, view and environment; "": the main one
	Command []string `json:"command"`
	// Copy: Command are arguments of the keeper's own binary, which packs or unpacks files.
	Copy  bool   `json:"copy,omitempty"`
	Stdin bool   `json:"stdin,omitempty"` // else it reads nothing
	TTY   bool   `json:"tty,omitempty"`   // output and errors are one stream then
	Term  string `json:"term,omitempty"`  // TERM, with TTY
	Rows  uint16 `json:"rows,omitempty"`
	Cols  uint16 `json:"cols,omitempty"`
}

// ExecResult is how a command in a member ended. Code is -1 if a signal ended it; Message says why it was made to end.
type ExecResult struct {
	Code    int    `json:"code"`
	Signal  string `json:"signal,omitempty"`
	Message string `json:"message,omitempty"`
}

// Session is a command in a member under way. Sends may come from several goroutines, Next from one.
type Session struct {
	conn io.ReadWriteCloser
	r    *bufio.Reader
	stop func() bool

	mu sync.Mutex // guards writing
}

// Exec runs a command in a member. It returns when the command runs; ctx bounds all of it. The caller closes the session,
// which ends the command if it has not ended.
func (c *Client) Exec(ctx context.Context, ns, member string, o ExecOptions) (*Session, error) {
	conn, err := c.upgrade(ctx, call{method: http.MethodPost, path: Members.ObjectPath(ns, member) + "/exec", body: o}, nil)
	if err != nil {
		return nil, err
	}
	s := &Session{conn: conn, r: bufio.NewReader(conn)}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.Close() }) // whoever reads then, sees that it ended
	return s, nil
}

// NodeExec runs a command on the node that owns the member, for who, and gives the connection as it is.
func (c *Client) NodeExec(ctx context.Context, ns, member string, o ExecOptions, node, who string) (io.ReadWriteCloser, error) {
	q := url.Values{"namespace": {ns}, "member": {member}}
	head := http.Header{HeaderForwarded: {node}, HeaderWho: {who}}
	return c.upgrade(ctx, call{method: http.MethodPost, path: "/v1/internal/exec", query: q, body: o}, head)
}

// upgrade makes a call whose answer is a connection. It is not tried again: a command may have run.
func (c *Client) upgrade(ctx context.Context, k call, head http.Header) (io.ReadWriteCloser, error) {
	b, err := json.Marshal(k.body)
	if err != nil {
		return nil, spec.Errorf(spec.CodeInternal, "cannot encode a request: %v", err)
	}
	u := c.base + k.path
	if len(k.query) > 0 {
		u += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u, bytes.NewReader(b))
	if err != nil {
		return nil, spec.Errorf(spec.CodeInvalid, "cannot make a request for %s: %v", u, err)
	}
	for name, v := range head {
		req.Header[name] = v
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", ExecProtocol)
	c.showToken(req)
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, c.transportError(k, err)
	}
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		return conn, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, c.transportError(k, err)
	}
	if resp.StatusCode < 300 {
		return nil, spec.Errorf(spec.CodeInternal, "%s answered %d where a connection was asked for", c.addr, resp.StatusCode)
	}
	return nil, decodeError(c.addr, resp.StatusCode, text)
}

// Stdin sends input to the command.
func (s *Session) Stdin(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), MaxFrame)
		if err := s.send(Frame{FrameStdin, b[:n]}); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// CloseStdin tells the command that no more input comes.
func (s *Session) CloseStdin() error { return s.send(Frame{Kind: FrameStdinEnd}) }

// Resize tells the command the new size of its terminal.
func (s *Session) Resize(rows, cols uint16) error { return s.send(resizeFrame(rows, cols)) }

func (s *Session) send(f Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return WriteFrame(s.conn, f)
}

// Copy passes the command's output on until it has ended, and returns how.
func (s *Session) Copy(stdout, stderr io.Writer) (ExecResult, error) {
	for {
		f, err := ReadFrame(s.r)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the connection ended")
			}
			return ExecResult{}, spec.Errorf(spec.CodeNoLeader, "the session broke off: %v; the command was told to end", err)
		}
		switch f.Kind {
		case FrameStdout:
			_, err = stdout.Write(f.Data)
		case FrameStderr:
			_, err = stderr.Write(f.Data)
		case FrameExit:
			var res ExecResult
			if err := json.Unmarshal(f.Data, &res); err != nil {
				return res, spec.Errorf(spec.CodeInternal, "cannot read how the command ended: %v", err)
			}
			return res, nil
		case FrameError:
			return ExecResult{}, decodeError("the daemon", http.StatusInternalServerError, f.Data)
		case FrameStdin, FrameStdinEnd, FrameResize: // only clients send these
		}
		if err != nil {
			return ExecResult{}, fmt.Errorf("cannot write the command's output: %w", err)
		}
	}
}

// Close ends the session.
func (s *Session) Close() error {
	s.stop()
	return s.conn.Close()
}
