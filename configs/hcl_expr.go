package configs

import (
	"reflect"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// expr turns an expression into a node fit for a field of type t. Strings of a
// template field keep their source text; all else must be a plain value.
func (h *hclFile) expr(e hclsyntax.Expression, t reflect.Type, tmpl bool, at string) *node {
	t = elem(t)
	if par, ok := e.(*hclsyntax.ParenthesesExpr); ok {
		return h.expr(par.Expression, t, tmpl, at)
	}
	n := h.node(e.Range(), at)
	switch x := e.(type) {
	case *hclsyntax.ObjectConsExpr:
		n.kind = object
		h.object(x, t, tmpl, n)
		return n
	case *hclsyntax.TupleConsExpr:
		n.kind = list
		et := t
		if t.Kind() == reflect.Slice {
			et = t.Elem()
		}
		for i, item := range x.Exprs {
			n.items = append(n.items, h.expr(item, et, tmpl, path(at, i)))
		}
		return n
	}
	switch {
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Struct && t.PkgPath() != "time":
		return h.composite(e, n)
	case tmpl:
		return h.template(e, n)
	}
	return h.literal(e, n)
}

// composite is where a list or an object is wanted and neither is written.
func (h *hclFile) composite(e hclsyntax.Expression, n *node) *node {
	if v, diags := e.Value(nil); !diags.HasErrors() {
		if v.IsNull() {
			return n
		}
		return h.literal(e, n)
	}
	h.errorf(n, "a list or object must be written out here; only the strings in it may be templates")
	n.kind, n.broken = null, true
	return n
}

// object fills n from an object expression for a field of type t.
func (h *hclFile) object(x *hclsyntax.ObjectConsExpr, t reflect.Type, tmpl bool, n *node) {
	for _, item := range x.Items {
		name, ok := h.key(item.KeyExpr)
		at := h.node(item.KeyExpr.Range(), join(n.path, name))
		switch {
		case !ok:
			h.errorf(n, "the names in an object must be plain words or strings")
		case t == typeEnv:
			h.put(n, name, at, h.expr(item.ValueExpr, reflect.TypeFor[string](), true, at.path))
		case t.Kind() == reflect.Map:
			h.put(n, name, at, h.expr(item.ValueExpr, t.Elem(), tmpl, at.path))
		case t.Kind() == reflect.Struct:
			h.attribute(name, at, item.ValueExpr, t, n, false)
		default:
			// Not an object's place: the decoder says so.
			h.put(n, name, at, h.node(item.ValueExpr.Range(), at.path))
		}
	}
}

func (h *hclFile) key(e hclsyntax.Expression) (string, bool) {
	if w := hcl.ExprAsKeyword(e); w != "" {
		return w, true
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

// literal is a plain value.
func (h *hclFile) literal(e hclsyntax.Expression, n *node) *node {
	if s, ok := h.verbatim(e); ok {
		n.kind, n.text = str, s
		return n
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		h.errorf(n, "a plain value is wanted here: this field is no template (write $${ for a literal ${)")
		n.broken = true
		return n
	}
	switch {
	case v.IsNull():
	case v.Type() == cty.String:
		n.kind, n.text = str, v.AsString()
	case v.Type() == cty.Bool:
		n.kind, n.text = boolean, "false"
		if v.True() {
			n.text = "true"
		}
	case v.Type() == cty.Number:
		n.kind, n.text = number, v.AsBigFloat().Text('f', -1)
		if src := strings.TrimSpace(string(e.Range().SliceBytes(h.src))); octalText.MatchString(src) {
			n.text = src // the zeros before a mode count
		}
	default:
		h.errorf(n, "a plain value is wanted here, not %s", v.Type().FriendlyName())
		n.broken = true
	}
	return n
}

// verbatim is the value of a quoted string without sequences, as it is written: evaluating
// it would normalise its Unicode.
func (h *hclFile) verbatim(e hclsyntax.Expression) (string, bool) {
	if _, ok := e.(*hclsyntax.TemplateExpr); !ok {
		return "", false
	}
	toks := h.between(e.Range())
	if len(toks) < 2 || toks[0].Type != hclsyntax.TokenOQuote {
		return "", false
	}
	var b strings.Builder
	for _, t := range toks[1 : len(toks)-1] {
		if t.Type != hclsyntax.TokenQuotedLit {
			return "", false
		}
		s, diags := hclsyntax.ParseStringLiteralToken(t)
		if diags.HasErrors() {
			return "", false
		}
		b.WriteString(s)
	}
	return b.String(), true
}

// template is a string that is kept as the source text of HCL's template language.
func (h *hclFile) template(e hclsyntax.Expression, n *node) *node {
	var text string
	switch x := e.(type) {
	case *hclsyntax.TemplateExpr, *hclsyntax.TemplateWrapExpr:
		var ok bool
		if text, ok = h.quoted(e.Range(), n); !ok {
			n.broken = true
			return n
		}
	case *hclsyntax.LiteralValueExpr:
		return h.literal(e, n)
	case *hclsyntax.ForExpr:
		h.errorf(n, "want a string, not a list: write it out, or use join(\" \", ...) in one string")
		n.broken = true
		return n
	default:
		text = "${" + string(x.Range().SliceBytes(h.src)) + "}"
	}
	n.kind, n.text = str, text
	if _, diags := hclsyntax.ParseTemplate([]byte(text), h.file, hcl.InitialPos); diags.HasErrors() {
		h.errorf(n, "cannot be kept as a template (%s): write it as one quoted string", diags[0].Summary)
	}
	return n
}

// quoted is the template text of a quoted string or heredoc.
func (h *hclFile) quoted(r hcl.Range, n *node) (string, bool) {
	toks := h.between(r)
	if len(toks) < 2 {
		h.errorf(n, "want a string")
		return "", false
	}
	open, toks := toks[0], toks[1:]
	if open.Type == hclsyntax.TokenOHeredoc {
		flush := strings.HasPrefix(string(open.Bytes), "<<-")
		return heredocText(h.src, toks, flush), true
	}
	var b strings.Builder
	depth := 0
	for i, t := range toks {
		depth += sequenceDepth(t.Type)
		switch {
		case depth == 0 && t.Type == hclsyntax.TokenCQuote:
			return b.String(), true
		case depth == 0 && t.Type == hclsyntax.TokenQuotedLit:
			lit, ok := unescape(t)
			if !ok {
				h.errorf(n, "write $, %% and { as they are, not as \\u escapes")
				return "", false
			}
			b.WriteString(lit)
		default:
			b.Write(t.Bytes)
			if i+1 < len(toks) {
				b.Write(h.src[t.Range.End.Byte:toks[i+1].Range.Start.Byte])
			}
		}
	}
	h.errorf(n, "the string does not end")
	return "", false
}

// sequenceDepth tells how a token changes the depth of ${ } and %{ }.
func sequenceDepth(t hclsyntax.TokenType) int {
	switch t {
	case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		return 1
	case hclsyntax.TokenTemplateSeqEnd:
		return -1
	}
	return 0
}

func (h *hclFile) between(r hcl.Range) hclsyntax.Tokens {
	from := sort.Search(len(h.tokens), func(i int) bool { return h.tokens[i].Range.Start.Byte >= r.Start.Byte })
	to := from + sort.Search(len(h.tokens)-from, func(i int) bool { return h.tokens[from+i].Range.End.Byte > r.End.Byte })
	return h.tokens[from:to]
}

// unescape takes the backslashes out of a quoted literal and leaves $${ and %%{ as they
// are, for template text has them too. False: an escape would change what is a template.
func unescape(t hclsyntax.Token) (string, bool) {
	raw := string(t.Bytes)
	var b strings.Builder
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b.WriteByte(raw[i])
			i++
			continue
		}
		size := 2
		switch {
		case i+1 < len(raw) && raw[i+1] == 'u':
			size = 6
		case i+1 < len(raw) && raw[i+1] == 'U':
			size = 10
		}
		size = min(size, len(raw)-i)
		piece := t
		piece.Bytes = []byte(raw[i : i+size])
		val, diags := hclsyntax.ParseStringLiteralToken(piece)
		if diags.HasErrors() || val == "$" || val == "%" || val == "{" {
			return "", false
		}
		b.WriteString(val)
		i += size
	}
	return b.String(), true
}
