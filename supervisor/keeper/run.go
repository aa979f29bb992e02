package keeper

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// drainOutput is how long the output of a Run is read on after all of it that can be killed was.
const drainOutput = 200 * time.Millisecond

// runBeside runs a command to its end and then kills what it has left behind; when its time ends or the client goes, all
// of it. Without a client it ends with ctx, and goes over to no other keeper.
func (k *Keeper) runBeside(ctx context.Context, run Run, c *conn) (*RunResult, error) {
	key := key{run.Member, run.Process}
	if err := key.check(); err != nil {
		return nil, err
	}
	if err := checkExec(&run.Exec); err != nil {
		return nil, err
	}
	if run.Timeout < 0 || run.MaxOutput < 0 {
		return nil, invalid("a timeout or a bound is negative")
	}
	if run.Timeout == 0 {
		run.Timeout = DefaultRunTimeout
	}
	if run.MaxOutput == 0 {
		run.MaxOutput = DefaultMaxOutput
	}
	until := time.Now().Add(run.Timeout)
	var fence *runFence
	if run.Fence {
		var err error
		if fence, err = k.lease.joinRun(&run); err != nil {
			return nil, err
		}
	}
	b, err := k.startBeside(key, &run, fence)
	if err != nil {
		k.lease.leaveRun(fence)
		return nil, err
	}
	b.until = until
	return k.finishBeside(ctx, b, c)
}

// finishBeside waits for a Run, if need be in the next keeper.
func (k *Keeper) finishBeside(ctx context.Context, b *beside, c *conn) (*RunResult, error) {
	defer b.close()
	keeper := ctx
	ctx, cancel := context.WithDeadlineCause(ctx, b.until, errTimedOut)
	defer cancel()
	ctx, lapse := context.WithCancelCause(ctx)
	defer lapse(nil)
	k.lease.bindRun(b.fence, func(why error) {
		// Here, for who waits for the command may stand still. What fails is met again there, and told.
		_ = b.kill()
		if b.dir == "" && b.lock != "" {
			k.gate.taskNow(b.killHolders)
		}
		lapse(why)
	})
	defer k.lease.leaveRun(b.fence)
	for {
		still := k.gate.now().Done()
		if keeper.Err() != nil || c == nil { // it ends, and the command with it; or the command is the keeper's own
			still = nil
		}
		here, leave := ctx, func() {}
		if c != nil {
			here, leave = c.present(ctx)
		}
		res, err := b.wait(here, still)
		leave()
		switch {
		case err == nil:
			return &res, nil
		case !errors.Is(err, errStill):
			return nil, err
		}
		b.stopReading()
		k.stand(c, handedConn{Unread: c.unread(nil), run: b})
		b.read()
	}
}

var errTimedOut = errors.New("timed out")

// beside is a Run under way.
type beside struct {
	k      *Keeper
	key    key
	dir    string // its cgroup, "" without
	lock   string // held by all of it, "" = none
	number uint64 // with a lock
	until  time.Time
	fence  *runFence // nil: it doesn't live by the lease
	child  *child
	exited chan unix.WaitStatus
	output *os.File
	most   int          // bytes of output kept
	have   capture      // while nobody reads it
	got    chan capture // the output, when its end was reached
}

type capture struct {
	data      []byte
	truncated bool
}

func (k *Keeper) startBeside(key key, run *Run, fence *runFence) (*beside, error) {
	b := k.newBeside(key, run.MaxOutput)
	b.fence = fence
	lock := -1
	if run.Epoch != 0 {
		var err error
		if lock, b.number, err = k.startLock(run); err != nil {
			return nil, err
		}
		defer unix.Close(lock)
		b.lock = k.runLock(run)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, &ErrExec{"fork", os.NewSyscallError("pipe2", err)}
	}
	b.output = os.NewFile(uintptr(p[0]), "output")
	// The writing end blocks, as programs expect.
	if err := unix.SetNonblock(p[1], false); err != nil {
		return nil, errors.Join(&ErrExec{"fork", err}, unix.Close(p[1]), b.output.Close())
	}
	ex := b.launch(run, p[1], lock)
	unix.Close(p[1])
	if ex != nil {
		b.output.Close()
		b.tidy()
		if errors.Is(ex, ErrNoLease) {
			return nil, ex.Err
		}
		return nil, ex
	}
	b.read()
	return b, nil
}

func (k *Keeper) newBeside(key key, most int) *beside {
	b := &beside{k: k, key: key, exited: make(chan unix.WaitStatus, launchTries), got: make(chan capture, 1), most: most}
	b.child = &child{exited: func(ws unix.WaitStatus) { b.exited <- ws }}
	if k.cg == nil {
		b.child.beforeReap = func(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) } // ESRCH: nobody is left
	}
	return b
}

// read reads the output on.
func (b *beside) read() {
	have := b.have
	go func() { b.got <- readBounded(b.output, b.most, have) }() // ends with the pipe, see wait, or with stopReading
}

// stopReading leaves the rest of the output to another read.
func (b *beside) stopReading() {
	_ = b.output.SetReadDeadline(time.Unix(1, 0)) // it is a pipe's, which can have one
	b.have = <-b.got
	_ = b.output.SetReadDeadline(time.Time{})
}

