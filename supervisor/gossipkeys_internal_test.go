package supervisor

import (
	"testing"

	"supd/raftstore/state"
)

func TestRotationDue(t *testing.T) {
	t.Parallel()
	now := state.Cluster{}.CreatedAt.Add(10 * RotateGossipAfter)
	for name, x := range map[string]struct {
		c   state.Cluster
		due bool
	}{
		"no cluster":       {state.Cluster{CreatedAt: now.Add(-2 * RotateGossipAfter)}, false},
		"young":            {state.Cluster{ID: "c", CreatedAt: now.Add(-RotateGossipAfter + 1)}, false},
		"old":              {state.Cluster{ID: "c", CreatedAt: now.Add(-RotateGossipAfter)}, true},
		"old, but changed": {state.Cluster{ID: "c", CreatedAt: now.Add(-2 * RotateGossipAfter), GossipKeyAt: now.Add(-1)}, false},
		"changed long ago": {state.Cluster{ID: "c", CreatedAt: now.Add(-3 * RotateGossipAfter), GossipKeyAt: now.Add(-RotateGossipAfter)}, true},
		"of no known age":  {state.Cluster{ID: "c"}, false},
	} {
		if got := rotationDue(x.c, now); got != x.due {
			t.Errorf("%s: %v", name, got)
		}
	}
}
