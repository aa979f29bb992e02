package netid

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// Host is a line of a member's /etc/hosts.
type Host struct {
	IP   string
	FQDN string
	// Names are shorter names, such as "web-0.web" and "web-0".
	Names []string
}

// MemberHost is the line of one member.
func MemberHost(ip, member, service, namespace, zone string) Host {
	return Host{
		IP: ip, FQDN: spec.MemberFQDN(member, service, namespace, zone),
		Names: []string{member + "." + service, member},
	}
}

const hostsHead = `# Written by supd for this member; changes here are lost.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// Hosts is a member's /etc/hosts: localhost, its own names first, then every
// reserved member of its set in the order given (own may be among them).
func Hosts(own Host, members []Host) []byte {
	const line = 80 // about so long
	b := make([]byte, 0, len(hostsHead)+line*(len(members)+1))
	b = append(b, hostsHead...)
	b = own.line(b)
	for _, h := range members {
		if h.FQDN != own.FQDN {
			b = h.line(b)
		}
	}
	return b
}

// line appends the host's line, if it has an address.
func (h Host) line(b []byte) []byte {
	if h.IP == "" {
		return b
	}
	b = append(b, h.IP...)
	b = append(b, '\t')
	b = append(b, h.FQDN...)
	for _, name := range h.Names {
		b = append(b, ' ')
		b = append(b, name...)
	}
	return append(b, '\n')
}

// Resolver is what /etc/resolv.conf says.
type Resolver struct {
	Servers []string
	Search  []string
	Options []string
}

// Limits of the C library: further servers and, in older ones, further domains
// are not looked at.
const (
	maxServers = 3
	maxSearch  = 6
)

// ResolvConf is a member's /etc/resolv.conf: server (the node's MemberDNS
// address) first, the search list of the member's namespace, and the host's own
// servers and domains after it. As in Kubernetes names of less than five dots are
// looked up in the search list first, so "web-0.web" never leaves the host, and
// "web.default.svc" is found as manifests have it.
func ResolvConf(server, namespace, zone string, host Resolver) []byte {
	r := Resolver{
		Servers: append([]string{server}, host.Servers...),
		Search:  append([]string{namespace + ".svc." + zone, "svc." + zone, zone}, host.Search...),
		Options: []string{"ndots:5"},
	}
	r.Servers = first(maxServers, r.Servers)
	r.Search = first(maxSearch, r.Search)
	for _, o := range host.Options {
		// rotate would ask the host's servers for our names; what they vouch for
		// (trust-ad) we do not.
		if !strings.HasPrefix(o, "ndots:") && o != "rotate" && o != "trust-ad" {
			r.Options = append(r.Options, o)
		}
	}
	var b strings.Builder
	b.WriteString("# Written by supd for this member; changes here are lost.\n")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	return []byte(b.String())
}

// first keeps the first n different words.
func first(n int, words []string) []string {
	var out []string
	for _, w := range words {
		if w != "" && !slices.Contains(out, w) && len(out) < n {
			out = append(out, w)
		}
	}
	return out
}

// HostResolver reads the host's own resolver settings, path usually
// "/etc/resolv.conf". A missing file is an empty Resolver.
func HostResolver(path string) (Resolver, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Resolver{}, nil
	}
	if err != nil {
		return Resolver{}, fmt.Errorf("cannot read the host's resolver settings: %w", err)
	}
	return ParseResolver(string(b)), nil
}

// ParseResolver reads the text of a resolv.conf; what it does not know it passes
// over, as the C library does.
func ParseResolver(text string) Resolver {
	var r Resolver
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || line[0] == '#' || line[0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.Servers = append(r.Servers, f[1])
		case "search":
			r.Search = f[1:]
		case "domain":
			r.Search = f[1:2]
		case "options":
			r.Options = append(r.Options, f[1:]...)
		}
	}
	return r
}

// Upstreams are the servers of r as host:port, for dns.Options.Upstreams.
func (r Resolver) Upstreams() []string {
	var out []string
	for _, s := range r.Servers {
		out = append(out, net.JoinHostPort(s, "53"))
	}
	return out
}
