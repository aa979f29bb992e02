package netid

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// busyPlans are the plans where something has a socket on this host.
func busyPlans() (map[netip.Prefix]bool, error) {
	busy := map[netip.Prefix]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/udp"} {
		f, err := os.Open(table)
		if err != nil {
			return nil, err
		}
		err = addBusy(busy, f)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", table, err)
		}
	}
	return busy, nil
}

// addBusy reads a table of sockets; the second column is the local address, a
// number of this machine's byte order in hex: "0100407F:1F90" is 127.64.0.1:8080
// on most.
func addBusy(busy map[netip.Prefix]bool, table io.Reader) error {
	s := bufio.NewScanner(table)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 2 {
			continue
		}
		addr, _, _ := strings.Cut(f[1], ":")
		b, err := hex.DecodeString(addr)
		if err != nil || len(b) != 4 {
			continue // the header
		}
		var raw [4]byte
		binary.NativeEndian.PutUint32(raw[:], binary.BigEndian.Uint32(b))
		ip := netip.AddrFrom4(raw)
		if LoopbackNet.Contains(ip) {
			p, err := ip.Prefix(LoopbackBits)
			if err != nil {
				return err
			}
			busy[p] = true
		}
	}
	return s.Err()
}
