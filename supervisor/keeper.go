package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/configs"
	"supd/supervisor/keeper"
)

// keeperWatch sees to it that a keeper answers on its socket, and notes its pid.
type keeperWatch struct {
	client  *keeper.Client
	node    string
	dir     string // DATA/keeper
	binary  string // "": beside this program, then in PATH
	pidFile string
	managed bool   // systemd starts the keeper
	cgroup  string // name of the members' subtree, the same for the directory's life
	log     *slog.Logger
	disk    onDisk
	// first is called when a keeper has answered for the first time.
	first func()
}

const (
	// keeperHello bounds the wait for a keeper's answer, keeperStart that for a new
	// one's first.
	keeperHello = 2 * time.Second
	keeperStart = 5 * time.Second
	keeperRetry = 2 * time.Second // the longest pause between two tries
)

// run keeps the keeper there until ctx ends. The keeper stays.
func (k *keeperWatch) run(ctx context.Context) error {
	said := ""
	for wait := time.Duration(0); ctx.Err() == nil; {
		err := k.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			wait, said = 0, ""
			continue // it was there, and is dead now
		}
		if err.Error() != said {
			said = err.Error()
			k.log.Error("no keeper: members run on, but none can be started or stopped", "err", err)
		}
		wait = min(keeperRetry, max(2*wait, 50*time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return nil
}

// round makes sure of a keeper and returns nil when that one has died.
func (k *keeperWatch) round(ctx context.Context) error {
	info, err := k.hello(ctx)
	if err != nil {
		if k.managed || !errors.Is(err, keeper.ErrDown) {
			return err
		}
		if info, err = k.start(ctx); err != nil {
			return err
		}
	}
	return k.watch(ctx, info)
}

func (k *keeperWatch) hello(ctx context.Context) (keeper.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperHello)
	defer cancel()
	return k.client.Hello(ctx)
}

// start starts a keeper that outlives this process, and waits for its first answer.
func (k *keeperWatch) start(ctx context.Context) (keeper.Info, error) {
	binary, own, err := keeperBinary(k.binary)
	if err != nil {
		return keeper.Info{}, err
	}
	if own {
		k.log.Warn("supd-keeper is neither beside this program nor in PATH; this program stands in for it")
	}
	if err := os.MkdirAll(k.dir, 0o711); err != nil {
		return keeper.Info{}, fmt.Errorf("cannot start the keeper: %w", err)
	}
	args := []string{"run", "--dir", k.dir, "--log-file", filepath.Join(k.dir, "keeper.log")}
	if os.Geteuid() == 0 {
		args = append(args, "--cgroup", k.cgroup) // where there are none, it does without
	}
	cmd := exec.Command(binary, args...) // ctx must not kill it
	cmd.Args[0] = KeeperName
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var said capture
	cmd.Stderr = said.file(k.dir)
	defer said.close()
	if err := cmd.Start(); err != nil {
		return keeper.Info{}, fmt.Errorf("cannot start the keeper: %w", err)
	}
	k.log.Info("keeper started", "pid", cmd.Process.Pid)
	k.note(cmd.Process.Pid) // at once: it outlives a daemon that ends now
	began := time.Now()
	for {
		info, err := k.hello(ctx)
		if err == nil {
			if info.PID != cmd.Process.Pid { // another one was faster; ours ends by itself
				_ = k.reap(cmd.Process.Pid) // how it ended is no matter: the other one serves
				k.note(info.PID)
			}
			return info, nil
		}
		if ended := k.reap(cmd.Process.Pid); ended != nil {
			return keeper.Info{}, fmt.Errorf("cannot start the keeper: it ended at once (%v): %s", ended, said.text())
		}
		if ctx.Err() != nil || time.Since(began) > keeperStart {
			return keeper.Info{}, fmt.Errorf("cannot start the keeper: it runs but does not answer: %w", err)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// reap collects a child that has ended and says how; nil while it runs, or when it
// is no child of ours.
func (k *keeperWatch) reap(pid int) error {
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	if err != nil || got != pid {
		return nil
	}
	if status.Signaled() {
		return fmt.Errorf("killed by %s", status.Signal())
	}
	return fmt.Errorf("exit status %d", status.ExitStatus())
}

func (k *keeperWatch) note(pid int) {
	if err := writeDurably(k.pidFile, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
		k.log.Warn("keeper's pid not noted", "err", err)
	}
}

// watch notes the keeper's pid and returns nil when it has died.
func (k *keeperWatch) watch(ctx context.Context, info keeper.Info) error {
	fd, err := unix.PidfdOpen(info.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot watch the keeper: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	// The number may have passed to another process before the descriptor held it.
	if again, err := k.hello(ctx); err != nil || again.PID != info.PID {
		return err
	}
	k.note(info.PID)
	if k.first != nil {
		k.first()
		k.first = nil
	}
	k.compare(ctx, info)
	stop := context.AfterFunc(ctx, func() {
		if err := f.SetReadDeadline(time.Now()); err != nil {
			k.log.Error("watch of the keeper cannot be ended", "err", err)
		}
	})
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool { // a pidfd is readable when the process has ended
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n == 1
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot watch the keeper: %w", err)
	}
	ended := k.reap(info.PID)
	k.log.Warn("keeper has died", "pid", info.PID, "reason", fmt.Sprint(ended))
	return nil
}

// capture is an unnamed file that holds what the keeper says before it has a log.
type capture struct{ f *os.File }

// file returns the file, or nil when there can be none: a full disk must not keep
// the keeper from starting.
func (c *capture) file(dir string) io.Writer {
	f, err := os.CreateTemp(dir, "start-*.log")
	if err != nil {
		return nil
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close() // it was never used
		return nil
	}
	c.f = f
	return f
}

func (c *capture) close() {
	if c.f != nil {
		_ = c.f.Close() // its text was read, or is of no use
	}
}

func (c *capture) text() string {
	if c.f == nil {
		return "it said nothing"
	}
	b := make([]byte, 4096)
	n, err := c.f.ReadAt(b, 0)
	if n == 0 && err != nil {
		return "it said nothing"
	}
	return strings.TrimSpace(string(b[:n]))
}

// KeeperName is the name that a keeper runs under. A supd that is started under it
// is a keeper: so `go run ./cmd/supd dev` works, where only supd was built.
const KeeperName = "supd-keeper"

// keeperBinary finds the keeper's program; own when that is this one.
func keeperBinary(configured string) (path string, own bool, err error) {
	if configured != "" {
		return configured, false, nil
	}
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), KeeperName)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return beside, false, nil
		}
	}
	if p, lerr := exec.LookPath(KeeperName); lerr == nil {
		return p, false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot find supd-keeper beside this program or in PATH; set keeper_binary: %w", err)
	}
	return self, true, nil
}

// managedBySystemd reads the configuration's word.
func managedBySystemd(c configs.Daemon) bool { return c.KeeperManaged == configs.KeeperBySystemd }
