package configs

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"supd/supervisor/spec"
)

// EncodeHCL writes an object in the concise form: what Decode reads back as the same
// object. What the server fills in (uid, generation, status and the like) has no place
// in HCL and is left out. The error names a template that is none.
func EncodeHCL(o Object) ([]byte, error) {
	w := &hclWriter{}
	switch o := o.(type) {
	case *spec.StatefulSet:
		w.root("statefulset", o.Metadata, o.Spec)
	case *spec.Service:
		w.root("service", o.Metadata, o.Spec)
	case *spec.Program:
		w.root("program", o.Metadata, o.Spec)
	default:
		return nil, fmt.Errorf("cannot write HCL: %T is not something to define", o)
	}
	if w.err != nil {
		return nil, fmt.Errorf("cannot write HCL: %w", w.err)
	}
	return []byte(w.b.String()), nil
}

type hclWriter struct {
	b      strings.Builder
	indent int
	err    error
}

func (w *hclWriter) line(format string, args ...any) {
	w.b.WriteString(strings.Repeat("  ", w.indent))
	fmt.Fprintf(&w.b, format, args...)
	w.b.WriteByte('\n')
}

func (w *hclWriter) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *hclWriter) root(block string, m spec.Meta, body any) {
	w.line("%s %s {", block, quote(m.Name))
	w.indent++
	if m.Namespace != "" {
		w.line("namespace = %s", quote(m.Namespace))
	}
	w.stringMap("labels", m.Labels)
	w.stringMap("annotations", m.Annotations)
	w.body(reflect.ValueOf(body))
	w.indent--
	w.line("}")
}

func (w *hclWriter) stringMap(name string, m map[string]string) {
	if len(m) > 0 {
		w.line("%s = %s", name, w.value(reflect.ValueOf(m), false))
	}
}

// body writes the fields of a struct: attributes first, then blocks.
func (w *hclWriter) body(v reflect.Value) {
	var blocks []field
	for _, f := range fields(v.Type()) {
		fv := v.FieldByIndex(f.index)
		switch {
		case fv.IsZero():
		case w.isBlock(f, fv):
			blocks = append(blocks, f)
		default:
			w.line("%s = %s", attributeName(f), w.value(fv, isTemplated(f)))
		}
	}
	for _, f := range blocks {
		w.blocks(f, v.FieldByIndex(f.index))
	}
}

func attributeName(f field) string {
	if f.owner == reflect.TypeFor[spec.StatefulSetSpec]() && f.name == "serviceName" {
		return "service"
	}
	return snake(f.name)
}

// blockName is the singular under which a list's items are written.
func blockName(listField string) (name, label string, ok bool) {
	for _, n := range slices.Sorted(maps.Keys(labelled)) {
		if labelled[n].field == listField {
			return n, labelled[n].label, true
		}
	}
	return "", "", false
}

// isBlock tells whether a field is written as blocks: structs, and lists whose items
// have labels that need no template.
func (w *hclWriter) isBlock(f field, v reflect.Value) bool {
	if v.Type() == typeEnv {
		return false
	}
	t := elem(f.typ)
	switch t.Kind() {
	case reflect.Struct:
		return true
	case reflect.Map:
		_, _, ok := blockName(f.name)
		if ok {
			for _, k := range v.MapKeys() {
				ok = ok && camel(snake(k.String())) == k.String()
			}
		}
		return ok
	case reflect.Slice:
		_, label, ok := blockName(f.name)
		if !ok || t.Elem().Kind() != reflect.Struct {
			return false
		}
		lf, _ := findField(t.Elem(), label)
		for i := range v.Len() {
			s := v.Index(i).FieldByIndex(lf.index).String()
			if strings.Contains(s, "${") || strings.Contains(s, "%{") {
				return false
			}
		}
		return true
	}
	return false
}

func (w *hclWriter) blocks(f field, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	name, label, _ := blockName(f.name)
	switch v.Kind() {
	case reflect.Struct:
		w.block(snake(f.name), v)
	case reflect.Map:
		for _, k := range sortedKeys(v) {
			w.block(name+" "+quote(snake(k.String())), v.MapIndex(k))
		}
	case reflect.Slice:
		for i := range v.Len() {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.Index(i))
			lf, _ := findField(item.Type(), label)
			lv := item.FieldByIndex(lf.index)
			head := name + " " + quote(lv.String())
			lv.SetZero()
			w.block(head, item)
		}
	}
}

func (w *hclWriter) block(head string, v reflect.Value) {
	start := w.b.Len()
	w.line("%s {", head)
	w.indent++
	body := w.b.Len()
	w.body(v)
	w.indent--
	if w.b.Len() > body {
		w.line("}")
		return
	}
	whole := w.b.String()[:start]
	w.b.Reset()
	w.b.WriteString(whole)
	w.line("%s {}", head)
}

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// value writes an attribute's value.
func (w *hclWriter) value(v reflect.Value, tmpl bool) string {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if env, ok := v.Interface().(spec.Env); ok {
		return w.env(env)
	}
	if m, ok := v.Interface().(json.Marshaler); ok && v.Kind() != reflect.Struct {
		return w.marshalled(m)
	}
	switch v.Kind() {
	case reflect.String:
		if tmpl {
			return w.template(v.String())
		}
		return quote(v.String())
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, w.nested(v.Index(i), tmpl))
		}
		return w.wrap("[", items, "]")
	case reflect.Map:
		var items []string
		for _, k := range sortedKeys(v) {
			items = append(items, objectKey(k.String())+" = "+w.nested(v.MapIndex(k), tmpl))
		}
		return w.wrap("{", items, "}")
	case reflect.Struct:
		var items []string
		for _, f := range fields(v.Type()) {
			if fv := v.FieldByIndex(f.index); !fv.IsZero() {
				items = append(items, attributeName(f)+" = "+w.nested(fv, isTemplated(f)))
			}
		}
		return w.wrap("{", items, "}")
	}
	return fmt.Sprint(v.Interface())
}

