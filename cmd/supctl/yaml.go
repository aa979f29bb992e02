package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// toYAML writes a JSON document as block YAML, in the document's own order of keys.
// Whatever could be read as something else than text is quoted as JSON, which is YAML.
func toYAML(doc []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var out strings.Builder
	n, err := readYAMLNode(d)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the object: %v", err)
	}
	n.write(&out, 0)
	return out.String(), nil
}

// yamlNode is a value with the order of its keys.
type yamlNode struct {
	keys   []string
	values []*yamlNode
	scalar any
	kind   byte // 'o', 'a', 's'
}

func readYAMLNode(d *json.Decoder) (*yamlNode, error) {
	t, err := d.Token()
	if err != nil {
		return &yamlNode{kind: 's'}, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return &yamlNode{kind: 's', scalar: t}, nil
	}
	n := &yamlNode{kind: 'a'}
	if delim == '{' {
		n.kind = 'o'
	}
	for d.More() {
		if n.kind == 'o' {
			k, err := d.Token()
			if err != nil {
				return n, err
			}
			n.keys = append(n.keys, fmt.Sprint(k))
		}
		v, err := readYAMLNode(d)
		if err != nil {
			return n, err
		}
		n.values = append(n.values, v)
	}
	_, err = d.Token()
	return n, err
}

func (n *yamlNode) write(out *strings.Builder, depth int) {
	pad := strings.Repeat("  ", depth)
	switch {
	case n.kind == 's' || len(n.values) == 0:
		out.WriteString(pad + n.inline(depth) + "\n")
	case n.kind == 'o':
		for i, v := range n.values {
			out.WriteString(pad)
			v.writeField(out, depth, n.keys[i])
		}
	default:
		for _, v := range n.values {
			out.WriteString(pad + "- ")
			v.writeItem(out, depth)
		}
	}
}

// writeField writes "key: value", the padding being there already.
func (n *yamlNode) writeField(out *strings.Builder, depth int, key string) {
	out.WriteString(yamlText(key) + ":")
	if n.kind == 's' || len(n.values) == 0 {
		out.WriteString(" " + n.inline(depth+1) + "\n")
		return
	}
	out.WriteString("\n")
	if n.kind == 'a' { // lists stand under their key, as kubectl writes them
		n.write(out, depth)
		return
	}
	n.write(out, depth+1)
}

// writeItem writes a list's item after its "- ".
func (n *yamlNode) writeItem(out *strings.Builder, depth int) {
	if n.kind == 's' || len(n.values) == 0 {
		out.WriteString(n.inline(depth+1) + "\n")
		return
	}
	var b strings.Builder
	n.write(&b, depth+1)
	out.WriteString(strings.TrimPrefix(b.String(), strings.Repeat("  ", depth+1)))
}

func (n *yamlNode) inline(depth int) string {
	switch {
	case n.kind == 'o':
		return "{}"
	case n.kind == 'a':
		return "[]"
	case n.scalar == nil:
		return "null"
	}
	if s, ok := n.scalar.(string); ok {
		if block, ok := yamlBlock(s, depth); ok {
			return block
		}
		return yamlText(s)
	}
	return fmt.Sprint(n.scalar)
}

var plainYAML = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./ -]*$`)

// yamlText writes text bare where no reader of YAML 1.1 or 1.2 takes it for
// something else.
func yamlText(s string) string {
	if plainYAML.MatchString(s) && !strings.HasSuffix(s, " ") && !strings.Contains(s, " #") {
		switch strings.ToLower(s) {
		case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		default:
			return s
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// yamlBlock writes lines of text as a literal block, where that says it exactly.
func yamlBlock(s string, depth int) (string, bool) {
	body := strings.TrimSuffix(s, "\n")
	if !strings.Contains(body, "\n") || strings.HasSuffix(body, "\n") || strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\n") {
		return "", false
	}
	head := "|-"
	if body != s {
		head = "|"
	}
	pad := strings.Repeat("  ", depth)
	var b strings.Builder
	b.WriteString(head)
	for _, line := range strings.Split(body, "\n") {
		for _, c := range line {
			if c != '\t' && (c < ' ' || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 || c == 0xfeff) {
				return "", false
			}
		}
		b.WriteString("\n")
		if line != "" {
			b.WriteString(pad + line)
		}
	}
	return b.String(), true
}
