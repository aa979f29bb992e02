package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// service is a Service of a manifest, whose members are looked for when all files are read.
type service struct {
	object *spec.Service
	// at is its spec; ports are the names of targetPorts, by the index of the port.
	at    *node
	ports []*node
	diag  func(n *node, format string, args ...any) Diagnostic
	// headless: it wants no address of its own.
	headless bool
	selector map[string]string
}

func (k *kube) service(n *node) {
	f, doc, body := k.document(n, spec.KindService)
	s := k.in(f.take("spec"), "ServiceSpec")
	f.end()
	if s.n == nil {
		k.errorf(n, "spec is needed")
		return
	}
	ip, t := s.take("clusterIP"), s.take("type")
	svc := service{
		at: s.n, selector: map[string]string{}, headless: ip != nil && ip.text == "None",
		diag: func(n *node, format string, args ...any) Diagnostic { return k.at(n, fmt.Sprintf(format, args...)) },
	}
	known := true
	switch {
	case t != nil && t.text != "ClusterIP":
		k.errorf(t, "services of type %s are %s: clients use the members' names", t.text, notYet)
		known = false
	case ip != nil && ip.text != "None" && ip.text != "":
		k.errorf(ip, "no proxy holds an address for a service: leave clusterIP out, or write None; its name leads to the ready members' own addresses")
		known = false
	}
	body.set("publishNotReadyAddresses", s.take("publishNotReadyAddresses"))
	selector := s.take("selector")
	body.set("selector", selector)
	for _, e := range keysOf(selector) {
		svc.selector[e.key] = e.val.text
	}
	var ports []*node
	for _, p := range s.items("ports") {
		out, target := k.servicePort(p, svc.headless)
		ports, svc.ports = append(ports, out), append(svc.ports, target)
	}
	if len(ports) > 0 {
		body.set("ports", s.n.get("ports").list(ports...))
	}
	s.end()
	k.define(spec.KindService, doc)
	if o, ok := k.defs[len(k.defs)-1].Object.(*spec.Service); ok && known {
		svc.object = o
		k.services = append(k.services, svc)
	}
}

// servicePort is a port, and its targetPort if that is a name.
func (k *kube) servicePort(n *node, headless bool) (out, target *node) {
	f := k.in(n, "ServicePort")
	out = n.derive(object)
	out.set("name", f.take("name"))
	port := f.take("port")
	out.set("port", port)
	out.set("protocol", f.take("protocol"))
	t := f.take("targetPort")
	f.end()
	switch {
	case t == nil || port == nil:
		return out, nil
	case t.kind == number && t.text != port.text && headless:
		k.errorf(t, "a headless service forwards nothing: targetPort must be the port (%s), not %s", port.text, t.text)
	case t.kind == number && t.text != port.text:
		k.errorf(t, "no address forwards to another port, clients go to the members themselves: targetPort must be the port (%s), not %s", port.text, t.text)
	case t.kind == str:
		return out, t
	}
	return out, nil
}

// checkServices finds whose members each service lists. A set lists its own in the service
// that its serviceName names; any other service must name a set, by spec.SelectSet.
func checkServices(defs []Definition, services []service) []Diagnostic {
	var out []Diagnostic
	for _, s := range services {
		governed, selected := s.sets(defs)
		of := governed
		if len(governed) == 0 {
			of = selected
			if d := s.choose(selected); d != nil {
				out = append(out, *d)
			}
		}
		if len(of) == 0 || s.headless {
			continue
		}
		for i, target := range s.ports {
			if d := s.checkTarget(target, s.object.Spec.Ports, i, of); d != nil {
				out = append(out, *d)
			}
		}
		if len(governed) > 0 || len(selected) == 1 {
			d := s.diag(s.at, "it has no address of its own, for no proxy holds one: its name leads clients to the addresses of the ready members of %s, as they are at each look-up", of[0].Metadata.Name)
			d.Warning = true
			out = append(out, d)
		}
	}
	return out
}

// sets are those that the service governs, and those whose members its selector selects.
func (s service) sets(defs []Definition) (governed, selected []*spec.StatefulSet) {
	for _, d := range defs {
		set, ok := d.Object.(*spec.StatefulSet)
		if !ok || namespaceOf(set.Metadata.Namespace) != namespaceOf(s.object.Metadata.Namespace) {
			continue
		}
		name := set.Spec.ServiceName
		if name == "" {
			name = set.Metadata.Name
		}
		if name == s.object.Metadata.Name {
			governed = append(governed, set)
		}
		if len(s.selector) > 0 && d.podLabels != nil && !slices.ContainsFunc(slices.Collect(maps.Keys(s.selector)), func(k string) bool {
			v, ok := d.podLabels[k]
			return !ok || v != s.selector[k]
		}) {
			selected = append(selected, set)
		}
	}
	return governed, selected
}

// choose names the one set that is selected. A headless service that selects none may be for a
// set that is applied later.
func (s service) choose(selected []*spec.StatefulSet) *Diagnostic {
	switch {
	case len(selected) == 1:
		s.object.Spec.Selector = map[string]string{spec.SelectSet: selected[0].Metadata.Name}
		return nil
	case len(selected) > 1:
		var names []string
		for _, set := range selected {
			names = append(names, set.Metadata.Name)
		}
		d := s.diag(s.at, "it selects the members of several sets (%s), and a name for more than one is %s, but for sets that have it as their serviceName", strings.Join(names, ", "), notYet)
		return &d
	case s.headless:
		return nil
	}
	if len(s.selector) == 0 {
		d := s.diag(s.at, "it has no selector, and is the serviceName of no StatefulSet of these files: nobody would be listed")
		return &d
	}
	for label := range memberLabels {
		if _, one := s.selector[label]; one {
			d := s.diag(s.at, "services for single members are %s: a member has its name, MEMBER.SERVICE, and keeps it", notYet)
			return &d
		}
	}
	d := s.diag(s.at, "it selects the members of no StatefulSet of these files, and there are no others: apply it together with its set, whose template's labels must match")
	return &d
}

// checkTarget: a targetPort by name must be of the port's number.
func (s service) checkTarget(target *node, ports []spec.Port, i int, sets []*spec.StatefulSet) *Diagnostic {
	if target == nil || i >= len(ports) {
		return nil
	}
	for _, set := range sets {
		var names []string
		found := false
		for _, p := range set.Spec.Processes {
			for _, have := range p.Ports {
				names = append(names, have.Name)
				if have.Name != target.text {
					continue
				}
				if found = true; have.Port != ports[i].Port {
					d := s.diag(target, "no address forwards to another port, clients go to the members themselves: port must be that of %q (%d), not %d", target.text, have.Port, ports[i].Port)
					return &d
				}
			}
		}
		if !found {
			d := s.diag(target, "no container of %s has a port named %q%s", set.Metadata.Name, target.text, spec.DidYouMean(target.text, names))
			return &d
		}
	}
	return nil
}
