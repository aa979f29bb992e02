package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// takeLock opens a lock file, made if missing, and takes its lock, or fails with ErrLocked. The lock is the open file's:
// it is held as long as any process has that, which the member's inherit under LockFD. It is never taken off by hand.
func takeLock(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, uint32(modePrivate))
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := lockOpened(fd, path); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func lockOpened(fd int, path string) error {
	var mine, there unix.Stat_t
	if err := unix.Fstat(fd, &mine); err != nil {
		return &os.PathError{Op: "fstat", Path: path, Err: err}
	}
	if mine.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("the lock %s is not a regular file", path)
	}
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		// A child of the keeper's that has not exec'ed yet may hold a copy of a descriptor just closed.
		syscall.ForkLock.RLock()
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		syscall.ForkLock.RUnlock()
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s is held by %s", ErrLocked, path, holderText(path))
	}
	if err != nil {
		return &os.PathError{Op: "flock", Path: path, Err: err}
	}
	if err := unix.Stat(path, &there); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if idOf(&mine) != idOf(&there) {
		return fmt.Errorf("the lock %s was replaced while it was taken", path)
	}
	return nil
}

func holderText(path string) string {
	procs, err := lockHolders(path)
	if err != nil || len(procs) == 0 {
		return "a process that can't be seen"
	}
	return "process " + pidList(procs)
}

// takeOrphanedLock is takeLock where the lock is the only witness: a lock file whose name somebody has removed may still be
// held, and a new one of that name would be free.
func takeOrphanedLock(path string) (int, error) {
	if missing(path) {
		procs, err := lockHolders(path)
		if err != nil {
			return -1, err
		}
		if len(procs) > 0 {
			return -1, fmt.Errorf("%w: %s was removed, and is held by process %s", ErrLocked, path, pidList(procs))
		}
	}
	return takeLock(path)
}

// takeLock takes a member's lock. Where there are cgroups, they tell of one whose name was removed: it need not be looked for.
func (k *Keeper) takeLock(path string) (int, error) {
	if k.cg == nil {
		return takeOrphanedLock(path)
	}
	return takeLock(path)
}

// lockFree asks whether nobody holds a lock. One whose file was removed is held by those who have it open.
func lockFree(path string) (bool, error) {
	if missing(path) {
		procs, err := lockHolders(path)
		return err == nil && len(procs) == 0, err
	}
	fd, err := takeLock(path)
	if errors.Is(err, ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, unix.Close(fd)
}

// dirLockWait is how long a directory's lock may take to become free: what a keeper forked just before it died has the
// lock, too, until it execs.
const dirLockWait = 2 * time.Second

// takeDirLock makes sure that one keeper works on a directory. It is not inherited.
func takeDirLock(dir string) (int, error) {
	for end := time.Now().Add(dirLockWait); ; <-time.After(20 * time.Millisecond) {
		fd, err := takeLock(filepath.Join(dir, "keeper.lock"))
		if !errors.Is(err, ErrLocked) {
			return fd, err
		}
		if time.Now().After(end) {
			return -1, fmt.Errorf("%w: another keeper works on %s", ErrLocked, dir)
		}
	}
}
