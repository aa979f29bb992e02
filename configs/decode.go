package configs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"supd/supervisor/spec"
)

// field is one JSON field of a struct of package spec, embedded ones included.
type field struct {
	name  string
	index []int
	typ   reflect.Type
	owner reflect.Type // the struct that declares it
}

// fields lists the JSON fields of a struct in order.
func fields(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			for _, sub := range fields(f.Type) {
				sub.index = append([]int{i}, sub.index...)
				out = append(out, sub)
			}
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		out = append(out, field{name: name, index: []int{i}, typ: f.Type, owner: t})
	}
	return out
}

func findField(t reflect.Type, name string) (field, bool) {
	for _, f := range fields(t) {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

var (
	typeEnv         = reflect.TypeFor[spec.Env]()
	typeQuantity    = reflect.TypeFor[spec.Quantity]()
	typeUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// numeric are string fields where a bare number says the same.
var numeric = map[string]bool{
	"mode": true, "umask": true, "user": true, "group": true, "supplementaryGroups": true,
}

var octalText = regexp.MustCompile(`^[0-9]+$`)

// ignoredOnInput are fields that the server fills in.
var ignoredOnInput = map[string]bool{"status": true}

// decode fills the struct that out points to, and notes where each field stands.
func (p *parser) decode(n *node, out any, at places) {
	d := decoder{parser: p, places: at}
	d.value(n, reflect.ValueOf(out).Elem(), "", "")
}

type decoder struct {
	*parser
	places places
}

// value decodes n into v. path is the native path, name the nearest field's name.
func (d *decoder) value(n *node, v reflect.Value, path, name string) {
	d.places[path] = n
	if n.broken {
		d.failed[path] = true
	}
	if n.kind == null {
		return
	}
	errs, failed := len(d.diags), len(d.failed)
	defer func() {
		if len(d.diags) > errs && len(d.failed) == failed {
			d.failed[path] = true
		}
	}()
	switch {
	case v.Kind() == reflect.Pointer:
		e := reflect.New(v.Type().Elem())
		before := len(d.diags)
		d.value(n, e.Elem(), path, name)
		if len(d.diags) == before || v.Type().Elem().Kind() == reflect.Struct {
			v.Set(e)
		}
		return
	case v.Type() == typeEnv:
		d.env(n, v, path)
		return
	case v.CanAddr() && v.Addr().Type().Implements(typeUnmarshaler) && v.Kind() != reflect.Struct || v.Type().PkgPath() == "time":
		d.unmarshal(n, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.slice(n, v, path, name)
	default:
		d.scalar(n, v, name)
	}
}

func (d *decoder) structure(n *node, v reflect.Value, path string) {
	if !d.want(n, object) {
		return
	}
	all := fields(v.Type())
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.name
	}
	for _, e := range n.keys {
		i := slices.Index(names, e.key)
		switch {
		case i >= 0 && !ignoredOnInput[e.key]:
			d.value(e.val, v.FieldByIndex(all[i].index), join(path, e.key), e.key)
		case ignoredOnInput[e.key] && path == "":
		default:
			d.unknown(e, path, names)
		}
	}
}

func (d *decoder) unknown(e entry, path string, names []string) {
	key := e.key
	if meant := spec.Nearest(key, names); meant != "" {
		d.failed[join(path, meant)] = true
	} else {
		d.failed[join(path, key)] = true
	}
	if e.at.hcl {
		key = snake(key)
		names = slices.Clone(names)
		for i := range names {
			names[i] = snake(names[i])
		}
	}
	d.errorf(e.at, "unknown field %q%s", key, spec.DidYouMean(key, names))
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) mapping(n *node, v reflect.Value, path string) {
	if !d.want(n, object) {
		return
	}
	m := reflect.MakeMap(v.Type())
	for _, e := range n.keys {
		val := reflect.New(v.Type().Elem()).Elem()
		d.value(e.val, val, join(path, e.key), "")
		m.SetMapIndex(reflect.ValueOf(e.key), val)
	}
	if m.Len() > 0 {
		v.Set(m)
	}
}

func (d *decoder) slice(n *node, v reflect.Value, path, name string) {
	if !d.want(n, list) {
		return
	}
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		val := reflect.New(v.Type().Elem()).Elem()
		if item.kind == null {
			d.errorf(item, "an item of the list is empty")
		}
		d.value(item, val, at, name)
		v.Set(reflect.Append(v, val))
	}
}

// env takes a list of {name, value} and an object, whose order counts: a variable may
// use those above it.
func (d *decoder) env(n *node, v reflect.Value, path string) {
	if n.kind == list {
		d.slice(n, v, path, "")
		return
	}
	if n.kind != object {
		d.errorf(n, "want a list of {name, value} or an object, not %s", n.kind)
		return
	}
	var env spec.Env
	for i, e := range n.keys {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.places[at] = e.at
		x := spec.EnvVar{Name: e.key}
		d.value(e.val, reflect.ValueOf(&x.Value).Elem(), at+".value", "")
		env = append(env, x)
	}
	v.Set(reflect.ValueOf(env))
}

func (d *decoder) unmarshal(n *node, v reflect.Value) {
	raw := []byte(n.text)
	switch n.kind {
	case str:
		raw = quoteJSON(n.text)
	case number:
		if _, err := strconv.ParseFloat(n.text, 64); err != nil || !json.Valid(raw) {
			raw = quoteJSON(n.text)
		}
	case boolean:
	default:
		d.errorf(n, "want a single value, not %s", n.kind)
		return
	}
	if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(raw); err != nil {
		d.errorf(n, "%v", err)
	}
}

func quoteJSON(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("configs: a string is always marshalled: " + err.Error())
	}
	return b
}

func (d *decoder) scalar(n *node, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		ok := n.kind == str
		if n.kind == number && (v.Type() == typeQuantity || name == "cpu" || numeric[name] && octalText.MatchString(n.text)) {
			ok = true
		}
		if !ok && (n.kind == number || n.kind == boolean) {
			d.errorf(n, "want a string, not %s: write %q with quotes", n.kind, n.text)
			return
		}
		if ok || d.want(n, str) {
			v.SetString(n.text)
		}
	case reflect.Bool:
		if d.want(n, boolean) {
			v.SetBool(n.text == "true")
		}
	case reflect.Int, reflect.Int64:
		if !d.want(n, number) {
			return
		}
		i, err := strconv.ParseInt(strings.TrimPrefix(n.text, "+"), 10, 64)
		if err != nil || v.OverflowInt(i) {
			d.errorf(n, "%s is not a whole number", n.text)
			return
		}
		v.SetInt(i)
	case reflect.Uint64:
		if !d.want(n, number) {
			return
		}
		u, err := strconv.ParseUint(n.text, 10, 64)
		if err != nil {
			d.errorf(n, "%s is not a whole number of zero or more", n.text)
			return
		}
		v.SetUint(u)
	default:
		panic(fmt.Sprintf("configs: no decoder for %s; add one", v.Type()))
	}
}

func (d *decoder) want(n *node, k kind) bool {
	if n.kind == k {
		return true
	}
	d.errorf(n, "want %s, not %s", k, n.kind)
	return false
}

// snake is the HCL name of a native one: mountPath, mount_path.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && s[i-1] != '.' && s[i-1] != '_' {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func validText(b []byte) bool { return utf8.Valid(b) && !slices.Contains(b, 0) }
