package client

import (
	"context"
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

// NewTransport makes the transport for TCP between nodes; the seam where TLS
// will come in. It is made for streams: no overall timeout.
func NewTransport() *http.Transport {
	d := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:         d.DialContext,
		Proxy:               nil,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true,
	}
}

// parseAddr turns an address into a base URL and, for a socket, its path.
func parseAddr(addr string) (base, socket string, err error) {
	switch {
	case strings.HasPrefix(addr, "unix://"):
		socket = strings.TrimPrefix(addr, "unix://")
	case strings.HasPrefix(addr, "/"):
		socket = addr
	case strings.HasPrefix(addr, "http://"):
		return strings.TrimSuffix(addr, "/"), "", nil
	case strings.HasPrefix(addr, "https://"):
		return "", "", fmt.Errorf("cannot use address %q: TLS is not supported by this version; use unix:///PATH or http://HOST:PORT", addr)
	default:
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return "", "", fmt.Errorf("cannot use address %q: want unix:///PATH or http://HOST:PORT", addr)
		}
		return "http://" + addr, "", nil
	}
	if socket == "" {
		return "", "", fmt.Errorf("cannot use address %q: it has no path", addr)
	}
	return "http://supd", socket, nil
}
