package server_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server on a pretended node, with its Run, and a client of it.
func serve(t *testing.T, n *servertest.Node) (*client.Client, *httptest.Server) {
	t.Helper()
	s := server.New(n.Options())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	hs := httptest.NewUnstartedServer(servertest.Trusting(s.Handler()))
	hs.Config.ConnContext = server.ConnContext
	hs.Start()
	tr := client.NewTransport(nil)
	c, err := client.New(hs.URL, client.Options{RequestTimeout: 4 * time.Second, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		c.Close()
		tr.CloseIdleConnections()
		hs.Close()
	})
	return c, hs
}

// newHTTP serves s without running it, and returns its URL.
func newHTTP(t *testing.T, s *server.Server) string {
	t.Helper()
	hs := httptest.NewServer(servertest.Trusting(s.Handler()))
	t.Cleanup(hs.Close)
	return hs.URL
}
