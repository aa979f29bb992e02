package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// checkTimeout bounds the time a new binary may take to look at the state.
const checkTimeout = 10 * time.Second

// hangups has SIGHUP ask for an upgrade until ctx ends. A terminal that closes does so too: it does no harm.
func (k *Keeper) hangups(ctx context.Context) {
	signal.Notify(k.hup, unix.SIGHUP)
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.hup:
			_ = k.upgrade(ctx, "", nil) // it has logged why not
		}
	}
}

// upgrade replaces the program of this process by the one at path, "" = where it was started from. It returns only if that
// was not done, with why; nothing has changed then.
func (k *Keeper) upgrade(ctx context.Context, path string, asking *conn) error {
	if !k.upgrading.TryLock() {
		return fmt.Errorf("%w: another upgrade is under way", ErrBusy)
	}
	defer k.upgrading.Unlock()
	if path == "" {
		path = k.opts.Binary
	}
	err := k.replace(ctx, path, asking)
	if !errors.Is(err, ErrBusy) {
		err = fmt.Errorf("%w, version %s goes on: %w", ErrNotUpgraded, k.opts.Version, err)
	}
	k.mu.Lock()
	k.upgrades.Refused = err.Error()
	k.mu.Unlock()
	k.log.Error("no upgrade", "binary", path, "err", err)
	return err
}

func (k *Keeper) replace(ctx context.Context, path string, asking *conn) error {
	if path == "" || len(k.opts.Args) == 0 {
		return invalid("it is not known which file the keeper was started from: name one")
	}
	if path[0] != '/' {
		return invalid("the path %q is not absolute", path)
	}
	if err := k.sessions.busy(); err != nil {
		return err
	}
	id, err := binaryID(path)
	if err != nil {
		return err
	}
	var w *worker
	if asking != nil {
		w = asking.w
	}
	h, err := k.copyState(w)
	if err != nil {
		return err
	}
	if err := k.checkState(ctx, path, h); err != nil {
		return fmt.Errorf("%s check-state: %w", path, err)
	}
	k.launch.reaper.hold(true)
	defer k.launch.reaper.hold(false)
	if err := k.gate.shut(w); err != nil {
		return err
	}
	defer k.gate.open()
	if n := k.launch.threads.Load(); n > 0 {
		return fmt.Errorf("%w: %d mounts hang: exec would wait for them", ErrBusy, n)
	}
	if now, err := binaryID(path); err != nil || now != id {
		return errors.Join(fmt.Errorf("%s has changed while it looked at the state: try again", path), err)
	}
	return k.become(path, asking)
}

// binaryFile tells one content of a file from another.
type binaryFile struct {
	fileID
	size  int64
	mtime unix.Timespec
}

func binaryID(path string) (binaryFile, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return binaryFile{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return binaryFile{idOf(&st), st.Size, st.Mtim}, nil
}

// become hands all over and execs the program at path. Should that fail, the present one is exec'ed instead: exec has put
// back the limit of descriptors that Go's runtime raises at its start only. It returns if that fails too.
func (k *Keeper) become(path string, asking *conn) error {
	conns := k.gate.parked()
	if asking != nil {
		conns = append(conns, &handedConn{conn: asking, Upgrade: true, Unread: asking.unread(nil)})
	}
	h, err := k.handOver(conns)
	if err != nil {
		return err
	}
	was := h.Upgrades
	h.Binary, h.Upgrades = path, Upgrades{Done: was.Done + 1, From: k.opts.Version, At: time.Now()}
	failed := k.exec(path, h)
	was.Refused = fmt.Sprintf("%v, version %s goes on: exec %s: %v", ErrNotUpgraded, k.opts.Version, path, failed)
	h.Binary, h.Upgrades = k.opts.Binary, was
	return errors.Join(fmt.Errorf("exec %s: %w", path, failed), k.exec(selfExe, h))
}

// exec returns only if it fails, with all as it was.
func (k *Keeper) exec(path string, h *handover) error {
	fd, err := memfd(h)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	env := []string{fmt.Sprintf("%s=%d", handoverEnv, fd)}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, handoverEnv+"=") {
			env = append(env, kv)
		}
	}
	keep := append([]int{fd}, h.Keep...)
	defer func() {
		for _, fd := range keep {
			unix.CloseOnExec(fd)
		}
	}()
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	// One that comes while nobody handles it must not end the process: what is ignored stays so over exec.
	signal.Ignore(unix.SIGHUP)
	defer signal.Notify(k.hup, unix.SIGHUP)
	return syscall.Exec(path, k.opts.Args, env)
}

// copyState is what would be handed over now. All stands still for it: a start that hangs has its member's lock.
func (k *Keeper) copyState(w *worker) (*handover, error) {
	if err := k.gate.shut(w); err != nil {
		return nil, err
	}
	defer k.gate.open()
	return k.handOver(nil)
}

// checkState has the program at path say, in a child, whether it could go on with the state: after exec there is no way back.
func (k *Keeper) checkState(ctx context.Context, path string, h *handover) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	state, err := memfd(h)
	if err != nil {
		return err
	}
	defer unix.Close(state)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	said := os.NewFile(uintptr(p[0]), "check-state")
	defer said.Close()
	ended := make(chan unix.WaitStatus, 1)
	c := &child{exited: func(ws unix.WaitStatus) { ended <- ws }}
	c.beforeReap = func(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) } // ESRCH: it has left nobody
	n := launch{exec: &Exec{}, out: p[1], lock: -1}
	attr := &syscall.ProcAttr{Dir: "/", Env: os.Environ(), Files: k.launch.files(n, state), Sys: &syscall.SysProcAttr{}}
	err = k.launch.fork(n, path, []string{k.opts.Args[0], "check-state", "/proc/self/fd/3"}, attr, c)
	unix.Close(p[1])
	if err != nil {
		return fmt.Errorf("cannot be run: %w", err)
	}
	defer unix.Close(c.pidfd)
	words := make(chan capture, 1)
	go func() { words <- readBounded(said, 4<<10, capture{}) }() // ends with the deadline below
	var ws unix.WaitStatus
	select {
	case ws = <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("not done after %s", checkTimeout)
		if kerr := k.launch.reaper.killGroup(c); kerr != nil {
			err = errors.Join(err, kerr)
		}
		ws = <-ended
	}
	_ = said.SetReadDeadline(time.Now().Add(drainOutput)) // it is a pipe's, which can have one
	text := strings.Join(strings.Fields(string((<-words).data)), " ")
	switch {
	case err != nil:
	case ws.Signaled():
		err = fmt.Errorf("killed by %s", signalName(ws.Signal()))
	case ws.ExitStatus() != 0:
		err = fmt.Errorf("exit status %d", ws.ExitStatus())
	default:
		return nil
	}
	if text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// checkStateMain is what a keeper asks of the binary that is to replace it: FILE holds its state.
func checkStateMain(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := readHandover(f)
	if err != nil {
		return err
	}
	return h.check()
}
