package supervisor

import (
	"fmt"
	"os"
	"syscall"

	"supd/supervisor/server"
)

// limits are what callers may ask of this daemon; connections never take more than half of the descriptors there are.
func (d *Daemon) limits() server.Limits {
	c := d.o.Config
	l := server.Limits{Rate: c.APIRate, Streams: c.APIStreams, Connections: c.APIConnections}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < 1<<30 {
		l.Connections = min(l.Connections, max(16, int(files.Cur/4))) // the socket has as many
	}
	return l
}

// openUp lets all users of this host connect to the socket, whom the server then lets read only.
func (d *Daemon) openUp(path string) error {
	if !d.o.Config.SocketRead {
		return nil
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return fmt.Errorf("socket_read: %w", err)
	}
	return nil
}

// groupOf is the group of a socket, whose members operate.
func groupOf(path string) (uint32, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("cannot listen on %s: its group is not known", path)
	}
	return st.Gid, nil
}
