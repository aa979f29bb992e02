package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// systemd is who wants to know how this process does; the zero value is nobody. See sd_notify(3).
type systemd struct {
	socket   string
	watchdog time.Duration // 0: is not watched
}

// startedBy reads who started this process from its environment. What systemd says there is for this process alone; the
// environment of members is wholly their own.
func startedBy(getenv func(string) string, pid int) systemd {
	s := systemd{socket: getenv("NOTIFY_SOCKET")}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return s
	}
	if p := getenv("WATCHDOG_PID"); p == "" || p == strconv.Itoa(pid) {
		s.watchdog = time.Duration(usec) * time.Microsecond
	}
	return s
}

// tell says something, such as READY=1, if anybody wants to know.
func (s systemd) tell(what string) error {
	if s.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot tell systemd: %w", err)
	}
	_, err = c.Write([]byte(what))
	return errors.Join(err, c.Close())
}

// pulse tells systemd that the keeper is ready, and from then on, four times in each watchdog's time, that it lives: only
// when every loop has just shown that it does. It ends with ctx.
func (k *Keeper) pulse(ctx context.Context, s systemd) {
	select {
	case <-k.ready:
	case <-ctx.Done():
		return
	}
	said := ""
	tell := func(what string) {
		switch err := s.tell(what); {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			k.log.Warn("systemd not told", "err", err)
		}
	}
	tell("READY=1")
	if s.watchdog == 0 {
		return
	}
	tick := time.NewTicker(s.watchdog / 4)
	defer tick.Stop()
	for {
		err := k.alive(ctx, s.watchdog/2)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			tell("WATCHDOG=1")
		} else {
			k.log.Error("keeper does not do all its work", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// alive asks each of the keeper's loops for a sign: the reaper, the watcher (and with it the tasks), and the socket's. A
// member that hangs, with its lock and its disk, is none of them: a new keeper could do no more for it.
func (k *Keeper) alive(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := k.launch.reaper.ping(ctx); err != nil {
		return fmt.Errorf("the reaper gives no sign: %w", err)
	}
	if err := k.watch.ping(ctx); err != nil {
		return fmt.Errorf("the watcher gives no sign: %w", err)
	}
	c := Dial(k.files.socket())
	defer c.Close()
	info, err := c.Hello(ctx)
	if err == nil && info.PID != os.Getpid() {
		err = fmt.Errorf("process %d answers there", info.PID)
	}
	if err != nil {
		return fmt.Errorf("the socket gives no sign: %w", err)
	}
	return nil
}

// ping returns when the loop has been round.
func (r *reaper) ping(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case r.pings <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ping has the watcher tell of an event of its own.
func (w *watcher) ping(ctx context.Context) error {
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) // ready from the start
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(fd)
	done := make(chan struct{})
	cancel, err := w.add(fd, unix.EPOLLIN, func() { close(done) })
	if err != nil {
		return err
	}
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
