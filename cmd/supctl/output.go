package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Forms of -o for objects.
const (
	objectForms = "json yaml name jsonpath"
	getForms    = "wide json yaml name jsonpath"
)

// isData tells whether the output is for programs.
func (a *app) isData() bool { return a.output != "" && a.output != "wide" }

// writeDoc writes one JSON document in the form asked for: json, yaml or jsonpath.
func (a *app) writeDoc(doc []byte) error {
	form, expr, _ := strings.Cut(a.output, "=")
	switch form {
	case "yaml":
		text, err := toYAML(doc)
		if err != nil {
			return err
		}
		a.printf("%s", text)
	case "jsonpath":
		text, err := jsonPath(expr, doc)
		if err != nil {
			return usagef("%v", err)
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		a.printf("%s", text)
	default:
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(doc), "", "  "); err != nil {
			return spec.Errorf(spec.CodeInternal, "cannot read the answer: %v", err)
		}
		a.printf("%s\n", b.String())
	}
	return nil
}

// writeValue is writeDoc for a value.
func (a *app) writeValue(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return spec.Errorf(spec.CodeInternal, "cannot encode the output: %v", err)
	}
	return a.writeDoc(b)
}

// metaOf reads what every object has.
func metaOf(raw json.RawMessage) (spec.Meta, error) {
	var o struct {
		Metadata spec.Meta `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return o.Metadata, spec.Errorf(spec.CodeInternal, "cannot read an object of the answer: %v", err)
	}
	return o.Metadata, nil
}

// writeObjects writes objects of a kind: doc is the whole answer, items what it
// holds (one for a single object).
func (a *app) writeObjects(k kindOf, doc []byte, items []json.RawMessage, allNamespaces bool) error {
	switch {
	case a.output == "name":
		for _, it := range items {
			m, err := metaOf(it)
			if err != nil {
				return err
			}
			a.printf("%s/%s\n", k.word, m.Name)
		}
		return nil
	case a.isData():
		return a.writeDoc(doc)
	}
	g, err := a.grid(k, items, allNamespaces)
	if err != nil {
		return err
	}
	a.printf("%s", g)
	return nil
}

func (a *app) grid(k kindOf, items []json.RawMessage, allNamespaces bool) (grid, error) {
	g := grid{shape: shape{namespace: allNamespaces}}
	c := columnsOf[k.resource]
	if at := slices.Index(c.head, c.sometimes); at >= 0 {
		for _, it := range items {
			words, _, err := c.row(it, a.now())
			if err != nil {
				return g, err
			}
			g.shape.sometimes = g.shape.sometimes || words[at] != "-"
		}
	}
	g.head = a.head(k, g.shape)
	for _, it := range items {
		row, err := a.row(k, it, g.shape)
		if err != nil {
			return g, err
		}
		g.rows = append(g.rows, row)
	}
	return g, nil
}

func (a *app) head(k kindOf, s shape) []string {
	c := columnsOf[k.resource]
	var out []string
	if s.namespace && k.resource.Namespaced() {
		out = append(out, "NAMESPACE")
	}
	out = append(out, c.words(c.head, s)...)
	if a.output == "wide" {
		out = append(out, c.wide...)
	}
	return out
}

func (a *app) row(k kindOf, raw json.RawMessage, s shape) ([]string, error) {
	c := columnsOf[k.resource]
	words, wide, err := c.row(raw, a.now())
	if err != nil {
		return nil, err
	}
	var out []string
	if s.namespace && k.resource.Namespaced() {
		m, err := metaOf(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, dash(m.Namespace))
	}
	out = append(out, c.words(words, s)...)
	if a.output == "wide" {
		out = append(out, wide...)
	}
	return out, nil
}

// itemsOf takes a list's answer apart.
func itemsOf(doc []byte) ([]json.RawMessage, error) {
	var l spec.List[json.RawMessage]
	if err := json.Unmarshal(doc, &l); err != nil {
		return nil, spec.Errorf(spec.CodeInternal, "cannot read the answer: %v", err)
	}
	return l.Items, nil
}

// liveTable writes rows as they come: columns only grow, so lines stay in place
// mostly and nothing is written twice.
type liveTable struct {
	w      io.Writer
	widths []int
}

func (t *liveTable) write(row []string) error {
	var b strings.Builder
	for i, c := range row {
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		t.widths[i] = max(t.widths[i], len([]rune(c)))
		b.WriteString(c)
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", t.widths[i]-len([]rune(c))+3))
		}
	}
	_, err := io.WriteString(t.w, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

// isGone tells whether an error is about the connection: a reader tries again.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || spec.CodeOf(err) == spec.CodeNoLeader
}

// retryPause is how long a reader waits before it connects again.
const retryPause = 300 * time.Millisecond

func readOptions(a *app, all bool, selector string) client.ReadOptions {
	o := client.ReadOptions{Namespace: a.namespace, Selector: selector}
	if all {
		o.Namespace = ""
	}
	return o
}
