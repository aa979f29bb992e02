package configs

import (
	"fmt"
	"strconv"
	"strings"

	"supd/supervisor/spec"
)

// A node is a value of a definition with its place in the file. Every front end
// makes trees of nodes in the native shape; one decoder turns those into objects.
type node struct {
	kind      kind
	line, col int
	// path is the field as the file spells it.
	path string
	// text of a scalar: for a string its value, else as written.
	text  string
	keys  []entry // of a map, in order
	items []*node // of a list
	// hcl: a misspelt name is to be guessed in snake_case.
	hcl bool
	// broken: an error was reported for it; that it is missing need not be said too.
	broken bool
}

type entry struct {
	key string
	// at is the place of the key itself.
	at  *node
	val *node
}

type kind int

const (
	null kind = iota
	str
	number
	boolean
	list
	object
)

func (k kind) String() string {
	return [...]string{"nothing", "a string", "a number", "true or false", "a list", "an object"}[k]
}

func (n *node) get(key string) *node {
	for _, e := range n.keys {
		if e.key == key {
			return e.val
		}
	}
	return nil
}

// set adds a field; nil is left out.
func (n *node) set(key string, val *node) {
	if val == nil {
		return
	}
	for i, e := range n.keys {
		if e.key == key {
			n.keys[i].val = val
			return
		}
	}
	n.keys = append(n.keys, entry{key: key, at: val, val: val})
}

// derive makes a new node at the place of n.
func (n *node) derive(k kind) *node {
	return &node{kind: k, line: n.line, col: n.col, path: n.path, hcl: n.hcl}
}

func (n *node) str(s string) *node {
	m := n.derive(str)
	m.text = s
	return m
}

func (n *node) num(i int) *node {
	m := n.derive(number)
	m.text = strconv.Itoa(i)
	return m
}

func (n *node) bool(b bool) *node {
	m := n.derive(boolean)
	m.text = strconv.FormatBool(b)
	return m
}

func (n *node) list(items ...*node) *node {
	m := n.derive(list)
	m.items = items
	return m
}

// word is the text of a scalar; "" when it is not there.
func (n *node) word() string {
	if n == nil {
		return ""
	}
	return n.text
}

// missing tells whether a field stands for nothing.
func (n *node) missing() bool { return n == nil || n.kind == null }

// places are the nodes of an object by native path.
type places map[string]*node

// find is the node of path, or of the nearest field around it that the file has;
// rest is what of path lies below.
func (p places) find(path string) (n *node, rest string) {
	for at := path; ; {
		if n := p[at]; n != nil {
			return n, path[len(at):]
		}
		if at == "" {
			return nil, path
		}
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
}

// spell joins a field's path as the file has it with a native rest.
func (p places) spell(path, rest string) string {
	if root := p[""]; root != nil && root.hcl {
		rest = snake(rest)
		rest = strings.TrimPrefix(rest, ".spec")
		rest = strings.TrimPrefix(rest, ".metadata")
	}
	if path == "" {
		return strings.TrimPrefix(rest, ".")
	}
	return path + rest
}

// parser reads one file.
type parser struct {
	file  string
	src   []byte
	defs  []Definition
	diags []Diagnostic
	nodes int
	// docs are the file's documents in YAML that are to be looked at.
	docs []*node
	// maps are the ConfigMaps of all files.
	maps *configMaps
	// budgets and services are checked when all files are read.
	budgets  []budget
	services []service
	// failed are native paths of the present document that could not be read.
	failed map[string]bool
}

// maxNodes bounds one file, aliases unfolded.
const maxNodes = 200000

// read reads a file: definitions in HCL, and documents in YAML, which are looked at later.
func (p *parser) read(f Source) {
	if !validText(f.Data) {
		p.diags = append(p.diags, Diagnostic{File: p.file, Message: "the file is not UTF-8 text"})
		return
	}
	if f.isHCL() {
		p.parseHCL(f.Data)
	} else {
		p.parseYAML(f.Data)
	}
	if len(p.defs)+len(p.docs)+len(p.diags) == 0 {
		p.diags = append(p.diags, Diagnostic{File: p.file, Message: "the file holds no definition"})
	}
}

// configMaps looks at the documents that are ConfigMaps, and leaves the others.
func (p *parser) configMaps() {
	var others []*node
	for _, n := range p.docs {
		if isConfigMap(n) {
			p.typed(n)
		} else {
			others = append(others, n)
		}
	}
	p.docs = others
}

// documents looks at the documents.
func (p *parser) documents() {
	for _, n := range p.docs {
		p.typed(n)
	}
}

func (p *parser) errorf(n *node, format string, args ...any) {
	p.diags = append(p.diags, p.at(n, fmt.Sprintf(format, args...)))
}

func (p *parser) warnf(n *node, format string, args ...any) {
	d := p.at(n, fmt.Sprintf(format, args...))
	d.Warning = true
	p.diags = append(p.diags, d)
}

func (p *parser) at(n *node, msg string) Diagnostic {
	d := Diagnostic{File: p.file, Message: msg}
	if n != nil {
		d.Line, d.Column, d.Path = n.line, n.col, n.path
	}
	return d
}

// define decodes a native document and checks it.
func (p *parser) define(kind string, n *node) {
	def := Definition{File: p.file, Line: n.line, places: places{}}
	p.failed = map[string]bool{}
	switch kind {
	case spec.KindStatefulSet:
		o := &spec.StatefulSet{}
		p.decode(n, o, def.places)
		def.Object = o
	case spec.KindService:
		o := &spec.Service{}
		p.decode(n, o, def.places)
		def.Object = o
	case spec.KindProgram:
		o := &spec.Program{}
		p.decode(n, o, def.places)
		def.Object = o
	}
	for _, prob := range problems(def.Object) {
		if prob.Warning || !p.reported(prob.Path) {
			p.diags = append(p.diags, def.Diagnose(prob))
		}
	}
	p.defs = append(p.defs, def)
}

// reported tells whether the field at path, or something in it, could not be read: that
// it is missing then need not be said too.
func (p *parser) reported(path string) bool {
	for f := range p.failed {
		if f == path || strings.HasPrefix(f, path+".") || strings.HasPrefix(f, path+"[") {
			return true
		}
	}
	return false
}

// problems validates a copy with defaults.
func problems(o Object) []spec.Problem {
	switch o := o.(type) {
	case *spec.StatefulSet:
		c := *o
		c.Spec = o.Spec.Clone()
		spec.Default(&c)
		return spec.Validate(&c)
	case *spec.Service:
		c := *o
		c.Spec.Ports = append([]spec.Port(nil), o.Spec.Ports...)
		spec.DefaultService(&c)
		return spec.ValidateService(&c)
	case *spec.Program:
		c := *o
		c.Spec = o.Spec.Clone()
		spec.DefaultProgram(&c)
		return spec.ValidateProgram(&c)
	}
	return nil
}
