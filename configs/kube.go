package configs

import (
	"fmt"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// The Kubernetes front end turns a manifest's tree into a native one, which is then
// decoded and checked like any other. What becomes of each field is said in one place,
// the table (kube_table*.go), which configs/kubernetes.md is printed from.

// kube is the translation of one manifest.
type kube struct {
	*parser
	ignored []string
}

func (p *parser) kubernetes(n, version, kind *node) {
	i := slices.IndexFunc(kubeKinds, func(x kubeKind) bool { return x.version == version.text && x.kind == kind.text })
	if i < 0 {
		p.otherKind(version, kind)
		return
	}
	switch x := kubeKinds[i]; x.is {
	case refused:
		reason := x.note
		if reason == onlyStatefulSets {
			reason = fmt.Sprintf(onlyStatefulSets, x.kind)
		}
		p.errorf(kind, "%s", reason)
		return
	case ignored:
		p.warnf(kind, "%s %s is ignored: %s", x.version, x.kind, x.note)
		return
	case taken, silent: // a whole document is never passed over in silence
	}
	k := &kube{parser: p}
	switch kind.text {
	case spec.KindStatefulSet:
		k.statefulSet(n)
	case spec.KindService:
		k.service(n)
	case kindBudget:
		k.budget(n)
	case kindConfigMap:
		k.configMap(n)
	}
	if len(k.ignored) > 0 {
		p.warnf(n, "ignored, for only Kubernetes needs it: %s", strings.Join(k.ignored, ", "))
	}
}

// otherKind says why a document is not in the table: of another version, or not known.
func (p *parser) otherKind(version, kind *node) {
	var known []string
	for _, x := range kubeKinds {
		if x.kind == kind.text {
			p.errorf(version, "%s is not of %q; write %s", kind.text, version.text, x.version)
			return
		}
		if x.is == taken {
			known = append(known, x.kind)
		}
	}
	p.errorf(kind, "%s %s is not supported by this version; of Kubernetes' kinds %s are%s",
		version.text, kind.text, strings.Join(known, ", "), spec.DidYouMean(kind.text, known))
}

// kubeFields reads the fields of one object as its type in the table has them, and
// knows at the end which nobody took.
type kubeFields struct {
	k  *kube
	n  *node
	of *kubeType
	// took are the fields that were read.
	took []string
}

// in opens an object for reading; anything else is an error and reads as empty.
func (k *kube) in(n *node, of string) *kubeFields {
	f := &kubeFields{k: k, n: n, of: typeOf(of)}
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
	if x := f.of.field(name); x == nil || x.is != taken {
		panic(fmt.Sprintf("configs: the table of Kubernetes' fields does not say that %s.%s is taken; let it", f.of.name, name))
	}
	f.took = append(f.took, name)
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

// isFalse tells whether a value says what leaving it out would.
func isFalse(n *node) bool {
	return n.missing() || n.kind == boolean && n.text == "false" || n.kind == list && len(n.items) == 0 ||
		n.kind == object && len(n.keys) == 0 || n.kind == str && n.text == ""
}

// end does as the table says with what is not taken, and reports what it doesn't know.
func (f *kubeFields) end() {
	if f.n == nil {
		return
	}
	for _, e := range f.n.keys {
		x := f.of.field(e.key)
		switch {
		case x == nil:
			f.k.errorf(e.at, "unknown field %q%s", e.key, spec.DidYouMean(e.key, f.of.names()))
		case x.is == ignored && !e.val.missing():
			f.k.ignored = append(f.k.ignored, e.val.path)
		case x.is == refused && !isFalse(e.val):
			f.k.errorf(e.val, "%s", x.note)
		case x.is == taken && !slices.Contains(f.took, e.key):
			f.k.errorf(e.at, "%q was read by nobody, which is a fault of supd: please report it", e.key)
		}
	}
}

// pass takes an object whose fields have the same names and meaning here.
func (k *kube) pass(n *node, of string) *node {
	if n == nil {
		return nil
	}
	f := k.in(n, of)
	if f.n == nil {
		return nil
	}
	out := n.derive(object)
	for _, x := range f.of.fields {
		if x.is == taken {
			out.set(x.name, f.take(x.name))
		}
	}
	f.end()
	return out
}

// document opens a manifest and makes the native one.
func (k *kube) document(n *node, kind string) (f *kubeFields, doc, body *node) {
	f = k.in(n, kind)
	f.take("apiVersion")
	f.take("kind")
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
	if out := k.pass(n, "ObjectMeta"); out != nil {
		return out
	}
	return n.derive(object)
}

func (k *kube) statefulSet(n *node) {
	f, doc, body := k.document(n, spec.KindStatefulSet)
	s := k.in(f.take("spec"), "StatefulSetSpec")
	f.end()
	if s.n == nil {
		k.errorf(n, "spec is needed")
		return
	}
	for _, name := range []string{"replicas", "serviceName", "podManagementPolicy", "revisionHistoryLimit"} {
		body.set(name, s.take(name))
	}
	body.set("minReady", k.seconds(s.take("minReadySeconds")))
	body.set("ordinals", k.pass(s.take("ordinals"), "StatefulSetOrdinals"))
	body.set("updateStrategy", k.updateStrategy(s.take("updateStrategy")))
	body.set("volumeRetention", k.pass(s.take("persistentVolumeClaimRetentionPolicy"), "StatefulSetPersistentVolumeClaimRetentionPolicy"))
	selector, template := s.take("selector"), s.take("template")
	claims := s.items("volumeClaimTemplates")
	s.end()
	if template == nil {
		k.errorf(s.n, "template is needed")
		return
	}
	t := k.in(template, "PodTemplateSpec")
	meta := k.podMeta(t.take("metadata"))
	pod := t.take("spec")
	t.end()
	k.selector(s.n, selector, meta.labels)
	w := &workload{
		kube: k, body: body, labels: meta.labels, annotations: meta.annotations, refused: map[string]bool{},
		namespace: doc.get("metadata").get("namespace").word(),
	}
	w.claims(claims)
	if pod == nil {
		k.errorf(template, "spec with containers is needed")
	} else {
		w.pod(pod)
	}
	k.define(spec.KindStatefulSet, doc)
	def := &k.defs[len(k.defs)-1]
	def.podLabels = meta.labels
	w.checkSize(def)
}

func (k *kube) updateStrategy(n *node) *node {
	out := k.pass(n, "StatefulSetUpdateStrategy")
	if out != nil {
		out.set("rollingUpdate", k.pass(out.get("rollingUpdate"), "RollingUpdateStatefulSetStrategy"))
	}
	return out
}

type podMeta struct{ labels, annotations map[string]string }

// podMeta reads the template's metadata: labels for the selector and fieldRef.
func (k *kube) podMeta(n *node) podMeta {
	f := k.in(n, "TemplateMeta")
	m := podMeta{k.strings(f.take("labels")), k.strings(f.take("annotations"))}
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
	f := k.in(n, "LabelSelector")
	match, expressions := f.take("matchLabels"), f.items("matchExpressions")
	for _, e := range keysOf(match) {
		if v, ok := labels[e.key]; !ok || v != e.val.text {
			k.errorf(e.at, "selector %s=%s does not match the labels of the template (spec.template.metadata.labels)", e.key, e.val.text)
		}
	}
	for _, x := range expressions {
		k.matchExpression(x, labels)
	}
	f.end()
	if match == nil && len(expressions) == 0 {
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
	f := k.in(x, "LabelSelectorRequirement")
	key, op := f.take("key"), f.take("operator")
	f.take("values")
	f.end()
	if key == nil || op == nil {
		k.errorf(x, "key and operator are needed")
		return
	}
	switch match, ok := expressionMatches(x, labels); {
	case !ok:
		k.errorf(op, "%q is none of In, NotIn, Exists, DoesNotExist", op.text)
	case !match:
		k.errorf(x, "the selector does not match the labels of the template")
	}
}

// expressionMatches; ok says that the operator is one.
func expressionMatches(x *node, labels map[string]string) (match, ok bool) {
	got, has := labels[x.get("key").word()]
	in := false
	if v := x.get("values"); v != nil {
		in = slices.ContainsFunc(v.items, func(v *node) bool { return v.text == got })
	}
	switch x.get("operator").word() {
	case "In":
		return has && in, true
	case "NotIn":
		return !has || !in, true
	case "Exists":
		return has, true
	case "DoesNotExist":
		return !has, true
	}
	return false, false
}
