package supervisor

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// restEvery is how often it is looked whether the View has come to rest; restFrom, how much memory must be to gain then.
const (
	restEvery = 2 * time.Second
	restFrom  = 16 << 20
)

// rest gives back the memory that a burst of work has needed: a daemon that then has little to do would collect it after
// minutes. It does so once for each rest of the View, and only if there is something to gain.
func (d *Daemon) rest(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	var last, rested uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := d.store.View().Index
		if now == last && now != rested {
			rested = now
			if toGain() > restFrom {
				debug.FreeOSMemory()
			}
		}
		last = now
	}
}

// toGain is about how many bytes are held beyond what the latest collection has found in use.
func toGain() int64 {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	held := s[0].Value.Uint64() + s[1].Value.Uint64() + s[2].Value.Uint64()
	return int64(held) - int64(s[3].Value.Uint64())
}
