package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// Upgrade has the keeper become the binary on disk, in place. It is refused (CodeRefused) when the keeper can't; then
// nothing has changed.
func (k *keeperWatch) Upgrade(ctx context.Context) (client.KeeperUpgrade, error) {
	before, err := k.hello(ctx)
	if err != nil {
		return client.KeeperUpgrade{}, keeperError("cannot upgrade the keeper of node "+k.node, err)
	}
	after, err := k.client.Upgrade(ctx, k.successor())
	if err != nil {
		return client.KeeperUpgrade{}, keeperError("cannot upgrade the keeper of node "+k.node, err)
	}
	k.compare(ctx, after)
	return client.KeeperUpgrade{From: before.Version, Version: after.Version, PID: after.PID}, nil
}

// Status tells of the keeper.
func (k *keeperWatch) Status(ctx context.Context) (spec.KeeperStatus, error) {
	i, err := k.hello(ctx)
	if err != nil {
		return spec.KeeperStatus{}, keeperError("cannot ask the keeper of node "+k.node, err)
	}
	return k.status(ctx, i), nil
}

func (k *keeperWatch) status(ctx context.Context, i keeper.Info) spec.KeeperStatus {
	u := spec.KeeperUpgrades{
		Binary: k.successor(), Done: i.Upgrades.Done, From: i.Upgrades.From, Refused: i.Upgrades.Refused,
	}
	if u.Binary == "" {
		u.Binary = i.Binary
	}
	if at := i.Upgrades.At; !at.IsZero() {
		at = at.UTC()
		u.At = &at
	}
	if v, err := k.disk.version(ctx, u.Binary); err != nil {
		u.OnDiskReason = err.Error()
	} else {
		u.OnDisk, u.Possible = &v, v != i.Version
	}
	return spec.KeeperStatus{
		Version: i.Version, Protocol: i.Protocol, PID: i.PID, Cgroup: i.Cgroup,
		Controllers: append([]string{}, i.Controllers...), Upgrade: u,
	}
}

// compare tells the log, once for each keeper and upgrade, that another version is on disk.
func (k *keeperWatch) compare(ctx context.Context, i keeper.Info) {
	ctx, cancel := context.WithTimeout(ctx, keeperHello)
	defer cancel()
	switch u := k.status(ctx, i).Upgrade; {
	case ctx.Err() != nil:
	case u.OnDisk == nil:
		k.log.Warn("cannot tell which keeper is on disk", "binary", u.Binary, "err", u.OnDiskReason)
	case u.Possible:
		k.log.Info("another version of the keeper is on disk: an upgrade is possible: supctl node upgrade-keeper NODE",
			"node", k.node, "version", i.Version, "binary", u.Binary, "onDisk", *u.OnDisk)
	}
}

// successor is the file that an upgrade takes: the one that the next keeper would be started from. "" is the one that the
// keeper was started from: systemd has started it, or supd stands in for a keeper.
func (k *keeperWatch) successor() string {
	if k.managed {
		return ""
	}
	path, own, err := keeperBinary(k.binary)
	if err != nil || own {
		return ""
	}
	if path, err = filepath.Abs(path); err != nil {
		return ""
	}
	return path
}

// keeperError gives a keeper's error its code.
func keeperError(what string, err error) error {
	code := spec.CodeInternal
	next := ""
	switch {
	case errors.Is(err, keeper.ErrDown):
		code, next = spec.CodeNoLeader, "; supd starts one, or tells its log why it can't"
	case errors.Is(err, keeper.ErrBusy):
		code, next = spec.CodeRefused, "; nothing has changed: try again when that is over"
	case errors.Is(err, keeper.ErrNotUpgraded):
		code, next = spec.CodeRefused, "; nothing has changed: put a supd-keeper there that can go on with this state, and try again"
	case errors.Is(err, keeper.ErrProtocol), errors.Is(err, keeper.ErrInvalid):
		code = spec.CodeRefused
	case errors.Is(err, context.DeadlineExceeded):
		code, next = spec.CodeTimeout, "; what became of it is shown by supctl describe node"
	}
	e := spec.Errorf(code, "%s: %v%s", what, err, next)
	if code == spec.CodeRefused {
		e.Reason = "KeeperRefused"
	}
	return e
}

// onDisk knows the version of the keeper's binary on disk. It is asked anew only when the file is another.
type onDisk struct {
	mu   sync.Mutex // guards what follows; held while the file is asked
	id   diskFile
	said string
	err  error
}

type diskFile struct {
	path  string
	dev   uint64
	ino   uint64
	size  int64
	mtime time.Time
}

// version asks a binary which keeper it is.
func (d *onDisk) version(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", errors.New("it is not known where the keeper's binary is")
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	id := diskFile{path: path, size: info.Size(), mtime: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = st.Dev, st.Ino
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.id == id {
		return d.said, d.err
	}
	said, err := askVersion(ctx, path)
	if ctx.Err() == nil {
		d.id, d.said, d.err = id, said, err
	}
	return said, err
}

// askVersion runs a keeper's binary for its version.
func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperHello)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Args[0] = KeeperName
	cmd.WaitDelay = time.Second / 2
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %s", keeperHello)
	}
	if err != nil {
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	var version string
	var protocol int
	if _, err := fmt.Sscanf(strings.TrimSpace(string(out)), KeeperName+" %s protocol %d", &version, &protocol); err != nil {
		return "", fmt.Errorf("%s version: %.100q is no answer of a keeper's", path, out)
	}
	return version, nil
}
