package keeper

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestForkAsksLast: whoever waits for another's fork is asked after it whether it may, for that can take as long as a disk.
func TestForkAsksLast(t *testing.T) {
	t.Parallel()
	l := &launcher{reaper: newReaper(func(f func()) { go f() }, func() {})}
	var lapsed atomic.Bool
	may := func() error {
		if lapsed.Load() {
			return errLapsed
		}
		return nil
	}
	l.forking.Lock()
	forked := make(chan error, 1)
	go func() {
		var c child
		err := l.fork(launch{exec: &Exec{}, lock: -1, may: may}, "/bin/true", []string{"true"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{}}, &c)
		if err == nil {
			_, err = unix.Wait4(c.pid, nil, 0, nil)
		}
		forked <- err
	}()
	waits := func() bool {
		l.reaper.mu.Lock()
		defer l.reaper.mu.Unlock()
		return l.reaper.forks == 1
	}
	for until := time.Now().Add(time.Minute); !waits(); <-time.After(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the fork does not begin")
		}
	}
	lapsed.Store(true)
	l.forking.Unlock()
	if err := <-forked; !errors.Is(err, ErrNoLease) {
		t.Errorf("got %v, want %v", err, ErrNoLease)
	}
}

// TestStepAsksAgain: a step that waited, for its member's lock say, is not forked when the lease has lapsed meanwhile.
func TestStepAsksAgain(t *testing.T) {
	t.Parallel()
	now := time.Hour
	l, err := openLease(filepath.Join(t.TempDir(), "lease.json"), "boot", func() time.Duration { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.renew(Lease{Boot: "boot", Deadline: now + 9*time.Second, Length: 9 * time.Second}); err != nil {
		t.Fatal(err)
	}
	step, err := l.joinRun(&Run{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.joinRun(&Run{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after                 time.Duration
		step, other, unfenced error
	}{
		{5 * time.Second, nil, nil, nil},
		{6 * time.Second, errLapsed, nil, nil},
		{8 * time.Second, errLapsed, errLapsed, nil},
	} {
		now = time.Hour + c.after
		if a, b, u := l.mayRun(step), l.mayRun(other), l.mayRun(nil); !errors.Is(a, c.step) || !errors.Is(b, c.other) || !errors.Is(u, c.unfenced) {
			t.Errorf("after %s: %v, %v, %v; want %v, %v, %v", c.after, a, b, u, c.step, c.other, c.unfenced)
		}
	}
}

// TestOpenSame: a member that puts another file in the place of its pipe has that neither opened nor read.
func TestOpenSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := fileIDOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if fd, err := openSame(path, fileID{id.dev, id.ino + 1}); !errors.Is(err, unix.ESTALE) {
		t.Errorf("another file: %d, %v", fd, err)
	}
	fd, err := openSame(path, id)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}
