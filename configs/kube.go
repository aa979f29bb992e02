package configs

import (
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// The Kubernetes front end turns a manifest's tree into a native one, which is then
// decoded and checked like any other. Every field is taken, ignored with a warning
// (what only images and Kubernetes' own machinery need), or refused with a reason
// (what would change meaning if ignored).

// kube is the translation of one manifest.
type kube struct {
	*parser
	ignored []string
}

func (p *parser) kubernetes(n, version, kind *node) {
	k := &kube{parser: p}
	switch {
	case kind.text == spec.KindStatefulSet && version.text == spec.KubeAppsV1:
		k.statefulSet(n)
	case kind.text == spec.KindService && version.text == spec.KubeCoreV1:
		k.service(n)
	case kind.text == spec.KindStatefulSet || kind.text == spec.KindService:
		p.errorf(version, "%s is not of %q; write %s for a StatefulSet, %s for a Service", kind.text, version.text, spec.KubeAppsV1, spec.KubeCoreV1)
		return
	case kind.text == "Pod" || kind.text == "Deployment" || kind.text == "DaemonSet" || kind.text == "ReplicaSet" || kind.text == "Job" || kind.text == "CronJob":
		p.errorf(kind, "supd runs StatefulSets; a %s is not taken", kind.text)
		return
	default:
		p.errorf(kind, "%s %s is not supported by this version; of Kubernetes' kinds StatefulSet and Service are%s",
			version.text, kind.text, spec.DidYouMean(kind.text, []string{spec.KindStatefulSet, spec.KindService}))
		return
	}
	if len(k.ignored) > 0 {
		p.warnf(n, "ignored, for only Kubernetes needs it: %s", strings.Join(k.ignored, ", "))
	}
}

// fields reads the fields of one object, and knows at the end which nobody took.
type kubeFields struct {
	k     *kube
	n     *node
	known []string
}

// in opens an object for reading; anything else is an error and reads as empty.
func (k *kube) in(n *node) *kubeFields {
	f := &kubeFields{k: k, n: n}
	if n.missing() {
		f.n = nil
	} else if n.kind != object {
		k.errorf(n, "want an object, not %s", n.kind)
		f.n = nil
	}
	return f
}

// take is the field's value, nil when it is not there or empty.
func (f *kubeFields) take(name string) *node {
	f.known = append(f.known, name)
	if f.n == nil {
		return nil
	}
	v := f.n.get(name)
	if v.missing() {
		return nil
	}
	return v
}

// items is the field's list.
func (f *kubeFields) items(name string) []*node {
	v := f.take(name)
	if v == nil {
		return nil
	}
	if v.kind != list {
		f.k.errorf(v, "want a list, not %s", v.kind)
		return nil
	}
	return v.items
}

// ignore passes over fields; what is there is listed in the warning.
func (f *kubeFields) ignore(names ...string) {
	for _, name := range names {
		if v := f.take(name); v != nil {
			f.k.ignored = append(f.k.ignored, v.path)
		}
	}
}

// silent passes over fields that the server fills in or that say nothing.
func (f *kubeFields) silent(names ...string) {
	for _, name := range names {
		f.take(name)
	}
}

// refuse says why a field cannot be taken.
func (f *kubeFields) refuse(reason string, names ...string) {
	for _, name := range names {
		if v := f.take(name); v != nil && !isFalse(v) {
			f.k.errorf(v, "%s", reason)
		}
	}
}

// isFalse tells whether a value says what leaving it out would.
func isFalse(n *node) bool {
	return n.kind == boolean && n.text == "false" || n.kind == list && len(n.items) == 0 ||
		n.kind == object && len(n.keys) == 0 || n.kind == str && n.text == ""
}

// end reports what nobody took.
func (f *kubeFields) end() {
	if f.n == nil {
		return
	}
	for _, e := range f.n.keys {
		if !slices.Contains(f.known, e.key) {
			f.k.errorf(e.at, "unknown field %q%s", e.key, spec.DidYouMean(e.key, f.known))
		}
	}
}

// notHere is why fields of a pod that need what hosts don't have are refused.
const notYet = "not supported by this version"

// document opens a manifest and makes the native one.
func (k *kube) document(n *node, kind string) (f *kubeFields, doc, body *node) {
	f = k.in(n)
	f.silent("apiVersion", "kind", "status")
	doc, body = n.derive(object), n.derive(object)
	doc.set("apiVersion", doc.str(spec.APIVersion))
	doc.set("kind", doc.str(kind))
	doc.set("metadata", k.meta(n, f.take("metadata")))
	if s := f.n.get("spec"); s != nil {
		body.line, body.col, body.path = s.line, s.col, s.path
	}
	doc.set("spec", body)
	return f, doc, body
}

func (k *kube) meta(doc, n *node) *node {
	if n == nil {
		k.errorf(doc, "metadata with a name is needed")
		return doc.derive(object)
	}
	f := k.in(n)
	out := n.derive(object)
	for _, name := range []string{"name", "namespace", "labels", "annotations"} {
		out.set(name, f.take(name))
	}
	f.refuse("names cannot be generated; give one", "generateName")
	f.refuse("owners are "+notYet, "ownerReferences")
	f.refuse("finalizers are "+notYet, "finalizers")
	f.silent("uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields")
	f.end()
	return out
}

func (k *kube) statefulSet(n *node) {
	f, doc, body := k.document(n, spec.KindStatefulSet)
	s := k.in(f.take("spec"))
	f.end()
	if s.n == nil {
		k.errorf(n, "spec is needed")
		return
	}
	for _, name := range []string{"replicas", "serviceName", "podManagementPolicy", "revisionHistoryLimit", "ordinals"} {
		body.set(name, s.take(name))
	}
	body.set("minReady", k.seconds(s.take("minReadySeconds")))
	body.set("updateStrategy", s.take("updateStrategy"))
	body.set("volumeRetention", s.take("persistentVolumeClaimRetentionPolicy"))
	selector, template := s.take("selector"), s.take("template")
	claims := s.items("volumeClaimTemplates")
	s.end()
	if template == nil {
		k.errorf(s.n, "template is needed")
		return
	}
	t := k.in(template)
	meta := k.podMeta(t.take("metadata"))
	pod := t.take("spec")
	t.end()
	k.selector(s.n, selector, meta.labels)
	w := &workload{kube: k, body: body, labels: meta.labels, annotations: meta.annotations, refused: map[string]bool{}}
	w.claims(claims)
	if pod == nil {
		k.errorf(template, "spec with containers is needed")
	} else {
		w.pod(pod)
	}
	k.define(spec.KindStatefulSet, doc)
}

type podMeta struct{ labels, annotations map[string]string }

// podMeta reads the template's metadata: labels for the selector and fieldRef.
func (k *kube) podMeta(n *node) podMeta {
	f := k.in(n)
	m := podMeta{k.strings(f.take("labels")), k.strings(f.take("annotations"))}
	f.silent("creationTimestamp")
	f.ignore("name", "namespace", "generateName")
	f.refuse("finalizers are "+notYet, "finalizers")
	f.end()
	return m
}

func (k *kube) strings(n *node) map[string]string {
	out := map[string]string{}
	if n == nil {
		return out
	}
	if n.kind != object {
		k.errorf(n, "want an object, not %s", n.kind)
		return out
	}
	for _, e := range n.keys {
		if e.val.kind != str {
			k.errorf(e.val, "want a string, not %s: write %q with quotes", e.val.kind, e.val.text)
			continue
		}
		out[e.key] = e.val.text
	}
	return out
}

// seconds is a duration written as a number of seconds.
func (k *kube) seconds(n *node) *node {
	if n == nil {
		return nil
	}
	if n.kind != number || strings.Trim(n.text, "0123456789") != "" {
		k.errorf(n, "want a whole number of seconds, not %q", n.text)
		return nil
	}
	return n.str(n.text + "s")
}

// selector must match the template's labels, as Kubernetes wants it.
func (k *kube) selector(set, n *node, labels map[string]string) {
	if n == nil {
		k.errorf(set, "selector is needed and must match the template's labels")
		return
	}
	f := k.in(n)
	match := f.take("matchLabels")
	for _, e := range keysOf(match) {
		if v, ok := labels[e.key]; !ok || v != e.val.text {
			k.errorf(e.at, "selector %s=%s does not match the labels of the template (spec.template.metadata.labels)", e.key, e.val.text)
		}
	}
	for _, x := range f.items("matchExpressions") {
		k.matchExpression(x, labels)
	}
	f.end()
	if match == nil && len(f.items("matchExpressions")) == 0 {
		k.errorf(n, "the selector is empty; it must match the template's labels")
	}
}

func keysOf(n *node) []entry {
	if n == nil {
		return nil
	}
	return n.keys
}

func (k *kube) matchExpression(x *node, labels map[string]string) {
	f := k.in(x)
	key, op := f.take("key"), f.take("operator")
	var values []string
	for _, v := range f.items("values") {
		values = append(values, v.text)
	}
	f.end()
	if key == nil || op == nil {
		k.errorf(x, "key and operator are needed")
		return
	}
	got, ok := labels[key.text]
	var match bool
	switch op.text {
	case "In":
		match = ok && slices.Contains(values, got)
	case "NotIn":
		match = !ok || !slices.Contains(values, got)
	case "Exists":
		match = ok
	case "DoesNotExist":
		match = !ok
	default:
		k.errorf(op, "%q is none of In, NotIn, Exists, DoesNotExist", op.text)
		return
	}
	if !match {
		k.errorf(x, "the selector does not match the labels of the template")
	}
}

func (k *kube) service(n *node) {
	f, doc, body := k.document(n, spec.KindService)
	s := k.in(f.take("spec"))
	f.end()
	if s.n == nil {
		k.errorf(n, "spec is needed")
		return
	}
	ip := s.take("clusterIP")
	if ip == nil || ip.text != "None" {
		at := ip
		if at == nil {
			at = s.n
		}
		k.errorf(at, "only headless services are there: write clusterIP: None")
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
	if t := s.take("type"); t != nil && t.text != "ClusterIP" {
		k.errorf(t, "services of type %s are %s", t.text, notYet)
	}
	s.silent("clusterIPs")
	s.ignore("internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "sessionAffinity", "trafficDistribution")
	s.refuse("addresses from outside are "+notYet, "externalIPs", "externalName", "externalTrafficPolicy",
		"loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges", "healthCheckNodePort", "sessionAffinityConfig")
	s.end()
	k.define(spec.KindService, doc)
}

func (k *kube) servicePort(n *node) *node {
	f := k.in(n)
	out := n.derive(object)
	out.set("name", f.take("name"))
	port := f.take("port")
	out.set("port", port)
	out.set("protocol", f.take("protocol"))
	if t := f.take("targetPort"); t != nil && t.kind == number && port != nil && t.text != port.text {
		k.errorf(t, "a headless service forwards nothing: targetPort must be the port (%s), not %s", port.text, t.text)
	}
	f.ignore("appProtocol")
	f.refuse("node ports are "+notYet, "nodePort")
	f.end()
	return out
}
