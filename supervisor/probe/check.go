package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"supd/supervisor/spec"
)

// MaxBody bounds what is read of an answer or output.
const MaxBody = 64 << 10

type execCheck struct {
	argv    []string
	timeout time.Duration
	expect  *regexp.Regexp
	runner  Runner
}

func (c *execCheck) Check(ctx context.Context) Result {
	exit, err := c.runner.RunProbe(ctx, c.argv, c.timeout)
	switch {
	case err != nil:
		return Result{Message: "cannot run the probe: " + brief([]byte(err.Error()))}
	case exit.TimedOut:
		return Result{Message: fmt.Sprintf("the probe did not end within %v", c.timeout)}
	case exit.Signal != "":
		return Result{Message: "the probe was ended by signal " + exit.Signal}
	case exit.Code != 0:
		return Result{Message: withText(fmt.Sprintf("the probe exited with %d", exit.Code), exit)}
	case c.expect != nil && !c.expect.Match(exit.Output):
		return Result{Message: withText("the probe's output is not what is expected", exit)}
	}
	return Result{OK: true}
}

func withText(s string, exit Exit) string {
	b := brief(exit.Output)
	if b != "" && exit.Secret {
		b = "its output is not shown, for the process has secrets"
	}
	if b != "" {
		return s + ": " + b
	}
	return s
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
	expect  *regexp.Regexp
	client  *http.Client
}

func newHTTP(g *spec.HTTPGet, expect *regexp.Regexp, r Resolve) (Check, error) {
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
	c := &httpCheck{url: u.String(), headers: http.Header{}, expect: expect}
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return Result{Message: "cannot ask " + c.url + ": " + brief([]byte(err.Error()))}
	}
	req.Header = c.headers.Clone()
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "supd-probe")
	}
	req.Host = c.host
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
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 399:
		return Result{Message: withText(fmt.Sprintf("GET %s answered %d", c.url, resp.StatusCode), Exit{Output: body})}
	case c.expect == nil:
		return Result{OK: true}
	case c.expect.Match(body):
		return Result{OK: true}
	case readErr != nil || closeErr != nil:
		return Result{Message: dialMessage("GET "+c.url, errors.Join(readErr, closeErr))}
	}
	return Result{Message: withText("the answer of GET "+c.url+" is not what is expected", Exit{Output: body})}
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