func (w *hclWriter) nested(v reflect.Value, tmpl bool) string {
	w.indent++
	defer func() { w.indent-- }()
	return w.value(v, tmpl)
}

func (w *hclWriter) marshalled(m json.Marshaler) string {
	b, err := m.MarshalJSON()
	if err != nil {
		w.fail("%v", err)
		return "null"
	}
	var s string
	if json.Unmarshal(b, &s) == nil {
		return quote(s)
	}
	return string(b)
}

// wrap writes items on one line where they are short, else one a line.
func (w *hclWriter) wrap(open string, items []string, end string) string {
	if len(items) == 0 {
		return open + end
	}
	one := open + " " + strings.Join(items, ", ") + " " + end
	if open == "[" {
		one = open + strings.Join(items, ", ") + end
	}
	if len(one) <= 100 && !strings.Contains(one, "\n") {
		return one
	}
	in := strings.Repeat("  ", w.indent+1)
	var b strings.Builder
	b.WriteString(open + "\n")
	for _, it := range items {
		b.WriteString(in + it)
		switch { // the end of a heredoc stands alone on its line
		case !strings.HasSuffix(it, "\nEOT"):
			b.WriteString(",")
		case open == "[":
			b.WriteString("\n" + in + ",")
		}
		b.WriteString("\n")
	}
	return b.String() + strings.Repeat("  ", w.indent) + end
}

// env is an object where that says all, in order; else a list.
func (w *hclWriter) env(env spec.Env) string {
	seen := map[string]bool{}
	plain := true
	for _, e := range env {
		plain = plain && e.FromFile == "" && !seen[e.Name]
		seen[e.Name] = true
	}
	var items []string
	for _, e := range env {
		if plain {
			items = append(items, objectKey(e.Name)+" = "+w.template(e.Value))
		} else {
			items = append(items, w.nested(reflect.ValueOf(e), false))
		}
	}
	if plain {
		return w.wrap("{", items, "}")
	}
	return w.wrap("[", items, "]")
}

// objectKey is a key of an object: bare where HCL reads it as a word.
func objectKey(k string) string {
	if hclsyntax.ValidIdentifier(k) && k != "for" && k != "true" && k != "false" && k != "null" {
		return k
	}
	return quote(k)
}

var sequences = regexp.MustCompile(`(\$+|%+)\{`)

// quote writes a plain string: one that holds no sequence.
func quote(s string) string {
	return `"` + sequences.ReplaceAllStringFunc(escape(s), func(m string) string {
		c := m[:1]
		more := strings.Repeat(fmt.Sprintf(`\u%04x`, c[0]), len(m)-2)
		return more + c + c + "{"
	}) + `"`
}

func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// template writes template text as a quoted string: literals escaped, sequences as they are.
func (w *hclWriter) template(text string) string {
	if _, diags := hclsyntax.ParseTemplate([]byte(text), "", hcl.InitialPos); diags.HasErrors() {
		w.fail("%q is not a template: %s", text, diags[0].Detail)
		return `""`
	}
	if doc, ok := heredoc(text); ok {
		return doc
	}
	return quoteTemplate(text)
}

// heredoc writes several lines as lines. Heredocs have no escapes, so only what stands in
// one as it is will do.
func heredoc(text string) (string, bool) {
	if !strings.HasSuffix(text, "\n") || strings.Count(text, "\n") < 2 || strings.ContainsAny(text, "\r\ufeff\u2028\u2029") {
		return "", false
	}
	end := "EOT"
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == end {
			return "", false
		}
	}
	doc := "<<" + end + "\n" + text + end
	back, diags := hclsyntax.ParseConfig([]byte("a = "+doc+"\n"), "", hcl.InitialPos)
	if diags.HasErrors() || len(back.Body.(*hclsyntax.Body).Attributes) != 1 {
		return "", false
	}
	return doc, true
}

// quoteTemplate quotes template text that parses.
func quoteTemplate(text string) string {
	toks, _ := hclsyntax.LexTemplate([]byte(text), "", hcl.InitialPos)
	var b strings.Builder
	depth, from := 0, 0
	for _, t := range toks {
		before := depth
		depth += sequenceDepth(t.Type)
		switch {
		case before == 0 && depth == 1:
			b.WriteString(escape(text[from:t.Range.Start.Byte]))
			from = t.Range.Start.Byte
		case before == 1 && depth == 0:
			b.WriteString(text[from:t.Range.End.Byte])
			from = t.Range.End.Byte
		}
	}
	b.WriteString(escape(text[from:]))
	return `"` + b.String() + `"`
}
