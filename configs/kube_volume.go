package configs

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"supd/supervisor/spec"
)

// configVolume is a volume whose files the manifest says: of ConfigMaps, and of the
// downward API. It is a scratch directory, in which they are written anew at every start
// before the first init step; containers mount them read-only. They lie one directory
// down, which, other than the scratch directory, every user may enter.
type configVolume struct {
	name  string
	files []*node
	// given: a process has them.
	given bool
}

// configDir is where in the scratch directory the files are.
const configDir = "data"

// podVolumes are the pod's own volumes: scratch directories.
func (w *workload) podVolumes(f *kubeFields) {
	for _, n := range f.items("volumes") {
		v := w.in(n, "Volume")
		name, empty := v.take("name"), v.take("emptyDir")
		config := map[string]*node{}
		for _, kind := range []string{"configMap", "projected", "downwardAPI"} {
			if c := v.take(kind); c != nil {
				config[kind] = c
			}
		}
		v.end()
		if v.n == nil {
			continue
		}
		if name == nil {
			w.errorf(n, "name is needed")
			continue
		}
		sources := v.sources()
		switch {
		case len(sources) == 0:
			w.errorf(n, "volume %q has no source that is known", name.text)
			fallthrough
		case len(config) == 0 && !slices.Contains(sources, "emptyDir"): // refused already
			w.refused[name.text] = true
			continue
		case len(sources) > 1:
			w.errorf(n, "volume %q has more than one source: %s", name.text, strings.Join(sources, ", "))
			w.refused[name.text] = true
			continue
		}
		d := n.derive(object)
		d.set("name", name)
		w.scratch = append(w.scratch, d)
		if len(config) == 0 {
			w.emptyDir(empty)
			continue
		}
		c := &configVolume{name: name.text}
		w.configs = append(w.configs, c)
		w.configVolume(c, config)
	}
}

// sources are the fields of a volume that say what it is; an emptyDir may say nothing.
func (f *kubeFields) sources() []string {
	var out []string
	for _, e := range f.n.keys {
		if e.key != "name" && f.of.field(e.key) != nil && (!e.val.missing() || e.key == "emptyDir") {
			out = append(out, e.key)
		}
	}
	return out
}

func (w *workload) emptyDir(n *node) {
	e := w.in(n, "EmptyDirVolumeSource")
	if m := e.take("medium"); m != nil && m.text != "" {
		w.warnf(m, "the directory is kept on disk, not in memory")
	}
	e.end()
}

// configVolume reads the one source of a volume of files.
func (w *workload) configVolume(c *configVolume, source map[string]*node) {
	if n := source["configMap"]; n != nil {
		f := w.in(n, "ConfigMapVolumeSource")
		w.mapFiles(c, f, w.fileMode(f.take("defaultMode"), defaultFileMode))
	}
	if n := source["downwardAPI"]; n != nil {
		f := w.in(n, "DownwardAPIVolumeSource")
		w.downwardFiles(c, f, w.fileMode(f.take("defaultMode"), defaultFileMode))
	}
	if n := source["projected"]; n != nil {
		f := w.in(n, "ProjectedVolumeSource")
		mode := w.fileMode(f.take("defaultMode"), defaultFileMode)
		for _, s := range f.items("sources") {
			p := w.in(s, "VolumeProjection")
			if m := p.take("configMap"); m != nil {
				w.mapFiles(c, w.in(m, "ConfigMapProjection"), mode)
			}
			if d := p.take("downwardAPI"); d != nil {
				w.downwardFiles(c, w.in(d, "DownwardAPIProjection"), mode)
			}
			p.end()
		}
		f.end()
	}
}

// mapFiles are the keys of a ConfigMap as files: all, or those that items names.
func (w *workload) mapFiles(c *configVolume, f *kubeFields, mode string) {
	r := w.mapRef(f)
	m := w.lookup(r)
	items := f.items("items")
	for _, n := range items {
		x := w.in(n, "KeyToPath")
		key, to, mode := x.take("key"), x.take("path"), w.fileMode(x.take("mode"), mode)
		x.end()
		if key == nil || to == nil {
			w.errorf(n, "key and path are needed")
			continue
		}
		if m == nil {
			continue
		}
		if text, ok := w.text(m, key, r.optional); ok {
			w.file(c, to, mode, spec.EscapeTemplate(text))
		}
	}
	f.end()
	if m == nil || len(items) > 0 {
		return
	}
	for _, key := range m.keys() {
		w.file(c, r.at.str(key), mode, spec.EscapeTemplate(m.values[key]))
	}
}

