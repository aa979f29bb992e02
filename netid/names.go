package netid

// Host is a line of a member's /etc/hosts.
type Host struct {
	IP   string
	FQDN string
	// Names are shorter names, such as "web-0.web" and "web-0".
	Names []string
}

// Hosts is a member's /etc/hosts: localhost, its own names first, then every
// reserved member of its set in the order given (own may be among them).
func Hosts(own Host, members []Host) []byte { panic("being written") }

// Resolver is what /etc/resolv.conf says.
type Resolver struct {
	Servers []string
	Search  []string
	Options []string
}

// ResolvConf is a member's /etc/resolv.conf: server (the node's MemberDNS
// address) first, the search list of the member's namespace, and the host's own
// servers after it.
func ResolvConf(server, namespace, zone string, host Resolver) []byte { panic("being written") }

// HostResolver reads the host's own resolver settings, path usually
// "/etc/resolv.conf". A missing file is an empty Resolver.
func HostResolver(path string) (Resolver, error) { panic("being written") }

// Upstreams are the servers of r as host:port, for dns.Options.Upstreams.
func (r Resolver) Upstreams() []string { panic("being written") }
