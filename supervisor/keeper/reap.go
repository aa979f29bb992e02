package keeper

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// child is a process that the keeper has forked and not yet reaped.
type child struct {
	pid   int
	pidfd int
	// beforeReap runs while the dead process still holds its pid, so its group can be signalled safely. May be nil. It
	// must not wait for anything.
	beforeReap func(pid int)
	// exited runs once, in a task of its own.
	exited func(unix.WaitStatus)
}

// reaper waits for all children, also those that the kernel hands over when their own parent dies.
type reaper struct {
	run    func(func())
	orphan func()             // an inherited child has ended
	pings  chan chan struct{} // each closed by the loop
	kick   chan struct{}      // look again

	mu    sync.Mutex // guards what follows, and is held from the peek at a dead child to its reap
	kids  map[int]*child
	forks int                     // under way: their children may be reaped before they are known
	early map[int]unix.WaitStatus // reaped meanwhile
	held  bool                    // nobody is reaped: the dead wait for the next keeper
}

func newReaper(run func(func()), orphan func()) *reaper {
	return &reaper{run: run, orphan: orphan, pings: make(chan chan struct{}), kick: make(chan struct{}, 1), kids: map[int]*child{}, early: map[int]unix.WaitStatus{}}
}

// begin announces a fork; end must follow with its child, nil if it failed.
func (r *reaper) begin() {
	r.mu.Lock()
	r.forks++
	r.mu.Unlock()
}

func (r *reaper) end(c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c != nil {
		ws, dead := r.early[c.pid]
		// A status under this pid may be of a failed fork's child that had it before.
		if dead && reaped(c.pidfd) {
			delete(r.early, c.pid)
			r.run(func() { c.exited(ws) })
		} else {
			r.kids[c.pid] = c
		}
	}
	if r.forks--; r.forks == 0 {
		clear(r.early)
	}
}

// abandon ends a fork whose child can't be kept: it is killed and waited for, with the group it leads.
func (r *reaper) abandon(pid int) {
	r.mu.Lock()
	err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != unix.ECHILD { // nobody else reaps it now, so the number is its own; an error means that it is dead
		_, _ = unix.Kill(-pid, unix.SIGKILL), unix.Kill(pid, unix.SIGKILL)
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.Wait4(pid, nil, 0, nil)
		}
	}
	r.mu.Unlock()
	r.end(nil)
}

// reaped asks whether the child behind a pidfd has been waited for.
func reaped(pidfd int) bool {
	err := unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == unix.ECHILD
}

// killGroup kills the process group of a child that can't be reaped meanwhile; if it was, there is
// nothing to do.
func (r *reaper) killGroup(c *child) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kids[c.pid] != c {
		return nil
	}
	return unix.Kill(-c.pid, unix.SIGKILL)
}

// hold leaves the dead unreaped from now on, or reaps again.
func (r *reaper) hold(on bool) {
	r.mu.Lock()
	r.held = on
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// loop reaps until ctx ends.
func (r *reaper) loop(ctx context.Context) error {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGCHLD)
	defer signal.Stop(ch)
	for {
		for r.one() {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ch:
		case done := <-r.pings:
			close(done)
		case <-r.kick:
		}
	}
}

// one reaps one dead child.
func (r *reaper) one() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		return false
	}
	pid := peekDead()
	if pid <= 0 {
		return false
	}
	c := r.kids[pid]
	if c != nil && c.beforeReap != nil {
		c.beforeReap(pid)
	}
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
		if err == nil {
			break
		}
		if err != syscall.EINTR { // ECHILD: a failed fork has waited for its own child
			return true
		}
	}
	switch {
	case c != nil:
		delete(r.kids, pid)
		r.run(func() { c.exited(unix.WaitStatus(ws)) })
	case r.forks > 0:
		r.early[pid] = unix.WaitStatus(ws)
		r.run(r.orphan) // perhaps it was one
	default:
		r.run(r.orphan)
	}
	return true
}

// peekDead gives the pid of a dead child without reaping it, 0 if there is none.
func peekDead() int {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		break
	}
	if info.Signo == 0 {
		return 0
	}
	// The kernel's union of fields begins at a pointer's alignment after three ints, and with the pid.
	const head = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), head)))
}
