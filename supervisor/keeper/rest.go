package keeper

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

// restAfter is how long after the last start memory is given back.
const restAfter = time.Second

// started notes that a process was started, for rest.
func (k *Keeper) started() {
	select {
	case k.busy <- struct{}{}:
	default: // noted already
	}
}

// rest gives back the memory that starts have needed for a moment. It is as much again as what a keeper of many members
// holds for good, and one that has nothing to do would never collect it.
func (k *Keeper) rest(ctx context.Context) {
	t := time.NewTimer(restAfter)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.busy:
			t.Reset(restAfter)
		case <-t.C:
			runtime.GC() // pools let go of what they hold at the second collection
			debug.FreeOSMemory()
		}
	}
}
