package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Session is a command under way in a member of this node.
type Session interface {
	// Files are what is written to the command and read from it. Stdin is nil if it reads nothing, stderr if it has a
	// terminal; then the other two are one file.
	Files() (stdin, stdout, stderr *os.File)
	Resize(rows, cols uint16) error
	// Wait returns how the command has ended; with an error after Hangup.
	Wait() (client.ExecResult, error)
	// Hangup ends the command; it may be called at any time and more than once.
	Hangup()
	// Close gives back the files too.
	Close()
}

// exec runs a command in a member, from any node: here, or by way of the owner.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) error {
	o, err := execOptions(r)
	if err != nil {
		return err
	}
	ns, name := r.PathValue("ns"), r.PathValue("name")
	m, err := s.memberOf(ns, name, &o.Process)
	if err != nil {
		return err
	}
	if m.Node == s.o.Node {
		return s.serveExec(w, r, ns, name, o)
	}
	if m.Node == "" {
		return refused("NotRunning", "cannot run %s in member %s: it has no node yet; see supctl explain %s", o.Command[0], name, name)
	}
	c, err := s.nodeClient(m.Node)
	if err != nil {
		return err
	}
	leave, err := s.sessions.enter()
	if err != nil {
		return err
	}
	defer leave()
	owner, err := c.NodeExec(r.Context(), ns, name, o, s.o.Node, who(r))
	if err != nil {
		if e := asError(err); e.Code == spec.CodeNoLeader {
			return spec.Errorf(spec.CodeNoLeader, "cannot run %s in member %s: its node %s does not answer: %v", o.Command[0], name, m.Node, err)
		}
		return err
	}
	conn, in, err := s.hijack(w)
	if err != nil {
		return errors.Join(err, owner.Close())
	}
	s.relay(r.Context(), conn, in, owner)
	return nil
}

// nodeExec runs a command in a member of this node.
func (s *Server) nodeExec(w http.ResponseWriter, r *http.Request) error {
	o, err := execOptions(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	return s.serveExec(w, r, q.Get("namespace"), q.Get("member"), o)
}

func execOptions(r *http.Request) (client.ExecOptions, error) {
	var o client.ExecOptions
	if !strings.EqualFold(r.Header.Get("Upgrade"), client.ExecProtocol) {
		return o, spec.Errorf(spec.CodeInvalid, "a command in a member needs a connection of its own: want the headers Connection: Upgrade and Upgrade: %s", client.ExecProtocol)
	}
	if err := decode(r, &o); err != nil {
		return o, err
	}
	switch {
	case len(o.Command) == 0 || o.Command[0] == "":
		return o, spec.Errorf(spec.CodeInvalid, "there is no command")
	case o.Copy && (o.TTY || o.Command[0] != "pack" && o.Command[0] != "unpack"):
		return o, spec.Errorf(spec.CodeInvalid, "a copy packs or unpacks, without a terminal")
	}
	return o, nil
}

// serveExec runs a command here and is its client's other end until it has ended.
func (s *Server) serveExec(w http.ResponseWriter, r *http.Request, ns, member string, o client.ExecOptions) error {
	leave, err := s.sessions.enter()
	if err != nil {
		return err
	}
	defer leave()
	x, err := s.o.Agent.Exec(r.Context(), ns, member, o)
	if err != nil {
		return err
	}
	defer x.Close()
	// Arguments may hold secrets.
	s.log.Info("command in a member", "who", who(r), "member", ns+"/"+member, "process", o.Process, "command", o.Command[0], "tty", o.TTY)
	conn, in, err := s.hijack(w)
	if err != nil {
		return err
	}
	e := &execution{x: x, conn: conn, tty: o.TTY}
	e.run(r.Context(), s.ending, in)
	return nil
}

// hijack takes the connection over from HTTP. From then on errors can't be answered.
func (s *Server) hijack(w http.ResponseWriter) (net.Conn, io.Reader, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, spec.Errorf(spec.CodeInternal, "cannot take the connection over: %v", err)
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+client.ExecProtocol+"\r\n\r\n")
	if err != nil {
		s.log.Debug("client gone", "err", err) // the first read tells it too
	}
	return conn, rw.Reader, nil
}

// relay passes bytes on between a client and the owner until one of them has gone, or the client's access has ended: then he is told.
func (s *Server) relay(ctx context.Context, conn net.Conn, in io.Reader, owner io.ReadWriteCloser) {
	end := sync.OnceFunc(func() {
		_, _ = conn.Close(), owner.Close() // both are given up, whatever they say
	})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		untilHangup(ctx, s.ending, conn, stop)
		if accessEnded(ctx) == nil {
			end()
			return
		}
		lastWords(conn)
		_ = owner.Close() // it is given up; the client is told below
	})
	heard := make(chan struct{})
	wg.Go(func() {
		defer close(heard)
		_, _ = io.Copy(owner, in)
		if accessEnded(ctx) != nil {
			_, _ = io.Copy(io.Discard, in) // until the client has read the last words, and closes
		}
		end()
	})
	if !copyFrames(conn, owner) { // ends as the session does
		if why := accessEnded(ctx); why != nil && client.WriteFrame(conn, errorFrame(why)) == nil {
			<-heard
		}
	}
	close(stop)
	end()
	wg.Wait()
}

// copyFrames passes frames on until there are no more, and tells whether the last that a session has was among them.
func copyFrames(to io.Writer, from io.Reader) (last bool) {
	r := bufio.NewReader(from)
	for {
		f, err := client.ReadFrame(r)
		if err != nil || client.WriteFrame(to, f) != nil {
			return last
		}
		last = last || f.Kind == client.FrameExit || f.Kind == client.FrameError
	}
}

