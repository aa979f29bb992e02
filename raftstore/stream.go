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

// TCP carries Raft over TCP; the Store secures what goes through it.
type TCP struct {
	net.Listener
	advertise net.Addr
}

var _ raft.StreamLayer = (*TCP)(nil)

// Listen listens on addr, host:port, the host an IP address. Advertise is the IP address
// by which others reach it, "" the one bound.
func Listen(addr, advertise string) (*TCP, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	at, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s: it is no TCP address", addr), l.Close())
	}
	if advertise != "" {
		ip := net.ParseIP(advertise)
		if ip == nil {
			return nil, errors.Join(fmt.Errorf("cannot advertise %q: it is no IP address", advertise), l.Close())
		}
		at = &net.TCPAddr{IP: ip, Port: at.Port}
	}
	if at.IP.IsUnspecified() {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s: others need an address to reach this node by; set advertise", addr), l.Close())
	}
	return &TCP{l, at}, nil
}

// Addr is the address that others know.
func (t *TCP) Addr() net.Addr { return t.advertise }

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
