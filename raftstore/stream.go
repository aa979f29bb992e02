package raftstore

import (
	"errors"
	"fmt"
	"net"
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