// downwardFiles are fields of the pod as files.
func (w *workload) downwardFiles(c *configVolume, f *kubeFields, mode string) {
	for _, n := range f.items("items") {
		x := w.in(n, "DownwardAPIVolumeFile")
		to, ref, mode := x.take("path"), x.take("fieldRef"), w.fileMode(x.take("mode"), mode)
		x.end()
		s := w.in(ref, "ObjectFieldSelector")
		field := s.take("fieldPath")
		s.end()
		switch {
		case to == nil:
			w.errorf(n, "path is needed")
		case field != nil:
			if content := w.downwardFile(field); content != nil {
				w.file(c, to, mode, content.text)
			}
		case ref != nil:
			w.errorf(ref, "fieldPath is needed")
		case n.kind == object && n.get("resourceFieldRef").missing():
			w.errorf(n, "fieldRef is needed")
		}
	}
	f.end()
}

// downwardFile is a template of what a file with a field of the pod holds. Files, other
// than variables, may hold all labels or annotations.
func (w *workload) downwardFile(field *node) *node {
	switch field.text {
	case "metadata.labels":
		labels := map[string]string{}
		for k, v := range w.labels {
			labels[k] = spec.EscapeTemplate(strconv.Quote(v))
		}
		for k, v := range memberLabels {
			labels[k] = `"` + v + `"`
		}
		return field.str(lines(labels))
	case "metadata.annotations":
		annotations := map[string]string{}
		for k, v := range w.annotations {
			annotations[k] = spec.EscapeTemplate(strconv.Quote(v))
		}
		return field.str(lines(annotations))
	}
	return w.fieldRef(field)
}

// lines are KEY=VALUE by key, as Kubernetes writes them.
func lines(m map[string]string) string {
	out := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, "\n")
}

// file adds a file to a volume; to is its path there, content a template.
func (w *workload) file(c *configVolume, to *node, mode, content string) {
	rel := filepath.Clean(to.text)
	if to.kind != str || !filepath.IsLocal(rel) || rel == "." || strings.HasPrefix(to.text, "..") || slices.Contains(strings.Split(to.text, "/"), "..") {
		w.errorf(to, "%q must be a path below the volume, without '..'", to.text)
		return
	}
	f := to.derive(object)
	f.set("path", to.str(volumeRef(c.name)+"/"+configDir+"/"+spec.EscapeTemplate(rel)))
	f.set("mode", to.str(mode))
	if content != "" {
		f.set("content", to.str(content))
	}
	c.files = append(c.files, f)
}

// defaultFileMode is Kubernetes' default of defaultMode.
const defaultFileMode = "0644"

// fileMode is a mode as it is written here: Kubernetes takes 0644 and 420 for the same.
func (w *workload) fileMode(n *node, otherwise string) string {
	if n == nil {
		return otherwise
	}
	mode, err := strconv.ParseUint(n.text, 0, 32)
	if n.kind != number || err != nil || mode > 0o777 {
		w.errorf(n, "%q is no mode: write for example 0644, at most 0777", n.text)
		return otherwise
	}
	return fmt.Sprintf("%04o", mode)
}

// volumeRef is the path of a volume in our template language.
func volumeRef(name string) string {
	if hclsyntax.ValidIdentifier(name) {
		return "${volume." + name + "}"
	}
	return fmt.Sprintf("${volume[%q]}", name)
}

// config is the volume of files of that name, or nil.
func (w *workload) config(name string) *configVolume {
	for _, c := range w.configs {
		if c.name == name {
			return c
		}
	}
	return nil
}

// mountConfig turns a mount of a volume of files to where they are. Nobody writes there.
func (w *workload) mountConfig(n, mount *node) {
	if w.config(mount.get("volume").word()) == nil {
		return
	}
	switch sub := mount.get("subPath"); {
	case sub == nil:
		mount.set("subPath", n.str(configDir))
	case filepath.IsLocal(sub.text): // else it is refused as it stands
		mount.set("subPath", sub.str(configDir+"/"+sub.text))
	}
	mount.set("readOnly", n.bool(true))
}

// giveFiles gives a process the files of the volumes that it is the first to mount, and
// so their owner.
func (w *workload) giveFiles(process *node) {
	var mine []*configVolume
	if mounts := process.get("mounts"); mounts != nil {
		for _, m := range mounts.items {
			if c := w.config(m.get("volume").word()); c != nil && !c.given {
				mine = append(mine, c)
				c.given = true
			}
		}
	}
	addFiles(process, mine)
}

// giveRest gives the main process the files of volumes that only init steps mount, or nobody.
func (w *workload) giveRest(main *node) {
	addFiles(main, slices.DeleteFunc(slices.Clone(w.configs), func(c *configVolume) bool { return c.given }))
}

func addFiles(process *node, volumes []*configVolume) {
	var files []*node
	if have := process.get("files"); have != nil {
		files = have.items
	}
	for _, c := range volumes {
		files = append(files, c.files...)
	}
	setList(process, "files", files)
}
