package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"supd/supervisor/spec"
)

// Options of a Client. The zero value is good.
type Options struct {
	// RequestTimeout bounds every call that is no stream, and is how long a write
	// is tried again while there is no leader or daemon. Default 5 s.
	RequestTimeout time.Duration
	// Transport for TCP addresses; nil: a new one, which speaks TLS as TLS says.
	Transport http.RoundTripper
	// TLS is for https:// addresses without a Transport: it decides who may answer.
	TLS *tls.Config
	// Token speaks for an account, at addresses over TLS; "": none.
	Token string
	// RetryUnknown tries unconditional, repeatable writes (PUT, cordon) again also
	// when the outcome of the first try is not known. People want that; a program
	// that checks linearizability does not.
	RetryUnknown bool
	// NoRetry makes writes fail at once when there is no leader.
	NoRetry bool
}

// Client talks to the API of one daemon. It may be used by many goroutines.
type Client struct {
	addr string
	base string
	hc   *http.Client
	opts Options
}

// New makes a client of the daemon at addr: unix:///PATH, https://HOST:PORT or
// HOST:PORT, which means the same; http:// is for tests. It connects when first used.
func New(addr string, o Options) (*Client, error) {
	base, socket, err := parseAddr(addr)
	if err != nil {
		return nil, &spec.Error{Code: spec.CodeInvalid, Message: err.Error()}
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 5 * time.Second
	}
	rt := o.Transport
	if socket != "" {
		t := NewTransport(nil)
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialUnix(ctx, socket)
		}
		rt = t
	} else if rt == nil {
		rt = NewTransport(o.TLS)
	}
	return &Client{addr: addr, base: base, hc: &http.Client{Transport: rt, CheckRedirect: noRedirect}, opts: o}, nil
}

// noRedirect follows none: the API has none, and a token must not be shown elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Addr is the address the client was made for.
func (c *Client) Addr() string { return c.addr }

// Close ends idle connections.
func (c *Client) Close() { c.hc.CloseIdleConnections() }

// call is one request. Path segments are already escaped.
type call struct {
	method string
	path   string
	query  url.Values
	body   any
	head   http.Header // beside what every call has
	// ifVersion goes into If-Match when not 0.
	ifVersion uint64
	// repeatable: doing it twice is as good as once.
	repeatable bool
	// harmless: it changes nothing, so whether it was done is no question.
	harmless bool
}

// answer is what came back, with the body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) index() uint64 {
	n, err := strconv.ParseUint(a.header.Get(HeaderIndex), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// do sends one call and decodes the answer into out (nil: passed over). Writes are
// tried again while there is no leader.
func (c *Client) do(ctx context.Context, k call, out any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
	defer cancel()
	var a answer
	var err, before error
	for wait := 25 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		a, err = c.once(ctx, k)
		if later, ok := tooMany(err); ok && !c.opts.NoRetry {
			wait = later
		}
		if err == nil || !c.again(k, err) {
			err = lastTry(k, err, before)
			break
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return a, lastTry(k, err, before) // a true answer says more than "deadline exceeded"
		case <-t.C:
			before = err
		}
	}
	if err != nil || out == nil {
		return a, err
	}
	return a, decodeInto(a, out)
}

// lastTry is what to say when the last of several tries got no answer: the answers
// before it told why.
func lastTry(k call, err, before error) error {
	var e *spec.Error
	switch {
	case before == nil || !errors.As(err, &e):
		return err
	case k.harmless && e.Reason == ReasonNoDaemon:
		return before
	case e.Reason != ReasonUnknown:
		return err
	}
	out := *e
	out.Message += "; the try before said: " + before.Error()
	return &out
}

func decodeInto(a answer, out any) error {
	if err := json.Unmarshal(a.body, out); err != nil {
		return spec.Errorf(spec.CodeInternal, "cannot read the daemon's answer: %v", err)
	}
	return nil
}

// RetryAfter begins the detail of a refusal that says after how many seconds to ask again.
const RetryAfter = "retryAfter="

// tooMany tells whether an error says that too much was asked, and when to ask again.
func tooMany(err error) (time.Duration, bool) {
	var e *spec.Error
	if !errors.As(err, &e) || e.Reason != ReasonTooMany {
		return 0, false
	}
	for _, d := range e.Details {
		if n, ok := strings.CutPrefix(d, RetryAfter); ok {
			if s, err := strconv.Atoi(n); err == nil && s > 0 && s < 3600 {
				return time.Duration(s) * time.Second, true
			}
		}
	}
	return time.Second, true
}

