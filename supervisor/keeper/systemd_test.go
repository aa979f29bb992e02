package keeper

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStartedBy(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"5000000", "", 5 * time.Second},
		{"5000000", "7", 5 * time.Second},
		{"5000000", "8", 0}, // another process's
		{"soon", "7", 0},
	} {
		env := map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}
		want := systemd{"/s", c.want}
		if got := startedBy(func(k string) string { return env[k] }, 7); got != want {
			t.Errorf("%+v: got %+v, want %+v", c, got, want)
		}
	}
}

// What a keeper tells systemd, to its end.
func TestPulse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	hear := func() string {
		b := make([]byte, 4096)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	k, err := New(Options{Dir: filepath.Join(dir, "keeper"), systemd: systemd{path, 2 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// No loops here: they would reap what other tests wait for.
	k.launch = &launcher{reaper: newReaper(k.task, func() {})}
	done := make(chan struct{})
	go func() { defer close(done); k.pulse(ctx, k.opts.systemd) }()
	close(k.ready)
	if got := hear(); got != "READY=1" {
		t.Fatalf("first: %q", got)
	}
	err = k.alive(ctx, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "the reaper gives no sign") {
		t.Errorf("with no reaper: %v", err)
	}
	if err := l.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Read(make([]byte, 99)); err == nil {
		t.Errorf("a keeper without a reaper says that it lives (%d bytes)", n)
	}
	cancel()
	<-done
}

func TestWatcherPing(t *testing.T) {
	t.Parallel()
	w, err := newWatcher(func(f func()) { f() })
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if w.ping(short) == nil {
		t.Error("a watcher whose loop doesn't run gives a sign")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.loop(ctx) }()
	for range 3 {
		if err := w.ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if len(w.by) != 0 {
		t.Errorf("%d descriptors are still watched", len(w.by))
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStopNext(t *testing.T) {
	left := []Status{
		{Member: "a/db-0", Process: "main", Epoch: 9}, // rolled out last
		{Member: "a/db-10", Process: "main", Epoch: 3},
		{Member: "a/db-10", Process: "side", Epoch: 3},
		{Member: "a/db-9", Process: "main", Epoch: 4},
		{Member: "a/web-0", Process: "main", Epoch: 5},
		{Member: "b/db-2", Process: "main", Epoch: 6},
		{Member: "odd", Process: "main", Epoch: 7},
	}
	want := "odd main, b/db-2 main, a/web-0 main, a/db-10 main, a/db-10 side"
	if got := nameList(stopNext(left)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := stopNext(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
