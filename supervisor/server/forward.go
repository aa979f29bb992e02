package server

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// How long a forwarded request may take, and how long this node then tries to
// have applied what the leader did, so that its user reads what was written.
const (
	forwardTimeout = 20 * time.Second
	catchUpTimeout = time.Second
)

// askTheLeader refuses what a node says of itself where nobody leads: it is believed from
// its own connection only, so it is not sent on. The node finds the leader as it finds it anyway.
func (s *Server) askTheLeader(r *http.Request, rs RaftStatus) error {
	what := "cannot " + r.Method + " " + r.URL.Path
	if rs.Leader == "" {
		return s.noLeaderBecause(what)
	}
	e := spec.Errorf(spec.CodeNoLeader, "%s: node %s does not lead, and sends on nothing that a node asks for itself; ask node %s", what, s.o.Node, rs.Leader)
	e.Reason = client.ReasonNoLeader
	return e
}

// forward sends a request to the leader, once: one that was forwarded already is
// not sent on, so two nodes that take each other for the leader make no loop.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, rs RaftStatus) error {
	what := "cannot " + r.Method + " " + r.URL.Path
	if from := r.Header.Get(client.HeaderForwarded); from != "" {
		return noLeader(what + " as node " + from + " asked: this node does not lead")
	}
	if rs.Leader == "" || rs.LeaderAPI == "" {
		return s.noLeaderBecause(what)
	}
	s.counts.forwarded.Add(1)
	ctx, cancel := context.WithTimeout(r.Context(), forwardTimeout)
	if flag(r, "watch") {
		cancel()
		ctx, cancel = context.WithCancel(r.Context())
	}
	defer cancel()
	resp, err := s.send(ctx, r, rs.LeaderAPI)
	if err != nil {
		return forwardError(what, rs.Leader, r.Method, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 && r.Method != http.MethodGet && !strings.HasPrefix(r.URL.Path, internalPath) {
		s.catchUp(r.Context(), resp.Header.Get(client.HeaderIndex))
	}
	copyAnswer(w, resp)
	return nil
}

// send repeats r at addr, marked as forwarded by this node.
func (s *Server) send(ctx context.Context, r *http.Request, addr string) (*http.Response, error) {
	u := url.URL{Scheme: s.o.Scheme, Host: addr, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	body := r.Body
	if r.ContentLength == 0 {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = r.ContentLength
	for _, h := range []string{"Content-Type", "If-Match"} {
		if v := r.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	req.Header.Set(client.HeaderForwarded, s.o.Node)
	forwardCaller(req.Header, r)
	return s.o.Transport.RoundTrip(req)
}

func forwardError(what, node, method string, err error) error {
	e := spec.Errorf(spec.CodeNoLeader, "%s: node %s, which leads, cannot be reached: %v", what, node, err)
	e.Reason = client.ReasonNoLeader
	if method != http.MethodGet && !client.NotDone(err) {
		e.Reason = client.ReasonUnknown
		e.Message = what + ": node " + node + " gave no answer (" + err.Error() + "); it may have been done: look with get, then try again"
	}
	return e
}

// catchUp waits until this node has applied what the leader did. It is a comfort:
// when it takes too long the answer goes out all the same.
func (s *Server) catchUp(ctx context.Context, index string) {
	want, err := strconv.ParseUint(index, 10, 64)
	if err != nil {
		return
	}
	t := time.NewTimer(catchUpTimeout)
	defer t.Stop()
	for {
		ch := s.o.Store.Changed()
		if s.o.Store.View().Index >= want {
			return
		}
		select {
		case <-ch:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// copyAnswer passes an answer on, flushing as it comes: it may be a stream.
func copyAnswer(w http.ResponseWriter, resp *http.Response) {
	for _, h := range []string{"Content-Type", "Retry-After", client.HeaderIndex, client.HeaderResult} {
		if v := resp.Header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	for _, v := range resp.Header.Values(client.HeaderWarning) {
		w.Header().Add(client.HeaderWarning, v)
	}
	w.WriteHeader(resp.StatusCode)
	copyStream(w, resp.Body)
	if why := resp.Trailer.Get(client.HeaderError); why != "" {
		setTrailer(w, why)
	}
}

// writeDeadline is how long one write to a reader may take before it is dropped.
const writeDeadline = 10 * time.Second

// copyStream passes r on until it ends or the reader is gone or too slow.
func copyStream(w http.ResponseWriter, r io.Reader) {
	rc := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			// Recorders of tests and some wrappers have no deadline: then there is none.
			_ = rc.SetWriteDeadline(time.Now().Add(writeDeadline))
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			if ferr := rc.Flush(); ferr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
