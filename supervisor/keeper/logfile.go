package keeper

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// newLog begins a new log for a start and keeps the earlier ones. A log that nobody wrote to is used again. Where a new
// one can't be had, the old one goes on.
func newLog(dir, process string) (int, error) {
	path := LogPath(dir, process)
	st, err := os.Lstat(path)
	var rotated error
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return -1, err
		}
	case err != nil:
		return -1, err
	case st.Size() > 0:
		rotated = rotate(path)
	}
	fd, err := openAppend(path)
	if err != nil {
		return -1, errors.Join(rotated, err)
	}
	return fd, nil
}

func rotate(path string) error {
	for n := KeptLogs - 1; n >= 0; n-- {
		err := os.Rename(keptLog(path, n), keptLog(path, n+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func openAppend(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, uint32(modeLog))
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}
