package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// historySize is how many recent Views are kept for streams that resume.
const historySize = 256

// history keeps recent Views; they share most of what they hold.
type history struct {
	mu    sync.Mutex
	views []*state.View // guarded by mu; oldest first
}

func (h *history) add(v *state.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.views); n > 0 && h.views[n-1].Index >= v.Index {
		return
	}
	if len(h.views) == historySize {
		h.views = append(h.views[:0], h.views[1:]...)
	}
	h.views = append(h.views, v)
}

// at returns the newest View that is not newer than index, or nil when it has been
// forgotten or index is not reached yet. What changed between the two is told again.
func (h *history) at(index uint64) *state.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found *state.View
	for _, v := range h.views {
		if v.Index <= index {
			found = v
		}
	}
	return found
}

// Timing of streams: values that change with time alone are looked at this often,
// and an idle stream says this often that it lives.
const (
	watchTick     = time.Second
	watchBookmark = 10 * time.Second
)

// stream is one watch stream: it remembers what its reader knows and tells the
// difference to the newest View. A slow reader therefore skips what lies between;
// one that takes nothing at all is dropped.
type stream struct {
	k     kind
	f     filter
	w     http.ResponseWriter
	rc    *http.ResponseController
	known map[string][]byte
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, k kind, f filter) error {
	after, err := indexOf(r, "after")
	if err != nil {
		return err
	}
	least, err := indexOf(r, "minIndex")
	if err != nil {
		return err
	}
	if err := s.waitIndex(r, max(after, least)); err != nil {
		return err
	}
	st := &stream{k: k, f: f, w: w, rc: http.NewResponseController(w), known: map[string][]byte{}}
	ch := s.o.Store.Changed()
	rd := s.reading()
	s.counts.streams.Add(1)
	defer s.counts.streams.Add(-1)
	setIndex(w, rd.v)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	if err := s.begin(st, rd, after); err != nil {
		return nil // the reader is gone or too slow
	}
	if err := st.send(client.WatchEvent{Type: client.WatchBookmark, Index: rd.v.Index}); err != nil {
		return nil
	}
	if err := st.rc.Flush(); err != nil {
		return nil
	}
	s.follow(r, st, ch)
	return nil
}

// waitIndex refuses a stream that asks for what is not there yet: this node lags
// behind the one that the index is from, or the index is made up.
func (s *Server) waitIndex(r *http.Request, after uint64) error {
	s.catchUp(r.Context(), strconv.FormatUint(after, 10))
	if now := s.o.Store.View().Index; now < after {
		return spec.Errorf(spec.CodeConflict, "cannot watch after index %d: this node is at %d; read again and watch from there", after, now)
	}
	return nil
}

func indexOf(r *http.Request, name string) (uint64, error) {
	a := r.URL.Query().Get(name)
	if a == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return 0, spec.Errorf(spec.CodeInvalid, "cannot read %s=%q: want an index", name, a)
	}
	return n, nil
}

// begin tells all objects (after 0), or what changed since; when that is not
// known any more the reader is told to start over.
func (s *Server) begin(st *stream, rd reading, after uint64) error {
	if after == 0 {
		return st.tell(rd)
	}
	old := s.history.at(after)
	if old == nil {
		if err := st.send(client.WatchEvent{Type: client.WatchReset, Index: rd.v.Index}); err != nil {
			return err
		}
		return st.tell(rd)
	}
	before := rd
	before.v = old
	if err := st.learn(before); err != nil {
		return err
	}
	return st.tell(rd)
}

func (s *Server) follow(r *http.Request, st *stream, ch <-chan struct{}) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	quiet := time.Duration(0)
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.ending:
			return
		case <-ch:
			quiet = 0
		case <-tick.C:
			quiet += watchTick
		}
		ch = s.o.Store.Changed()
		rd := s.reading()
		if err := st.tell(rd); err != nil {
			return
		}
		if quiet >= watchBookmark {
			quiet = 0
			if err := st.send(client.WatchEvent{Type: client.WatchBookmark, Index: rd.v.Index}); err != nil {
				return
			}
		}
	}
}

// learn takes objects as known to the reader without telling them.
func (st *stream) learn(rd reading) error {
	for _, o := range st.k.find(rd, st.f) {
		b, err := json.Marshal(o.value)
		if err != nil {
			return err
		}
		st.known[o.ns+"/"+o.name] = b
	}
	return nil
}

// tell sends what differs from what the reader knows.
func (st *stream) tell(rd reading) error {
	seen := map[string]bool{}
	for _, o := range st.k.find(rd, st.f) {
		key := o.ns + "/" + o.name
		seen[key] = true
		b, err := json.Marshal(o.value)
		if err != nil {
			return err
		}
		old, has := st.known[key]
		if has && bytes.Equal(old, b) {
			continue
		}
		ev := client.WatchEvent{Type: client.WatchModified, Index: rd.v.Index, Object: b}
		if !has {
			ev.Type = client.WatchAdded
		}
		if err := st.send(ev); err != nil {
			return err
		}
		st.known[key] = b
	}
	for _, key := range sortedKeys(st.known) {
		if seen[key] {
			continue
		}
		if st.k.resource != client.Events { // old events are forgotten, not deleted
			if err := st.send(client.WatchEvent{Type: client.WatchDeleted, Index: rd.v.Index, Object: st.known[key]}); err != nil {
				return err
			}
		}
		delete(st.known, key)
	}
	return st.rc.Flush()
}

func (st *stream) send(ev client.WatchEvent) error {
	b, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	// Writers of tests may have no deadlines; then there is none.
	_ = st.rc.SetWriteDeadline(time.Now().Add(writeDeadline))
	_, err = st.w.Write(append(b, '\n'))
	return err
}
