package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// jsonPath evaluates the part of kubectl's JSONPath that scripts use: text,
// {.a.b}, {['a']}, [N], [-N], [*], [?(@.a=="b")], {"\n"} and {range .x[*]}...{end}.
func jsonPath(expr string, doc []byte) (string, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", fmt.Errorf("cannot read the object: %v", err)
	}
	if !strings.Contains(expr, "{") {
		expr = "{" + expr + "}"
	}
	nodes, rest, err := parsePathText(expr, false)
	if err != nil {
		return "", fmt.Errorf("cannot read jsonpath %q: %v", expr, err)
	}
	if rest != "" {
		return "", fmt.Errorf("cannot read jsonpath %q: {end} without {range}", expr)
	}
	var out strings.Builder
	if err := renderPath(&out, nodes, v); err != nil {
		return "", fmt.Errorf("cannot evaluate jsonpath %q: %v", expr, err)
	}
	return out.String(), nil
}

// pathNode is text, a path, or a range over a path with a body.
type pathNode struct {
	text string
	path []pathStep
	body []pathNode
	kind byte // 't', 'p', 'r'
}

// pathStep is one step: a field, an index, all, or a filter.
type pathStep struct {
	field  string
	index  int
	kind   byte // 'f', 'i', '*', '?'
	filter *pathFilter
}

type pathFilter struct {
	path  []pathStep
	op    string // "==", "!=" or "" for existence
	value string
}

// parsePathText reads up to the end, or within a range up to {end}.
func parsePathText(s string, inRange bool) (nodes []pathNode, rest string, err error) {
	for s != "" {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			nodes, s = append(nodes, pathNode{kind: 't', text: s}), ""
			break
		}
		if open > 0 {
			nodes = append(nodes, pathNode{kind: 't', text: s[:open]})
		}
		end := closing(s[open:])
		if end < 0 {
			return nil, "", fmt.Errorf("a { is not closed")
		}
		inner := strings.TrimSpace(s[open+1 : open+end])
		s = s[open+end+1:]
		switch {
		case inner == "end":
			if inRange {
				return nodes, s, nil
			}
			return nil, "", fmt.Errorf("{end} without {range}")
		case strings.HasPrefix(inner, "range "):
			n := pathNode{kind: 'r'}
			if n.path, err = parseSteps(strings.TrimSpace(inner[len("range "):])); err != nil {
				return nil, "", err
			}
			if n.body, s, err = parsePathText(s, true); err != nil {
				return nil, "", err
			}
			nodes = append(nodes, n)
		case strings.HasPrefix(inner, `"`):
			text, err := strconv.Unquote(inner)
			if err != nil {
				return nil, "", fmt.Errorf("cannot read the text %s", inner)
			}
			nodes = append(nodes, pathNode{kind: 't', text: text})
		default:
			n := pathNode{kind: 'p'}
			if n.path, err = parseSteps(inner); err != nil {
				return nil, "", err
			}
			nodes = append(nodes, n)
		}
	}
	if inRange {
		return nil, "", fmt.Errorf("{range} without {end}")
	}
	return nodes, "", nil
}

// closing finds the } of the { that s begins with, passing over quoted text.
func closing(s string) int {
	var quote byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '}':
			return i
		}
	}
	return -1
}

func parseSteps(s string) ([]pathStep, error) {
	s = strings.TrimPrefix(s, "$")
	s = strings.TrimPrefix(s, "@")
	var out []pathStep
	for s != "" {
		switch {
		case s == ".":
			return out, nil
		case s[0] == '[':
			end := closingBracket(s)
			if end < 0 {
				return nil, fmt.Errorf("a [ is not closed")
			}
			st, err := parseBracket(s[1:end])
			if err != nil {
				return nil, err
			}
			out, s = append(out, st), s[end+1:]
		default:
			s = strings.TrimPrefix(s, ".")
			name, rest := fieldName(s)
			if name == "" && !strings.HasPrefix(rest, "[") {
				return nil, fmt.Errorf("a name is missing at %q", s)
			}
			if name == "*" {
				out = append(out, pathStep{kind: '*'})
			} else if name != "" {
				out = append(out, pathStep{kind: 'f', field: name})
			}
			s = rest
		}
	}
	return out, nil
}

func closingBracket(s string) int {
	var quote byte
	depth := 0
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// fieldName reads a name up to the next . or [; \. is a dot within it.
func fieldName(s string) (name, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '.' || s[i] == '[':
			return b.String(), s[i:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

func parseBracket(in string) (pathStep, error) {
	in = strings.TrimSpace(in)
	if in == "*" {
		return pathStep{kind: '*'}, nil
	}
	if n, err := strconv.Atoi(in); err == nil {
		return pathStep{kind: 'i', index: n}, nil
	}
	if len(in) >= 2 && (in[0] == '\'' || in[0] == '"') && in[len(in)-1] == in[0] {
		return pathStep{kind: 'f', field: in[1 : len(in)-1]}, nil
	}
	cond, opens := strings.CutPrefix(in, "?(")
	cond, closes := strings.CutSuffix(cond, ")")
	if !opens || !closes {
		return pathStep{}, fmt.Errorf("cannot read [%s]", in)
	}
	f := &pathFilter{}
	for _, op := range []string{"==", "!="} {
		if l, r, ok := strings.Cut(cond, op); ok {
			f.op, cond = op, l
			f.value = strings.Trim(strings.TrimSpace(r), `"'`)
			break
		}
	}
	var err error
	f.path, err = parseSteps(strings.TrimSpace(cond))
	return pathStep{kind: '?', filter: f}, err
}

func renderPath(out *strings.Builder, nodes []pathNode, v any) error {
	for _, n := range nodes {
		switch n.kind {
		case 't':
			out.WriteString(n.text)
		case 'p':
			values := follow([]any{v}, n.path)
			words := make([]string, len(values))
			for i, x := range values {
				words[i] = pathWord(x)
			}
			out.WriteString(strings.Join(words, " "))
		case 'r':
			for _, x := range follow([]any{v}, n.path) {
				if err := renderPath(out, n.body, x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// follow takes the steps from every value; what is not there gives nothing, as a
// script then sees an empty string.
func follow(values []any, steps []pathStep) []any {
	for _, st := range steps {
		var next []any
		for _, v := range values {
			next = append(next, st.of(v)...)
		}
		values = next
	}
	return values
}

func (st pathStep) of(v any) []any {
	list, _ := v.([]any)
	obj, _ := v.(map[string]any)
	switch st.kind {
	case 'f':
		if x, ok := obj[st.field]; ok {
			return []any{x}
		}
	case 'i':
		i := st.index
		if i < 0 {
			i += len(list)
		}
		if i >= 0 && i < len(list) {
			return []any{list[i]}
		}
	case '*':
		if list != nil {
			return list
		}
		keys := make([]string, 0, len(obj))
		for k := range obj {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		var out []any
		for _, k := range keys {
			out = append(out, obj[k])
		}
		return out
	case '?':
		var out []any
		for _, x := range list {
			if st.filter.holds(x) {
				out = append(out, x)
			}
		}
		return out
	}
	return nil
}

func (f *pathFilter) holds(v any) bool {
	found := follow([]any{v}, f.path)
	switch f.op {
	case "==":
		return len(found) > 0 && pathWord(found[0]) == f.value
	case "!=":
		return len(found) == 0 || pathWord(found[0]) != f.value
	}
	return len(found) > 0
}

// pathWord prints text bare and anything else as JSON.
func pathWord(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case nil:
		return ""
	case json.Number:
		return x.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
