package server

import (
	"sync"

	"supd/raftstore/state"
)

// viewHash keeps the hash of the View that was asked for last: it is of everything there is, and
// costs as much as a snapshot. Who asks while it is made waits for it.
type viewHash struct {
	mu    sync.Mutex // guards what follows; held while a hash is made
	index uint64     // of the View, which says all of it: it is not kept for this
	hash  string     // "": none was made
	made  int        // how many were, for tests
}

func (h *viewHash) get(v *state.View) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hash == "" || h.index != v.Index {
		h.index, h.hash = v.Index, v.Hash()
		h.made++
	}
	return h.hash
}
