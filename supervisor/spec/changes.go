package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Changes names what differs between two templates in a way that members are restarted to
// follow: "process main: command, env", "volumes", ... Values are not told: they may be
// long, or nobody's business. Nothing differs when the hashes are the same.
func (t Template) Changes(other Template) []string {
	a, b := t.restarting().tree(), other.restarting().tree()
	var out []string
	for _, k := range unionKeys(a, b) {
		if bytes.Equal(a[k], b[k]) {
			continue
		}
		switch k {
		case "processes":
			out = append(out, namedChanges("process", a[k], b[k])...)
		case "init":
			out = append(out, namedChanges("init step", a[k], b[k])...)
		case "shape":
			out = append(out, shapeChanges(t.Shape, other.Shape)...)
		case "volumeMounts":
			out = append(out, "mount paths of volumes")
		case "resolve":
			out = append(out, "network.resolve")
		default:
			out = append(out, k)
		}
	}
	return out
}

// restarting is what of a template is followed by a restart only.
func (t Template) restarting() Template {
	c := t
	c.Processes = make([]Process, len(t.Processes))
	for i, p := range t.Processes {
		for _, k := range p.Probes() {
			*k.At = nil
		}
		p.Hooks, p.Stop, p.Restart = nil, Stop{}, Restart{}
		c.Processes[i] = p
	}
	if t.Shape != nil {
		shape := Shape{Service: t.Shape.Service, Volumes: []VolumeSpec{}}
		for _, name := range t.Shape.volumeNames() {
			shape.Volumes = append(shape.Volumes, VolumeSpec{Name: name})
		}
		c.Shape = &shape
	}
	return c
}

func (t Template) tree() map[string]json.RawMessage {
	var out map[string]json.RawMessage
	b, err := json.Marshal(t)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic("spec: a template is always marshalled: " + err.Error())
	}
	return out
}

func unionKeys[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// namedChanges compares lists of objects that have names.
func namedChanges(what string, a, b json.RawMessage) []string {
	was, order := byName(a)
	is, orderNow := byName(b)
	var out []string
	for _, name := range unionKeys(was, is) {
		switch x, y := was[name], is[name]; {
		case x == nil:
			out = append(out, what+" "+name+" is new")
		case y == nil:
			out = append(out, what+" "+name+" is gone")
		default:
			var fields []string
			for _, k := range unionKeys(x, y) {
				if !bytes.Equal(x[k], y[k]) {
					fields = append(fields, k)
				}
			}
			if len(fields) > 0 {
				out = append(out, fmt.Sprintf("%s %s: %s", what, name, strings.Join(fields, ", ")))
			}
		}
	}
	if len(out) == 0 && !slices.Equal(order, orderNow) {
		out = append(out, "the order of each "+what)
	}
	return out
}

func byName(list json.RawMessage) (map[string]map[string]json.RawMessage, []string) {
	out := map[string]map[string]json.RawMessage{}
	var order []string
	var items []map[string]json.RawMessage
	if len(list) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(list, &items); err != nil {
		panic("spec: what was marshalled is read: " + err.Error())
	}
	for _, it := range items {
		name := strings.Trim(string(it["name"]), `"`)
		out[name], order = it, append(order, name)
	}
	return out, order
}

func shapeChanges(a, b *Shape) []string {
	if a == nil || b == nil || a.Service != b.Service && !slices.Equal(a.volumeNames(), b.volumeNames()) {
		return []string{"volumes or serviceName"}
	}
	if a.Service != b.Service {
		return []string{"serviceName"}
	}
	return []string{"volumes"}
}
