package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"supd/supervisor/keeper"
)

// The members of the crash matrix are this test binary. Each process of a member has in its arguments, for anybody to
// see, whose it is and of which life: matrixMark, the member's word, its role and the pid of the life's main process.
// A member takes no lock of its own, as many databases don't.
const matrixMark = "supd-matrix"

// The kinds of members.
const (
	kindQuiet       = "quiet"       // does nothing
	kindChatty      = "chatty"      // prints numbered lines
	kindForking     = "forking"     // has children come and go, some in sessions of their own
	kindDaemonizing = "daemonizing" // has a worker that has left session and descriptors behind
	kindStubborn    = "stubborn"    // ignores SIGTERM
)

var matrixKinds = []string{kindQuiet, kindChatty, kindForking, kindDaemonizing, kindStubborn}

// matrixMain is the program: MARK WORD ROLE LIFE.
func matrixMain(args []string) int {
	word, role, life := args[0], args[1], args[2]
	switch role {
	case "child", "worker":
		if role == "worker" { // as daemons do
			for fd := 1; fd < 1024; fd++ {
				if fd != keeper.LockFD || os.Getenv("MATRIX_KEEP_LOCK") == "" {
					syscall.Close(fd)
				}
			}
		}
		tick(role, life, func(int) error { return nil })
		return 1
	case "start":
		// From here on all that it forks shows its life, also between fork and exec.
		err := syscall.Exec("/proc/self/exe", []string{os.Args[0], matrixMark, word, os.Getenv("MATRIX_KIND"), strconv.Itoa(os.Getpid())}, os.Environ())
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if role == kindStubborn {
		signal.Ignore(syscall.SIGTERM)
	}
	if role == kindDaemonizing {
		if err := leave(word, life); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	fmt.Println("begin", life)
	tick(role, life, func(n int) error { return matrixWork(role, word, life, n) })
	return 1
}

// matrixWork is what a member does ten times a second or, if chatty, as fast as it is let.
func matrixWork(role, word, life string, n int) error {
	switch role {
	case kindChatty:
		for i := range 50 {
			if _, err := fmt.Printf("%s %d\n", life, n*50+i); err != nil {
				return err
			}
		}
	case kindForking:
		c := exec.Command("/proc/self/exe", matrixMark, word, "child", life)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: n%2 == 0}
		if err := c.Start(); err != nil {
			return err
		}
		if n%4 == 0 {
			return nil // this one stays
		}
		return errorOnly(c.Process.Kill(), c.Wait())
	}
	return nil
}

// errorOnly is the first error; the end of a killed child is none.
func errorOnly(err, _ error) error { return err }

// leave starts a worker in a session of its own whose parent is gone.
func leave(word, life string) error {
	c := exec.Command("/bin/sh", "-c", `setsid "$0" "$@" & exit 0`, "/proc/"+strconv.Itoa(os.Getpid())+"/exe", matrixMark, word, "worker", life)
	return c.Run()
}

// tick calls f for ever and notes each round in the member's journal: life, role and number. The journal shows afterwards
// whether two lives wrote at once, with no gap for an observer to miss.
func tick(role, life string, f func(n int) error) {
	j, err := os.OpenFile(filepath.Join(os.Getenv("SUP_VOLUME_DATA"), "journal"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	pause := 20 * time.Millisecond
	if role == kindForking {
		pause = 100 * time.Millisecond
	}
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for n := 0; err == nil && (role != "child" || n < 500); n++ {
		if err = f(n); err == nil {
			_, err = fmt.Fprintf(j, "%s %s %d\n", life, role, n)
		}
		<-pace.C
	}
	fmt.Fprintln(os.Stderr, "ends:", err)
}
