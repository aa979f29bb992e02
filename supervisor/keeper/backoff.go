package keeper

import (
	"math/rand/v2"
	"time"
)

// Backoff when Settings has none.
const (
	DefaultBackoffFirst = time.Second
	DefaultBackoffMax   = time.Minute
)

// goodLife is how long a process must have lived for its death to be answered at once.
const goodLife = time.Second

// backoff remembers the deaths that came too soon.
type backoff struct {
	streak int           // of them in a row
	pause  time.Duration // the one before the latest start
}

// next judges a death after lived and gives the pause before the restart. A life longer than a second and than the pause
// before it ends the streak and is answered at once, and so is the first death that came too soon; after that pauses double
// from first to max. It never gives up. spread, in
// [0,1), moves the pause by up to a fifth either way, so that members that died together don't come back together.
func (b backoff) next(lived, first, max time.Duration, spread float64) backoff {
	if first <= 0 {
		first = DefaultBackoffFirst
	}
	max = longestPause(max)
	if lived > goodLife && lived > b.pause {
		return backoff{}
	}
	if b.streak == 0 {
		return backoff{streak: 1}
	}
	pause := first
	for i := 1; i < b.streak && pause < max; i++ {
		pause *= 2
	}
	pause = min(pause, max)
	pause = min(time.Duration(float64(pause)*(0.8+0.4*spread)), max)
	return backoff{streak: b.streak + 1, pause: pause}
}

func longestPause(most time.Duration) time.Duration {
	if most <= 0 {
		return DefaultBackoffMax
	}
	return most
}

func jitter() float64 { return rand.Float64() }
