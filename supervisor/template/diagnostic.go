package template

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// fromDiagnostics makes one error of the first problem. f may be nil.
func fromDiagnostics(diags hcl.Diagnostics, f *Facts) *Error {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		e := &Error{Message: sentence(d)}
		if d.Subject != nil {
			e.Line, e.Column = d.Subject.Start.Line, d.Subject.Start.Column
		}
		if msg := unknownAttribute(d, f); msg != "" {
			e.Message, e.Unknown = msg, true
		}
		if strings.HasPrefix(d.Summary, "Call to unknown function") {
			e.Unknown = true
		}
		return e
	}
	return &Error{Message: "the template cannot be used"}
}

// sentence is a diagnostic's text in this project's manner: one line, lower case.
func sentence(d *hcl.Diagnostic) string {
	s := d.Detail
	if s == "" {
		s = d.Summary
	}
	s = strings.TrimSuffix(strings.Join(strings.Fields(s), " "), ".")
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'a' && s[1] <= 'z' {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// unknownAttribute follows the traversal that failed and says which name does
// not exist, with the nearest that does; "" when it failed for another reason.
func unknownAttribute(d *hcl.Diagnostic, f *Facts) string {
	var tr hcl.Traversal
	switch e := d.Expression.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		tr = e.Traversal
	case *hclsyntax.RelativeTraversalExpr:
		src, diags := e.Source.Value(d.EvalContext)
		if diags.HasErrors() {
			return ""
		}
		return missing("", src, e.Traversal, f)
	default:
		return ""
	}
	if len(tr) == 0 {
		return ""
	}
	for ctx := d.EvalContext; ctx != nil; ctx = ctx.Parent() {
		if v, ok := ctx.Variables[tr.RootName()]; ok {
			return missing(tr.RootName(), v, tr[1:], f)
		}
	}
	return fmt.Sprintf("there is no variable %q%s", tr.RootName(), suggest(tr.RootName(), sortedKeys(roots)))
}

// missing walks from v and reports the first step that names what is not there.
func missing(at string, v cty.Value, tr hcl.Traversal, f *Facts) string {
	for _, step := range tr {
		name := ""
		switch s := step.(type) {
		case hcl.TraverseAttr:
			name = s.Name
		case hcl.TraverseIndex:
			if s.Key.Type() == cty.String {
				name = s.Key.AsString()
			}
		}
		t := v.Type()
		if name != "" && t.IsObjectType() && !t.HasAttribute(name) {
			return noAttribute(at, name, sortedKeys(t.AttributeTypes()), f)
		}
		next, diags := hcl.Traversal{step}.TraverseRel(v)
		if diags.HasErrors() {
			return ""
		}
		if name != "" {
			at = strings.TrimPrefix(at+"."+name, ".")
		}
		v = next
	}
	return ""
}

func noAttribute(at, name string, have []string, f *Facts) string {
	switch at {
	case "env":
		if f != nil && f.Secret[name] {
			return fmt.Sprintf("the variable %s comes from a file; only the process itself gets its value, no template", name)
		}
		return fmt.Sprintf("there is no environment variable %q above this place%s", name, suggest(name, have))
	case "volume", "port":
		return fmt.Sprintf("there is no %s %q%s", at, name, suggest(name, have))
	case "":
		return fmt.Sprintf("there is no %q here%s", name, suggest(name, have))
	}
	return fmt.Sprintf("%s has no %q%s", at, name, suggest(name, have))
}

// suggest is "; did you mean ...?" for the nearest known name, or the list of
// what there is when nothing is near.
func suggest(got string, known []string) string {
	best, at := "", len(got)/3+2
	for _, k := range known {
		if d := distance(got, k); d < at {
			best, at = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(known) == 0:
		return ""
	case len(known) > 15:
		known = append(append([]string{}, known[:15]...), "...")
	}
	return "; there is " + strings.Join(known, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := prev[0]
		prev[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost++
			}
			diag = prev[j]
			prev[j] = min(cost, prev[j]+1, prev[j-1]+1)
		}
	}
	return prev[len(b)]
}
