package keeper

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// newLog begins a new log for a start and keeps the earlier ones. A log that nobody wrote to is used again. Where a new
// one can't be had, the old one goes on; on a full disk those of earlier starts make room, the oldest first. flags are 0 or
// O_APPEND.
func newLog(dir, process string, flags int) (int, error) {
	path := LogPath(dir, process)
	st, err := os.Lstat(path)
	var rotated error
	switch {
	case errors.Is(err, os.ErrNotExist):
		rotated = errors.Join(os.MkdirAll(dir, 0o750), removeIfThere(indexPath(path)))
	case err != nil:
		return -1, err
	case st.Size() > 0:
		rotated = rotate(path)
	}
	for {
		fd, err := openLog(path, flags|unix.O_CREAT)
		if err == nil {
			return fd, nil
		}
		if !isFull(err) || !dropOldest(path) {
			return -1, errors.Join(rotated, err)
		}
	}
}

// isFull tells whether it is room that is missing.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// rotate moves each log to the next number, with its index.
func rotate(path string) error {
	for n := KeptLogs - 1; n >= 0; n-- {
		from, to := keptLog(path, n), keptLog(path, n+1)
		err := os.Rename(from, to)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = os.Rename(indexPath(from), indexPath(to))
		if errors.Is(err, os.ErrNotExist) {
			err = removeIfThere(indexPath(to)) // it was another's
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func openLog(path string, flags int) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|flags, uint32(modeLog))
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}
