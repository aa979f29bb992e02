package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is what fits into sockaddr_un with its final zero.
const maxSocketPath = 107

// ShortSocketPath gives a path by which the socket at path can be dialled or
// listened on even if path is longer than a socket address may be: it goes through
// /proc/self/fd. Call done when the dial or listen call has returned.
func ShortSocketPath(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	const oPath = 0x200000 // O_PATH: a name for the directory, no right to read it is needed
	fd, err := syscall.Open(dir, oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("cannot open the directory of socket %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	short = "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name
	if len(short) > maxSocketPath {
		_ = f.Close()
		return "", nil, fmt.Errorf("the name of socket %s is too long", path)
	}
	return short, func() { _ = f.Close() }, nil
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := ShortSocketPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// connectTimeout bounds connecting, the handshake included.
const connectTimeout = 2 * time.Second

// maxIdle connections to one node are kept. A node forwards as many writes at once as it
// has writers, and the leader answers them together: those that found no room would be
// made anew, each with a handshake, which costs more than the write. Below what
// the API lets one address have.
const maxIdle = 128

// NewTransport makes a transport for TCP. It speaks TLS as tc says, which also decides
// who may answer; with nil it speaks none, and https:// is refused. It is made for
// streams: no overall timeout.
func NewTransport(tc *tls.Config) *http.Transport {
	d := &net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: d.DialContext,
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialTLS(ctx, d, tc, network, addr)
		},
		Proxy:               nil,
		MaxIdleConnsPerHost: maxIdle,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true,
	}
}

// dialTLS connects. All its errors are those of a dial: nothing was sent.
func dialTLS(ctx context.Context, d *net.Dialer, tc *tls.Config, network, addr string) (net.Conn, error) {
	if tc == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("it is not known whom to trust at an https:// address")}
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	raw, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, tc)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // nothing was said on it
		return nil, &net.OpError{Op: "dial", Net: network, Addr: raw.RemoteAddr(), Err: fmt.Errorf("no TLS connection: %w", err)}
	}
	return c, nil
}

// NotDone tells of an error of a request whether nothing can have been done: no connection
// was made, or the other side turned our certificate down, which in TLS 1.3 comes with
// the first answer.
func NotDone(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) {
		return false
	}
	if op.Op == "dial" {
		return true
	}
	if op.Op != "remote error" {
		return false
	}
	switch op.Err.Error() {
	case "tls: bad certificate", "tls: certificate required", "tls: unknown certificate authority", "tls: unknown certificate":
		return true
	}
	return false
}

// parseAddr turns an address into a base URL and, for a socket, its path.
func parseAddr(addr string) (base, socket string, err error) {
	switch {
	case strings.HasPrefix(addr, "unix://"):
		socket = strings.TrimPrefix(addr, "unix://")
	case strings.HasPrefix(addr, "/"):
		socket = addr
	case strings.HasPrefix(addr, "http://"), strings.HasPrefix(addr, "https://"):
		return strings.TrimSuffix(addr, "/"), "", nil
	default:
		if _, _, err := net.SplitHostPort(addr); err != nil || strings.Contains(addr, "/") {
			return "", "", fmt.Errorf("cannot use address %q: want unix:///PATH or https://HOST:PORT", addr)
		}
		return "https://" + addr, "", nil
	}
	if socket == "" {
		return "", "", fmt.Errorf("cannot use address %q: it has no path", addr)
	}
	return "http://supd", socket, nil
}
