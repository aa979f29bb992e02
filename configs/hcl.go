package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"supd/supervisor/spec"
)

// rootBlocks are the blocks that stand at the top of an HCL file.
var rootBlocks = map[string]struct {
	kind string
	spec reflect.Type
}{
	"statefulset": {spec.KindStatefulSet, reflect.TypeFor[spec.StatefulSetSpec]()},
	"service":     {spec.KindService, reflect.TypeFor[spec.ServiceSpec]()},
	"program":     {spec.KindProgram, reflect.TypeFor[spec.ProgramSpec]()},
}

// labelled are blocks with a label: the list (or map) they are items of, and the
// field that the label is.
var labelled = map[string]struct{ field, label string }{
	"volume":  {"volumes", "name"},
	"scratch": {"scratch", "name"},
	"init":    {"init", "name"},
	"process": {"processes", "name"},
	"port":    {"ports", "name"},
	"mount":   {"mounts", "volume"},
	"file":    {"files", "path"},
	"hook":    {"hooks", ""},
}

// hclAliases are short spellings of fields that lie deeper in the native form.
var hclAliases = map[reflect.Type]map[string][]string{
	reflect.TypeFor[spec.UpdateStrategy](): {
		"partition":       {"rollingUpdate", "partition"},
		"max_unavailable": {"rollingUpdate", "maxUnavailable"},
		"role_last":       {"rollingUpdate", "roleLast"},
	},
	reflect.TypeFor[spec.StatefulSetSpec](): {"service": {"serviceName"}},
}

var metaAttributes = []string{"namespace", "labels", "annotations"}

// templated are the fields whose strings are templates.
var templated = map[reflect.Type][]string{
	reflect.TypeFor[spec.Exec]():        {"command", "args", "workingDir"},
	reflect.TypeFor[spec.ProgramSpec](): {"command", "args", "workingDir"},
	reflect.TypeFor[spec.EnvVar]():      {"value"},
	reflect.TypeFor[spec.File]():        {"path", "content"},
	reflect.TypeFor[spec.Probe]():       {"exec"},
	reflect.TypeFor[spec.HTTPGet]():     {"path", "host", "headers"},
	reflect.TypeFor[spec.TCPDial]():     {"host"},
	reflect.TypeFor[spec.GRPCCall]():    {"service"},
	reflect.TypeFor[spec.Hook]():        {"command"},
}

func isTemplated(f field) bool { return slices.Contains(templated[f.owner], f.name) }

// hclFile reads one HCL file.
type hclFile struct {
	*parser
	tokens hclsyntax.Tokens
}

func (p *parser) parseHCL(src []byte) {
	src = []byte(strings.TrimPrefix(string(src), "\ufeff"))
	p.src = src
	file, diags := hclsyntax.ParseConfig(src, p.file, hcl.InitialPos)
	if diags.HasErrors() {
		p.hclDiagnostics(diags)
		return
	}
	// The parser has seen the same text; its diagnostics are the lexer's too.
	tokens, _ := hclsyntax.LexConfig(src, p.file, hcl.InitialPos)
	h := &hclFile{parser: p, tokens: tokens}
	body := file.Body.(*hclsyntax.Body)
	for _, a := range sortedAttributes(body) {
		h.errorf(h.node(a.NameRange, a.Name), "only blocks stand at the top of a file: %s%s", rootNames(), spec.DidYouMean(a.Name, rootList()))
	}
	for _, b := range body.Blocks {
		h.root(b)
	}
}

func (p *parser) hclDiagnostics(diags hcl.Diagnostics) {
	for _, d := range diags {
		message := d.Summary + ": " + d.Detail
		if strings.HasPrefix(d.Detail, "Template sequences are not allowed") { // only names of blocks are such literals
			message = `the name of a block cannot be a template; what is a list may be written as one instead: files = [{ path = "${volume.data}/conf", content = "..." }]`
		}
		out := Diagnostic{File: p.file, Message: message, Warning: d.Severity == hcl.DiagWarning}
		if d.Subject != nil {
			out.Line, out.Column = d.Subject.Start.Line, d.Subject.Start.Column
		}
		p.diags = append(p.diags, out)
	}
}

func rootList() []string { return []string{"statefulset", "service", "program"} }

func rootNames() string { return strings.Join(rootList(), ", ") }

func (h *hclFile) node(r hcl.Range, path string) *node {
	return &node{line: r.Start.Line, col: r.Start.Column, path: path, hcl: true}
}

// root turns a top block into a native document.
func (h *hclFile) root(b *hclsyntax.Block) {
	at := h.node(b.TypeRange, b.Type)
	t, ok := rootBlocks[b.Type]
	if !ok {
		h.errorf(at, "unknown block %q%s; known are %s", b.Type, spec.DidYouMean(b.Type, rootList()), rootNames())
		return
	}
	label, ok := h.label(b, at)
	if !ok {
		return
	}
	doc := at.derive(object)
	doc.path = b.Type + "." + label.text
	label.path = doc.path
	meta, body := doc.derive(object), doc.derive(object)
	meta.set("name", label)
	doc.set("apiVersion", doc.str(spec.APIVersion))
	doc.set("kind", doc.str(t.kind))
	doc.set("metadata", meta)
	doc.set("spec", body)
	h.body(b.Body, t.spec, body, meta)
	h.define(t.kind, doc)
}

// label is the one label of a block.
func (h *hclFile) label(b *hclsyntax.Block, at *node) (*node, bool) {
	if len(b.Labels) != 1 {
		h.errorf(at, "block %q wants one name: %s \"NAME\" { ... }", b.Type, b.Type)
		return nil, false
	}
	n := h.node(b.LabelRanges[0], at.path)
	n.kind, n.text = str, b.Labels[0]
	return n, true
}

func sortedAttributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	var out []*hclsyntax.Attribute
	for _, a := range b.Attributes {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return out
}

// body adds what a block holds to n, a struct of type t; meta takes metadata, if any
// may stand here.
func (h *hclFile) body(b *hclsyntax.Body, t reflect.Type, n, meta *node) {
	for _, a := range sortedAttributes(b) {
		at := h.node(a.NameRange, join(n.path, a.Name))
		if meta != nil && slices.Contains(metaAttributes, a.Name) {
			f, _ := findField(reflect.TypeFor[spec.Meta](), a.Name)
			meta.keys = append(meta.keys, entry{a.Name, at, h.expr(a.Expr, f.typ, false, at.path)})
			continue
		}
		h.attribute(a.Name, at, a.Expr, t, n, meta != nil)
	}
	for _, blk := range b.Blocks {
		h.block(blk, t, n, meta != nil)
	}
}

func (h *hclFile) attribute(name string, at *node, expr hclsyntax.Expression, t reflect.Type, n *node, top bool) {
	if deep := hclAliases[t][name]; deep != nil {
		h.alias(deep, at, expr, t, n)
		return
	}
	f, ok := hclField(t, name)
	if !ok {
		h.unknownName(name, at, t, n, "attribute", top)
		return
	}
	h.put(n, f.name, at, h.expr(expr, f.typ, isTemplated(f), at.path))
}

// alias puts a value where the native form has it.
func (h *hclFile) alias(deep []string, at *node, expr hclsyntax.Expression, t reflect.Type, n *node) {
	f, _ := findField(t, deep[0])
	if len(deep) == 1 {
		h.put(n, f.name, at, h.expr(expr, f.typ, false, at.path))
		return
	}
	inner := n.get(deep[0])
	if inner == nil {
		inner = at.derive(object)
		inner.path = n.path
		n.set(deep[0], inner)
	}
	sub, _ := findField(elem(f.typ), deep[1])
	h.put(inner, sub.name, at, h.expr(expr, sub.typ, false, at.path))
}

func (h *hclFile) put(n *node, key string, at, val *node) {
	if n.get(key) != nil {
		h.errorf(at, "given twice")
		return
	}
	n.keys = append(n.keys, entry{key, at, val})
}

// hclField finds a field by its name in snake_case.
func hclField(t reflect.Type, name string) (field, bool) {
	for _, f := range fields(t) {
		if snake(f.name) == name {
			return f, true
		}
	}
	return field{}, false
}

func (h *hclFile) unknownName(name string, at *node, t reflect.Type, in *node, what string, top bool) {
	var names []string
	for _, f := range fields(t) {
		names = append(names, snake(f.name))
	}
	for b, l := range labelled {
		if _, ok := findField(t, l.field); ok {
			names = append(names, b)
		}
	}
	for a := range hclAliases[t] {
		names = append(names, a)
	}
	if top {
		names = append(names, metaAttributes...)
	}
	slices.Sort(names)
	h.errorf(at, "unknown %s %q%s", what, name, spec.DidYouMean(name, names))
	if f, ok := hclField(t, spec.Nearest(name, names)); ok && in.get(f.name) == nil {
		meant := at.derive(null)
		meant.broken = true
		in.keys = append(in.keys, entry{f.name, at, meant})
	}
}

// block adds a block inside another.
func (h *hclFile) block(b *hclsyntax.Block, t reflect.Type, n *node, top bool) {
	at := h.node(b.TypeRange, join(n.path, b.Type))
	if l, ok := labelled[b.Type]; ok {
		if f, ok := findField(t, l.field); ok {
			h.item(b, at, f, l.label, n)
			return
		}
	}
	f, ok := hclField(t, b.Type)
	if !ok || elem(f.typ).Kind() != reflect.Struct {
		if ok {
			h.errorf(at, "is an attribute, not a block: write %s = ...", b.Type)
			return
		}
		h.unknownName(b.Type, at, t, n, "block", top)
		return
	}
	if len(b.Labels) > 0 {
		h.errorf(at, "block %q takes no name", b.Type)
	}
	val := at.derive(object)
	h.body(b.Body, elem(f.typ), val, nil)
	h.put(n, f.name, at, val)
}

// item adds a labelled block to the list or map it belongs to.
func (h *hclFile) item(b *hclsyntax.Block, at *node, f field, labelField string, n *node) {
	label, ok := h.label(b, at)
	if !ok {
		return
	}
	val := at.derive(object)
	val.path = at.path + "." + label.text
	label.path = val.path
	et := f.typ.Elem()
	all := n.get(f.name)
	if f.typ.Kind() == reflect.Map { // hooks
		if all == nil {
			all = at.derive(object)
			n.set(f.name, all)
		}
		h.body(b.Body, et, val, nil)
		h.put(all, camel(label.text), at, val)
		return
	}
	if sf, _ := findField(et, labelField); isTemplated(sf) && (strings.Contains(label.text, "${") || strings.Contains(label.text, "%{")) {
		h.errorf(label, "a name cannot be a template; write %s = [{ %s = \"...\" }] instead", snake(f.name), snake(labelField))
	}
	if all == nil {
		all = at.derive(list)
		n.set(f.name, all)
	}
	if all.kind != list {
		h.errorf(at, "%s is given as an attribute too", snake(f.name))
		return
	}
	val.keys = append(val.keys, entry{labelField, label, label})
	h.body(b.Body, et, val, nil)
	all.items = append(all.items, val)
}

// elem is what a pointer points to.
func elem(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// camel is the native name of an HCL one.
func camel(s string) string {
	parts := strings.Split(s, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

func path(parent string, i int) string { return fmt.Sprintf("%s[%d]", parent, i) }
