package configs

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"supd/supervisor/spec"
)

const kindConfigMap = "ConfigMap"

// configMap is a ConfigMap of the files. Nothing is stored of it: what of it a set uses
// becomes part of the set's template.
type configMap struct {
	namespace, name string
	// values are texts by key; binary are the keys whose texts were given in binaryData,
	// which variables never see.
	values map[string]string
	binary map[string]bool
	// broken: errors were told, so what is missing need not be told too.
	broken bool
	used   bool
	diag   func(format string, args ...any) Diagnostic
}

func (m *configMap) keys() []string { return slices.Sorted(maps.Keys(m.values)) }

// size is about what its texts take in a definition.
func (m *configMap) size() (n int) {
	for _, v := range m.values {
		n += len(v)
	}
	return n
}

// configMaps are those of all files that are read together.
type configMaps struct{ all []*configMap }

func (c *configMaps) find(namespace, name string) *configMap {
	for _, m := range c.all {
		if m.name == name && namespaceOf(m.namespace) == namespaceOf(namespace) {
			return m
		}
	}
	return nil
}

// unused warns of those that nobody names.
func (c *configMaps) unused() []Diagnostic {
	var out []Diagnostic
	for _, m := range c.all {
		if !m.used && !m.broken {
			d := m.diag("no StatefulSet of these files uses ConfigMap %q: nothing is made of it, for it is no object of the cluster; apply it together with the sets that name it", m.name)
			d.Warning = true
			out = append(out, d)
		}
	}
	return out
}

func isConfigMap(n *node) bool {
	return n.kind == object && n.get("apiVersion").word() == spec.KubeCoreV1 && n.get("kind").word() == kindConfigMap
}

// configMapKey is what Kubernetes lets a key be: a name of a file.
var configMapKey = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

func (k *kube) configMap(n *node) {
	before := len(k.diags)
	f := k.in(n, kindConfigMap)
	f.take("apiVersion")
	f.take("kind")
	meta := k.meta(n, f.take("metadata"))
	data, binary := f.take("data"), f.take("binaryData")
	f.end()
	name := meta.get("name")
	switch {
	case name.missing():
		k.errorf(n, "metadata.name is needed")
		name = n
	case name.kind != str:
		k.errorf(name, "want a string, not %s: write %q with quotes", name.kind, name.text)
	}
	m := &configMap{
		namespace: meta.get("namespace").word(), name: name.word(),
		values: k.strings(data), binary: map[string]bool{},
		diag: func(format string, args ...any) Diagnostic { return k.at(name, fmt.Sprintf(format, args...)) },
	}
	for key, text := range k.strings(binary) {
		at := binary.get(key)
		switch b, err := base64.StdEncoding.DecodeString(text); {
		case m.has(key):
			k.errorf(at, "the key is in data too")
		case err != nil:
			k.errorf(at, "want base64: %v", err)
		case !validText(b):
			k.errorf(at, "the value is no text, and definitions hold texts only: put the file on the hosts")
		default:
			m.values[key], m.binary[key] = string(b), true
		}
	}
	for _, e := range slices.Concat(keysOf(data), keysOf(binary)) {
		if !configMapKey.MatchString(e.key) || strings.HasPrefix(e.key, "..") || e.key == "." {
			k.errorf(e.at, "%q is no key: letters, digits, '-', '_' and '.', not beginning with '..'", e.key)
		}
	}
	if first := k.maps.find(m.namespace, m.name); first != nil {
		at := first.diag("")
		k.errorf(name, "%s %s/%s is defined twice, first at %s:%d", kindConfigMap, namespaceOf(m.namespace), m.name, at.File, at.Line)
	}
	m.broken = HasErrors(k.diags[before:])
	k.maps.all = append(k.maps.all, m)
}

func (m *configMap) has(key string) bool {
	_, ok := m.values[key]
	return ok
}

// mapRef is how a manifest names a ConfigMap: at the place that says so.
type mapRef struct {
	at, name *node
	optional bool
}

func (w *workload) mapRef(f *kubeFields) mapRef {
	r := mapRef{at: f.n, name: f.take("name")}
	if v := f.take("optional"); v != nil {
		if v.kind != boolean {
			w.errorf(v, "want true or false")
		}
		r.optional = v.text == "true"
	}
	if r.name == nil && f.n != nil {
		w.errorf(f.n, "name is needed")
	}
	return r
}

// lookup finds what is named; nil: it is not there, or not to be read, which was told.
func (w *workload) lookup(r mapRef) *configMap {
	if r.name == nil {
		return nil
	}
	m := w.maps.find(w.namespace, r.name.text)
	switch {
	case m == nil && r.optional:
		w.warnf(r.name, "no ConfigMap %q is among these files; it is optional, so nothing of it is there", r.name.text)
		return nil
	case m == nil:
		w.errorf(r.name, "no ConfigMap %q is among these files: give it in the same apply, in the same directory or by another -f%s", r.name.text, w.nearMap(r.name.text))
		return nil
	}
	m.used = true
	if !slices.Contains(w.uses, m) {
		w.uses = append(w.uses, m)
	}
	return m
}

// nearMap guesses at what was meant.
func (w *workload) nearMap(name string) string {
	var names []string
	for _, m := range w.maps.all {
		switch {
		case namespaceOf(m.namespace) == namespaceOf(w.namespace):
			names = append(names, m.name)
		case m.name == name:
			return fmt.Sprintf("; the one of that name is in namespace %s, the set in %s", namespaceOf(m.namespace), namespaceOf(w.namespace))
		}
	}
	return spec.DidYouMean(name, names)
}

// text is the value of a key; ok: it is there. That it isn't was told.
func (w *workload) text(m *configMap, key *node, optional bool) (text string, ok bool) {
	text, ok = m.values[key.text]
	switch {
	case ok, m.broken:
	case optional:
		w.warnf(key, "ConfigMap %q has no key %q; it is optional, so nothing of it is there", m.name, key.text)
	default:
		w.errorf(key, "ConfigMap %q has no key %q%s", m.name, key.text, spec.DidYouMean(key.text, m.keys()))
	}
	return text, ok
}

// slack is what an entry of the log has beside the definition.
const slack = 4 << 10

// checkSize: texts of ConfigMaps become part of the definition, which is in an entry of the
// log twice: as it was written, and with its Programs.
func (w *workload) checkSize(d *Definition) {
	set, ok := d.Object.(*spec.StatefulSet)
	if !ok || len(w.uses) == 0 {
		return
	}
	b, err := json.Marshal(set.Spec)
	if err != nil || 2*len(b)+slack <= spec.MaxEntry {
		return // a set that can't be written as JSON is one that has errors
	}
	largest := slices.MaxFunc(w.uses, func(a, b *configMap) int { return cmp.Compare(a.size(), b.size()) })
	w.diags = append(w.diags, largest.diag(
		"its %d KiB are too much for StatefulSet %s, whose definition takes %d KiB with its ConfigMaps; about %d are allowed: put large files on the hosts and name their paths",
		largest.size()>>10, set.Metadata.Name, len(b)>>10, (spec.MaxEntry-slack)>>11))
}
