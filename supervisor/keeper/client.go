package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxIdle bounds the connections a client keeps open between calls.
const maxIdle = 8

// Client talks to one keeper. It connects when it must, so it may be made before the keeper runs and outlives its
// restarts. All methods may be called at once; each call has a connection of its own. A call that fails with ErrDown may
// or may not have been carried out: look at List.
type Client struct {
	socket string

	mu     sync.Mutex // guards idle and closed
	idle   []*clientConn
	closed bool
}

type clientConn struct {
	net.Conn
	r        *bufio.Reader
	protocol int // the keeper's
}

// Dial makes a client of the keeper at socket. It opens nothing yet.
func Dial(socket string) *Client { return &Client{socket: socket} }

// Close closes idle connections. Calls under way end as they would have.
func (c *Client) Close() error {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	var errs []error
	for _, cc := range idle {
		errs = append(errs, cc.Close())
	}
	return errors.Join(errs...)
}

// Hello asks the keeper who it is.
func (c *Client) Hello(ctx context.Context) (Info, error) {
	r, err := c.call(ctx, &request{Op: "hello", Protocol: Protocol})
	if err != nil {
		return Info{}, err
	}
	if r.Info == nil {
		return Info{}, fmt.Errorf("%w: no info in its answer", ErrProtocol)
	}
	return *r.Info, nil
}

// Start starts a process, unless it already is in that epoch. It returns when the program has been exec'ed, or with why
// not: ErrLocked, ErrBusy, ErrGivenUp, ErrInvalid or a *ErrExec. A process that is Failed in the same epoch stays so.
func (c *Client) Start(ctx context.Context, s Start) error {
	_, err := c.call(ctx, &request{Op: "start", Start: &s})
	return err
}

// Update changes how a process is stopped and restarted, from the next time on. A shorter stop timeout holds, from now, for
// a stop under way too.
func (c *Client) Update(ctx context.Context, member, process string, s Settings) error {
	_, err := c.call(ctx, &request{Op: "update", Member: member, Process: process, Settings: &s})
	return err
}

// Stop begins the stop of a process and returns at once; List shows it Stopping, then Stopped. Stopping what is stopped
// is no error; what the keeper has no record of is ErrNotFound.
func (c *Client) Stop(ctx context.Context, member, process string) error {
	_, err := c.call(ctx, &request{Op: "stop", Member: member, Process: process})
	return err
}

// Halt is Stop, but a process that runs gets its preStop hook before its stop signal, within its stop timeout. A keeper that
// knows of no hooks stops it without.
func (c *Client) Halt(ctx context.Context, member, process string) error {
	_, err := c.call(ctx, &request{Op: "stop", Member: member, Process: process, Hook: true})
	return err
}

// Restart stops a running process and starts it again in place, in the same epoch, as after a crash. It returns at once.
// A process in Backoff, or one whose restart is under way, is left as it is.
func (c *Client) Restart(ctx context.Context, member, process string, timeout time.Duration, reason string) error {
	_, err := c.call(ctx, &request{Op: "restart", Member: member, Process: process, Timeout: timeout, Reason: reason})
	return err
}

// Renew tells the keeper until when the node's lease lasts, on CLOCK_BOOTTIME, and how long one is that was just granted. A
// deadline lower than one told before is late news and changes nothing; one that no such lease can have is ErrInvalid. What
// the lease's lapse has begun to stop is stopped, whatever is renewed after. ErrBusy: the lease had ended, and not all that
// is fenced is known to be killed yet.
func (c *Client) Renew(ctx context.Context, deadline, length time.Duration) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	_, err = c.call(ctx, &request{Op: "renew", Lease: &Lease{Boot: boot, Deadline: deadline, Length: length}})
	return err
}

// GiveUp promises that no process of member is ever again started here in this epoch or a lower one; it is on disk when
// GiveUp returns. ErrBusy while one of them isn't gone. That is asked of the lock files that its processes may hold, too, so
// that one whose record was lost is found where there are no cgroups; a keeper of protocol 1 asks those of its records only.
func (c *Client) GiveUp(ctx context.Context, member string, epoch uint64, locks ...string) error {
	_, err := c.call(ctx, &request{Op: "giveup", Member: member, Epoch: epoch, Locks: locks})
	return err
}

// Forget drops the record of a process that is gone. Epochs given up are not forgotten.
func (c *Client) Forget(ctx context.Context, member, process string) error {
	_, err := c.call(ctx, &request{Op: "forget", Member: member, Process: process})
	return err
}

