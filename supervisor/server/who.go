package server

import (
	"context"
	"net"
	"net/http"
	"time"

	"supd/supervisor/spec"
)

// onSocket tells whether a request came over the unix socket.
func onSocket(r *http.Request) bool { return r.Context().Value(peerKey{}) != nil }

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
					return ConnContext(WithCaller(ctx, Caller{Who: "tcp", unknown: "the API cannot be used over TCP: " + err.Error() + "; use the unix socket (--addr unix://PATH)"}), c)
				}
				ctx = WithCaller(ctx, Caller{Who: "tcp:" + c.RemoteAddr().String(), Role: spec.RoleAdmin, Node: anyNode})
			}
			return ConnContext(ctx, c)
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// anyNode is the Caller.Node of a connection that is trusted as a node's without telling which.
const anyNode = "*"
