// Package netid is about names and addresses on this host: the loopback address
// plan, the address members reach their DNS server at, and the contents of a
// member's /etc/hosts and /etc/resolv.conf. It has no goroutines.
package netid

import (
	"context"
	"io"
	"net/netip"
)

// LoopbackNet is where loopback plans are drawn, each a /20 (LoopbackBits).
var LoopbackNet = netip.MustParsePrefix("127.64.0.0/10")

// LoopbackBits is the length of a loopback plan's prefix.
const LoopbackBits = 20

// Hold is this process's share of the lock that keeps other clusters on this
// machine off a loopback plan. All daemons of one cluster hold it together.
type Hold struct{ Prefix netip.Prefix }

// LoopbackOptions say for whom a plan is held.
type LoopbackOptions struct {
	ClusterID string
	// LockDir is shared by all users of this machine; "" means DefaultLockDir().
	LockDir string
	// Rand is the random source of a draw; nil means crypto/rand.
	Rand io.Reader
}

// DrawLoopback draws a /20 for a new cluster that no other cluster on this
// machine holds or has held since the boot, and holds it. The caller proposes the
// prefix in InitCluster.
func DrawLoopback(ctx context.Context, o LoopbackOptions) (*Hold, error) { panic("being written") }

// HoldLoopback holds the plan that the cluster has. ErrPlanTaken: another cluster
// on this machine is using it.
func HoldLoopback(ctx context.Context, prefix netip.Prefix, o LoopbackOptions) (*Hold, error) {
	panic("being written")
}

// Close gives the share up.
func (h *Hold) Close() error { panic("being written") }

// CheckHost tells whether this host answers on the plan's addresses.
func CheckHost(prefix netip.Prefix) error { panic("being written") }

// MachineID tells this machine from others; it is stable over reboots.
func MachineID() (string, error) { panic("being written") }

// CheckMachine refuses a node on another machine when the plan is loopback.
func CheckMachine(plan string, known map[string]string, node, machine string) error {
	panic("being written")
}

// MemberDNSOptions say where a node keeps the address of its members' DNS.
type MemberDNSOptions struct {
	// File keeps the choice: DATA/member-dns.
	File string
	Rand io.Reader
}

// MemberDNS is the loopback address whose port 53 this node's DNS server is to
// listen on for its members (dns.Options.Listen gets ADDR:53 as well). The
// same as last time if it can still be bound. ErrNeedsRoot: the daemon may not
// bind port 53; ErrPort53: somebody listens on port 53 of every address.
func MemberDNS(o MemberDNSOptions) (netip.Addr, error) { panic("being written") }