// launch starts the command in a cgroup of its own. That may vanish with the process's, when that stops just then.
func (b *beside) launch(run *Run, out, lock int) *ErrExec {
	n := launch{exec: &run.Exec, out: out, lock: lock, may: func() error { return b.k.lease.mayRun(b.fence) }}
	ex := b.k.launchBeside(&n, b.key, b.child)
	b.dir = n.cgroup
	return ex
}

// launchTries is how often a command beside a process is started when its cgroup vanishes meanwhile.
const launchTries = 3

// launchBeside starts a command in an aux cgroup of its own, or gives its group a last signal.
func (k *Keeper) launchBeside(n *launch, key key, c *child) *ErrExec {
	if k.cg == nil {
		c.beforeReap = func(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) } // ESRCH: nobody is left
		ex := k.launch.start(*n, c)
		closeFailed(ex, c)
		return ex
	}
	n.cgroup = k.cg.aux(key, k.nextRun())
	for try := 0; ; try++ {
		if err := os.MkdirAll(n.cgroup, 0o755); err != nil {
			return &ErrExec{"cgroup", err}
		}
		if err := mustNotBeFrozen(n.cgroup); err != nil {
			return &ErrExec{"cgroup", err}
		}
		ex := k.launch.start(*n, c)
		closeFailed(ex, c)
		if ex == nil || try == launchTries-1 || ex.Step != "cgroup" || !errors.Is(ex, os.ErrNotExist) {
			return ex
		}
	}
}

// closeFailed forgets a child that was forked, as a stage, and then failed.
func closeFailed(ex *ErrExec, c *child) {
	if ex != nil && c.pidfd > 0 {
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

func (k *Keeper) nextRun() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.aux++
	return k.aux
}

// readBounded reads to the end and keeps the first bytes; the rest is read too, so that the writer never waits.
func readBounded(r io.Reader, most int, c capture) capture {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		keep := min(n, most-len(c.data))
		c.data = append(c.data, buf[:keep]...)
		c.truncated = c.truncated || keep < n
		if err != nil { // the end, or the deadline that wait has set
			return c
		}
	}
}

// wait returns when the command and all it left behind have ended, or with errStill when still is closed before the
// command has ended; then it can be called again, in the next keeper too.
func (b *beside) wait(ctx context.Context, still <-chan struct{}) (RunResult, error) {
	var res RunResult
	var ws unix.WaitStatus
	select {
	case ws = <-b.exited:
	case <-still:
		return res, errStill
	case <-ctx.Done():
		res.TimedOut = errors.Is(context.Cause(ctx), errTimedOut)
		if err := b.kill(); err != nil {
			return res, err
		}
		select { // it can only be late if it hangs in the kernel
		case ws = <-b.exited:
		case <-still:
			return res, errStill
		case <-time.After(auxTimeout):
			return res, errors.Join(errors.New("cannot be killed"), b.output.SetReadDeadline(time.Now()))
		}
	}
	if b.dir != "" { // what it has left behind
		if full, err := populated(b.dir); err != nil || full {
			if err := errors.Join(err, killCgroup(b.dir), waitEmpty(b.dir)); err != nil {
				return res, err
			}
		}
	}
	if b.lock != "" { // and what has left cgroup or group, with the lock
		if err := b.endLeft(); err != nil {
			return res, err
		}
	}
	// Everybody who writes is dead, but for who left the group where there are no cgroups.
	if err := b.output.SetReadDeadline(time.Now().Add(drainOutput)); err != nil {
		return res, err
	}
	out := <-b.got
	b.got <- out
	e := exitOf(ws)
	res.Code, res.Signal, res.Output, res.Truncated = e.Code, e.Signal, out.data, out.truncated
	if !res.TimedOut && ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	if ws.Signaled() { // by the lease's end, perhaps, which tells us a little later
		return res, b.k.lease.mayRun(b.fence)
	}
	return res, nil
}

func (b *beside) kill() error {
	if b.dir != "" {
		return killCgroup(b.dir)
	}
	return b.k.launch.reaper.killGroup(b.child)
}

// killHolders kills what has left the group where there are no cgroups.
func (b *beside) killHolders() {
	holders, err := lockHolders(b.lock)
	for _, s := range holders {
		err = errors.Join(err, signalProcess(s, unix.SIGKILL))
	}
	if err != nil {
		b.k.log.Error("cannot kill all of a step that the lease ends", "member", b.key.member, "process", b.key.process, "err", err)
	}
}

// close returns when nothing of the Run is left in the keeper.
func (b *beside) close() {
	b.output.SetReadDeadline(time.Unix(1, 0))
	<-b.got
	b.output.Close()
	unix.Close(b.child.pidfd)
	b.tidy()
}

// tidy removes the Run's cgroup, and those above if they serve nobody else.
func (b *beside) tidy() {
	if b.dir == "" {
		return
	}
	m := b.k.member(b.key.member)
	m.mu.Lock() // no start is between making the cgroup and using it
	defer m.mu.Unlock()
	b.k.tidyAuxLocked(b.key, b.dir)
}

// tidyAuxLocked removes an aux cgroup, and those above if they serve nobody else. The member's lock is held.
func (k *Keeper) tidyAuxLocked(key key, dir string) {
	for _, d := range []string{dir, filepath.Dir(dir), k.cg.process(key), k.cg.member(key.member)} {
		if os.Remove(d) != nil { // in use
			return
		}
	}
}
