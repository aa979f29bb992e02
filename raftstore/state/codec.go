package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// ErrUnknownCommand is returned by Decode for an entry of a newer version.
var ErrUnknownCommand = errors.New("log entry of an unknown kind")

// wire is an entry as it stands in the log: JSON, so that a log can be read by
// eye and an old one by any later version.
type wire struct {
	V    int             `json:"v"`
	Kind string          `json:"kind"`
	At   time.Time       `json:"at"`
	Who  string          `json:"who,omitempty"`
	Why  string          `json:"why,omitempty"`
	Cmd  json.RawMessage `json:"cmd"`
}

const wireVersion = 1

var kinds = func() map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, c := range Commands() {
		m[c.kind()] = reflect.TypeOf(c).Elem()
	}
	return m
}()

// Encode writes an entry for the log.
func Encode(e Entry) ([]byte, error) {
	cmd, err := json.Marshal(e.Cmd)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", e.Cmd.kind(), err)
	}
	return json.Marshal(wire{V: wireVersion, Kind: e.Cmd.kind(), At: e.At.UTC(), Who: e.Who, Why: e.Why, Cmd: cmd})
}

// Decode reads an entry of the log. Unknown fields and kinds come from a newer
// version: fields are refused so that no node silently applies less than others do.
func Decode(b []byte) (Entry, error) {
	var w wire
	if err := strict(b, &w); err != nil {
		return Entry{}, fmt.Errorf("cannot decode log entry: %w", err)
	}
	if w.V != wireVersion {
		return Entry{}, fmt.Errorf("cannot decode log entry: version %d, this supd knows %d: %w", w.V, wireVersion, ErrUnknownCommand)
	}
	t, ok := kinds[w.Kind]
	if !ok {
		return Entry{}, fmt.Errorf("cannot decode log entry of kind %q: %w", w.Kind, ErrUnknownCommand)
	}
	cmd, ok := reflect.New(t).Interface().(Command)
	if !ok {
		return Entry{}, fmt.Errorf("kind %q is no command", w.Kind)
	}
	if err := strict(w.Cmd, cmd); err != nil {
		return Entry{}, fmt.Errorf("cannot decode %s: %w", w.Kind, err)
	}
	if c, ok := cmd.(*RestoreCluster); ok {
		// A newer version may have written into it what this one does not know. It must
		// not be Apply that finds out: it would refuse what others take.
		if _, err := c.view(); err != nil {
			return Entry{}, fmt.Errorf("cannot decode %s: %w", w.Kind, err)
		}
	}
	return Entry{At: w.At, Who: w.Who, Why: w.Why, Cmd: cmd}, nil
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}
