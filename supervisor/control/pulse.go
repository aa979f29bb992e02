package control

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A leader that was paused (SIGSTOP, a suspended host, a frozen virtual machine)
// may, when it goes on, find old acknowledgements in its sockets and take them for
// a fresh verification, while another leader rules. So it keeps its pulse: beats of
// a clock that counts suspend. After a missed one it grants no lease until nothing
// old can be left.

const (
	beatEvery = 100 * time.Millisecond
	// beatMissed is the gap that counts as a pause.
	beatMissed = 700 * time.Millisecond
)

type pulse struct {
	clock func() time.Duration

	mu     sync.Mutex // guards what follows
	last   time.Duration
	paused time.Duration // when the last pause was noticed; 0: never
}

func newPulse(clock func() time.Duration) *pulse { return &pulse{clock: clock, last: clock()} }

func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("control: CLOCK_BOOTTIME cannot be read, which Linux 2.6.39 and later can: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

func (p *pulse) run(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.beat()
		case <-ctx.Done():
			return nil
		}
	}
}

// beat takes the time and notices a gap.
func (p *pulse) beat() (now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now = p.clock()
	if now-p.last > beatMissed {
		p.paused = now
	}
	p.last = now
	return now
}

// steady tells whether the process has run without a pause for at least d.
func (p *pulse) steady(d time.Duration) bool {
	now := p.beat()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused == 0 || now-p.paused > d
}
