package netid

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// ErrPeerUnknown is returned when the kernel does not tell whose the other end of a
// connection is: it is on another machine, in another network namespace, or closed.
var ErrPeerUnknown = errors.New("the other end of the connection is not known to this host")

// established is TCP_ESTABLISHED of the kernel's net/tcp_states.h. In every later state
// the kernel may show a socket that its owner has left as root's.
const established = "01"

// PeerUID tells which user of this host is at the other end of a TCP connection over
// loopback, as /proc/net/tcp (proc(5)) shows it. Until nodes speak TLS it stands for
// what SO_PEERCRED is on a unix socket.
func PeerUID(c net.Conn) (uint32, error) {
	local, err := addrPort(c.LocalAddr())
	if err != nil {
		return 0, err
	}
	remote, err := addrPort(c.RemoteAddr())
	if err != nil {
		return 0, err
	}
	path := "/proc/self/net/tcp"
	if remote.Addr().Is6() {
		path = "/proc/self/net/tcp6"
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("%w: %v", ErrPeerUnknown, err)
	}
	defer f.Close()
	// The peer's own socket: what is remote here is local there.
	mine, other := procAddr(remote), procAddr(local)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text()) // sl local remote st tx:rx tr:when retr uid timeout inode
		if len(w) < 10 || w[1] != mine || w[2] != other || w[3] != established || w[9] == "0" {
			continue
		}
		uid, err := strconv.ParseUint(w[7], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%w: %v", ErrPeerUnknown, err)
		}
		return uint32(uid), nil
	}
	return 0, ErrPeerUnknown
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsLoopback() {
		return netip.AddrPort{}, ErrPeerUnknown
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// procAddr writes an address as the kernel does: 32-bit words in the machine's byte
// order, then the port.
func procAddr(a netip.AddrPort) string {
	raw := a.Addr().AsSlice()
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	return fmt.Sprintf("%s:%04X", strings.ToUpper(hex.EncodeToString(raw)), a.Port())
}

// TrustPeer tells why the other end of a connection may not speak to this daemon as
// another daemon does; nil for root and the daemon's own user.
func TrustPeer(c net.Conn) error {
	uid, err := PeerUID(c)
	if err != nil {
		return err
	}
	if uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("only root and the daemon's own user may, not user %d", uid)
	}
	return nil
}

// Guarded is a listener that only lets in connections of root and of the daemon's own
// user; others are closed, and said.
func Guarded(l net.Listener, log *slog.Logger) net.Listener { return &guarded{l, log} }

type guarded struct {
	net.Listener
	log *slog.Logger
}

// Accept returns the next connection of a user who may.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err = TrustPeer(c); err == nil {
			return c, nil
		}
		g.log.Warn("connection refused", "address", c.RemoteAddr().String(), "err", err)
		_ = c.Close() // nothing was said on it
	}
}
