package supervisor

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

// refusals is where http.Server's own log goes: connections that end before a request,
// for want of a handshake, are said once a while for each address, all else for debugging.
type refusals struct {
	log *slog.Logger

	mu   sync.Mutex // guards said
	said map[string]time.Time
}

// Bounds of what is said, and remembered of it.
const (
	refusalQuiet  = time.Minute
	mostAddresses = 1024
)

// handshakeError begins http.Server's line about a connection that spoke no proper TLS.
const handshakeError = "http: TLS handshake error from "

// Write takes a line of http.Server's.
func (r *refusals) Write(b []byte) (int, error) {
	line := string(bytes.TrimSpace(b))
	rest, ok := strings.CutPrefix(line, handshakeError)
	if !ok {
		r.log.Debug("API server", "err", line)
		return len(b), nil
	}
	addr, why, _ := strings.Cut(rest, ": ")
	if r.loud(addr, time.Now()) {
		r.log.Warn("API connection refused; more of this address are not said for a minute", "address", addr, "err", why)
	}
	return len(b), nil
}

// loud tells whether a refusal of an address is to be said, and remembers it.
func (r *refusals) loud(addr string, now time.Time) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.said[host]; ok && now.Sub(last) < refusalQuiet {
		return false
	}
	if len(r.said) >= mostAddresses {
		clear(r.said)
	}
	r.said[host] = now
	return true
}
