package dns

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// headless is a service and the sets it lists: those that it governs, and the one that its
// selector names.
type headless struct {
	service *state.Service // nil: only the sets name it
	sets    []*state.Set
}

func (a asked) headless(namespace, name string) (headless, bool) {
	if spec.CheckLabel(namespace) != nil || spec.CheckLabel(name) != nil {
		return headless{}, false
	}
	h := headless{a.view.Service(namespace, name), a.governs(namespace, name)}
	if h.service != nil {
		s := a.view.Set(namespace, h.service.Spec.Selector[spec.SelectSet])
		if s != nil && !slices.Contains(h.sets, s) {
			h.sets = append(slices.Clip(h.sets), s)
		}
	}
	return h, h.service != nil || len(h.sets) > 0
}

// service answers for a service's own name: the addresses of the members that
// serve, and all their ports.
func (a asked) service(namespace, name string) found {
	h, ok := a.headless(namespace, name)
	if !ok {
		return found{}
	}
	members := a.serving(h)
	f := found{exists: true, answer: a.distinct(members)}
	if a.wants(dns.TypeSRV) {
		a.addPorts(&f, h, members, func(spec.Port) bool { return true })
	}
	return f
}

// role answers for "leader" below a service: the addresses of the ready members that
// have the role, wherever their node is Ready, or if that leaves none, all of them.
// The name exists while any member says that it has the role, ready or not.
func (a asked) role(namespace, service, role string) found {
	h, ok := a.headless(namespace, service)
	if !ok {
		return found{}
	}
	f := found{}
	var ready, good []*state.Member
	for _, s := range h.sets {
		for _, m := range a.view.SetMembers(s.Meta.Namespace, s.Meta.Name) {
			if m.Seen.Role != role || m.Seen.Epoch != m.Epoch {
				continue
			}
			f.exists = true
			if !m.Ready() {
				continue
			}
			ready = append(ready, m)
			if n := a.view.Node(m.Node); n != nil && n.State == spec.NodeReady {
				good = append(good, m)
			}
		}
	}
	if len(good) > 0 {
		ready = good
	}
	f.answer = a.distinct(ready)
	return f
}

// distinct are the addresses of members, each once: Node-mode members share their host's.
func (a asked) distinct(members []*state.Member) (out []dns.RR) {
	seen := make([]string, 0, len(members))
	for _, m := range members {
		if !slices.Contains(seen, m.IP) {
			seen = append(seen, m.IP)
			out = a.addresses(out, a.name, m.IP)
		}
	}
	return out
}

// ports answers for "_client._tcp", and for "_tcp" alone, which has nothing but
// exists.
func (a asked) ports(namespace, service, port, proto string) found {
	h, ok := a.headless(namespace, service)
	if !ok {
		return found{}
	}
	match := func(p spec.Port) bool {
		return protocol(p) == proto && (port == "" || strings.ToLower(p.Name) == port)
	}
	f := found{}
	for _, s := range h.sets {
		for _, p := range a.portsOf(h, s) {
			f.exists = f.exists || match(p)
		}
	}
	if f.exists && port != "" && a.wants(dns.TypeSRV) {
		a.addPorts(&f, h, a.serving(h), match)
	}
	return f
}

// serving are the members that a service's name leads to: the ready ones whose
// node is neither Suspect nor Lost; if that leaves none, all ready ones. With
// publishNotReadyAddresses, all.
func (a asked) serving(h headless) []*state.Member {
	var all, ready, good []*state.Member
	for _, s := range h.sets {
		for _, m := range a.view.SetMembers(s.Meta.Namespace, s.Meta.Name) {
			all = append(all, m)
			if !m.Ready() {
				continue
			}
			ready = append(ready, m)
			if n := a.view.Node(m.Node); n != nil && n.State == spec.NodeReady {
				good = append(good, m)
			}
		}
	}
	switch {
	case h.service != nil && h.service.Spec.PublishNotReadyAddresses:
		return all
	case len(good) > 0:
		return good
	}
	return ready
}

// addPorts adds an SRV record for each member and port that matches, and the
// addresses of their targets.
func (a asked) addPorts(f *found, h headless, members []*state.Member, match func(spec.Port) bool) {
	for _, m := range members {
		s := a.view.Set(m.Namespace, m.Set)
		target := a.fqdn(m)
		any := false
		for _, p := range a.portsOf(h, s) {
			if !match(p) {
				continue
			}
			any = true
			f.answer = append(f.answer, &dns.SRV{
				Hdr: header(a.name, dns.TypeSRV), Weight: 100,
				Port: uint16(a.number(s, m, p)), Target: target,
			})
		}
		if any {
			f.extra = asked{qtype: dns.TypeANY}.addresses(f.extra, target, m.IP)
		}
	}
}

// portsOf are a service's ports for one set: its own if it lists any, else those
// of the set's processes.
func (a asked) portsOf(h headless, s *state.Set) []spec.Port {
	if h.service != nil && len(h.service.Spec.Ports) > 0 {
		return h.service.Spec.Ports
	}
	return a.declared(s)
}

// declared are the ports of a set's processes, Programs merged in.
func (a asked) declared(s *state.Set) []spec.Port {
	processes := s.Spec.Processes
	if r := a.view.Revision(s.Meta.Namespace, s.Meta.Name, s.Revision); r != nil {
		processes = r.Template.Processes
	}
	var out []spec.Port
	for _, p := range processes {
		out = append(out, p.Ports...)
	}
	return out
}

// number is the port that a member really has for p: the one chosen for it under
// p's name, or under the name of the process's port with p's number.
func (a asked) number(s *state.Set, m *state.Member, p spec.Port) int {
	if n, ok := m.Ports[p.Name]; ok {
		return n
	}
	for _, d := range a.declared(s) {
		if n, ok := m.Ports[d.Name]; ok && d.Port == p.Port && protocol(d) == protocol(p) {
			return n
		}
	}
	return p.Port
}

func protocol(p spec.Port) string {
	if p.Protocol == "" {
		return "tcp"
	}
	return strings.ToLower(p.Protocol)
}
