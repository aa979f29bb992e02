package keeper

import "time"

const (
	// KillBefore is how long before a lease's end all that is fenced is killed.
	KillBefore = time.Second
	// maxLease is the longest lease that is believed.
	maxLease = 24 * time.Hour
)

// StopAt is when the graceful stop of fenced processes begins for a lease that isn't renewed: when a third of it is left.
func StopAt(deadline, length time.Duration) time.Duration {
	return deadline - max(length/3, KillBefore)
}

// term is the node's lease as plain arithmetic on CLOCK_BOOTTIME. Zero is a lease that ended long ago.
type term struct {
	deadline, length time.Duration
	// since is when the lease lapsed last, or the keeper began. What was started or decided before a lapse ends with it,
	// whatever is renewed afterwards.
	since  time.Duration
	lapsed bool
	// dead is the latest lapse that was not mended in time: all that was started before it is to be killed.
	dead time.Duration
}

func (t *term) killAt() time.Duration { return t.deadline - KillBefore }

// look brings the term up to now.
func (t *term) look(now time.Duration) {
	if !t.lapsed && now >= StopAt(t.deadline, t.length) {
		t.lapsed, t.since = true, max(now, t.since+1)
	}
	if t.lapsed && now >= t.killAt() {
		t.dead = t.since
	}
}

// next is when look will find something new; 0: not before it is renewed.
func (t *term) next() time.Duration {
	switch {
	case !t.lapsed:
		return StopAt(t.deadline, t.length)
	case t.dead < t.since:
		return t.killAt()
	}
	return 0
}

// renew moves the deadline. A lower one than is known is late news and changes nothing.
func (t *term) renew(now, deadline, length time.Duration) error {
	if length <= KillBefore || length > maxLease {
		return invalid("a lease of %s: it must be longer than %s, and at most %s", length, KillBefore, maxLease)
	}
	if deadline > now+length {
		return invalid("a lease of %s can't end in %s", length, deadline-now)
	}
	t.look(now)
	if deadline <= t.deadline {
		return nil
	}
	t.deadline, t.length = deadline, length
	if now < StopAt(deadline, length) {
		t.lapsed = false
	}
	return nil
}
