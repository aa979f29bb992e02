package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"supd/supervisor/server"
)

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// serveGate serves a gate over the network; X-Test-Token names the account that asks.
func serveGate(t *testing.T, g *gate) (*server.Server, *httptest.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.s.Run(ctx) }()
	hs := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("X-Test-Token"); name != "" {
			r.Header.Set("Authorization", "Bearer "+g.tokens[name])
		}
		if r.Header.Get("X-Test-Node") != "" {
			r = r.WithContext(server.WithCaller(r.Context(), server.Caller{Who: "node:node-2", Node: "node-2"}))
		}
		g.s.Handler().ServeHTTP(w, r)
	}))
	hs.Config.ConnContext = server.ConnContext
	g.s.Watch(hs.Config)
	hs.Start()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		hs.Close()
	})
	return g.s, hs
}

// A crowd that only connects makes room for each other: a node that was there before keeps its connection, health is
// answered to whoever comes, and the crowd is bounded.
func TestFloodOfConnections(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(o *server.Options) { o.Limits.Connections = 64 })
	_, hs := serveGate(t, g)
	conns := 0
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conns++
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	heartbeat := func() {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, hs.URL+"/v1/internal/leases", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Test-Node", "1")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("a node's request = %d", resp.StatusCode)
		}
	}
	heartbeat()
	var crowd []net.Conn
	defer func() {
		for _, c := range crowd {
			_ = c.Close()
		}
	}()
	for i := range 2000 {
		c, err := net.Dial("tcp", hs.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
		if i%200 == 0 {
			heartbeat()
		}
	}
	heartbeat()
	if conns != 1 {
		t.Errorf("the node had to connect %d times", conns)
	}
	resp, err := http.Get(hs.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	resp, err = http.Get(hs.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text := body(t, resp); strings.Contains(text, `supd_api_refused_total{why="connections"} 0`) {
		t.Error("no connection was refused")
	}
	http.DefaultClient.CloseIdleConnections()
}
