package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialIn connects from the network namespace of a process; addr is an IP address and a port. The thread comes back and
// lives on: children whose Pdeathsig is set die with the thread that started them.
func dialIn(ctx context.Context, pid int, addr string) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // for ever if it does not find back
		c, back, err := dialInThread(ctx, pid, addr)
		if back {
			runtime.UnlockOSThread()
		}
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}

// dialInThread tells whether the thread is back in its own namespace.
func dialInThread(ctx context.Context, pid int, addr string) (c net.Conn, back bool, err error) {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, true, err
	}
	defer unix.Close(own)
	other, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, true, err
	}
	defer unix.Close(other)
	if err := unix.Setns(other, unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("cannot enter the network namespace of process %d: %w", pid, err)
	}
	c, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	if berr := unix.Setns(own, unix.CLONE_NEWNET); berr != nil {
		return c, false, errors.Join(err, berr)
	}
	return c, true, err
}
