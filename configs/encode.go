package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// EncodeYAML writes an object as native YAML: what Decode reads back as the same
// object. Any value that marshals to JSON will do, with its fields in JSON's order.
func EncodeYAML(o any) ([]byte, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("cannot write YAML: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	n, err := toYAML(dec)
	if err != nil {
		return nil, fmt.Errorf("cannot write YAML: %w", err)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err = enc.Encode(n)
	return out.Bytes(), errors.Join(err, enc.Close())
}

// toYAML reads one JSON value, keeping the order of fields.
func toYAML(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case json.Delim:
		return collection(dec, t)
	case string:
		return yamlString(t), nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(t.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
	return nil, fmt.Errorf("unexpected %v", tok)
}

func collection(dec *json.Decoder, open json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if open == '[' {
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	}
	for dec.More() {
		c, err := toYAML(dec)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, c)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	_, err := dec.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// yamlString quotes whatever YAML might read as something else, and writes lines as
// lines where YAML gives them back unchanged.
func yamlString(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case blockSafe(s):
		n.Style = yaml.LiteralStyle
	case !plainSafe(s):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// blockSafe tells whether a literal block gives s back: lines of printable ASCII or
// common letters, none ending in a space, the first not indented.
func blockSafe(s string) bool {
	if !strings.HasSuffix(s, "\n") || strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\t") || strings.HasPrefix(s, "\n") || strings.HasSuffix(s, "\n\n") {
		return false
	}
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if line != strings.TrimRight(line, " \t") {
			return false
		}
		for _, r := range line {
			if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x2000 && r != '€' {
				return false
			}
		}
	}
	return true
}

// plainSafe tells whether s may stand without quotes.
func plainSafe(s string) bool {
	for _, r := range s {
		if r < ' ' || r >= 0x7f {
			return false
		}
	}
	var back yaml.Node
	if err := yaml.Unmarshal([]byte(s), &back); err != nil || len(back.Content) != 1 {
		return false
	}
	c := back.Content[0]
	return c.Kind == yaml.ScalarNode && c.ShortTag() == "!!str" && c.Value == s && c.Style == 0 && !looksYAML11(s)
}

// looksYAML11 finds words that older readers take for something else than a string.
func looksYAML11(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "~", "null", "true", "false":
		return true
	}
	return strings.ContainsAny(s, ":#") && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > ':' }) < 0
}
