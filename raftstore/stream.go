package raftstore

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// tcpUserTimeout (TCP_USER_TIMEOUT of tcp(7), not in package syscall) bounds how
// long sent bytes may wait for an acknowledgement: an old answer dies with its
// connection instead of arriving late. See Staleness.
const tcpUserTimeout = 0x12

// TCP carries Raft over plain TCP on loopback.
type TCP struct{ net.Listener }

var _ raft.StreamLayer = (*TCP)(nil)

// ErrNotLoopback refuses an address that other machines could reach: nodes do not
// speak TLS yet.
var ErrNotLoopback = errors.New("only loopback addresses are allowed until nodes speak TLS")

// Listen listens on a loopback address.
func Listen(addr string) (*TCP, error) {
	if err := CheckLoopback(addr); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return &TCP{l}, nil
}

// CheckLoopback tells whether addr (host:port, the host an IP address) is loopback.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("want host:port: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return ErrNotLoopback
	}
	return nil
}

// Accept returns the next connection.
func (t *TCP) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tuned(c)
}

// Dial connects to another node.
func (t *TCP) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if err := CheckLoopback(string(addr)); err != nil {
		return nil, fmt.Errorf("cannot reach %s: %w", addr, err)
	}
	c, err := net.DialTimeout("tcp", string(addr), timeout)
	if err != nil {
		return nil, err
	}
	return tuned(c)
}

func tuned(c net.Conn) (net.Conn, error) {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(rpcTimeout.Milliseconds()))
	})
	if err = errors.Join(err, serr); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot set TCP_USER_TIMEOUT: %w", err), c.Close())
	}
	return c, nil
}

// tracked knows a stream's open connections, so that they can be ended.
type tracked struct {
	raft.StreamLayer

	mu   sync.Mutex // guards what follows
	open map[net.Conn]bool

	hungUp func()        // told when an accepted connection ends
	gone   chan struct{} // closed when, after end, the last one is closed
}

// Accept returns the next connection.
func (t *tracked) Accept() (net.Conn, error) {
	c, err := t.StreamLayer.Accept()
	return t.track(c, err, t.hungUp)
}

// Dial connects to another node.
func (t *tracked) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := t.StreamLayer.Dial(addr, timeout)
	return t.track(c, err, func() {})
}

func (t *tracked) track(c net.Conn, err error, ended func()) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone != nil {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	t.open[c] = true
	return &trackedConn{c, t, ended}, nil
}

// end closes all connections and waits until their users have closed them too.
func (t *tracked) end(patience time.Duration) {
	t.mu.Lock()
	t.gone = make(chan struct{})
	for c := range t.open {
		_ = c.Close() // its user closes it again, and gets to see what there is
	}
	if len(t.open) == 0 {
		close(t.gone)
	}
	t.mu.Unlock()
	select {
	case <-t.gone:
	case <-time.After(patience):
	}
}

// trackedConn leaves the account when its user closes it.
type trackedConn struct {
	net.Conn
	t     *tracked
	ended func()
}

func (c *trackedConn) Close() error {
	c.t.mu.Lock()
	if c.t.open[c.Conn] {
		delete(c.t.open, c.Conn)
		if len(c.t.open) == 0 && c.t.gone != nil {
			close(c.t.gone)
		}
	}
	c.t.mu.Unlock()
	defer c.ended()
	return c.Conn.Close()
}
