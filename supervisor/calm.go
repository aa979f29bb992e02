package supervisor

import (
	"context"
	"time"
)

// calmFor is how long those who keep slow things (keys, certificates) let the View change before they look at it.
const calmFor = 50 * time.Millisecond

// calm waits until a View that is changed by every write is worth a look. It ends early with ctx.
func calm(ctx context.Context) {
	select {
	case <-time.After(calmFor):
	case <-ctx.Done():
	}
}
