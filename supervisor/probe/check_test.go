package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/supervisor/spec"
)

func resolve(host string, r Runner) Resolve {
	return Resolve{
		Text:   func(s string) (string, error) { return strings.ReplaceAll(s, "${x}", "there"), nil },
		Port:   func(v spec.IntOrString) (int, error) { return strconv.Atoi(string(v)) },
		Host:   host,
		Runner: r,
	}
}

func check(t *testing.T, p *spec.Probe, r Resolve) Result {
	t.Helper()
	c, err := New(p, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return c.Check(ctx)
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") }))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/there":
			if r.URL.RawQuery != "a=b" || r.Header.Get("X-Key") != "there" || r.Host != "example.test" {
				w.WriteHeader(400)
			}
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/away":
			http.Redirect(w, r, elsewhere+"/x", http.StatusFound)
		case "/body":
			w.Write([]byte("state: leader\n" + strings.Repeat("x", 2*MaxBody))) //nolint:errcheck // the reader may leave
		case "/399":
			w.WriteHeader(399)
		case "/503":
			w.WriteHeader(503)
			w.Write([]byte("starting\nup")) //nolint:errcheck // checked by the reader
		default:
			w.WriteHeader(404)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	for _, c := range []struct {
		path, expect string
		ok           bool
		message      string
	}{
		{"/ok", "", true, ""},
		{"ok", "", true, ""},
		{"/${x}?a=b", "", true, ""},
		{"/moved", "", true, ""},
		{"/loop", "", true, ""},
		{"/away", "", true, ""},
		{"/399", "", true, ""},
		{"/503", "", false, "answered 503: starting"},
		{"/missing", "", false, "answered 404"},
		{"/body", "^state: leader", true, ""},
		{"/body", "follower", false, "not what is expected: state: leader"},
		{"/503", "starting", false, "answered 503"},
	} {
		for _, s := range []*httptest.Server{plain, secure} {
			u, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			res := check(t, &spec.Probe{Expect: c.expect, HTTP: &spec.HTTPGet{
				Path: c.path, Port: spec.IntOrString(u.Port()),
				Scheme: strings.ToUpper(u.Scheme), Headers: map[string]string{"X-Key": "${x}", "Host": "example.test"},
			}}, resolve(u.Hostname(), nil))
			if res.OK != c.ok || !strings.Contains(res.Message, c.message) || strings.Contains(res.Message, "\n") {
				t.Errorf("%s %s expect %q: %+v, want ok %v %q", u.Scheme, c.path, c.expect, res, c.ok, c.message)
			}
		}
	}
}

// What a process with secrets answers is matched, never told.
func TestHTTPAnswerOfAProcessWithSecrets(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
		w.Write([]byte("canary\n")) //nolint:errcheck // checked by the reader
	}))
	defer s.Close()
	r := resolve("127.0.0.1", nil)
	r.Secret = true
	for path, expect := range map[string]string{"/bad": "", "/": "other", "/good": "canary"} {
		p := &spec.Probe{Expect: expect, HTTP: &spec.HTTPGet{Path: path, Port: portOf(s.Listener.Addr())}}
		if res := check(t, p, r); res.OK != (path == "/good") || strings.Contains(res.Message+res.Output, "canary") {
			t.Errorf("%s: %+v", path, res)
		}
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := spec.IntOrString(strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	p := &spec.Probe{TCP: &spec.TCPDial{Port: port}}
	if res := check(t, p, resolve("127.0.0.1", nil)); !res.OK {
		t.Errorf("got %+v, want it to pass", res)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if res := check(t, p, resolve("127.0.0.1", nil)); res.OK || !strings.Contains(res.Message, "refused") {
		t.Errorf("got %+v, want refused", res)
	}
}

func TestHTTPDeadline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := New(&spec.Probe{HTTP: &spec.HTTPGet{Path: "/", Port: spec.IntOrString(strconv.Itoa(l.Addr().(*net.TCPAddr).Port))}}, resolve("127.0.0.1", nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if res := c.Check(ctx); res.OK || !strings.Contains(res.Message, "did not answer in time") {
		t.Errorf("got %+v", res)
	}
}

type fakeRunner struct {
	exit Exit
	err  error
	argv []string
}

func (f *fakeRunner) RunProbe(_ context.Context, argv []string, _ time.Duration) (Exit, error) {
	f.argv = argv
	return f.exit, f.err
}

func TestExec(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		run     fakeRunner
		secret  bool
		expect  string
		ok      bool
		message string
	}{
		{fakeRunner{}, false, "", true, ""},
		{fakeRunner{exit: Exit{Code: 3, Output: []byte("  LOADING x\nmore")}}, false, "", false, "exited with 3: LOADING x"},
		{fakeRunner{exit: Exit{Output: []byte("LOADING")}}, false, "^PONG", false, "not what is expected: LOADING"},
		{fakeRunner{exit: Exit{Output: []byte("PONG\n")}}, false, "^PONG", true, ""},
		{fakeRunner{exit: Exit{Output: []byte("PONG\n")}}, true, "^PONG", true, ""},
		{fakeRunner{exit: Exit{Code: 1, Output: []byte("canary")}}, true, "", false, "exited with 1: its output is not shown"},
		{fakeRunner{exit: Exit{Output: []byte("canary")}}, true, "^PONG", false, "not what is expected: its output is not shown"},
		{fakeRunner{exit: Exit{Signal: "SIGSEGV", Code: -1}}, false, "", false, "SIGSEGV"},
		{fakeRunner{exit: Exit{TimedOut: true}}, false, "", false, "did not end within 1s"},
		{fakeRunner{err: errors.New("keeper\ngone")}, false, "", false, "cannot run the probe: keeper"},
	} {
		r := resolve("h", &c.run)
		r.Secret = c.secret
		res := check(t, &spec.Probe{Exec: []string{"redis-cli", "${x}"}, Expect: c.expect}, r)
		if res.OK != c.ok || !strings.Contains(res.Message, c.message) || strings.Contains(res.Message, "\n") || c.secret && (res.Output != "" || strings.Contains(res.Message, "canary")) || res.Void != (c.run.err != nil) {
			t.Errorf("%+v expect %q: %+v, want ok %v %q", c.run, c.expect, res, c.ok, c.message)
		}
		if len(c.run.argv) != 2 || c.run.argv[1] != "there" {
			t.Errorf("argv %v", c.run.argv)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, p := range []*spec.Probe{
		{},
		{GRPC: &spec.GRPCCall{Port: "x"}},
		{Exec: []string{"x"}, Expect: "("},
		{HTTP: &spec.HTTPGet{Port: "80", Scheme: "ftp"}},
		{HTTP: &spec.HTTPGet{Port: "x"}},
		{TCP: &spec.TCPDial{Port: "x"}},
	} {
		if c, err := New(p, resolve("h", nil)); err == nil {
			t.Errorf("New(%+v) = %v, want an error", p, c)
		}
	}
}
