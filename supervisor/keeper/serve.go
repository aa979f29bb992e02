package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// listen serves the socket until ctx ends or one of the keeper's loops fails, and returns when all connections are done.
func (k *Keeper) listen(ctx context.Context, failed <-chan error) error {
	l, err := listenSocket(k.files.socket())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	accepted := make(chan error, 1)
	go func() { accepted <- k.accept(ctx, l) }() // ends when l is closed, and is waited for
	close(k.ready)
	k.log.Info("keeper runs", "dir", k.opts.Dir, "boot", k.boot, "cgroup", k.info().Cgroup)
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel()
	case aerr := <-accepted:
		return errors.Join(aerr, l.Close(), os.Remove(k.files.socket()))
	}
	// The name goes first, so that nobody connects to a keeper that doesn't answer.
	err = errors.Join(err, os.Remove(k.files.socket()), l.Close())
	return errors.Join(err, <-accepted)
}

// accept takes connections, each into a goroutine of its own, until l is closed.
func (k *Keeper) accept(ctx context.Context, l *net.UnixListener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			continue
		}
		if err != nil {
			k.log.Error("cannot accept", "err", err)
			select { // out of descriptors, most likely: don't spin
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		conns.Go(func() {
			defer c.Close()
			if err := k.converse(ctx, c); err != nil {
				k.log.Debug("connection ended", "err", err)
			}
		})
	}
}

// converse answers one client's calls, one after the other.
func (k *Keeper) converse(ctx context.Context, c *net.UnixConn) error {
	if err := peerAllowed(c); err != nil {
		return err
	}
	in := &fileReader{c: c}
	defer in.drop()
	r := bufio.NewReader(in)
	for {
		in.drop()
		line, err := readRequest(ctx, c, r)
		if err != nil || line == nil {
			return err
		}
		var req request
		var resp *response
		if err := json.Unmarshal(line, &req); err != nil {
			resp = &response{Error: toWire(invalid("cannot read the request: %v", err))}
		} else {
			resp = k.answer(ctx, &req, c, r, in)
		}
		b, err := json.Marshal(resp)
		if err != nil {
			return err
		}
		if _, err := c.Write(append(b, '\n')); err != nil {
			return err
		}
	}
}

// readRequest reads a line; nil when the client has gone or ctx has ended.
func readRequest(ctx context.Context, c *net.UnixConn, r *bufio.Reader) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // it fails on a closed one, which is as good
	defer stop()
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, nil // closed, by one end or the other
		case len(line) > maxLine:
			return nil, fmt.Errorf("a request of more than %d bytes", maxLine)
		}
	}
}

// answer carries out one request.
func (k *Keeper) answer(ctx context.Context, q *request, c *net.UnixConn, r *bufio.Reader, in *fileReader) *response {
	resp := &response{}
	var err error
	switch q.Op {
	case "hello":
		if q.Protocol < MinProtocol {
			err = fmt.Errorf("%w: the client speaks version %d, this keeper %d to %d", ErrProtocol, q.Protocol, MinProtocol, Protocol)
			break
		}
		i := k.info()
		resp.Info = &i
	case "start":
		if q.Start == nil {
			err = invalid("nothing to start")
			break
		}
		err = k.startProcess(*q.Start)
	case "update":
		if q.Settings == nil {
			err = invalid("no settings")
			break
		}
		err = k.updateProcess(q.Member, q.Process, *q.Settings)
	case "stop":
		err = k.stopProcess(q.Member, q.Process)
	case "restart":
		err = k.restartProcess(q.Member, q.Process, q.Timeout, q.Reason)
	case "giveup":
		err = k.giveUp(q.Member, q.Epoch, q.Locks)
	case "forget":
		err = k.forget(q.Member, q.Process)
	case "signal":
		err = k.signalOne(q.Member, q.Process, q.Signal)
	case "list":
		resp.Table, err = k.list(ctx, q.After, c, r)
	case "run":
		if q.Run == nil {
			err = invalid("nothing to run")
			break
		}
		resp.Result, err = k.runWatched(ctx, *q.Run, c, r)
	case "exec":
		if q.Session == nil {
			err = invalid("nothing to run")
			break
		}
		resp.Session, err = k.serveSession(ctx, q.Session, in.take(), c, r)
	default:
		err = fmt.Errorf("%w: %q is not a call this keeper knows", ErrInvalid, q.Op)
	}
	resp.Error = toWire(err)
	return resp
}

// list waits until there is news for one who knows version after.
func (k *Keeper) list(ctx context.Context, after uint64, c *net.UnixConn, r *bufio.Reader) (*Table, error) {
	t, changed := k.table.after(after)
	if t != nil {
		return t, nil
	}
	here, leave := present(ctx, c, r)
	defer leave()
	for {
		select {
		case <-here.Done():
			return nil, errors.New("the client or the keeper is going")
		case <-changed:
		}
		if t, changed = k.table.after(after); t != nil {
			return t, nil
		}
	}
}

func (k *Keeper) runWatched(ctx context.Context, run Run, c *net.UnixConn, r *bufio.Reader) (*RunResult, error) {
	here, leave := present(ctx, c, r)
	defer leave()
	res, err := k.runBeside(here, run)
	if err != nil {
		return nil, err
	}
	return &res, nil
}

// present gives a context that ends with ctx or when the client hangs up while its call is under way. leave must be called
// before the connection is read again; it returns when nothing reads it any more.
func present(ctx context.Context, c *net.UnixConn, r *bufio.Reader) (here context.Context, leave func()) {
	here, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends when leave is called, which waits for it
		defer close(done)
		if _, err := r.Peek(1); err != nil {
			cancel()
		}
	}()
	return here, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it fails on a closed one, which is as good
		<-done
		cancel()
		_ = c.SetReadDeadline(time.Time{}) // then the next read fails, and says so
	}
}
