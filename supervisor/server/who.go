package server

import (
	"net/http"
	"time"
)

// onSocket tells whether a request came over the unix socket.
func onSocket(r *http.Request) bool { return r.Context().Value(peerKey{}) != nil }

// NewHTTPServer makes the http.Server for the listeners of h, the unix socket and TLS:
// header limits and timeouts, also for the handshake, and ConnContext. Bodies are bounded
// by the handlers; streams need WriteTimeout to be off, and set their own deadline for
// each write.
func NewHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ConnContext:       ConnContext,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
