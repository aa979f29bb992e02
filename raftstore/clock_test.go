package raftstore

import (
	"testing"
	"time"
)

func TestClockGoesOnWhereTheLogIsAhead(t *testing.T) {
	t.Parallel()
	true_ := time.Now()
	day := 24 * time.Hour
	var c clock
	check := func(passed time.Duration, seen, want time.Time) {
		t.Helper()
		if got := c.now(true_.Add(passed), seen); !got.Equal(want) {
			t.Errorf("after %v, with entries of %v: got %v, want %v", passed, seen, got, want)
		}
	}
	past := true_.Add(-day)
	check(0, past, true_)
	check(time.Second, past, true_.Add(time.Second))

	ahead := true_.Add(400 * day) // of a leader whose clock was wrong
	check(2*time.Second, ahead, ahead)
	check(12*time.Second, ahead, ahead.Add(9*time.Second))
	check(12*time.Second, ahead.Add(9*time.Second), ahead.Add(9*time.Second)) // what was written at that time
	check(22*time.Second, ahead.Add(9*time.Second), ahead.Add(18*time.Second))

	check(4001*day, ahead.Add(9*time.Second), true_.Add(4001*day)) // it has caught up
}

func TestClockOfAWrongMachine(t *testing.T) {
	t.Parallel()
	var c clock
	now := time.Now()
	c.now(now, now)
	// The time of day is set back by hand, the monotonic clock goes on.
	if got, want := c.now(now.Add(10*time.Second).Round(0).Add(-time.Hour), now), now; got.Before(want) {
		t.Errorf("got %v, want no time before %v", got, want)
	}
}
