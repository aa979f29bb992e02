package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Standing of a connection: who has been seen to use it. When there are too many, the oldest of the lowest standing is
// closed, and a node's never: a crowd of strangers makes room for each other only.
const (
	standsUnknown = iota
	standsKnown   // an account, a local user
	standsNode    // a node; root or the daemon's own user
)

// conns counts the connections of one http.Server, in all and by address or local user.
type conns struct {
	all, each int

	mu   sync.Mutex
	open []*held        // guarded by mu; the oldest first
	by   map[string]int // guarded by mu
}

// held is a connection that is counted.
type held struct {
	c        net.Conn
	in       *conns
	key      string
	standing int // guarded by in.mu
}

// heldKey holds the connection of a request.
type heldKey struct{}

// Watch keeps the connections of hs within the limits. Call it once for each http.Server, before it serves.
func (s *Server) Watch(hs *http.Server) {
	cs := &conns{all: s.o.Limits.Connections, each: max(1, s.o.Limits.Connections/4), by: map[string]int{}}
	inner := hs.ConnContext
	hs.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if inner != nil {
			ctx = inner(ctx, c)
		}
		h := &held{c: c, in: cs, key: connKey(ctx, c)}
		if out := cs.add(h); out != nil {
			s.counts.refusedConns.Add(1)
			out.end()
		}
		return context.WithValue(ctx, heldKey{}, h)
	}
	hs.ConnState = func(c net.Conn, st http.ConnState) {
		if st == http.StateClosed || st == http.StateHijacked { // what is hijacked is a stream, and counted as one
			cs.remove(c)
		}
	}
}

// connKey is whose connection it is: a local user's, or an address's.
func connKey(ctx context.Context, c net.Conn) string {
	if p, ok := ctx.Value(peerKey{}).(Peer); ok {
		return "unix:" + p.Name
	}
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

// end closes a connection at once: TLS would say farewell first, to somebody who may not listen.
func (h *held) end() {
	c := h.c
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close() // whoever it was is not known, or has others
}

// add counts a connection, and returns the one that has to go for it, if any.
func (cs *conns) add(h *held) *held {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open = append(cs.open, h)
	cs.by[h.key]++
	switch {
	case cs.by[h.key] > cs.each:
		return cs.oldestLocked(func(o *held) bool { return o.key == h.key })
	case len(cs.open) > cs.all:
		return cs.oldestLocked(func(*held) bool { return true })
	}
	return nil
}

// oldestLocked finds the oldest connection of the lowest standing below a node's, and counts it no more.
func (cs *conns) oldestLocked(among func(*held) bool) *held {
	for standing := standsUnknown; standing < standsNode; standing++ {
		for _, h := range cs.open {
			if h.standing == standing && among(h) {
				cs.removeLocked(h.c)
				return h
			}
		}
	}
	return nil
}

func (cs *conns) remove(c net.Conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.removeLocked(c)
}

func (cs *conns) removeLocked(c net.Conn) {
	i := slices.IndexFunc(cs.open, func(h *held) bool { return h.c == c })
	if i < 0 {
		return
	}
	key := cs.open[i].key
	cs.open = slices.Delete(cs.open, i, i+1)
	if cs.by[key]--; cs.by[key] == 0 {
		delete(cs.by, key)
	}
}

// noteStanding raises the connection of a request to what its caller deserves.
func noteStanding(ctx context.Context, c Caller) {
	h, ok := ctx.Value(heldKey{}).(*held)
	if !ok {
		return
	}
	standing := standsUnknown
	switch {
	case c.unlimited():
		standing = standsNode
	case c.Role != "":
		standing = standsKnown
	}
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	h.standing = max(h.standing, standing)
}
