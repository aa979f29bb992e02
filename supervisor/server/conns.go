package server

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"syscall"
)

// Standing of a connection: who has been seen to use it. When there are too many, the oldest of the lowest standing is
// closed, and a node's never: a crowd of strangers makes room for each other only.
const (
	standsUnknown = iota
	standsKnown   // an account, a local user
	standsNode    // a node; root or the daemon's own user
)

// Held makes a listener that keeps the connections of l within the limits. It may be used for several listeners; each has
// its own count.
func (s *Server) Held(l net.Listener) net.Listener {
	return &heldListener{Listener: l, s: s, all: s.o.Limits.Connections, each: max(1, s.o.Limits.Connections/4), by: map[string]int{}}
}

type heldListener struct {
	net.Listener
	s         *Server
	all, each int

	mu   sync.Mutex
	open []*heldConn    // guarded by mu; the oldest first
	by   map[string]int // guarded by mu; by address or user
}

// heldConn is a connection that is counted.
type heldConn struct {
	net.Conn
	l        *heldListener
	key      string
	standing int // guarded by l.mu
	once     sync.Once
}

// Accept takes the next connection, closing another if they have become too many.
func (l *heldListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h := &heldConn{Conn: c, l: l, key: connKey(c)}
	if out := l.add(h); out != nil {
		l.s.counts.refusedConns.Add(1)
		_ = out.Close() // whoever it was is not known, or has others
	}
	return h, nil
}

// connKey is whose connection it is: a local user's, or an address's.
func connKey(c net.Conn) string {
	if uc, ok := c.(*net.UnixConn); ok {
		if p, err := peerOf(uc); err == nil {
			return "unix:" + p.Name
		}
		return "unix:"
	}
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

// add counts a connection, and returns the one that has to go for it, if any.
func (l *heldListener) add(h *heldConn) *heldConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, h)
	l.by[h.key]++
	switch {
	case l.by[h.key] > l.each:
		return l.oldestLocked(func(c *heldConn) bool { return c.key == h.key })
	case len(l.open) > l.all:
		return l.oldestLocked(func(*heldConn) bool { return true })
	}
	return nil
}

// oldestLocked finds the oldest connection of the lowest standing below a node's.
func (l *heldListener) oldestLocked(among func(*heldConn) bool) *heldConn {
	for standing := standsUnknown; standing < standsNode; standing++ {
		for _, c := range l.open {
			if c.standing == standing && among(c) {
				return c
			}
		}
	}
	return nil
}

// Close closes the connection and counts it no more.
func (c *heldConn) Close() error {
	c.once.Do(func() {
		l := c.l
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.Index(l.open, c); i >= 0 {
			l.open = slices.Delete(l.open, i, i+1)
		}
		if l.by[c.key]--; l.by[c.key] == 0 {
			delete(l.by, c.key)
		}
	})
	return c.Conn.Close()
}

// SyscallConn lets the kernel be asked about the connection.
func (c *heldConn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, syscall.EINVAL
	}
	return sc.SyscallConn()
}

// raise notes that somebody of a better standing uses the connection.
func (c *heldConn) raise(standing int) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.standing = max(c.standing, standing)
}

// connKeyType holds the heldConn of a request.
type connKeyType struct{}

// withConn notes the connection, below TLS if need be.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if h, ok := c.(*heldConn); ok {
		return context.WithValue(ctx, connKeyType{}, h)
	}
	return ctx
}

// noteStanding raises the connection of a request to what its caller deserves.
func noteStanding(ctx context.Context, c Caller) {
	h, ok := ctx.Value(connKeyType{}).(*heldConn)
	switch {
	case !ok:
	case c.unlimited():
		h.raise(standsNode)
	case c.Role != "":
		h.raise(standsKnown)
	}
}
