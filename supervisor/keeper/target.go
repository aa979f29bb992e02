package keeper

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the links on the way to a mount point, as the kernel does.
const maxLinks = 40

// point says what a missing mount point is made as: a directory or an empty file.
type point struct{ dir bool }

// openTarget opens a mount point by its absolute path, and makes it, if asked to, as root's where there is none. Members
// may write directories on the way, so no link but root's own is followed, and what is opened is what is mounted on.
func openTarget(path string, missing *point) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	if fd, err := unix.Openat2(unix.AT_FDCWD, path, &how); err == nil {
		return fd, nil
	}
	w := walk{path: path, rest: strings.Split(path, "/")}
	fd, err := w.run(missing)
	if err != nil {
		var named *os.PathError
		if errors.As(err, &named) {
			return -1, err
		}
		op := "open"
		if missing != nil {
			op = "make mount point"
		}
		return -1, &os.PathError{Op: op, Path: path, Err: err}
	}
	return fd, nil
}

// walk goes down a path by descriptors, one name after the other.
type walk struct {
	path  string
	at    int      // the directory reached
	rest  []string // names still to go
	links int
}

func (w *walk) run(missing *point) (int, error) {
	var err error
	if w.at, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return -1, err
	}
	for len(w.rest) > 0 {
		name := w.rest[0]
		w.rest = w.rest[1:]
		if name == "" || name == "." {
			continue
		}
		if err := w.step(name, missing); err != nil {
			unix.Close(w.at)
			return -1, err
		}
	}
	return w.at, nil
}

func (w *walk) step(name string, missing *point) error {
	fd, err := w.open(name)
	if errors.Is(err, unix.ENOENT) && missing != nil {
		if err = w.make(name, missing.dir || w.more()); err == nil {
			fd, err = w.open(name)
		}
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		unix.Close(w.at)
		w.at = fd
		return nil
	}
	defer unix.Close(fd)
	return w.follow(fd, name, &st)
}

// open opens one name, a link too.
func (w *walk) open(name string) (int, error) {
	return unix.Openat(w.at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// more tells whether another name follows.
func (w *walk) more() bool {
	for _, n := range w.rest {
		if n != "" && n != "." {
			return true
		}
	}
	return false
}

// make makes one directory or empty file. Another member's stage may be faster.
func (w *walk) make(name string, dir bool) error {
	if dir {
		if err := unix.Mkdirat(w.at, name, 0o755); !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	}
	fd, err := unix.Openat(w.at, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// follow goes where a link says, if the link is root's (or the keeper's own): the very link that was opened is asked.
func (w *walk) follow(fd int, name string, st *unix.Stat_t) error {
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is a symbolic link of user %d, which is not followed: %w", name, st.Uid, unix.ELOOP)
	}
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil {
		return err
	}
	to := string(b[:n])
	w.rest = append(strings.Split(to, "/"), w.rest...)
	if !strings.HasPrefix(to, "/") {
		return nil
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.Close(w.at)
	w.at = root
	return nil
}
