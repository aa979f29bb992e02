// Package racetest is, for tests only, a member that plays tricks: while root works in a directory of his, he changes one of its
// directories for a symbolic link to somewhere else and back, as fast as he can.
//
// Goroutines: one for each Flip, on a thread of its own with the member's user id; ended by the test's end.
package racetest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// UID is the member's: nobody's.
const UID = 65534

// Canary makes a directory of root's that nobody else may change, with files of the given names, and fails the test if
// anything of it has changed at its end.
func Canary(t *testing.T, names ...string) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be tricked into changing what others may not")
	}
	dir = t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	was := picture(t, dir)
	t.Cleanup(func() {
		if now := picture(t, dir); now != was {
			t.Errorf("the canary was\n%sand is\n%s", was, now)
		}
	})
	return dir
}

// picture is all that can be changed of a tree.
func picture(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %v %d:%d", path, info.Mode(), st.Uid, st.Gid)
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Flip changes path, a directory or file in a directory of the member's that is there, for a symbolic link to target and back until stop is
// called or the test ends. It does so whenever path is there. How often it did is what flips tells.
func Flip(t *testing.T, path, target string) (flips func() int64, stop func()) {
	t.Helper()
	dir, err := os.Open(filepath.Dir(path)) // he has it open: it may be moved where he could not reach it by name
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(path)
	link := name + ".link"
	var n atomic.Int64
	var end atomic.Bool
	done := make(chan error, 1)
	go func() { // ends when told
		defer dir.Close()
		fd := int(dir.Fd())
		runtime.LockOSThread() // and never unlocked: the thread with the other user ends with it
		done <- asMember(func() error {
			for !end.Load() {
				_ = unix.Symlinkat(target, fd, link) // it is there, or what it is in is gone at the moment
				if unix.Renameat2(fd, name, fd, link, unix.RENAME_EXCHANGE) == nil {
					n.Add(1)
				}
			}
			return nil
		})
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		end.Store(true)
		if err := <-done; err != nil {
			t.Errorf("cannot be another user: %v", err)
		}
	}
	t.Cleanup(stop)
	return n.Load, stop
}

// asMember runs f on this thread alone with the member's rights.
func asMember(f func() error) error {
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, UID, UID, UID); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, UID, UID, UID); e != 0 {
		return e
	}
	return f()
}
