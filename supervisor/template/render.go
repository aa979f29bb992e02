package template

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Bounds of one template, so that no definition can exhaust a daemon.
const (
	MaxSource = 1 << 20 // bytes
	MaxTokens = 5000    // between the delimiters
)

// Error tells why a template could not be parsed or rendered, on one line.
type Error struct {
	// Line and Column within the template, from 1; 0: not known.
	Line, Column int
	Message      string
	// Unknown: a name that does not exist was used. What it was asked of might
	// not have been there with other facts, but this one never is.
	Unknown bool
}

func (e *Error) Error() string {
	if e.Line == 0 || e.Line == 1 && e.Column == 1 {
		return e.Message
	}
	return fmt.Sprintf("%s (at line %d, column %d of the template)", e.Message, e.Line, e.Column)
}

// Render renders one template. Text without a template's marks comes back
// unchanged, byte for byte; other text must be UTF-8 and comes back in Unicode
// normal form C. Numbers and booleans become text, lists and objects are refused.
func Render(src string, f *Facts) (string, error) {
	if plain(src) {
		return src, nil
	}
	p, err := parse(src)
	if err != nil {
		return "", err
	}
	return p.render(f)
}

// plain tells whether src holds no template mark at all.
func plain(src string) bool { return !strings.Contains(src, "${") && !strings.Contains(src, "%{") }

// parsed is a template that was parsed and names only known roots.
type parsed struct {
	src  string
	expr hclsyntax.Expression
	uses []string // roots
}

func parse(src string) (*parsed, error) {
	if len(src) > MaxSource {
		return nil, &Error{Message: fmt.Sprintf("the template has %d bytes, %d are allowed", len(src), MaxSource)}
	}
	start := hcl.Pos{Line: 1, Column: 1}
	if err := bound([]byte(src), start); err != nil {
		return nil, err
	}
	expr, diags := hclsyntax.ParseTemplate([]byte(src), "", start)
	if diags.HasErrors() {
		return nil, fromDiagnostics(diags, nil)
	}
	p := &parsed{src: src, expr: expr}
	for _, tr := range expr.Variables() {
		root := tr.RootName()
		if _, ok := roots[root]; !ok {
			pos := tr.SourceRange().Start
			return nil, &Error{
				Line: pos.Line, Column: pos.Column, Unknown: true,
				Message: fmt.Sprintf("there is no variable %q%s", root, suggest(root, sortedKeys(roots))),
			}
		}
		if !slices.Contains(p.uses, root) {
			p.uses = append(p.uses, root)
		}
	}
	return p, nil
}

// bound refuses what the parser or the evaluator, both recursive, could not
// bear, and numbers so large that writing them out would fill the memory.
func bound(src []byte, start hcl.Pos) error {
	tokens, diags := hclsyntax.LexTemplate(src, "", start)
	if diags.HasErrors() {
		return fromDiagnostics(diags, nil)
	}
	count := 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenStringLit, hclsyntax.TokenQuotedLit, hclsyntax.TokenEOF:
			continue
		case hclsyntax.TokenNumberLit:
			_, exp, found := strings.Cut(strings.ToLower(string(t.Bytes)), "e")
			if found && len(strings.TrimLeft(exp, "+-0")) > 3 || len(t.Bytes) > 400 {
				return &Error{Line: t.Range.Start.Line, Column: t.Range.Start.Column, Message: "the number is too large"}
			}
		}
		if count++; count > MaxTokens {
			return &Error{Message: fmt.Sprintf("the template is too long: more than %d words and signs between its marks", MaxTokens)}
		}
	}
	return nil
}

func (p *parsed) render(f *Facts) (string, error) {
	vars := make(map[string]cty.Value, len(p.uses))
	for _, r := range p.uses {
		vars[r] = roots[r](f)
	}
	val, diags := p.expr.Value(&hcl.EvalContext{Variables: vars, Functions: functions})
	if diags.HasErrors() {
		return "", fromDiagnostics(diags, f)
	}
	switch {
	case val.IsNull():
		return "", &Error{Message: "the template gives null, a text is needed"}
	case !val.IsWhollyKnown():
		return "", &Error{Message: "the template's value cannot be known"}
	}
	switch t := val.Type(); {
	case t == cty.Number && val.AsBigFloat().IsInf():
		return "", &Error{Message: "the template gives an endless number: a division by zero"}
	case t.IsPrimitiveType():
		s, err := convert.Convert(val, cty.String)
		if err != nil {
			return "", &Error{Message: "the template gives no text: " + err.Error()}
		}
		return s.AsString(), nil
	default:
		return "", &Error{Message: fmt.Sprintf(
			"the template gives %s, a text is needed; use join or jsonencode", t.FriendlyName())}
	}
}
