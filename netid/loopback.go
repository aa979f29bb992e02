// Package netid is about names and addresses on this host: the loopback address
// plan, the address members reach their DNS server at, and the contents of a
// member's /etc/hosts and /etc/resolv.conf. It has no goroutines.
package netid

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LoopbackNet is where loopback plans are drawn, each a /20 (LoopbackBits).
var LoopbackNet = netip.MustParsePrefix("127.64.0.0/10")

// LoopbackBits is the length of a loopback plan's prefix.
const LoopbackBits = 20

// ErrPlanTaken: another cluster on this machine holds the addresses.
var ErrPlanTaken = errors.New("another cluster on this machine uses these addresses")

// Hold is this process's share of the lock that keeps other clusters on this
// machine off a loopback plan. All daemons of one cluster hold it together; the
// kernel gives it up when the process ends.
type Hold struct {
	Prefix netip.Prefix
	file   *os.File
}

// Close gives the share up.
func (h *Hold) Close() error { return h.file.Close() }

// LoopbackOptions say for whom a plan is held.
type LoopbackOptions struct {
	ClusterID string
	// LockDir is shared by all users of this machine; "" means DefaultLockDir().
	LockDir string
	// Rand is the random source of a draw; nil means crypto/rand.
	Rand io.Reader
}

// DefaultLockDir is a directory that every user of this machine may make locks in
// and that is emptied at a boot, when no member runs either.
func DefaultLockDir() string {
	const shared = fs.ModeSticky | 0o002
	if st, err := os.Stat("/run/lock"); err == nil && st.IsDir() && st.Mode()&shared == shared {
		return "/run/lock"
	}
	return "/tmp"
}

// DrawLoopback draws a /20 for a new cluster and holds it. It avoids those that
// another cluster on this machine has held since the boot and those where
// anything listens: a cluster whose daemons are down may have members there. The
// caller proposes the prefix in InitCluster.
func DrawLoopback(ctx context.Context, o LoopbackOptions) (*Hold, error) {
	order, err := drawOrder(o.Rand)
	if err != nil {
		return nil, fmt.Errorf("cannot draw loopback addresses: %w", err)
	}
	busy, err := busyPlans()
	if err != nil {
		return nil, fmt.Errorf("cannot draw loopback addresses: %w", err)
	}
	for _, stale := range []bool{false, true} { // unused ones first
		for _, p := range order {
			if busy[p] {
				continue
			}
			h, err := hold(ctx, p, o, stale)
			if errors.Is(err, ErrPlanTaken) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot draw loopback addresses: %w", err)
			}
			return h, nil
		}
	}
	return nil, fmt.Errorf("cannot draw loopback addresses: all of %v are taken: %w", LoopbackNet, ErrPlanTaken)
}

// HoldLoopback holds the plan that the cluster has. ErrPlanTaken: another cluster
// on this machine is using it.
func HoldLoopback(ctx context.Context, prefix netip.Prefix, o LoopbackOptions) (*Hold, error) {
	if prefix != prefix.Masked() || prefix.Bits() != LoopbackBits || !LoopbackNet.Overlaps(prefix) {
		return nil, fmt.Errorf("cannot hold %v: a loopback plan is a /%d of %v", prefix, LoopbackBits, LoopbackNet)
	}
	h, err := hold(ctx, prefix, o, true)
	if err != nil {
		return nil, fmt.Errorf("cannot hold loopback addresses %v: %w", prefix, err)
	}
	return h, nil
}

// drawOrder is all plans, shuffled.
func drawOrder(source io.Reader) ([]netip.Prefix, error) {
	if source == nil {
		source = crand.Reader
	}
	var seed [16]byte
	if _, err := io.ReadFull(source, seed[:]); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))
	var out []netip.Prefix
	for _, i := range r.Perm(1 << (LoopbackBits - LoopbackNet.Bits())) {
		base := LoopbackNet.Addr().As4()
		n := binary.BigEndian.Uint32(base[:]) + uint32(i)<<(32-LoopbackBits)
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))), LoopbackBits))
	}
	return out, nil
}

