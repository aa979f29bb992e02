package server

import (
	"context"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"supd/supervisor/client"
)

// peerKey holds who is at the other end of a connection. net/http offers no other
// way from a connection to its requests than the context.
type peerKey struct{}

// strangerKey holds why a TCP connection's other end is not trusted.
type strangerKey struct{}

// ConnContext is for http.Server.ConnContext: it notes who is at the other end of
// a unix socket, as the kernel tells it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, "unix:"+peerName(uc))
}

func peerName(c *net.UnixConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return "unknown"
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return "unknown"
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}

// onSocket tells whether a request came over the unix socket.
func onSocket(r *http.Request) bool { return r.Context().Value(peerKey{}) != nil }

// who asks: the peer of the unix socket, what a forwarding node says it saw, or
// the address of the other end.
func who(r *http.Request) string {
	if p, ok := r.Context().Value(peerKey{}).(string); ok {
		return p
	}
	if node := r.Header.Get(client.HeaderForwarded); node != "" {
		if w := r.Header.Get(client.HeaderWho); w != "" {
			return w
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "tcp:" + host
}

// NewHTTPServer makes the http.Server for the listeners of h: header limits and
// timeouts, and ConnContext. trust is asked once for each TCP connection; of one that
// it has an error for, only routes of Access Open are answered. Bodies are bounded by
// the handlers; streams need WriteTimeout to be off, and set their own deadline for
// each write.
func NewHTTPServer(h http.Handler, trust func(net.Conn) error) *http.Server {
	return &http.Server{
		Handler: h,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if _, ok := c.(*net.UnixConn); !ok {
				if err := trust(c); err != nil {
					return context.WithValue(ctx, strangerKey{}, err.Error())
				}
			}
			return ConnContext(ctx, c)
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
