package server

import (
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// maxBody bounds what a request may send.
const maxBody = 4 << 20

// Access says who may use a route.
type Access int

// The classes of access. Until nodes speak TLS, supd listens on loopback only; the
// socket's mode decides who may connect there, and over TCP only root and the daemon's
// own user get more than Open.
const (
	Open     Access = iota // health and metrics
	Read                   // answers from the View
	Write                  // becomes a log entry
	Internal               // between nodes; never from a browser
	Enter                  // acts on one node's processes, not the log: the right of Write; never from a browser
)

// checkStranger refuses all but health and metrics to whoever may not use the TCP
// listener.
func checkStranger(r *http.Request, a Access) *spec.Error {
	why, stranger := r.Context().Value(strangerKey{}).(string)
	if !stranger || a == Open {
		return nil
	}
	e := spec.Errorf(spec.CodeRefused, "the API cannot be used over TCP: %s; use the unix socket (--addr unix://PATH)", why)
	e.Reason = "Forbidden"
	return e
}

// checkOrigin keeps web pages from reaching the API: on TCP the Host must name
// this machine (DNS rebinding), and a request that says it comes from a page of
// another origin is refused everywhere.
func (s *Server) checkOrigin(r *http.Request, a Access) *spec.Error {
	if !onSocket(r) && !s.knownHost(r.Host) {
		return refusedHost("the Host header %q does not name this daemon; use the address it listens on", r.Host)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return refusedHost("requests of other web sites are not answered")
	}
	if o := r.Header.Get("Origin"); o != "" {
		u, err := url.Parse(o)
		if a == Internal || a == Enter || err != nil || u.Host != r.Host {
			return refusedHost("requests of the web origin %q are not answered", o)
		}
	}
	return nil
}

func refusedHost(format string, args ...any) *spec.Error {
	e := spec.Errorf(spec.CodeInvalid, format, args...)
	e.Reason = "ForeignOrigin"
	return e
}

func (s *Server) knownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") || slices.Contains(s.o.Hosts, host) {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// checkBody lets only JSON in, which no simple request of a browser can be.
func checkBody(r *http.Request) *spec.Error {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || typ != "application/json" {
		return spec.Errorf(spec.CodeInvalid, "the body must be JSON (Content-Type: application/json), not %q", r.Header.Get("Content-Type"))
	}
	return nil
}
