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

// The classes of access, and the least role for each.
const (
	Open     Access = iota // health and metrics: anybody
	Read                   // answers from the View: viewer
	Write                  // becomes a log entry: operator
	Enter                  // acts on one node's processes, not the log: operator; never from a browser
	Admin                  // accounts, tokens, what gives nodes or data up, the cluster as a whole: admin; never from a browser
	NodeOnly               // between nodes: a node's certificate; never from a browser
)

// checkOrigin keeps web pages from reaching the API: on TCP the Host must be an address, this
// node's name or one that the configuration has (a page can bind a name of its own to our address, but no
// address), and a request that says it comes from a page of
// another origin is refused everywhere.
func (s *Server) checkOrigin(r *http.Request, a Access) *spec.Error {
	if !onSocket(r) && !s.knownHost(r.Host) {
		return refusedHost("the Host header %q does not name this daemon; use the address it listens on, or let the configuration name it (api_hosts)", r.Host)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return refusedHost("requests of other web sites are not answered")
	}
	if o := r.Header.Get("Origin"); o != "" {
		u, err := url.Parse(o)
		if a == NodeOnly || a == Enter || a == Admin || err != nil || u.Host != r.Host {
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
	host, _, _ = strings.Cut(host, "%") // a link-local address's zone
	named := func(name string) bool { return strings.EqualFold(host, name) }
	return named("localhost") || named(s.o.Node) || slices.ContainsFunc(s.o.Hosts, named) || net.ParseIP(host) != nil
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
