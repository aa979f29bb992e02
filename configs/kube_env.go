package configs

import (
	"fmt"
	"regexp"
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
type vars map[string]varKind

type varKind int

const (
	unknownVar varKind = iota
	plainVar
	secretVar
)

// env reads a container's variables; all are the names that $(VAR) may use.
func (w *workload) env(f *kubeFields) (out []*node, all vars) {
	all = vars{}
	last := map[string]int{}
	items := f.items("env")
	for i, n := range items {
		if n.kind == object {
			if name := n.get("name"); name != nil {
				last[name.text] = i
			}
		}
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
		all[name.text] = plainVar
		if v.get("fromFile") != nil {
			all[name.text] = secretVar
		}
	}
	return out, all
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
	f.end()
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
