package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answer(w http.ResponseWriter, status int, e *spec.Error) {
	w.WriteHeader(status)
	_, _ = w.Write(client.MarshalError(e))
}

func open(t *testing.T, addr string, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestLongSocketPath reaches a socket whose path is longer than an address may be.
func TestLongSocketPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "supd.sock")
	short, done, err := client.ShortSocketPath(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", short)
	done()
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(client.Version{Version: "v", Node: "n"})
	}), ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	t.Cleanup(func() { _ = hs.Close(); <-served })
	v, err := open(t, "unix://"+path, client.Options{}).ServerVersion(t.Context())
	if err != nil || v.Node != "n" {
		t.Errorf("over a path of %d characters: %+v, %v", len(path), v, err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for addr, ok := range map[string]bool{
		"unix:///run/supd.sock": true, "/run/supd.sock": true, "http://127.0.0.1:7950": true, "localhost:7950": true,
		"": false, "unix://": false, "https://x:1": true, "nonsense": false,
	} {
		if _, err := client.New(addr, client.Options{}); (err == nil) != ok {
			t.Errorf("New(%q) = %v, want it taken: %t", addr, err, ok)
		} else if err != nil && spec.CodeOf(err) != spec.CodeInvalid {
			t.Errorf("New(%q) = %v, want wrong usage", addr, err)
		}
	}
}

// TestRetries: which writes are tried again, and after which failure.
func TestRetries(t *testing.T) {
	t.Parallel()
	one := 1
	put := func(c *client.Client, o client.WriteOptions) error {
		_, _, err := c.PutStatefulSet(context.Background(), &spec.StatefulSet{Metadata: spec.Meta{Namespace: "ns", Name: "web"}}, o)
		return err
	}
	restart := func(c *client.Client, o client.WriteOptions) error {
		_, err := c.RestartSet(context.Background(), "ns", "web", client.RestartRequest{}, o)
		return err
	}
	scale := func(c *client.Client, o client.WriteOptions) error {
		_, _, err := c.Scale(context.Background(), "ns", "web", client.ScaleRequest{Replicas: &one, CurrentReplicas: &one}, o)
		return err
	}
	read := func(c *client.Client, _ client.WriteOptions) error {
		_, err := c.Cluster(context.Background())
		return err
	}
	for _, x := range []struct {
		name   string
		do     func(*client.Client, client.WriteOptions) error
		reason string
		opts   client.Options
		write  client.WriteOptions
		again  bool
	}{
		{"nothing was done", put, client.ReasonNoLeader, client.Options{}, client.WriteOptions{}, true},
		{"a restart, nothing was done", restart, client.ReasonNoLeader, client.Options{}, client.WriteOptions{}, true},
		{"not wanted", put, client.ReasonNoLeader, client.Options{NoRetry: true}, client.WriteOptions{}, false},
		{"unknown", put, client.ReasonUnknown, client.Options{}, client.WriteOptions{}, false},
		{"unknown, and may be repeated", put, client.ReasonUnknown, client.Options{RetryUnknown: true}, client.WriteOptions{}, true},
		{"unknown, with a condition", put, client.ReasonUnknown, client.Options{RetryUnknown: true}, client.WriteOptions{IfVersion: 7}, false},
		{"unknown, from a number", scale, client.ReasonUnknown, client.Options{RetryUnknown: true}, client.WriteOptions{}, false},
		{"a restart, unknown", restart, client.ReasonUnknown, client.Options{RetryUnknown: true}, client.WriteOptions{}, false},
		{"a read", read, client.ReasonNoLeader, client.Options{RetryUnknown: true}, client.WriteOptions{}, false},
	} {
		var calls atomic.Int32
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) == 1 {
				answer(w, http.StatusServiceUnavailable, &spec.Error{Code: spec.CodeNoLeader, Reason: x.reason, Message: "no leader"})
				return
			}
			_, _ = io.WriteString(w, "{}")
		}))
		err := x.do(open(t, hs.URL, x.opts), x.write)
		if again := calls.Load() > 1; again != x.again || (err == nil) != x.again {
			t.Errorf("%s: %d calls, %v; want it tried again: %t", x.name, calls.Load(), err, x.again)
		}
		hs.Close()
	}
}

// TestErrors come with code, reason and details as the daemon gave them.
// The last of several tries may get no answer in time. What the ones before were told
// is said all the same, and a plan, which changes nothing, has no unknown outcome.
func TestLastTry(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%2 == 1 {
			answer(w, http.StatusServiceUnavailable, &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "there is no leader"})
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
		<-r.Context().Done()
	}))
	defer hs.Close()
	c := open(t, hs.URL, client.Options{RequestTimeout: 200 * time.Millisecond})
	_, err := c.Preview(context.Background(), client.PreviewRequest{StatefulSet: &spec.StatefulSet{Metadata: spec.Meta{Namespace: "ns", Name: "web"}}}, client.WriteOptions{})
	if err == nil || err.Error() != "there is no leader" {
		t.Errorf("a plan = %v, want what the daemon said", err)
	}
	_, err = c.RestartSet(context.Background(), "ns", "web", client.RestartRequest{}, client.WriteOptions{})
	if err == nil || !strings.Contains(err.Error(), "cannot tell whether") || !strings.Contains(err.Error(), "there is no leader") {
		t.Errorf("a restart = %v, want both", err)
	}
	if calls.Load() != 4 {
		t.Errorf("%d calls, want 4", calls.Load())
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/cluster" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "404 page not found")
			return
		}
		if r.Header.Get("If-Match") != `"12"` || r.URL.Query().Get("reason") != "a b" {
			t.Errorf("If-Match %s, reason %s", r.Header.Get("If-Match"), r.URL.Query().Get("reason"))
		}
		answer(w, http.StatusConflict, &spec.Error{Code: spec.CodeRefused, Reason: "Unhealthy", Message: "no", Details: []string{"web-1: sick"}})
	}))
	t.Cleanup(hs.Close)
	c := open(t, hs.URL, client.Options{})
	_, err := c.Delete(t.Context(), client.StatefulSets, "default", "web", client.WriteOptions{IfVersion: 12, Reason: "a b"})
	var e *spec.Error
	if !errors.As(err, &e) || e.Code != spec.CodeRefused || e.Reason != "Unhealthy" || len(e.Details) != 1 {
		t.Errorf("got %+v", err)
	}
	if _, err := c.Cluster(t.Context()); spec.CodeOf(err) != spec.CodeNotFound {
		t.Errorf("an answer of something else = %v, want NotFound", err)
	}
}

// TestPaths escapes what names may hold.
func TestPaths(t *testing.T) {
	t.Parallel()
	if got := client.Programs.ObjectPath("default", "registry/mysql:5.7"); got != "/v1/namespaces/default/programs/registry%2Fmysql:5.7" {
		t.Errorf("got %s", got)
	}
	if got := client.Nodes.ObjectPath("default", "node-1"); got != "/v1/nodes/node-1" {
		t.Errorf("got %s", got)
	}
}
