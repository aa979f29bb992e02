package probe

import (
	"bytes"
	"context"
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

type execCheck struct {
	argv    []string
	timeout time.Duration
	read    reading
	runner  Runner
}

func (c *execCheck) Check(ctx context.Context) Result {
	exit, err := c.runner.RunProbe(ctx, c.argv, c.timeout)
	switch {
	case err != nil:
		return Result{Message: "cannot run the probe: " + brief([]byte(err.Error())), Void: true}
	case exit.TimedOut:
		return Result{Message: fmt.Sprintf("the probe did not end within %v", c.timeout), Output: c.read.shown(exit.Output)}
	case exit.Signal != "":
		return Result{Message: "the probe was ended by signal " + exit.Signal, Output: c.read.shown(exit.Output)}
	case exit.Code != 0:
		return c.read.failed(fmt.Sprintf("the probe exited with %d", exit.Code), exit.Output)
	}
	return c.read.result("the probe's output", exit.Output)
}

type tcpCheck struct{ addr string }

func (c *tcpCheck) Check(ctx context.Context) Result {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return Result{Message: dialMessage(c.addr, err)}
	}
	if tc, ok := conn.(*net.TCPConn); ok {
		// A reset instead of TIME_WAIT: a probe every few milliseconds would use
		// up the ports. It may fail only on a closed connection.
		_ = tc.SetLinger(0)
	}
	if err := conn.Close(); err != nil {
		return Result{Message: dialMessage(c.addr, err)}
	}
	return Result{OK: true}
}

func dialMessage(addr string, err error) string {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return addr + " did not answer in time"
	}
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Err != nil {
		err = oe.Err
	}
	return addr + ": " + brief([]byte(err.Error()))
}

type httpCheck struct {
	url     string
	host    string
	headers http.Header
	read    reading
	client  *http.Client
}

func newHTTP(g *spec.HTTPGet, read reading, r Resolve) (*httpCheck, error) {
	port, host, err := target(g.Port, g.Host, r)
	if err != nil {
		return nil, err
	}
	path, err := r.Text(g.Path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	scheme := strings.ToLower(g.Scheme)
	if scheme == "" {
		scheme = "http"
	}
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("scheme %q is neither HTTP nor HTTPS", g.Scheme)
	}
	ref, err := url.Parse("/" + strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, fmt.Errorf("path %q: %v", path, err)
	}
	u := &url.URL{Scheme: scheme, Host: hostPort(host, port), Path: ref.Path, RawPath: ref.RawPath, RawQuery: ref.RawQuery}
	c := &httpCheck{url: u.String(), headers: http.Header{}, read: read}
	for k, v := range g.Headers {
		text, err := r.Text(v)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", k, err)
		}
		if strings.EqualFold(k, "host") {
			c.host = text
			continue
		}
		c.headers.Set(k, text)
	}
	c.client = newClient(host)
	return c, nil
}

// Check makes the request over a connection of its own: a kept one would tell
// nothing of whether new ones are accepted.
func (c *httpCheck) Check(ctx context.Context) Result {
	req, err := c.request(ctx)
	if err != nil {
		return Result{Message: "cannot ask " + c.url + ": " + brief([]byte(err.Error()))}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return Result{Message: dialMessage("GET "+c.url, err)}
	}
	body, readErr := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	closeErr := resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return c.read.failed(fmt.Sprintf("GET %s answered %d", c.url, resp.StatusCode), body)
	}
	res := c.read.result("the answer of GET "+c.url, body)
	if cut := errors.Join(readErr, closeErr); !res.OK && cut != nil {
		res.Message = dialMessage("GET "+c.url, cut)
	}
	return res
}

func (c *httpCheck) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = c.headers.Clone()
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "supd-probe")
	}
	req.Host = c.host
	return req, nil
}

// PlainGet is a request as it is written to a connection of its own, and where to, for somebody who
// has no HTTP client. It can't be had with https.
func PlainGet(g *spec.HTTPGet, r Resolve) (to string, request []byte, err error) {
	check, err := newHTTP(g, reading{}, r)
	if err != nil {
		return "", nil, err
	}
	req, err := check.request(context.Background())
	if err != nil {
		return "", nil, err
	}
	if req.URL.Scheme != "http" {
		return "", nil, fmt.Errorf("%s cannot be asked without TLS", check.url)
	}
	var b bytes.Buffer
	req.Close = true
	err = req.Write(&b)
	return req.URL.Host, b.Bytes(), err
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
