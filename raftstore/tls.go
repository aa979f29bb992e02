package raftstore

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// TLS secures connections between servers. Both sides show a certificate.
type TLS struct {
	// Server is for accepted connections. It must refuse whoever is no node of the cluster.
	Server *tls.Config
	// Client is for connections to the server with this id. It must refuse all others.
	Client func(id string) *tls.Config
}

func (t TLS) missing() bool { return t.Server == nil || t.Client == nil }

// Bounds of what those who have not proven who they are may use.
const (
	// handshakeTimeout is for the handshake and the greeting together. Who dials gives up
	// after rpcTimeout.
	handshakeTimeout = 2 * rpcTimeout
	// maxUnproven connections of one address may be without a greeting; more are closed.
	maxUnproven = 64
	// maxAddresses bounds the accounts of addresses.
	maxAddresses = 1024
	// quiet is how long refusals of one address are not said again.
	quiet = time.Minute
)

// secure makes a TLS connection of one to the server with this id, within ctx.
func (t TLS) secure(ctx context.Context, c net.Conn, id string) (net.Conn, error) {
	s := &secured{Conn: tls.Client(c, t.Client(id)), raw: c}
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// secured is a TLS connection whose end is that of the TCP connection below: the
// other side's alert is not waited for, nor may a side that does not read hold up Close.
// Raft's messages tell their own length.
type secured struct {
	*tls.Conn
	raw net.Conn
}

// Close closes the connection at once.
func (s *secured) Close() error { return s.raw.Close() }

// door keeps account of accepted connections that have not proven who they are.
type door struct {
	log *slog.Logger

	mu       sync.Mutex // guards what follows
	unproven map[string]int
	said     map[string]time.Time
}

func newDoor(log *slog.Logger) *door {
	return &door{log: log, unproven: map[string]int{}, said: map[string]time.Time{}}
}

// enter lets a connection in, until leave is called; false: its address has too many.
func (d *door) enter(addr net.Addr) (leave func(), ok bool) {
	host := hostOf(addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unproven[host] >= maxUnproven || len(d.unproven) >= maxAddresses && d.unproven[host] == 0 {
		return nil, false
	}
	d.unproven[host]++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.unproven[host]--; d.unproven[host] == 0 {
			delete(d.unproven, host)
		}
	}), true
}

// refused says that a connection was refused, once a while for each address.
func (d *door) refused(addr net.Addr, why error) {
	host, now := hostOf(addr), time.Now()
	d.mu.Lock()
	last, known := d.said[host]
	loud := !known || now.Sub(last) >= quiet
	if loud {
		if len(d.said) >= maxAddresses {
			clear(d.said)
		}
		d.said[host] = now
	}
	d.mu.Unlock()
	if loud {
		d.log.Warn("raft connection refused; more of this address are not said for a minute", "address", addr.String(), "err", why)
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