func (c *Client) again(k call, err error) bool {
	if _, ok := tooMany(err); ok { // nothing was done
		return !c.opts.NoRetry
	}
	if c.opts.NoRetry || k.method == http.MethodGet {
		return false
	}
	var e *spec.Error
	if !errors.As(err, &e) || e.Code != spec.CodeNoLeader {
		return false
	}
	if e.Reason == ReasonUnknown {
		return c.opts.RetryUnknown && k.repeatable && k.ifVersion == 0
	}
	return true
}

func (c *Client) once(ctx context.Context, k call) (answer, error) {
	resp, err := c.send(ctx, k)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return answer{}, c.transportError(k, err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: b}
	if resp.StatusCode >= 300 {
		return a, decodeError(c.addr, resp.StatusCode, b)
	}
	return a, nil
}

// send makes the request and returns the open answer.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	var body io.Reader
	if k.body != nil {
		b, err := json.Marshal(k.body)
		if err != nil {
			return nil, spec.Errorf(spec.CodeInternal, "cannot encode a request: %v", err)
		}
		body = bytes.NewReader(b)
	}
	u := c.base + k.path
	if len(k.query) > 0 {
		u += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u, body)
	if err != nil {
		return nil, spec.Errorf(spec.CodeInvalid, "cannot make a request for %s: %v", u, err)
	}
	for name, v := range k.head {
		req.Header[name] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.ifVersion != 0 {
		req.Header.Set("If-Match", strconv.Quote(strconv.FormatUint(k.ifVersion, 10)))
	}
	c.showToken(req)
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, c.transportError(k, err)
	}
	return resp, nil
}

// showToken tells who asks; never where others could read it.
func (c *Client) showToken(req *http.Request) {
	if c.opts.Token != "" && req.URL.Scheme == "https" {
		req.Header.Set("Authorization", "Bearer "+c.opts.Token)
	}
}

// transportError classes what kept a request from being answered: a failed dial
// changed nothing, anything later leaves a write's outcome unknown.
func (c *Client) transportError(k call, err error) error {
	var op *net.OpError
	var e *spec.Error
	switch {
	case errors.As(err, &e): // whoever verified the other side said what is wrong
		return e
	case errors.As(err, &op) && op.Op == "remote error" && NotDone(err):
		return &spec.Error{
			Code: spec.CodeRefused, Reason: ReasonUntrusted,
			Message: fmt.Sprintf("the daemon at %s turns us down (%v): our certificate is of another cluster, or no account's, or this is not the API's port (7950 unless the node's configuration has another)", c.addr, op.Err),
		}
	}
	if NotDone(err) && errors.As(err, &op) {
		return &spec.Error{
			Code: spec.CodeNoLeader, Reason: ReasonNoDaemon,
			Message: fmt.Sprintf("cannot reach supd at %s: %v; is the daemon running there?", c.addr, op.Err),
		}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	what := "no answer came"
	if errors.Is(err, context.DeadlineExceeded) {
		what = "no answer came in time"
	}
	e = &spec.Error{
		Code: spec.CodeNoLeader, Reason: ReasonUnknown,
		Message: fmt.Sprintf("cannot tell whether %s %s was done: %s from %s (%v); look with get, then try again", k.method, k.path, what, c.addr, unwrapURL(err)),
	}
	if k.method == http.MethodGet || k.harmless {
		e.Reason = ReasonNoDaemon
		e.Message = fmt.Sprintf("cannot read %s: %s from %s (%v)", k.path, what, c.addr, unwrapURL(err))
	}
	return e
}

func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func decodeError(addr string, status int, b []byte) error {
	var body errorBody
	if err := json.Unmarshal(b, &body); err != nil || body.Error.Code == "" {
		text := strings.TrimSpace(string(b))
		return spec.Errorf(codeOfStatus(status), "%s answered %d: %s", addr, status, text)
	}
	return &spec.Error{
		Code: body.Error.Code, Message: body.Error.Message,
		Details: body.Error.Details, Reason: body.Error.Reason,
	}
}

func codeOfStatus(status int) spec.Code {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed:
		return spec.CodeInvalid
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return spec.CodeRefused
	case http.StatusNotFound:
		return spec.CodeNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return spec.CodeConflict
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		return spec.CodeNoLeader
	case http.StatusGatewayTimeout:
		return spec.CodeTimeout
	}
	return spec.CodeInternal
}

// seg escapes one path segment.
func seg(s string) string { return url.PathEscape(s) }
