package keeper_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"supd/supervisor/keeper"
)

// asked is what of a request decides whether a fuzzer may send it.
type asked struct {
	Op      string          `json:"op"`
	Start   *keeper.Start   `json:"start"`
	Run     *keeper.Run     `json:"run"`
	Session *keeper.Session `json:"session"`
	Locks   []string        `json:"locks"`
}

// mayFuzz keeps a fuzzer from running what it made up, or making files wherever it likes: those are real programs and paths.
func mayFuzz(line []byte) bool {
	var q asked
	if json.Unmarshal(line, &q) != nil {
		return true // the keeper can't read it either
	}
	return q.Op != "upgrade" && len(q.Locks) == 0 && (q.Start == nil || len(q.Start.Argv) == 0) && (q.Run == nil || len(q.Run.Argv) == 0) &&
		(q.Session == nil || len(q.Session.Argv) == 0 && !q.Session.Self)
}

// FuzzSocket sends a keeper what clients may, and what none would: it answers or hangs up, and goes on.
func FuzzSocket(f *testing.F) {
	f.Add([]byte(`{"op":"hello","protocol":2}` + "\n"))
	f.Add([]byte(`{"op":"list"}` + "\n" + `{"op":"list","after":1}` + "\n"))
	f.Add([]byte{0xff, 0, '\n', '\n', '{'})
	r := newRig(f, "")
	path := filepath.Join(r.dir, "keeper.sock")
	f.Fuzz(func(t *testing.T, b []byte) {
		var send []byte
		for line := range bytes.Lines(b) {
			if mayFuzz(line) {
				send = append(send, line...)
			}
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(send) // it may have hung up
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("no end of the answers to %q: %q", send, got)
		}
		for line := range bytes.Lines(got) {
			var answer map[string]json.RawMessage
			if err := json.Unmarshal(line, &answer); err != nil {
				t.Errorf("to %q it answers %q: %v", send, line, err)
			}
		}
		if _, err := r.Hello(t.Context()); err != nil {
			t.Errorf("after %q: %v", send, err)
		}
	})
}