const (
	lockTries = 100
	lockPause = 10 * time.Millisecond
	heldTries = 5
)

// hold takes a share of a plan's lock. The file's content is the cluster that the
// lock is for; it is written under an exclusive lock and holds for as long as
// anybody has a share. takeStale: the name of a cluster that nobody holds the lock
// for any more is overwritten.
func hold(ctx context.Context, p netip.Prefix, o LoopbackOptions, takeStale bool) (*Hold, error) {
	if o.ClusterID == "" {
		return nil, errors.New("the cluster has no id")
	}
	dir := o.LockDir
	if dir == "" {
		dir = DefaultLockDir()
	}
	path := filepath.Join(dir, "supd-loopback-"+p.Addr().String()+".lock")
	for try := range lockTries {
		f, err := tryHold(path, o.ClusterID, takeStale)
		if err == nil {
			return &Hold{Prefix: p, file: f}, nil
		}
		if errors.Is(err, errHeld) && try >= heldTries || !errors.Is(err, errAgain) {
			return nil, err
		}
		// Somebody else is between two steps; not in step with us, please.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPause + rand.N(lockPause)):
		}
	}
	return nil, fmt.Errorf("%w: %s is always locked", ErrPlanTaken, path)
}

// errAgain: the lock was changing hands. errHeld: somebody holds it for another
// cluster, if only to take it over as we do.
var (
	errAgain = errors.New("try again")
	errHeld  = errors.New("held")
)

func tryHold(path, id string, takeStale bool) (f *os.File, err error) {
	f, writable, err := openLock(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	owner, err := share(f, path)
	if err != nil {
		return nil, err
	}
	switch {
	case owner == id:
		return f, nil
	case owner != "" && !takeStale:
		return nil, fmt.Errorf("%w: %s names cluster %s", ErrPlanTaken, path, owner)
	}
	switch err := flock(f, unix.LOCK_EX); {
	case errors.Is(err, errAgain) && owner != "":
		return nil, fmt.Errorf("%w: %s is %w by cluster %s (%w)", ErrPlanTaken, path, errHeld, owner, errAgain)
	case err != nil:
		return nil, err
	}
	// The lock was free for a moment while it turned from shared to exclusive.
	if now, err := owned(f); err != nil || now != owner {
		return nil, errors.Join(errAgain, err)
	}
	if !writable {
		return nil, fmt.Errorf("%w: %s belongs to another user; if cluster %s is no more, remove it", ErrPlanTaken, path, owner)
	}
	if err := setOwner(f, id); err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		return nil, err
	}
	if now, err := owned(f); err != nil || now != id {
		return nil, errors.Join(errAgain, err)
	}
	return f, nil
}

// share takes a shared lock and tells whom the file names.
func share(f *os.File, path string) (owner string, err error) {
	if err := flock(f, unix.LOCK_SH); err != nil {
		return "", err
	}
	// Somebody may have removed the file since: a lock on it would hold nobody off.
	a, err := f.Stat()
	if err != nil {
		return "", err
	}
	if b, err := os.Lstat(path); err != nil || !os.SameFile(a, b) {
		return "", errAgain
	}
	return owned(f)
}

// openLock opens or makes a lock file, in a directory where others make files too.
func openLock(path string) (f *os.File, writable bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err == nil {
		return f, true, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		return f, false, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, false, errAgain
	}
	return f, true, err
}

func flock(f *os.File, how int) error {
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return errAgain
	}
	return err
}

func owned(f *os.File) (string, error) {
	b := make([]byte, 256)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(string(b[:n])), nil
}

func setOwner(f *os.File, id string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(id+"\n"), 0); err != nil {
		return err
	}
	return f.Sync()
}

// CheckHost tells whether this host answers on the plan's addresses.
func CheckHost(prefix netip.Prefix) error {
	first := prefix.Masked().Addr().Next()
	l, err := net.Listen("tcp", netip.AddrPortFrom(first, 0).String())
	if err != nil {
		return fmt.Errorf("cannot use the addresses of %v on this host: %w", prefix, err)
	}
	return l.Close()
}
