package netid

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MemberDNSOptions say where a node keeps the address of its members' DNS.
type MemberDNSOptions struct {
	// File keeps the choice: DATA/member-dns.
	File string
	// Rand is the random source of a choice; nil means crypto/rand.
	Rand io.Reader
	// Port is 53, the only one that resolv.conf knows, unless a test says otherwise.
	Port uint16
}

// ErrNeedsRoot: the daemon's user may not listen on port 53, so members have no
// resolver of their own.
var ErrNeedsRoot = errors.New("listening on port 53 needs root or CAP_NET_BIND_SERVICE")

// ErrPort53: something listens on port 53 of every address of this host.
var ErrPort53 = errors.New("something else listens on port 53 of every address")

// MemberDNSNet is where members' DNS addresses are drawn: beside the loopback
// plans, and beside 127.0.0.0/24, where other resolvers live.
var MemberDNSNet = netip.MustParsePrefix("127.128.0.0/10")

const dnsTries = 16

// keptWait bounds the wait for the address of last time: members' resolv.conf names it.
const keptWait = time.Second

// MemberDNS is the loopback address whose port 53 this node's DNS server is to
// listen on for its members (dns.Options.Listen gets ADDR:53 as well): the same
// as last time if it can still be bound, else one drawn and kept in the file.
// Nothing is bound when it returns.
func MemberDNS(o MemberDNSOptions) (netip.Addr, error) {
	if o.Port == 0 {
		o.Port = 53
	}
	if o.Rand == nil {
		o.Rand = crand.Reader
	}
	var taken error
	if kept, ok := keptAddr(o.File); ok {
		err := canBind(kept, o.Port)
		for end := time.Now().Add(keptWait); errors.Is(err, unix.EADDRINUSE) && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond) // a killed supd lets go of it a moment after the kill
			err = canBind(kept, o.Port)
		}
		if err == nil {
			return kept, nil
		}
		taken = err
	}
	for range dnsTries {
		if taken != nil && !errors.Is(taken, unix.EADDRINUSE) {
			break
		}
		addr, err := drawAddr(o.Rand)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("cannot draw an address for the members' DNS: %w", err)
		}
		if taken = canBind(addr, o.Port); taken == nil {
			if err := keepAddr(o.File, addr); err != nil {
				return netip.Addr{}, fmt.Errorf("cannot keep the address of the members' DNS: %w", err)
			}
			return addr, nil
		}
	}
	switch {
	case errors.Is(taken, fs.ErrPermission):
		taken = ErrNeedsRoot
	case errors.Is(taken, unix.EADDRINUSE):
		taken = ErrPort53
	}
	return netip.Addr{}, fmt.Errorf("cannot find an address for the members' DNS: %w", taken)
}

// canBind tries both UDP and TCP.
func canBind(addr netip.Addr, port uint16) error {
	at := netip.AddrPortFrom(addr, port).String()
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	t, err := net.Listen("tcp", at)
	if err != nil {
		return errors.Join(err, u.Close())
	}
	return errors.Join(u.Close(), t.Close())
}

// drawAddr draws from MemberDNSNet, its last part from 1 to 254.
func drawAddr(source io.Reader) (netip.Addr, error) {
	var b [3]byte
	if _, err := io.ReadFull(source, b[:]); err != nil {
		return netip.Addr{}, err
	}
	base := MemberDNSNet.Addr().As4()
	return netip.AddrFrom4([4]byte{base[0], base[1] | b[0]&0x3f, b[1], 1 + b[2]%254}), nil
}

// keptAddr reads the choice of last time. A file that says nothing sensible is as
// good as none: another address does no harm.
func keptAddr(file string) (netip.Addr, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(string(b)))
	return addr, err == nil && MemberDNSNet.Contains(addr)
}

func keepAddr(file string, addr netip.Addr) error {
	temp := file + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(addr.String() + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