// List returns the table as soon as its version is higher than after; 0 returns it at once.
func (c *Client) List(ctx context.Context, after uint64) (Table, error) {
	r, err := c.call(ctx, &request{Op: "list", After: after})
	if err != nil {
		return Table{}, err
	}
	if r.Table == nil {
		return Table{}, fmt.Errorf("%w: no table in its answer", ErrProtocol)
	}
	return *r.Table, nil
}

// Run runs a command to its end, or kills all of it after its timeout or when ctx ends.
func (c *Client) Run(ctx context.Context, run Run) (RunResult, error) {
	r, err := c.call(ctx, &request{Op: "run", Run: &run})
	if err != nil {
		return RunResult{}, err
	}
	if r.Result == nil {
		return RunResult{}, fmt.Errorf("%w: no result in its answer", ErrProtocol)
	}
	return *r.Result, nil
}

// Signal sends a signal (SIGHUP, HUP or a number) to a process's main process.
func (c *Client) Signal(ctx context.Context, member, process, sig string) error {
	_, err := c.call(ctx, &request{Op: "signal", Member: member, Process: process, Signal: sig})
	return err
}

// Upgrade has the keeper become the program at binary, "" = the file it was started from, in place: same process, and its
// children stay its own. It returns who the new one is; or ErrNotUpgraded, ErrBusy or ErrProtocol with why the old one goes
// on. No other call fails because of it.
func (c *Client) Upgrade(ctx context.Context, binary string) (Info, error) {
	r, err := c.call(ctx, &request{Op: "upgrade", Binary: binary})
	if err != nil {
		return Info{}, err
	}
	if r.Info == nil {
		return Info{}, fmt.Errorf("%w: no info in its answer", ErrProtocol)
	}
	return *r.Info, nil
}

func (c *Client) call(ctx context.Context, req *request) (*response, error) {
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
	if req.suits(cc.protocol) != nil { // it may have been upgraded since this connection was made
		cc.Close()
		if cc, err = c.connect(ctx); err != nil {
			return nil, err
		}
	}
	if err := req.suits(cc.protocol); err != nil {
		c.release(cc)
		return nil, err
	}
	r, err := cc.exchange(ctx, append(line, '\n'))
	if err != nil {
		cc.Close()
		return nil, err
	}
	c.release(cc)
	return r, r.Error.err()
}

// conn takes an idle connection that still stands, or makes one.
func (c *Client) conn(ctx context.Context) (*clientConn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, net.ErrClosed
		}
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			return c.connect(ctx)
		}
		cc := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if cc.alive() {
			return cc, nil
		}
		cc.Close()
	}
}

func (c *Client) release(cc *clientConn) {
	c.mu.Lock()
	if !c.closed && len(c.idle) < maxIdle {
		c.idle = append(c.idle, cc)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	cc.Close()
}

func (c *Client) connect(ctx context.Context) (*clientConn, error) {
	conn, err := dialSocket(ctx, c.socket)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %v", ErrDown, err)
	}
	cc := &clientConn{Conn: conn, r: bufio.NewReader(conn)}
	r, err := cc.exchange(ctx, fmt.Appendf(nil, `{"op":"hello","protocol":%d}`+"\n", Protocol))
	if err == nil {
		err = r.Error.err()
	}
	if err == nil && (r.Info == nil || r.Info.Protocol < MinProtocol) {
		err = fmt.Errorf("%w: the keeper at %s speaks an older version than %d", ErrProtocol, c.socket, MinProtocol)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	cc.protocol = r.Info.Protocol
	return cc, nil
}

// alive tells whether the far side of an idle connection is still there.
func (cc *clientConn) alive() bool {
	raw, err := cc.Conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	var b [1]byte
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ok = err == unix.EAGAIN
		return true
	})
	return err == nil && ok
}

// exchange sends one line and reads one; a context that ends cuts the connection's waiting short.
func (cc *clientConn) exchange(ctx context.Context, line []byte) (*response, error) {
	stop := context.AfterFunc(ctx, func() { cc.SetDeadline(time.Unix(1, 0)) })
	r, err := cc.roundTrip(line)
	if !stop() { // the deadline is set or about to be: the connection is of no further use
		return nil, fmt.Errorf("keeper call: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDown, err)
	}
	return r, nil
}

func (cc *clientConn) roundTrip(line []byte) (*response, error) {
	if len(line) > 0 { // else it was sent already
		if _, err := cc.Write(line); err != nil {
			return nil, err
		}
	}
	answer, err := cc.r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var r response
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, err
	}
	return &r, nil
}
