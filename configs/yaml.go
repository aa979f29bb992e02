package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"supd/supervisor/spec"
)

// parseYAML reads the documents of a file. Each is parsed for itself, so a broken one
// hides no error of the others.
func (p *parser) parseYAML(src []byte) {
	for _, doc := range documents(src) {
		p.document(doc)
	}
}

type document struct {
	text []byte
	line int // lines before it
}

var separator = regexp.MustCompile(`^---([ \t\r\n]|$)`)

// documents splits a file at its "---" lines.
func documents(src []byte) []document {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	docs := []document{{}}
	n, start := 0, 0
	pos := 0
	for line := range bytes.Lines(src) {
		if separator.Match(line) && pos > start {
			docs[len(docs)-1].text = src[start:pos]
			docs = append(docs, document{line: n})
			start = pos
		}
		pos += len(line)
		n++
	}
	docs[len(docs)-1].text = src[start:]
	return docs
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

func (p *parser) document(doc document) {
	var y yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(doc.text)).Decode(&y)
	if errors.Is(err, io.EOF) {
		return
	}
	if err != nil {
		p.syntaxError(doc, err)
		return
	}
	n := p.fromYAML(y.Content[0], doc.line, "", 0)
	if n == nil || n.kind == null {
		return
	}
	p.collect(n)
}

// collect notes a document, or those of a list.
func (p *parser) collect(n *node) {
	items := n.listed()
	if items == nil {
		p.docs = append(p.docs, n)
		return
	}
	for _, item := range items.items {
		p.collect(item)
	}
}

// listed are the items of a list of documents, such as kubectl prints; nil: it is none.
func (n *node) listed() *node {
	if n.kind != object {
		return nil
	}
	items := n.get("items")
	if items == nil || items.kind != list {
		return nil
	}
	if kind := n.get("kind"); n.get("apiVersion").missing() || kind.missing() || strings.HasSuffix(kind.text, "List") {
		return items
	}
	return nil
}

func (p *parser) syntaxError(doc document, err error) {
	d := Diagnostic{File: p.file, Line: doc.line + 1, Column: 1, Message: err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if l, err := strconv.Atoi(m[1]); err == nil {
			d.Line = doc.line + l
		}
		d.Message = "not YAML: " + m[2]
	}
	p.diags = append(p.diags, d)
}

// fromYAML turns a YAML node into one of ours, aliases unfolded.
func (p *parser) fromYAML(y *yaml.Node, lines int, path string, depth int) *node {
	n := &node{line: y.Line + lines, col: y.Column, path: path}
	p.nodes++
	if p.nodes > maxNodes || depth > 100 {
		if p.nodes <= maxNodes+1 || depth > 100 {
			p.errorf(n, "the file is nested too deeply or unfolds to too much")
			p.nodes = maxNodes + 1
		}
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		a := p.fromYAML(y.Alias, lines, path, depth+1)
		a.line, a.col = n.line, n.col
		return a
	case yaml.SequenceNode:
		n.kind = list
		for i, c := range y.Content {
			n.items = append(n.items, p.fromYAML(c, lines, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
	case yaml.MappingNode:
		n.kind = object
		p.yamlMap(n, y, lines, depth)
	case yaml.ScalarNode:
		p.yamlScalar(n, y)
	}
	return n
}

func (p *parser) yamlMap(n *node, y *yaml.Node, lines, depth int) {
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		at := &node{line: k.Line + lines, col: k.Column, path: join(n.path, k.Value)}
		switch {
		case k.Tag == "!!merge":
			m := p.fromYAML(v, lines, n.path, depth+1)
			if m.kind == list {
				merged = append(merged, m.items...)
			} else {
				merged = append(merged, m)
			}
		case k.Kind != yaml.ScalarNode:
			p.errorf(at, "a key must be a plain word")
		case n.get(k.Value) != nil:
			p.errorf(at, "%q is given twice", k.Value)
		default:
			n.keys = append(n.keys, entry{key: k.Value, at: at, val: p.fromYAML(v, lines, at.path, depth+1)})
		}
	}
	for _, m := range merged {
		if m.kind != object {
			p.errorf(m, "want an object to merge, not %s", m.kind)
		}
		for _, e := range m.keys {
			if n.get(e.key) == nil {
				n.keys = append(n.keys, e)
			}
		}
	}
}

func (p *parser) yamlScalar(n *node, y *yaml.Node) {
	n.text = y.Value
	switch y.ShortTag() {
	case "!!null":
		n.kind = null
	case "!!bool":
		n.kind = boolean
		n.text = strings.ToLower(y.Value)
	case "!!int", "!!float":
		n.kind = number
	case "!!str", "!!timestamp":
		n.kind = str
	default:
		p.errorf(n, "values of type %s are not taken", y.ShortTag())
	}
}

// typed looks at apiVersion and kind, and hands the document to its front end.
func (p *parser) typed(n *node) {
	if n.kind != object {
		p.errorf(n, "want an object with apiVersion and kind, not %s", n.kind)
		return
	}
	version, kind := n.get("apiVersion"), n.get("kind")
	if version.missing() || kind.missing() {
		p.errorf(n, "apiVersion and kind are needed, for example apiVersion: %s and kind: %s", spec.APIVersion, spec.KindStatefulSet)
		return
	}
	known := append([]string{spec.APIVersion}, kubeVersions()...)
	switch i := slices.Index(known, version.text); {
	case i < 0 && isKubeKind(kind.text):
		p.otherKind(version, kind)
	case i < 0:
		p.errorf(version, "%q is none of %s, %s%s", version.text, spec.APIVersion, strings.Join(takenVersions(), ", "), spec.DidYouMean(version.text, known))
	case i == 0:
		p.native(n, kind)
	default:
		p.kubernetes(n, version, kind)
	}
}

var (
	appliedKinds = []string{spec.KindStatefulSet, spec.KindService, spec.KindProgram}
	madeKinds    = []string{spec.KindMember, spec.KindVolume, spec.KindRevision, spec.KindNode, spec.KindEvent}
)

func (p *parser) native(n, kind *node) {
	for _, k := range appliedKinds {
		if kind.text == k {
			p.define(k, n)
			return
		}
	}
	for _, k := range madeKinds {
		if kind.text == k {
			p.errorf(kind, "a %s is made by the cluster; it cannot be applied", k)
			return
		}
	}
	p.errorf(kind, "%q is none of %s%s", kind.text, strings.Join(appliedKinds, ", "), spec.DidYouMean(kind.text, appliedKinds))
}
