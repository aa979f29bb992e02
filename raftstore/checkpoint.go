package raftstore

import (
	"sync"
	"time"

	"supd/raftstore/state"
)

// keptCheckpoints is how many Views wait at most for whoever compares them.
const keptCheckpoints = 4

// checkpoints are Views at places in the log that all nodes find for themselves: before
// the first entry of each period of the entries' own time. So the nodes' states can be
// compared where they must be equal, however fast each applies its log. The place
// goes by the entries alone: a View that went astray must not choose where it is looked at.
type checkpoints struct {
	every time.Duration
	// period is that of the newest entry, when one is known. The FSM's goroutine owns
	// both, and Open before it.
	period int64
	known  bool

	some chan struct{} // holds one: a View was kept

	mu   sync.Mutex // guards kept
	kept []*state.View
}

func newCheckpoints(every time.Duration) *checkpoints {
	return &checkpoints{every: every, some: make(chan struct{}, 1)}
}

// pass notes an entry of time at that is about to be applied to v.
func (c *checkpoints) pass(v *state.View, at time.Time) {
	p := at.UnixNano() / int64(c.every)
	first := c.known && p != c.period
	c.period, c.known = p, true
	if !first || v.Cluster.ID == "" {
		return
	}
	c.mu.Lock()
	c.kept = append(c.kept, v)
	c.kept = c.kept[max(0, len(c.kept)-keptCheckpoints):]
	c.mu.Unlock()
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// lose forgets where in the log this is: the entries before the next one were not seen.
func (c *checkpoints) lose() { c.known = false }

func (c *checkpoints) take() []*state.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.kept
	c.kept = nil
	return out
}

// Checkpoints returns a channel that gets one when TakeCheckpoints has something to give.
func (s *Store) Checkpoints() <-chan struct{} { return s.checkpoints.some }

// TakeCheckpoints returns the Views at the places in the log that were passed since the
// last call, oldest first: the same places on every node, and the newest few only.
func (s *Store) TakeCheckpoints() []*state.View { return s.checkpoints.take() }
