package agent

import (
	"sync"

	"supd/netid"
	"supd/raftstore/state"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// crowd is what templates and /etc/hosts of every member of a set show of all of its members. It is made once, by the
// first who asks, and shared by all: with each its own a thousand members would hold a million. Whoever is done with
// rendering lets go of it, for each change of a member makes another.
type crowd struct {
	set     *state.Set
	members []*state.Member
	zone    string

	once  sync.Once // guards what follows
	facts []template.Member
	hosts []netid.Host
}

// all gives the facts and hosts of all members, by ordinal, as a member of that governing service sees them. They are
// shared: nobody changes them.
func (c *crowd) all(service string) ([]template.Member, []netid.Host) {
	if service != c.set.Spec.ServiceName { // of an earlier revision, and soon gone
		return c.make(service)
	}
	c.once.Do(func() { c.facts, c.hosts = c.make(service) })
	return c.facts, c.hosts
}

func (c *crowd) make(service string) ([]template.Member, []netid.Host) {
	facts, hosts := make([]template.Member, len(c.members)), make([]netid.Host, len(c.members))
	for i, m := range c.members {
		facts[i] = memberFacts(service, c.zone, m)
		hosts[i] = netid.MemberHost(m.IP, m.Name(), service, m.Namespace, c.zone)
	}
	return facts, hosts
}

func memberFacts(service, zone string, m *state.Member) template.Member {
	name := m.Name()
	return template.Member{
		Name: name, Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, IP: m.IP, Hostname: name,
		FQDN: spec.MemberFQDN(name, service, m.Namespace, zone), Node: m.Node,
		Epoch: m.Epoch, Revision: spec.RevisionName(m.Set, m.Revision), Volumes: orWord(m.VolumesState, "new"),
		Joining: m.Joining, Bootstrap: bootstraps(m), Ready: m.Ready(), Ports: m.Ports,
	}
}

// bootstraps is what templates know as member.bootstrap: no more once it was available, so that a
// file that was rendered with it is rendered anew before a restart in place could read it.
func bootstraps(m *state.Member) bool { return m.Bootstrap && !m.WasAvailable }
