package server_test

import (
	"net/http/httptest"
	"testing"

	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
)

// TestANewerNodeIsHeard: it may tell more of itself than this version knows.
func TestANewerNodeIsHeard(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(1)
	hs := httptest.NewServer(servertest.As(server.Caller{Who: "node:node-2", Node: "node-2", NodeID: "node-2.1"}, server.New(n.Options()).Handler()))
	t.Cleanup(hs.Close)
	c, err := client.New(hs.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Register(t.Context(), map[string]any{"name": "node-2", "id": "node-2.1", "run": "r", "machine": n.View().Node("node-1").Machine, "ofTheFuture": true}); err != nil {
		t.Fatal(err)
	}
	if n.View().Node("node-2") == nil {
		t.Error("node-2 is not registered")
	}
}
