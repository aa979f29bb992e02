package raftstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
)

func greetedBy(c net.Conn) *greeted {
	s := &Store{o: Options{ID: "a"}, log: slog.New(slog.DiscardHandler)}
	s.view.Store(state.New())
	return &greeted{Conn: c, raw: c, handshake: func(context.Context) error { return nil }, leave: func() {}, door: newDoor(s.log), s: s, in: bufio.NewReaderSize(c, greetMost)}
}

// scripted is a connection on which just this comes.
type scripted struct {
	net.Conn

	in io.Reader
}

func (s scripted) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s scripted) SetDeadline(time.Time) error { return nil }
func (s scripted) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

// FuzzGreeting: of what comes in nothing is read that does not follow a greeting meant for this server.
func FuzzGreeting(f *testing.F) {
	for _, s := range []string{"", "\n", "supd-raft/1 a \nrest", "supd-raft/1 a c1\nrest", "supd-raft/1 b c1\n", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("x", 600)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := io.ReadAll(greetedBy(scripted{in: bytes.NewReader(b)}))
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		meant := whole && len(line) < greetMost && bytes.HasPrefix(line, []byte(greetWord+" a ")) && bytes.Count(line, []byte(" ")) == 2
		if meant && err != nil || meant && !bytes.Equal(got, rest) || !meant && len(got) > 0 {
			t.Errorf("%q: got %q, %v", b, got, err)
		}
	})
}

// TestSilentConnection: whoever says nothing, or half a greeting, holds no connection for long.
func TestSilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, begun := range []string{"", "supd-raft/1 a"} {
			ours, theirs := net.Pipe()
			go func() { _, _ = theirs.Write([]byte(begun)) }() // ends when it is read
			if _, err := greetedBy(ours).Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: %v", begun, err)
			}
			ours.Close()
			theirs.Close()
		}
		synctest.Wait()
	})
}
