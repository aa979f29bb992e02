package dns

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func header(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: TTL}
}

// addresses adds an A or AAAA record, whichever ip is and was asked for.
func (a asked) addresses(to []dns.RR, name, ip string) []dns.RR {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return to // a member without an address has no record
	}
	addr = addr.Unmap()
	switch {
	case addr.Is4() && a.wants(dns.TypeA):
		b := addr.As4()
		return append(to, &dns.A{Hdr: header(name, dns.TypeA), A: net.IP(b[:])})
	case addr.Is6() && a.wants(dns.TypeAAAA):
		b := addr.As16()
		return append(to, &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: net.IP(b[:])})
	}
	return to
}

// nameServers are the addresses that the nodes answer DNS on.
func (a asked) nameServers(name string) []dns.RR {
	var hosts []string
	for n := range a.view.Nodes() {
		if n.State == spec.NodeLost {
			continue
		}
		if host, _, err := net.SplitHostPort(n.DNS); err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	var out []dns.RR
	for _, h := range hosts {
		out = a.addresses(out, name, h)
	}
	return out
}

func (a asked) soa(name string) dns.RR {
	return &dns.SOA{
		Hdr: header(name, dns.TypeSOA), Ns: "ns.dns." + a.zone + ".", Mbox: "hostmaster." + a.zone + ".",
		Serial: uint32(a.view.Index), Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL,
	}
}

func (a asked) fqdn(m *state.Member) string { return dns.Fqdn(a.view.FQDN(m)) }

// reverseAddr reads "1.0.64.127" as 127.64.0.1.
func reverseAddr(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	slices.Reverse(parts)
	ip, err := netip.ParseAddr(strings.Join(parts, "."))
	return ip, err == nil
}

func inPlan(cidr string, ip netip.Addr) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Contains(ip)
}
