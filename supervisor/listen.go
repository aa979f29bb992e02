package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"supd/configs"
	"supd/supervisor/client"
)

// listenSocket listens on a unix socket that only its group may open, or all with socket_read. It is made
// under another name, given its mode and group, and renamed: nobody ever meets it
// half made, and the socket of a daemon that crashed is replaced.
func (d *Daemon) listenSocket(path, group string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	if answers(path) {
		return nil, fmt.Errorf("cannot listen on %s: another daemon answers there", path)
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	short, done, err := client.ShortSocketPath(tmp)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	done()
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it has another name by then
	err = errors.Join(os.Chmod(tmp, 0o660), d.giveToGroup(tmp, group), d.openUp(tmp))
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// answers tells whether somebody listens on a socket.
func answers(path string) bool {
	short, done, err := client.ShortSocketPath(path)
	if err != nil {
		return false
	}
	defer done()
	c, err := net.DialTimeout("unix", short, time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// giveToGroup lets a group open the socket. The default group may be missing.
func (d *Daemon) giveToGroup(path, group string) error {
	if group == "" {
		return nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		if group == configs.DefaultSocketGroup {
			d.log.Debug("socket has no group of its own", "group", group)
			return nil
		}
		return fmt.Errorf("socket_group: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, gid); err != nil && (os.Geteuid() == 0 || group != configs.DefaultSocketGroup) {
		return fmt.Errorf("socket_group: %w", err)
	}
	return nil
}
