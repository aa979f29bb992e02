package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"supd/supervisor/spec"
)

// varRef is a variable of the environment in our template language.
func varRef(name string) string {
	if hclsyntax.ValidIdentifier(name) {
		return "${env." + name + "}"
	}
	return fmt.Sprintf("${env[%q]}", name)
}

// vars are the variables that $(VAR) may name.
type vars map[string]known

type known struct {
	kind varKind
	text string // of a literalVar
}

type varKind int

const (
	unknownVar varKind = iota
	plainVar
	secretVar
	// literalVar: envFrom gives it this text, and env another further down, so that no
	// variable holds the text.
	literalVar
)

// env reads a container's variables; all are the names that $(VAR) may use. Those of
// envFrom come first, and env wins over them.
func (w *workload) env(f *kubeFields) (out []*node, all vars) {
	all = vars{}
	last := map[string]int{}
	from, items := w.envFrom(f), f.items("env")
	for i, n := range items {
		if n.kind == object && !w.leftOut(n) {
			if name := n.get("name"); name != nil {
				last[name.text] = i
			}
		}
	}
	for _, v := range from {
		if _, again := last[v.name]; again {
			all[v.name] = known{literalVar, v.value}
			continue
		}
		x := v.at.derive(object)
		x.set("name", v.at.str(v.name))
		x.set("value", v.at.str(spec.EscapeTemplate(v.value)))
		out = append(out, x)
		all[v.name] = known{kind: plainVar}
	}
	for i, n := range items {
		v := w.variable(n, all)
		if v == nil {
			continue
		}
		name := v.get("name")
		if last[name.text] != i {
			w.overridden(name, items[last[name.text]])
			continue
		}
		out = append(out, v)
		all[name.text] = known{kind: plainVar}
		if v.get("fromFile") != nil {
			all[name.text] = known{kind: secretVar}
		}
	}
	return out, all
}

// mapVar is a variable of envFrom.
type mapVar struct {
	at          *node
	name, value string
}

// envFrom are the variables of whole ConfigMaps; of two of one name the later counts.
func (w *workload) envFrom(f *kubeFields) []mapVar {
	var out []mapVar
	for _, n := range f.items("envFrom") {
		x := w.in(n, "EnvFromSource")
		prefix, ref := x.take("prefix"), x.take("configMapRef")
		x.end()
		if ref == nil {
			if n.kind == object && n.get("secretRef").missing() {
				w.errorf(n, "configMapRef is needed")
			}
			continue
		}
		s := w.in(ref, "ConfigMapEnvSource")
		m := w.lookup(w.mapRef(s))
		s.end()
		if m == nil {
			continue
		}
		for _, key := range m.keys() {
			if m.binary[key] {
				continue
			}
			v := mapVar{ref, prefix.word() + key, m.values[key]}
			out = append(slices.DeleteFunc(out, func(o mapVar) bool { return o.name == v.name }), v)
		}
	}
	return out
}

// leftOut tells whether a variable is of a ConfigMap or key that may be missing, and is.
func (w *workload) leftOut(n *node) bool {
	from := n.get("valueFrom")
	if from == nil || from.kind != object {
		return false
	}
	ref := from.get("configMapKeyRef")
	if ref == nil || ref.kind != object || ref.get("optional").word() != "true" {
		return false
	}
	m := w.maps.find(w.namespace, ref.get("name").word())
	return m == nil || !m.has(ref.get("key").word())
}

// overridden: of two variables of one name the later counts, which is only the same here
// when it doesn't use the earlier.
func (w *workload) overridden(name, later *node) {
	if v := later.get("value"); v != nil && strings.Contains(v.text, "$("+name.text+")") {
		w.errorf(later, "%s is built on an earlier %s, which is %s; give it one value", name.text, name.text, notYet)
		return
	}
	w.warnf(name, "%s is given again below; that value counts", name.text)
}

