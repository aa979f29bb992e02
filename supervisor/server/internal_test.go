package server_test

import (
	"testing"

	"supd/supervisor/server/servertest"
)

// TestANewerNodeIsHeard: it may tell more of itself than this version knows.
func TestANewerNodeIsHeard(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(1)
	c, _ := serve(t, n)
	if err := c.Register(t.Context(), map[string]any{"name": "node-2", "id": "node-2.1", "run": "r", "machine": n.View().Node("node-1").Machine, "ofTheFuture": true}); err != nil {
		t.Fatal(err)
	}
	if n.View().Node("node-2") == nil {
		t.Error("node-2 is not registered")
	}
}
