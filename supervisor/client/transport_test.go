package client_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"supd/supervisor/client"
)

// TestConnectionsAreKept has more requests at once than a few, answered together as a leader answers writes, and wants
// them to use the same connections again.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	const atOnce = 64
	var made atomic.Int64
	var round atomic.Pointer[sync.WaitGroup]
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		all := round.Load()
		all.Done()
		all.Wait()
	}))
	srv.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			made.Add(1)
		}
	}
	srv.Start() // how long a connection is kept does not depend on TLS
	defer srv.Close()
	tr := client.NewTransport(nil)
	defer tr.CloseIdleConnections()
	for range 3 {
		all := new(sync.WaitGroup)
		all.Add(atOnce)
		round.Store(all)
		var asked sync.WaitGroup
		for range atOnce {
			asked.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					all.Done() // it waits for nobody
					t.Error(err)
					return
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		asked.Wait()
	}
	if n := made.Load(); n > atOnce*5/4 { // on a busy machine a few may have been too slow to be kept
		t.Errorf("%d connections were made for %d requests at once, three times", n, atOnce)
	}
}
