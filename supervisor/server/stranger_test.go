package server_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
)

// A stranger on the TCP listener gets health and metrics, and nothing else.
func TestStrangersGetHealthOnly(t *testing.T) {
	t.Parallel()
	s := server.New(servertest.Story().Options())
	for _, c := range []struct {
		trust error
		path  string
		want  int
	}{
		{errors.New("not you"), "/healthz", http.StatusOK},
		{errors.New("not you"), "/v1/nodes", http.StatusUnauthorized},
		{errors.New("not you"), "/v1/internal/register", http.StatusUnauthorized},
		{nil, "/v1/nodes", http.StatusOK},
	} {
		hs := server.NewHTTPServer(s.Handler(), func(net.Conn) error { return c.trust })
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- hs.Serve(l) }()
		method := http.MethodGet
		if c.path == "/v1/internal/register" {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{DisableKeepAlives: true}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s with trust %v: status %d, want %d", c.path, c.trust, res.StatusCode, c.want)
		}
		if err := hs.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		<-served
	}
}
