package supervisor

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/pki"
)

// credentialsFor are those of a node of one cluster.
func credentialsFor(t *testing.T, id string) *pki.Store {
	t.Helper()
	seed, err := pki.SeedFrom("the secret of all daemons in these tests")
	if err != nil {
		t.Fatal(err)
	}
	s, err := pki.Open(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SaveSeed(seed); err != nil {
		t.Fatal(err)
	}
	if err := s.Sign(id, pki.NodeValidity(time.Now())); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLeaseIsTheLeadersOnly: whatever gossip says of where the leader is, another node that answers there gives no lease.
func TestLeaseIsTheLeadersOnly(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"leader":"node-2","term":9,"index":1,"lease":3600000000000}`))
	}), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(tls.NewListener(tcp, credentialsFor(t, "node-3.00000003").APIServer())) }()
	defer func() {
		if err := hs.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}()
	own := credentialsFor(t, "node-1.00000001")
	l := &leader{clients: map[string]*client.Client{}, only: func(id string) *tls.Config { return own.Client(pki.Is(id)) }}
	defer l.close()
	for id, good := range map[string]bool{"node-2.00000002": false, "node-3.00000003": true, "node-3.00000003#7": true} {
		c, err := l.client(id, tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Heartbeat(t.Context(), client.Heartbeat{Node: "node-1"})
		if (err == nil) != good || !good && (out.Lease != 0 || !strings.Contains(err.Error(), "node-2.00000002 is meant, and node-3.00000003 answers")) {
			t.Errorf("a heartbeat for %s, answered by node-3: %+v, %v", id, out, err)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("node-3 was asked %d times, want 2: what is meant for another is not even told", n)
	}
}
