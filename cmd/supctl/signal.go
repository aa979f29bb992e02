package main

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalNumber reads a name, or the number of a signal that has none; 0 if it is neither.
func signalNumber(name string) syscall.Signal {
	if s := unix.SignalNum(name); s != 0 {
		return s
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		return 0
	}
	return syscall.Signal(n)
}
