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

// all gives the facts and hosts of all members, by ordinal. They are shared: nobody changes them.
func (c *crowd) all() ([]template.Member, []netid.Host) {
	c.once.Do(func() {
		c.facts, c.hosts = make([]template.Member, len(c.members)), make([]netid.Host, len(c.members))
		for i, m := range c.members {
			c.facts[i] = memberFacts(c.set, c.zone, m)
			c.hosts[i] = netid.MemberHost(m.IP, m.Name(), c.set.Spec.ServiceName, m.Namespace, c.zone)
		}
	})
	return c.facts, c.hosts
}

func memberFacts(set *state.Set, zone string, m *state.Member) template.Member {
	name := m.Name()
	return template.Member{
		Name: name, Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, IP: m.IP, Hostname: name,
		FQDN: spec.MemberFQDN(name, set.Spec.ServiceName, m.Namespace, zone), Node: m.Node,
		Epoch: m.Epoch, Revision: spec.RevisionName(m.Set, m.Revision), Volumes: orWord(m.VolumesState, "new"),
		Joining: m.Joining, Bootstrap: m.Bootstrap, Ready: m.Ready(), Ports: m.Ports,
	}
}
