package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"supd/supervisor/keeper"
)

// inbox is how other goroutines reach the loop: they leave what happened and poke.
type inbox struct {
	wake chan struct{} // holds at most one poke

	mu    sync.Mutex // guards what follows
	dirty map[Key]bool
	done  []outcome
	table *keeper.Table
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), dirty: map[Key]bool{}}
}

// mail is what was left since the last time.
type mail struct {
	dirty map[Key]bool
	done  []outcome
	table *keeper.Table // nil: no new one
}

func (b *inbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := mail{dirty: b.dirty, done: b.done, table: b.table}
	b.dirty, b.done, b.table = map[Key]bool{}, nil, nil
	return m
}

func (b *inbox) put(f func()) {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (b *inbox) poke(k Key)         { b.put(func() { b.dirty[k] = true }) }
func (b *inbox) finished(o outcome) { b.put(func() { b.done = append(b.done, o) }) }

func (b *inbox) newTable(t keeper.Table) { b.put(func() { b.table = &t }) }

// table follows the keeper's table.
type table struct {
	keeper Keeper
	log    *slog.Logger
	box    *inbox
}

// listTimeout bounds one long poll; the keeper answers earlier when something changes.
const listTimeout = time.Minute

func (t *table) run(ctx context.Context) error {
	var after uint64
	failures := 0
	for ctx.Err() == nil {
		lctx, cancel := context.WithTimeout(ctx, listTimeout)
		tab, err := t.keeper.List(lctx, after)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			after = 0 // another keeper counts anew
			if failures == 0 {
				t.log.Warn("the keeper does not answer; members run on", "err", err)
			}
			failures++
			if !pause(ctx, backoff(failures, 50*time.Millisecond, 2*time.Second)) {
				return nil
			}
			continue
		}
		if failures > 0 {
			t.log.Info("the keeper answers again")
			failures = 0
		}
		after = tab.Version
		t.box.newTable(tab)
	}
	return nil
}

// pause waits d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// backoff is the pause after the n-th failure in a row: doubling from first up to
// most, with jitter of a quarter either way.
func backoff(n int, first, most time.Duration) time.Duration {
	d := first
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d - d/4 + rand.N(d/2+1)
}
