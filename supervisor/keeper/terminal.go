package keeper

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OpenTerminal makes a pseudo terminal for Client.Exec: the master is the caller's, the slave goes to the session and is
// closed by the caller then. The master's Read fails with EIO once nobody has the slave any more.
func OpenTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		unix.Close(fd)
		return nil, nil, os.NewSyscallError("TIOCSPTLCK", err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		unix.Close(fd)
		return nil, nil, os.NewSyscallError("TIOCGPTPEER", errno)
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), os.NewFile(peer, "pts"), nil
}

// ResizeTerminal sets the size of a terminal's window; who has it in front is sent SIGWINCH.
func ResizeTerminal(master *os.File, rows, cols uint16) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	size := unix.Winsize{Row: rows, Col: cols}
	var errno unix.Errno
	if err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.TIOCSWINSZ, uintptr(unsafe.Pointer(&size)))
	}); err != nil {
		return err
	}
	if errno != 0 {
		return os.NewSyscallError("TIOCSWINSZ", errno)
	}
	return nil
}
