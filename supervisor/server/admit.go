package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// admit puts the rules about who asks before a route: it finds out who it is, and whether he may, now and as often as this.
// The request it returns carries the Caller; end must be called when the request is done.
func (s *Server) admit(r *http.Request, rt Route) (_ *http.Request, end func(), err *spec.Error) {
	if err := s.checkOrigin(r, rt.Access); err != nil {
		s.counts.refusedHosts.Add(1)
		return r, nil, err
	}
	c, err := s.identify(r)
	if err != nil {
		switch {
		case rt.Access == Open: // whoever watches a daemon's health must not be kept from it by a token that ran out
			c = Caller{Who: c.Who}
		case err.Reason != reasonUnauthenticated:
			return r, nil, err
		default:
			return r, nil, s.unidentified(r, c, err)
		}
	}
	noteStanding(r.Context(), c)
	r = r.WithContext(WithCaller(r.Context(), c))
	if err := s.checkRate(r, c); err != nil && (rt.Access != Open || rt.Pattern == "/metrics") { // health costs nothing
		return r, nil, err
	}
	if err := checkNames(r); err != nil {
		return r, nil, err
	}
	if err := mayUse(c, rt, r.PathValue("ns")); err != nil {
		if err.Reason == reasonUnauthenticated {
			return r, nil, s.unidentified(r, c, err)
		}
		s.counts.refusedForbidden.Add(1)
		return r, nil, err
	}
	if !isStream(rt, r) {
		return r, func() {}, nil
	}
	return s.admitStream(r, c)
}

// admitStream lets a request in that stays open. It ends when its account does.
func (s *Server) admitStream(r *http.Request, c Caller) (*http.Request, func(), *spec.Error) {
	leave := func() {}
	if !c.unlimited() {
		var ok bool
		if leave, ok = s.open.enter(limitKey(r, c)); !ok {
			s.counts.refusedStreams.Add(1)
			return r, nil, tooMany(time.Second, "too many logs, watches and commands are open: %s may have %d, all together %d: end some", c.Who, s.open.each, s.open.all)
		}
	}
	if c.Account == "" {
		return r, leave, nil
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(s.untilRevoked(ctx, c.Account))
	}()
	return r.WithContext(ctx), func() { cancel(nil); <-done; leave() }, nil
}

// untilRevoked waits until an account is no more what it was, and returns what its holder is to be told; nil when ctx ends.
func (s *Server) untilRevoked(ctx context.Context, name string) error {
	ended := func(how string) error {
		return refused(client.ReasonAccessEnded, "access has ended: account %s %s; ask an admin for another (supctl auth create)", name, how)
	}
	first := s.o.Store.View().Account(name)
	if first == nil {
		return ended("was revoked")
	}
	var expired <-chan time.Time
	if !first.Expires.IsZero() {
		t := time.NewTimer(first.Expires.Sub(s.o.Now()))
		defer t.Stop()
		expired = t.C
	}
	for {
		ch := s.o.Store.Changed()
		if a := s.o.Store.View().Account(name); a == nil || a.UID != first.UID {
			return ended("was revoked")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-expired:
			return ended("expired at " + first.Expires.Format(time.RFC3339))
		case <-ch:
		}
	}
}

// accessEnded is what to tell whose access ended while his request went on, or nil.
func accessEnded(ctx context.Context) *spec.Error {
	e, ok := errors.AsType[*spec.Error](context.Cause(ctx))
	if !ok || e.Reason != client.ReasonAccessEnded {
		return nil
	}
	return e
}

// sayEnd tells the reader of a stream behind it, in a trailer, that he may not read on.
func sayEnd(w http.ResponseWriter, r *http.Request) {
	if e := accessEnded(r.Context()); e != nil {
		setTrailer(w, string(bytes.TrimSpace(client.MarshalError(e))))
	}
}

func setTrailer(w http.ResponseWriter, why string) {
	w.Header().Set(http.TrailerPrefix+client.HeaderError, why)
}

// maxPath bounds a path, maxName one name in it: an event's or a Program's may be longer than a DNS label.
const (
	maxPath = 2048
	maxName = 512
)

// checkPath refuses what no name can hold before anything is looked up by it.
func checkPath(p string) *spec.Error {
	bad := len(p) > maxPath || !utf8.ValidString(p) || !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || strings.Contains(p, `\`) ||
		strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == 0x7f })
	for seg := range strings.SplitSeq(p, "/") {
		bad = bad || seg == "." || seg == ".."
	}
	if bad {
		return spec.Errorf(spec.CodeInvalid, "cannot use the path: it is too long, or has characters that no name has")
	}
	if tokenText.MatchString(p) { // it would enter the log, for good
		return spec.Errorf(spec.CodeInvalid, "cannot use the path: a token stands where a name or a token's id belongs (supctl auth list and supctl cluster join-token list show them); "+
			"if others may have seen it, revoke it")
	}
	return nil
}

// checkNames refuses a namespace that none can have: an account's limits and the keys of the View rely on it.
func checkNames(r *http.Request) *spec.Error {
	if ns := r.PathValue("ns"); ns != "" {
		if err := spec.CheckLabel(ns); err != nil {
			return spec.Errorf(spec.CodeInvalid, "the namespace %v", err)
		}
	}
	if len(r.PathValue("name")) > maxName {
		return spec.Errorf(spec.CodeInvalid, "cannot use the path: a name has %d characters at most", maxName)
	}
	return nil
}

// bodyTimeout is how long a request's body may take, once it is begun to be read.
const bodyTimeout = 30 * time.Second

// timedBody bounds how long a body takes: a client that stops half-way must not hold a request for ever.
type timedBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	begun bool
}

func newTimedBody(w http.ResponseWriter, body io.ReadCloser) io.ReadCloser {
	if body == nil || body == http.NoBody {
		return http.NoBody
	}
	return &timedBody{ReadCloser: body, rc: http.NewResponseController(w)}
}

// Read reads under the deadline, which the body's end takes off. Recorders of tests have none.
func (b *timedBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		_ = b.rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
