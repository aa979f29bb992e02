package netid_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"supd/netid"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	var set []netid.Host
	for i := range 3 {
		set = append(set, netid.MemberHost(fmt.Sprintf("127.64.0.%d", i+1), fmt.Sprintf("web-%d", i), "web", "default", "cluster.local"))
	}
	set = append(set, netid.MemberHost("", "web-3", "web", "default", "cluster.local")) // no address yet
	want := `# Written by supd for this member; changes here are lost.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
127.64.0.2	web-1.web.default.svc.cluster.local web-1.web web-1
127.64.0.1	web-0.web.default.svc.cluster.local web-0.web web-0
127.64.0.3	web-2.web.default.svc.cluster.local web-2.web web-2
`
	if diff := cmp.Diff(want, string(netid.Hosts(set[1], set))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestResolvConf(t *testing.T) {
	t.Parallel()
	host := netid.ParseResolver(`# by hand
; too
domain old.example
search corp.example lab.example
nameserver 127.0.0.53
nameserver 192.0.2.1
nameserver 192.0.2.2
options ndots:1 edns0 rotate trust-ad
options timeout:1
sortlist 10.0.0.0
nameserver
`)
	want := `# Written by supd for this member; changes here are lost.
nameserver 127.130.1.2
nameserver 127.0.0.53
nameserver 192.0.2.1
search default.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example
options ndots:5 edns0 timeout:1
`
	if diff := cmp.Diff(want, string(netid.ResolvConf("127.130.1.2", "default", "cluster.local", host))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"127.0.0.53:53", "192.0.2.1:53", "192.0.2.2:53"}, host.Upstreams()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want = `# Written by supd for this member; changes here are lost.
nameserver 127.130.1.2
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
`
	if diff := cmp.Diff(want, string(netid.ResolvConf("127.130.1.2", "default", "cluster.local", netid.Resolver{}))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHostResolver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if r, err := netid.HostResolver(path); err != nil || len(r.Servers) != 0 {
		t.Errorf("missing: %+v, %v", r, err)
	}
	if err := os.WriteFile(path, []byte("nameserver fe80::1%eth0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := netid.HostResolver(path)
	if err != nil || len(r.Servers) != 1 || r.Upstreams()[0] != "[fe80::1%eth0]:53" {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := netid.HostResolver(filepath.Dir(path)); err == nil {
		t.Error("read a directory")
	}
}

// freePort is a port that nobody listens on now.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func TestMemberDNSIsKept(t *testing.T) {
	t.Parallel()
	o := netid.MemberDNSOptions{File: filepath.Join(t.TempDir(), "member-dns"), Port: freePort(t)}
	first, err := netid.MemberDNS(o)
	if err != nil {
		t.Fatal(err)
	}
	if !netid.MemberDNSNet.Contains(first) || netid.LoopbackNet.Contains(first) || !first.IsLoopback() {
		t.Errorf("drew %v", first)
	}
	if second, err := netid.MemberDNS(o); err != nil || second != first {
		t.Errorf("got %v, %v; had %v", second, err, first)
	}
	// Somebody has taken it meanwhile.
	l, err := net.Listen("tcp", netip.AddrPortFrom(first, o.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := netid.MemberDNS(o)
	if err != nil || other == first {
		t.Errorf("got %v, %v; %v is taken", other, err, first)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := netid.MemberDNS(o); err != nil || again != other {
		t.Errorf("got %v, %v; had %v", again, err, other)
	}
	for _, bad := range []string{"", "nonsense", "127.0.0.1", "127.64.0.1", "192.0.2.1"} {
		if err := os.WriteFile(o.File, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := netid.MemberDNS(o); err != nil || !netid.MemberDNSNet.Contains(a) {
			t.Errorf("file %q: got %v, %v", bad, a, err)
		}
	}
}

func TestMemberDNSEverywhereTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := netid.MemberDNSOptions{
		File: filepath.Join(t.TempDir(), "member-dns"),
		Port: netip.MustParseAddrPort(l.Addr().String()).Port(),
	}
	if a, err := netid.MemberDNS(o); !errors.Is(err, netid.ErrPort53) {
		t.Errorf("got %v, %v", a, err)
	}
}

func TestMemberDNSNeedsRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may bind port 53")
	}
	o := netid.MemberDNSOptions{File: filepath.Join(t.TempDir(), "member-dns")}
	if a, err := netid.MemberDNS(o); err != nil && !errors.Is(err, netid.ErrNeedsRoot) && !errors.Is(err, netid.ErrPort53) {
		t.Errorf("got %v, %v", a, err)
	}
}
