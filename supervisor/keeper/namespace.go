package keeper

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// namespace is one of a live process's, by an open descriptor.
type namespace struct {
	name string
	fd   int
	flag int
}

// joinable are the namespaces that a member may have of its own, in the order in which they are entered: behind the mount
// namespace lies another /proc.
var joinable = []namespace{
	{name: "uts", flag: unix.CLONE_NEWUTS},
	{name: "mnt", flag: unix.CLONE_NEWNS},
}

// namespacesOf opens those of a live main process that the keeper is not in.
func namespacesOf(m *mainProc) (found []namespace, err error) {
	if os.Geteuid() != 0 { // then it could make none
		return nil, nil
	}
	defer func() {
		if err != nil {
			closeAll(found)
			found = nil
		}
	}()
	for _, n := range joinable {
		path := "/proc/" + strconv.Itoa(m.stat.pid) + "/ns/" + n.name
		if n.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return found, &os.PathError{Op: "open", Path: path, Err: err}
		}
		var st unix.Stat_t
		if err = unix.Fstat(n.fd, &st); err != nil {
			unix.Close(n.fd)
			return found, os.NewSyscallError("fstat", err)
		}
		// Not /proc/self: the thread that leads may be one that was thrown away.
		own, err := fileIDOf("/proc/thread-self/ns/" + n.name)
		if err != nil || own == idOf(&st) {
			unix.Close(n.fd)
			if err != nil {
				return found, err
			}
			continue
		}
		found = append(found, n)
	}
	if hasExited(m.pidfd) { // what was opened may be a stranger's
		return found, unix.ESRCH
	}
	return found, nil
}

func closeAll(ns []namespace) {
	for _, n := range ns {
		unix.Close(n.fd)
	}
}

// enter moves this thread, which must be thrown away afterwards, into namespaces.
func enter(ns []namespace) error {
	if len(ns) == 0 {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // threads that share a root can't change it
		return os.NewSyscallError("unshare", err)
	}
	for _, n := range ns {
		if err := unix.Setns(n.fd, n.flag); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("%w: the keeper may not enter it", err)
			}
			return fmt.Errorf("%s namespace: %w", n.name, err)
		}
	}
	return nil
}
