package agent

import (
	"context"
	"sync"
	"time"
)

// How many members are rendered and started at once, and how long one that takes longer counts. The others lose no time
// by it, for they would wait for the same disk and the same keeper; but each one under way costs memory, here and there.
const (
	mostTurns = 64
	turnTime  = 2 * time.Second
)

// turns bound what is under way at once. What hangs loses its turn: it holds up nobody for long.
type turns chan struct{}

func newTurns() turns { return make(turns, mostTurns) }

// take waits for a turn, or until ctx ends. The turn ends with done, which must be called.
func (t turns) take(ctx context.Context) (done func()) {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	end := sync.OnceFunc(func() { <-t })
	late := time.AfterFunc(turnTime, end)
	return func() {
		late.Stop()
		end()
	}
}
