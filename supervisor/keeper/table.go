package keeper

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// table is what List shows: a copy of every process's status, so that looking never waits for doing.
type table struct {
	mu      sync.Mutex // guards what follows
	version uint64
	rows    map[key]Status
	changed chan struct{} // closed with the next change
}

// newTable begins with a version above any that an earlier keeper can have reached: it counted changes from its own start.
func newTable(now time.Time) *table {
	return &table{version: uint64(now.UnixMicro()), rows: map[key]Status{}, changed: make(chan struct{})}
}

func (t *table) set(k key, s Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[k] = s
	t.bumpLocked()
}

// replace shows s with the next change: alone it is no news.
func (t *table) replace(k key, s Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[k] = s
}

func (t *table) remove(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, k)
	t.bumpLocked()
}

func (t *table) bumpLocked() {
	t.version++
	close(t.changed)
	t.changed = make(chan struct{})
}

// after returns the table if it is news to one who knows version v, else a channel that tells when to ask again. A
// version from the future is another keeper's, so everything is news.
func (t *table) after(v uint64) (*Table, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v == t.version {
		return nil, t.changed
	}
	rows := slices.SortedFunc(maps.Values(t.rows), func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Process, b.Process))
	})
	return &Table{Version: t.version, Hooks: true, Processes: rows}, nil
}
