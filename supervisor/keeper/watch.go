package keeper

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher waits for pidfds and cgroup.events of any number of processes in one goroutine and without a thread: an epoll
// inside the runtime's own.
type watcher struct {
	ep  *os.File
	run func(func()) // where callbacks go

	mu   sync.Mutex // guards what follows
	next int32
	by   map[int32]watched
}

type watched struct {
	fd int
	f  func()
}

func newWatcher(run func(func())) (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else the runtime wouldn't poll it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &watcher{ep: os.NewFile(uintptr(fd), "epoll"), run: run, by: map[int32]watched{}}, nil
}

// add calls f once when one of events comes on fd, unless cancelled before. Whoever owns fd cancels before closing it;
// cancel may be called at any time, and often.
func (w *watcher) add(fd int, events uint32, f func()) (cancel func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	id := w.next
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: id}
	if err := w.ctl(unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return nil, err
	}
	w.by[id] = watched{fd, f}
	return func() { w.take(id) }, nil
}

func (w *watcher) ctl(op, fd int, ev *unix.EpollEvent) error {
	raw, err := w.ep.SyscallConn()
	if err != nil {
		return err
	}
	var cerr error
	if err := raw.Control(func(ep uintptr) { cerr = unix.EpollCtl(int(ep), op, fd, ev) }); err != nil {
		return err
	}
	return os.NewSyscallError("epoll_ctl", cerr)
}

// take removes an entry; its fd is still open then.
func (w *watcher) take(id int32) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.by[id]
	if !ok {
		return nil
	}
	delete(w.by, id)
	// An error means that the watcher was closed: nothing comes any more.
	_ = w.ctl(unix.EPOLL_CTL_DEL, e.fd, nil)
	return e.f
}

// loop hands out events until ctx ends, and closes the watcher.
func (w *watcher) loop(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { w.ep.Close() })
	defer stop()
	raw, err := w.ep.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 64)
	var werr error
	err = raw.Read(func(ep uintptr) bool {
		for { // until there are no more: the runtime tells of new ones only
			n, err := unix.EpollWait(int(ep), events, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				werr = os.NewSyscallError("epoll_wait", err)
				return true
			}
			if n == 0 {
				return false
			}
			for _, e := range events[:n] {
				if f := w.take(e.Fd); f != nil {
					w.run(f)
				}
			}
		}
	})
	if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(err, werr)
}
