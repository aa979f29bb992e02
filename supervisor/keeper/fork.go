package keeper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setupTimeout bounds what comes before a fork, should a mount hang.
const setupTimeout = 30 * time.Second

// needsThread tells whether something is asked that belongs to the thread that forks.
func needsThread(e *Exec) bool {
	return needsView(e) || e.Hostname != "" || e.NoNewPrivs || e.Umask >= 0 || e.Nice != nil || e.SetCapabilities
}

// threadSteps set up, in this order, what a program inherits from the thread that forks it. A thread has namespaces, a
// umask, a priority, capabilities and no_new_privs of its own.
var threadSteps = []struct {
	name string
	do   func(*Exec) error
}{
	{"namespace", unshare},
	{"mount", stageMounts},
	{"hostname", stageHostname},
	{"nice", stageNice},
	{"umask", stageUmask},
	{"no_new_privs", stageNoNewPrivs},
	{"capabilities", stageBounding},
}

// onThread enters namespaces, runs the steps above and then fork, on a thread that is thrown away afterwards. If the steps
// hang it fails in time, and fork is never called.
func (l *launcher) onThread(e *Exec, join []namespace, fork func() *ErrExec) *ErrExec {
	const hanging, forking = 1, 2
	var state atomic.Int32
	done := make(chan *ErrExec, 1)
	l.threads.Add(1)
	go func() { // ends with the steps, which is waited for unless they hang
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		ex := onThisThread(e, join, func() *ErrExec {
			if state.CompareAndSwap(0, forking) {
				return fork()
			}
			return nil
		})
		l.threads.Add(-1)
		done <- ex
	}()
	t := time.NewTimer(setupTimeout)
	defer t.Stop()
	select {
	case ex := <-done:
		return ex
	case <-t.C:
	}
	if state.CompareAndSwap(0, hanging) {
		return &ErrExec{"mount", fmt.Errorf("not done after %s", setupTimeout)}
	}
	return <-done
}

func onThisThread(e *Exec, join []namespace, fork func() *ErrExec) *ErrExec {
	if err := enter(join); err != nil {
		return &ErrExec{"namespace", err}
	}
	for _, s := range threadSteps {
		if err := s.do(e); err != nil {
			return &ErrExec{s.name, err}
		}
	}
	return fork()
}

func unshare(e *Exec) error {
	flags := unix.CLONE_FS
	if needsView(e) {
		flags |= unix.CLONE_NEWNS
	}
	if e.Hostname != "" {
		flags |= unix.CLONE_NEWUTS
	}
	err := unix.Unshare(flags)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mounts and a host name need root: %w", err)
	}
	return err
}

// fork forks and execs, and registers the child.
func (l *launcher) fork(n launch, path string, argv []string, attr *syscall.ProcAttr, c *child) error {
	c.pidfd = -1
	attr.Sys.Setsid, attr.Sys.PidFD = true, &c.pidfd
	attr.Sys.Setctty = n.tty // of descriptor 0
	if n.cgroup != "" && !l.noCloneInto.Load() {
		dir, err := unix.Open(n.cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &ErrExec{"cgroup", &os.PathError{Op: "open", Path: n.cgroup, Err: err}}
		}
		defer unix.Close(dir)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, dir
	}
	l.reaper.begin()
	pid, err := l.forkLocked(n, path, argv, attr)
	if err == nil && c.pidfd < 0 { // before Linux 5.2 clone tells none
		if c.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			l.reaper.abandon(pid)
			return os.NewSyscallError("pidfd_open", err)
		}
	}
	if err != nil {
		l.reaper.end(nil)
		return err
	}
	c.pid = pid
	l.reaper.end(c)
	return nil
}

// forkLocked forks with the lock, if there is one, as LockFD. That number is taken from the start, by /dev/null, and names
// the lock only while no other fork can be under way. (Listing 731 descriptors in ProcAttr.Files does it too, and costs as
// many system calls in the child.)
func (l *launcher) forkLocked(n launch, path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	l.forking.Lock()
	defer l.forking.Unlock()
	if n.may != nil { // not before: the fork ahead of this one may take as long as its program's disk
		if err := n.may(); err != nil {
			return 0, &ErrExec{"lease", err}
		}
	}
	if err := l.standing.lend(n.exec); err != nil {
		return 0, &ErrExec{"oom score", err}
	}
	defer l.standing.giveBack()
	if n.lock < 0 {
		return syscall.ForkExec(path, argv, attr)
	}
	if err := unix.Dup3(n.lock, LockFD, 0); err != nil {
		return 0, os.NewSyscallError("dup3", err)
	}
	pid, err = syscall.ForkExec(path, argv, attr)
	if rerr := l.reserveLockFD(); rerr != nil { // or the next child would inherit a stranger's lock
		panic("the lock's descriptor can't be taken back: " + rerr.Error())
	}
	return pid, err
}

// reserveLockFD takes the number for /dev/null, closed in children.
func (l *launcher) reserveLockFD() error {
	return os.NewSyscallError("dup3", unix.Dup3(l.null, LockFD, unix.O_CLOEXEC))
}

// keepNothing marks every descriptor from 3 on close-on-exec, whoever left it open.
func keepNothing() error {
	return os.NewSyscallError("close_range", unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC))
}
