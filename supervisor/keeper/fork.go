package keeper

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// forker forks from a thread of its own, because some of what a program is given is a property of the thread that forks
// it: no_new_privs, which can't be taken back, and the umask.
type forker struct {
	noNewPrivs bool
	umask      int // the keeper's own
	requests   chan forkRequest
	done       chan struct{} // closed when loop has ended
}

type forkRequest struct {
	path  string
	argv  []string
	attr  *syscall.ProcAttr
	umask int
	done  chan forkResult
}

type forkResult struct {
	pid int
	err error
}

func newForker(noNewPrivs bool, umask int) *forker {
	return &forker{noNewPrivs: noNewPrivs, umask: umask, requests: make(chan forkRequest), done: make(chan struct{})}
}

// loop forks on request until ctx ends. Its thread ends with it.
func (f *forker) loop(ctx context.Context) error {
	defer close(f.done)
	runtime.LockOSThread() // never unlocked
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if f.noNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-f.requests:
			if r.umask >= 0 {
				unix.Umask(r.umask)
			}
			pid, err := syscall.ForkExec(r.path, r.argv, r.attr)
			if r.umask >= 0 {
				unix.Umask(f.umask)
			}
			r.done <- forkResult{pid, err}
		}
	}
}

// errGoingDown is what a fork says after the keeper was told to end.
var errGoingDown = errors.New("the keeper is going down")

func (f *forker) fork(r forkRequest) (int, error) {
	r.done = make(chan forkResult, 1)
	select {
	case <-f.done:
		return 0, errGoingDown
	case f.requests <- r:
	}
	res := <-r.done
	return res.pid, res.err
}

// ownUmask reads the umask; there is no call that doesn't set it.
func ownUmask() int {
	m := unix.Umask(0o077)
	unix.Umask(m)
	return m
}

// keepNothing marks every descriptor from 3 on close-on-exec, whoever left it open.
func keepNothing() error {
	return os.NewSyscallError("close_range", unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC))
}
