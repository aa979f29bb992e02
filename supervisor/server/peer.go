package server

import (
	"context"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"supd/supervisor/spec"
)

// Peer is who is at the other end of a unix socket, as the kernel noted it when he connected: a process that has
// taken another's id since can't change it.
type Peer struct {
	UID    uint32
	Groups []uint32 // the first and all others
	Name   string   // of the user; his number if he has none
}

// peerKey holds the Peer of a connection. net/http offers no other way from a connection to its requests than the
// context.
type peerKey struct{}

// ConnContext is for http.Server.ConnContext: it notes who is at the other end of a unix socket.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if uc, ok := c.(*net.UnixConn); ok {
		p, err := peerOf(uc)
		if err != nil {
			p = Peer{UID: nobodyID, Name: "unknown"}
		}
		ctx = WithPeer(ctx, p)
	}
	return ctx
}

// WithPeer notes who is at the other end of a unix socket.
func WithPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// nobodyID is the kernel's overflow id: nobody's.
const nobodyID = 65534

func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var groups []uint32
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		if cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); optErr == nil {
			groups, optErr = peerGroups(int(fd))
		}
	}); err != nil {
		return Peer{}, err
	}
	if optErr != nil {
		return Peer{}, optErr
	}
	name := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return Peer{UID: cred.Uid, Groups: append([]uint32{cred.Gid}, groups...), Name: name}, nil
}

// peerGroups asks for the other end's supplementary groups. /proc/PID/status would tell them too, but of whoever has
// the number by then.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ENODATA: // none
			return nil, nil
		case errno == unix.ERANGE && int(size/4) > len(groups) && size/4 <= 65536:
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// localCaller decides what the peer of the unix socket may: root and the daemon's own user all, the socket's group
// operates, others read where the configuration lets them.
func localCaller(p Peer, self, group uint32, read bool) Caller {
	c := Caller{Who: "unix:" + p.Name}
	switch {
	case p.UID == 0 || p.UID == self:
		c.Role, c.local = spec.RoleAdmin, true
	case slices.Contains(p.Groups, group):
		c.Role = spec.RoleOperator
	case read:
		c.Role = spec.RoleViewer
	default:
		c.unknown = "user " + p.Name + " may not use this socket: he is neither root nor in the socket's group; put him into it, or set socket_read: true to let all users of this host read"
	}
	return c
}

func ownUID() uint32 { return uint32(os.Geteuid()) }
