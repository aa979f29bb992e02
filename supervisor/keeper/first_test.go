package keeper_test

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/supervisor/keeper"
)

// questions are what a keeper was asked.
type questions struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (q *questions) add(line []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.text = append(q.text, line...)
}

func (q *questions) all() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.text)
}

// asFirst is a client of the rig's keeper, that says of itself that it speaks version 1. What was asked is in asked.
func (r *rig) asFirst(asked *questions) *keeper.Client {
	r.t.Helper()
	socket := filepath.Join(r.t.TempDir(), "first.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener; serves one call at a time
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.relayFirst(c, asked)
		}
	}()
	client := keeper.Dial(socket)
	r.t.Cleanup(func() {
		if err := errors.Join(client.Close(), l.Close()); err != nil {
			r.t.Error(err)
		}
		<-done
	})
	return client
}

func (r *rig) relayFirst(c net.Conn, asked *questions) {
	defer c.Close()
	k, err := net.Dial("unix", filepath.Join(r.dir, "keeper.sock"))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer k.Close()
	from, answers := bufio.NewReader(c), bufio.NewReader(k)
	for {
		q, err := from.ReadBytes('\n')
		if err != nil {
			return
		}
		asked.add(q)
		if _, err := k.Write(q); err != nil {
			r.t.Error(err)
			return
		}
		a, err := answers.ReadBytes('\n')
		if err != nil {
			r.t.Error(err)
			return
		}
		if _, err := c.Write(bytes.Replace(a, []byte(`"protocol":2`), []byte(`"protocol":1`), 1)); err != nil {
			return
		}
	}
}

// A keeper of version 1 serves a newer supd: what it knows it does, what it would leave out without a word it isn't asked.
func TestServedByFirstKeeper(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	var asked questions
	c := r.asFirst(&asked)
	if i, err := c.Hello(t.Context()); err != nil || i.Protocol != 1 {
		t.Fatalf("hello: %+v, %v", i, err)
	}
	plain := r.shell("d/a", `exec sleep 1000`)
	if err := c.Start(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	was := r.seeState("d/a", keeper.Running)
	if err := c.Restart(t.Context(), "d/a", "main", time.Second, "asked"); err != nil {
		t.Fatal(err)
	}
	r.see("d/a", "its restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.PID != was.PID })
	if res, err := c.Run(t.Context(), keeper.Run{Member: "d/a", Process: "main", Exec: plain.Exec, Timeout: time.Millisecond}); err != nil || !res.TimedOut {
		t.Errorf("a probe: %+v, %v", res, err)
	}
	before := len(asked.all())
	for name, change := range map[string]func(*keeper.Start){
		"limits":       func(s *keeper.Start) { s.Limits = &keeper.Limits{} },
		"notify":       func(s *keeper.Start) { s.Notify = true },
		"watchdog":     func(s *keeper.Start) { s.Watchdog = time.Second },
		"pipe":         func(s *keeper.Start) { s.Output = keeper.OutputPipe },
		"fence":        func(s *keeper.Start) { s.Fence = true },
		"capabilities": func(s *keeper.Start) { s.SetCapabilities = true },
		"read-only":    func(s *keeper.Start) { s.ReadOnlyPaths = []string{"/etc"} },
		"beneath":      func(s *keeper.Start) { s.Mounts = []keeper.Mount{{Source: "/a/b", Target: "/c", Beneath: "/a"}} },
	} {
		s := r.shell("d/b", `exec sleep 1000`)
		change(&s)
		err := c.Start(t.Context(), s)
		if !errors.Is(err, keeper.ErrProtocol) || !strings.Contains(err.Error(), "speaks version 1") || !strings.Contains(err.Error(), "SIGTERM") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Upgrade(t.Context(), ""); !errors.Is(err, keeper.ErrProtocol) || !strings.Contains(err.Error(), "knows no upgrade in place") {
		t.Errorf("upgrade: %v", err)
	}
	if new := asked.all()[before:]; bytes.Contains(new, []byte("d/b")) || bytes.Contains(new, []byte("upgrade")) {
		t.Errorf("it was asked for what it doesn't know:\n%s", new)
	}
	if err := c.Stop(t.Context(), "d/a", "main"); err != nil {
		t.Fatal(err)
	}
	r.seeState("d/a", keeper.Stopped)
}
