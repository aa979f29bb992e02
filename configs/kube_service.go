package configs

import "supd/supervisor/spec"

func (k *kube) service(n *node) {
	f, doc, body := k.document(n, spec.KindService)
	s := k.in(f.take("spec"), "ServiceSpec")
	f.end()
	if s.n == nil {
		k.errorf(n, "spec is needed")
		return
	}
	ip, t := s.take("clusterIP"), s.take("type")
	switch {
	case t != nil && t.text != "ClusterIP":
		k.errorf(t, "services of type %s are %s: clients use the members' names", t.text, notYet)
	case ip == nil || ip.text != "None":
		at := ip
		if at == nil {
			at = s.n
		}
		k.errorf(at, "only headless services are there, for no proxy holds an address: write clusterIP: None; clients find the ready members by the name of the set's serviceName")
	}
	body.set("publishNotReadyAddresses", s.take("publishNotReadyAddresses"))
	body.set("selector", s.take("selector"))
	var ports []*node
	for _, p := range s.items("ports") {
		ports = append(ports, k.servicePort(p))
	}
	if len(ports) > 0 {
		body.set("ports", s.n.get("ports").list(ports...))
	}
	s.end()
	k.define(spec.KindService, doc)
}

func (k *kube) servicePort(n *node) *node {
	f := k.in(n, "ServicePort")
	out := n.derive(object)
	out.set("name", f.take("name"))
	port := f.take("port")
	out.set("port", port)
	out.set("protocol", f.take("protocol"))
	if t := f.take("targetPort"); t != nil && t.kind == number && port != nil && t.text != port.text {
		k.errorf(t, "a headless service forwards nothing: targetPort must be the port (%s), not %s", port.text, t.text)
	}
	f.end()
	return out
}