// lastWords bounds what a client is still told, and how long he may take to close the connection: one closed with input
// unread would be reset, and the last words lost.
func lastWords(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(linger)) // one that is closed needs none
}

func errorFrame(e *spec.Error) client.Frame {
	return client.Frame{Kind: client.FrameError, Data: client.MarshalError(e)}
}

// hangupEvery is how often it is looked whether a client has gone that isn't listened to, because what it has sent before
// is not yet taken.
const hangupEvery = time.Second

// untilHangup returns when the client has gone, the server ends, or stop is closed.
func untilHangup(ctx context.Context, ending <-chan struct{}, conn net.Conn, stop <-chan struct{}) {
	t := time.NewTicker(hangupEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ending:
			return
		case <-stop:
			return
		case <-t.C:
		}
		if hungUp(conn) {
			return
		}
	}
}

// hungUp asks the kernel whether the other end was closed; data before that may be unread.
func hungUp(conn net.Conn) bool {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	p := []unix.PollFd{{Events: unix.POLLRDHUP}}
	err = raw.Control(func(fd uintptr) {
		p[0].Fd = int32(fd)
		if _, perr := unix.Poll(p, 0); perr != nil { // interrupted: the next look tells
			p[0].Revents = 0
		}
	})
	return err != nil || p[0].Revents != 0
}

// execution is a session with its client.
type execution struct {
	x    Session
	conn net.Conn
	tty  bool

	mu sync.Mutex // guards writing to conn
}

// drainOutput is how long output is waited for after the command and all it left behind have ended. Only where there are
// no cgroups somebody may still have it open.
const drainOutput = 200 * time.Millisecond

// linger is how long a client that was told the end may take to close the connection.
const linger = 5 * time.Second

// run returns when the session has ended and nothing of it is left.
func (e *execution) run(ctx context.Context, ending <-chan struct{}, in io.Reader) {
	stdin, stdout, stderr := e.x.Files()
	end := sync.OnceFunc(func() {
		e.x.Hangup()
		_ = e.conn.Close() // it is given up
	})
	stop := make(chan struct{})
	var wg, outs sync.WaitGroup
	wg.Go(func() {
		untilHangup(ctx, ending, e.conn, stop)
		if accessEnded(ctx) == nil {
			end()
			return
		}
		lastWords(e.conn)
		e.x.Hangup() // the command ends, and the client is told why below
	})
	heard := make(chan struct{})
	wg.Go(func() { defer close(heard); e.input(in, stdin) })
	wg.Go(func() { <-heard; end() })
	exited := make(chan struct{})
	outs.Go(func() { e.output(client.FrameStdout, stdout, exited, end) })
	if stderr != nil {
		outs.Go(func() { e.output(client.FrameStderr, stderr, exited, end) })
	}
	res, err := e.x.Wait()
	close(exited)
	for _, f := range []*os.File{stdout, stderr} {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(drainOutput)) // a reader already there sees it too
		}
	}
	outs.Wait()
	if stdin != nil {
		_ = stdin.SetWriteDeadline(time.Unix(1, 0)) // input that nobody takes any more
	}
	if ended := accessEnded(ctx); ended != nil && err != nil {
		err = ended
	}
	e.last(res, err)
	lastWords(e.conn)
	<-heard
	close(stop)
	end()
	wg.Wait()
}

// last tells the client how the command ended.
func (e *execution) last(res client.ExecResult, err error) {
	f := client.Frame{Kind: client.FrameExit}
	if err == nil {
		f.Data, err = json.Marshal(res)
	}
	if err != nil {
		f = errorFrame(asError(err))
	}
	_ = e.send(f) // a client that is gone needs no answer
}

func (e *execution) send(f client.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return client.WriteFrame(e.conn, f)
}

// output passes on what the command writes. A client that reads slowly makes the command wait.
func (e *execution) output(kind client.FrameKind, from *os.File, exited <-chan struct{}, end func()) {
	buf := make([]byte, 32<<10)
	for {
		select {
		case <-exited:
			_ = from.SetReadDeadline(time.Now().Add(drainOutput)) // pipes and terminals have deadlines
		default:
		}
		n, err := from.Read(buf)
		if n > 0 {
			if e.send(client.Frame{Kind: kind, Data: buf[:n]}) != nil {
				end()
				return
			}
		}
		if err != nil { // the end: EOF of a pipe, EIO of a terminal
			return
		}
	}
}

// endOfInput is what a terminal takes for the end of input.
const endOfInput = "\x04"

// input takes what the client sends until it has gone. to may be nil.
func (e *execution) input(in io.Reader, to *os.File) {
	closed := to == nil
	for {
		f, err := client.ReadFrame(in)
		if err != nil {
			return
		}
		switch f.Kind {
		case client.FrameStdin:
			if !closed {
				_, err := to.Write(f.Data)
				closed = err != nil // the command reads no more: the rest is thrown away, as a shell would
			}
		case client.FrameStdinEnd:
			if !closed {
				closed = !e.tty
				e.endInput(to)
			}
		case client.FrameResize:
			if rows, cols, ok := f.Size(); ok {
				_ = e.x.Resize(rows, cols) // it fails when the terminal is gone, and so is the session then
			}
		case client.FrameStdout, client.FrameStderr, client.FrameExit, client.FrameError:
			return // no client sends that
		}
	}
}

func (e *execution) endInput(to *os.File) {
	if e.tty {
		_, _ = to.WriteString(endOfInput) // as above
		return
	}
	_ = to.Close() // nothing is buffered
}
