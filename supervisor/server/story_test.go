package server_test

import (
	"testing"

	"supd/supervisor/client"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// TestStory is a look at the fixture that golden files are made from.
func TestStory(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	sets, index, err := client.List[spec.StatefulSet](t.Context(), c, client.StatefulSets, client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(sets) != 2 || index != n.View().Index {
		t.Fatalf("got %d sets at index %d, want 2 at %d", len(sets), index, n.View().Index)
	}
	for _, s := range sets {
		t.Logf("%s: %+v", s.Metadata.Name, *s.Status)
	}
}
