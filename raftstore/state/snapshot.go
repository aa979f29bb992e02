package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A snapshot is lines of JSON: a header, then every object, table by table and in
// key order, then a line that counts them.
type line struct {
	Table string          `json:"t"`
	Key   string          `json:"k,omitempty"`
	Value json.RawMessage `json:"v"`
}

type header struct {
	Version int     `json:"version"`
	Index   uint64  `json:"index"`
	Cluster Cluster `json:"cluster"`
}

const snapshotVersion = 1

// WriteSnapshot writes the whole View. The same View always gives the same bytes.
func (v *View) WriteSnapshot(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<16)
	s := &snapshotWriter{enc: json.NewEncoder(b)}
	v.each(s.add)
	s.add("end", "", s.count)
	if s.err != nil {
		return fmt.Errorf("cannot write snapshot: %w", s.err)
	}
	return b.Flush()
}

// each gives all there is in the View, table by table and in key order.
func (v *View) each(add func(table, key string, value any)) {
	add("header", "", header{snapshotVersion, v.Index, v.Cluster})
	eachOf(add, "node", v.nodes)
	eachOf(add, "set", v.sets)
	eachOf(add, "member", v.members)
	eachOf(add, "volume", v.volumes)
	eachOf(add, "service", v.services)
	eachOf(add, "program", v.programs)
	eachOf(add, "revision", v.revisions)
	eachOf(add, "identity", v.ids)
	eachOf(add, "event", v.events)
	eachOf(add, "account", v.accounts)
}

type snapshotWriter struct {
	enc   *json.Encoder
	count int
	err   error
}

func (s *snapshotWriter) add(table, key string, value any) {
	if s.err != nil {
		return
	}
	raw, err := json.Marshal(value)
	if err == nil {
		err = s.enc.Encode(line{table, key, raw})
	}
	s.count++
	s.err = err
}

func eachOf[T any](add func(table, key string, value any), name string, t table[T]) {
	it := t.Root().Iterator()
	for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
		add(name, string(k), v)
	}
}

// ReadSnapshot reads what WriteSnapshot wrote. A snapshot that is cut short or
// holds what this version does not know is an error: half a state is worse than none.
func ReadSnapshot(r io.Reader) (*View, error) {
	v := New()
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	for n := 0; ; n++ {
		var l line
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("cannot read snapshot: line %d: %w", n+1, noEOF(err))
		}
		if l.Table == "end" {
			var count int
			if err := json.Unmarshal(l.Value, &count); err != nil || count != n {
				return nil, fmt.Errorf("cannot read snapshot: it has %d objects, its end says %s", n, l.Value)
			}
			return v, nil
		}
		if (l.Table == "header") != (n == 0) {
			return nil, fmt.Errorf("cannot read snapshot: line %d: %q is out of place", n+1, l.Table)
		}
		if err := v.load(l); err != nil {
			return nil, fmt.Errorf("cannot read snapshot: line %d: %w", n+1, err)
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (v *View) load(l line) error {
	switch l.Table {
	case "header":
		var h header
		if err := strict(l.Value, &h); err != nil {
			return err
		}
		if h.Version != snapshotVersion {
			return fmt.Errorf("version %d, this supd knows %d", h.Version, snapshotVersion)
		}
		v.Index, v.Cluster = h.Index, h.Cluster
		return nil
	case "node":
		return read(l, &v.nodes)
	case "set":
		return read(l, &v.sets)
	case "member":
		var m Member
		if err := strict(l.Value, &m); err != nil {
			return err
		}
		v.putMember(&m)
		return nil
	case "volume":
		return read(l, &v.volumes)
	case "service":
		return read(l, &v.services)
	case "program":
		return read(l, &v.programs)
	case "revision":
		return read(l, &v.revisions)
	case "identity":
		return read(l, &v.ids)
	case "event":
		return read(l, &v.events)
	case "account":
		var a Account
		if err := strict(l.Value, &a); err != nil {
			return err
		}
		v.indexAccount(&a)
		return nil
	}
	return fmt.Errorf("unknown table %q", l.Table)
}

func read[T any](l line, t *table[T]) error {
	x := new(T)
	if err := strict(l.Value, x); err != nil {
		return err
	}
	*t, _, _ = (*t).Insert([]byte(l.Key), x)
	return nil
}

// Hash is the same on all nodes that applied the same log. It walks the whole View.
func (v *View) Hash() string {
	h := sha256.New()
	if err := v.WriteSnapshot(h); err != nil {
		panic("state: a View is always written: " + err.Error())
	}
	return hex.EncodeToString(h.Sum(nil))
}