func (w *workload) variable(n *node, all vars) *node {
	f := w.in(n, "EnvVar")
	name, value, from := f.take("name"), f.take("value"), f.take("valueFrom")
	f.end()
	if name == nil {
		if f.n != nil {
			w.errorf(n, "name is needed")
		}
		return nil
	}
	out := n.derive(object)
	out.set("name", name)
	switch {
	case value != nil && from != nil:
		w.errorf(n, "value and valueFrom exclude each other")
	case value != nil && value.kind == str:
		text, secret := expandVars(value.text, all)
		if secret != "" {
			w.errorf(value, "$(%s) is a secret, which cannot be a part of another variable", secret)
		}
		out.set("value", value.str(text))
	case value != nil:
		out.set("value", value)
	case from != nil:
		w.valueFrom(from, out)
		if w.leftOut(n) {
			return nil
		}
	}
	return out
}

func (w *workload) valueFrom(n, out *node) {
	f := w.in(n, "EnvVarSource")
	if r := f.take("fieldRef"); r != nil {
		x := w.in(r, "ObjectFieldSelector")
		path := x.take("fieldPath")
		x.end()
		if path == nil {
			w.errorf(r, "fieldPath is needed")
		} else {
			out.set("value", w.fieldRef(path))
		}
	}
	if r := f.take("secretKeyRef"); r != nil {
		w.secret(r, out)
	}
	if r := f.take("configMapKeyRef"); r != nil {
		w.mapKey(r, out)
	}
	f.end()
}

// mapKey: the value of a key, which is literal.
func (w *workload) mapKey(n, out *node) {
	f := w.in(n, "ConfigMapKeySelector")
	r, key := w.mapRef(f), f.take("key")
	f.end()
	if key == nil {
		if f.n != nil {
			w.errorf(n, "key is needed")
		}
		return
	}
	m := w.lookup(r)
	if m == nil {
		return
	}
	text, ok := w.text(m, key, r.optional)
	switch {
	case ok && m.binary[key.text]:
		w.errorf(key, "key %q of ConfigMap %q is in binaryData, which variables have nothing of: write it into data", key.text, m.name)
	case ok:
		out.set("value", n.str(spec.EscapeTemplate(text)))
	}
}

var secretPart = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*)$`)

// secret: a key of a Secret is a file of the node.
func (w *workload) secret(n, out *node) {
	f := w.in(n, "SecretKeySelector")
	name, key := f.take("name"), f.take("key")
	f.end()
	if name == nil || key == nil {
		w.errorf(n, "name and key are needed")
		return
	}
	if !secretPart.MatchString(name.text) || !secretPart.MatchString(key.text) || strings.Contains(name.text+key.text, "..") {
		w.errorf(n, "%q, %q: name and key must be letters, digits, '-', '_' and '.'", name.text, key.text)
		return
	}
	out.set("fromFile", n.str("/etc/supd/secrets/"+name.text+"/"+key.text))
}

// downward is the downward API in our templates.
var downward = map[string]string{
	"metadata.name":      "${member.name}",
	"metadata.namespace": "${member.namespace}",
	"spec.nodeName":      "${member.node}",
	"status.podIP":       "${member.ip}",
	"status.podIPs":      "${member.ip}",
	"status.hostIP":      "${node.address}",
	"status.hostIPs":     "${node.address}",
}

// memberLabels are labels that Kubernetes gives each pod of a set.
var memberLabels = map[string]string{
	"statefulset.kubernetes.io/pod-name": "${member.name}",
	"apps.kubernetes.io/pod-index":       "${member.ordinal}",
	"controller-revision-hash":           "${member.revision}",
}

var subscript = regexp.MustCompile(`^metadata\.(labels|annotations)\['([^']+)'\]$`)

func (w *workload) fieldRef(path *node) *node {
	if t, ok := downward[path.text]; ok {
		return path.str(t)
	}
	m := subscript.FindStringSubmatch(path.text)
	if m == nil {
		known := make([]string, 0, len(downward))
		for k := range downward {
			known = append(known, k)
		}
		w.errorf(path, "fieldPath %q is %s%s", path.text, notYet, spec.DidYouMean(path.text, known))
		return nil
	}
	if m[1] == "annotations" {
		return path.str(spec.EscapeTemplate(w.annotations[m[2]]))
	}
	if t, ok := memberLabels[m[2]]; ok {
		return path.str(t)
	}
	return path.str(spec.EscapeTemplate(w.labels[m[2]]))
}
