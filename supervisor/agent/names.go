package agent

import (
	"path/filepath"

	"supd/netid"
	"supd/raftstore/state"
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
	others := make([]netid.Host, 0, len(p.Members))
	for _, m := range p.Members {
		others = append(others, hostOf(p, m))
	}
	r.hosts = netid.Hosts(hostOf(p, p.Member), others)
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

func hostOf(p Part, m *state.Member) netid.Host {
	return netid.MemberHost(m.IP, m.Name(), p.Service, m.Namespace, p.Cluster.Zone)
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
