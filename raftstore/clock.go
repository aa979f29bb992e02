package raftstore

import (
	"sync"
	"time"
)

// Now is the cluster's time: this machine's time of day, but never before that of the newest entry. Where the log is
// ahead, for a leader's clock was, it goes on from there at nine tenths of its pace until the machines' time has caught up:
// whoever measures by entries' times waits a tenth longer, not until the day that a wrong clock told.
func (s *Store) Now() time.Time { return s.clock.now(s.o.Now(), s.View().Cluster.Now) }

// clock is the arithmetic of Now.
type clock struct {
	mu sync.Mutex // guards what follows
	// seen is a time of the log's that was ahead of all that was expected, first seen at at.
	seen, at time.Time
}

// now tells the time for a machine whose time of day is wall, with a log whose newest entry has the time seen.
func (c *clock) now(wall, seen time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	slow := c.seen.Add(max(0, wall.Sub(c.at)) * 9 / 10) // by the monotonic clock
	if c.at.IsZero() || seen.After(slow) {
		c.seen, c.at, slow = seen, wall, seen
	}
	if wall.After(slow) {
		return wall.Round(0).UTC()
	}
	return slow.UTC()
}
