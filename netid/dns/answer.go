package dns

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// TTL of every record, and of every answer that there is none: so long may an
// asker believe what has changed since.
const TTL = 5

// Reply is the answer to a question that is ours to answer.
type Reply struct {
	Rcode  int
	Answer []dns.RR
	Ns     []dns.RR // the zone's SOA when there is no answer
	Extra  []dns.RR
}

// Answer answers one question from a View; ours is false when the name is not in
// the cluster's zone and no address of a member or of the plan. It is pure:
// records come in the order of names and ordinals.
func Answer(v *state.View, q dns.Question) (r Reply, ours bool) {
	return answer(v, q, v.Governs)
}

// governs finds the sets of a service.
type governs func(namespace, service string) []*state.Set

func answer(v *state.View, q dns.Question, g governs) (r Reply, ours bool) {
	name := strings.ToLower(q.Name)
	zone := v.Cluster.Zone
	if zone == "" {
		zone = spec.ClusterZone
	}
	if host, ok := under(name, zone); ok {
		if v.Cluster.ID == "" {
			// Nobody knows yet what there is: "try again" and not "there is none".
			return Reply{Rcode: dns.RcodeServerFailure}, true
		}
		a := asked{view: v, governs: g, name: q.Name, qtype: q.Qtype, zone: zone}
		return a.reply(a.forward(host), zone), true
	}
	if reverse, ok := under(name, "in-addr.arpa"); ok {
		a := asked{view: v, name: q.Name, qtype: q.Qtype, zone: zone}
		return a.reverse(reverse)
	}
	return Reply{}, false
}

// under cuts ".zone." off a lower-case name; "" is the zone itself.
func under(name, zone string) (host string, ok bool) {
	name = strings.TrimSuffix(name, ".")
	if name == zone {
		return "", true
	}
	host, ok = strings.CutSuffix(name, zone)
	if !ok || !strings.HasSuffix(host, ".") {
		return "", false
	}
	return host[:len(host)-1], true
}

// asked is one question being answered.
type asked struct {
	view *state.View
	governs
	name  string // as it was asked: owners of records echo its case
	qtype uint16
	zone  string
}

// found is what a name has: exists is false when there is no such name, nor any
// below it.
type found struct {
	exists bool
	answer []dns.RR
	extra  []dns.RR
}

// reply turns what was found into a Reply; SOA is the negative one's.
func (a asked) reply(f found, zone string) Reply {
	r := Reply{Answer: f.answer, Extra: f.extra}
	if !f.exists {
		r.Rcode = dns.RcodeNameError
	}
	if len(r.Answer) == 0 {
		r.Ns = []dns.RR{a.soa(dns.Fqdn(zone))}
	}
	return r
}

func (a asked) wants(t uint16) bool { return a.qtype == t || a.qtype == dns.TypeANY }

// forward finds a name of the zone. Its parts are, from the right: svc,
// namespace, service, then a member, or a protocol and a port.
func (a asked) forward(host string) found {
	switch host {
	case "":
		return a.apex()
	case "dns", "svc":
		return found{exists: true}
	case "ns.dns":
		return found{exists: true, answer: a.nameServers(a.name)}
	}
	rest, ok := strings.CutSuffix(host, ".svc")
	if !ok {
		return found{}
	}
	rest, namespace := cutLast(rest)
	if rest == "" {
		return found{exists: a.hasNamespace(namespace)}
	}
	rest, service := cutLast(rest)
	if rest == "" {
		return a.service(namespace, service)
	}
	if !strings.HasPrefix(rest, "_") {
		return a.member(namespace, service, rest)
	}
	port, proto := cutLast(rest)
	proto, ok = strings.CutPrefix(proto, "_")
	if !ok || port == "_" || port != "" && port[0] != '_' {
		return found{}
	}
	return a.ports(namespace, service, strings.TrimPrefix(port, "_"), proto)
}

// cutLast cuts the last label off: "a.b.c" is "a.b" and "c".
func cutLast(s string) (rest, last string) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

func (a asked) apex() found {
	f := found{exists: true}
	if a.wants(dns.TypeSOA) {
		f.answer = append(f.answer, a.soa(a.name))
	}
	if a.wants(dns.TypeNS) {
		host := "ns.dns." + a.zone + "."
		f.answer = append(f.answer, &dns.NS{Hdr: header(a.name, dns.TypeNS), Ns: host})
		f.extra = asked{view: a.view, qtype: dns.TypeANY}.nameServers(host)
	}
	return f
}

func (a asked) hasNamespace(ns string) bool {
	if spec.CheckLabel(ns) != nil {
		return false
	}
	for range a.view.Services(ns) {
		return true
	}
	for range a.view.Sets(ns) {
		return true
	}
	return false
}

// member answers for "web-0" below its governing service, for as long as it is
// reserved. Any other name may be a role of members.
func (a asked) member(namespace, service, name string) found {
	m := a.view.MemberNamed(namespace, name)
	if m == nil || m.Name() != name {
		return a.role(namespace, service, name)
	}
	if s := a.view.Set(namespace, m.Set); s == nil || !slices.Contains(a.view.ServicesOf(s), service) {
		return a.role(namespace, service, name)
	}
	return found{exists: true, answer: a.addresses(nil, a.name, m.IP)}
}

// reverse answers for an address.
func (a asked) reverse(host string) (Reply, bool) {
	ip, ok := reverseAddr(host)
	if !ok {
		return Reply{}, false
	}
	f := found{}
	for m := range a.view.MemberAt(ip.String()) {
		f.exists = true
		if a.wants(dns.TypePTR) {
			f.answer = append(f.answer, &dns.PTR{Hdr: header(a.name, dns.TypePTR), Ptr: a.fqdn(m)})
		}
	}
	if !f.exists && !inPlan(a.view.Cluster.PlanCIDR, ip) {
		return Reply{}, false
	}
	_, net, _ := strings.Cut(host, ".")
	return a.reply(f, net+".in-addr.arpa"), true
}
