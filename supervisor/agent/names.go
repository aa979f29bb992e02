package agent

import (
	"path/filepath"

	"supd/netid"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// names renders the member's own /etc/hosts and /etc/resolv.conf, where it has
// any: with root, and unless the definition says that it sees the host's.
func (j job) names(r *rendering) error {
	if !j.a.o.Root || j.part.Template.Resolve == spec.ResolveHost {
		return nil
	}
	p := j.part
	_, all := j.crowd.all(p.Service)
	me := netid.MemberHost(p.Member.IP, p.Member.Name(), p.Service, p.Member.Namespace, p.Cluster.Zone)
	r.hosts = netid.Hosts(me, all)
	if j.a.o.MemberDNS == "" {
		return nil
	}
	host, err := netid.HostResolver(j.a.o.HostResolv)
	if err != nil {
		return failf(FileFailed, "cannot read the host's resolver settings: %v", err)
	}
	r.resolv = netid.ResolvConf(j.a.o.MemberDNS, p.Member.Namespace, p.Cluster.Zone, host)
	return nil
}

// etcMounts show the member its own /etc files.
func (j job) etcMounts(r *rendering) []keeper.Mount {
	var out []keeper.Mount
	if r.hosts != nil {
		out = append(out, keeper.Mount{Source: filepath.Join(j.dir(), "hosts"), Target: "/etc/hosts"})
	}
	if r.resolv != nil {
		out = append(out, keeper.Mount{Source: filepath.Join(j.dir(), "resolv.conf"), Target: "/etc/resolv.conf"})
	}
	return out
}
