package configs

import (
	"fmt"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"supd/supervisor/spec"
)

// templateSources are expressions whose kept text must mean what HCL means by them.
var templateSources = []string{
	`"plain"`, `""`, `"a ${x} b"`, `"${x}"`, `"${ x }"`, `x`, `(x)`, `y[0]`, `"${y[0]}${x}"`,
	`"quote \" back \\ tab \t nl \n uni \u00e9 \U0001F600"`,
	`"$${x} %%{if} $$ % $ {"`, `"$$${x}"`, `"$$$${x}"`, `"cost $5 100%"`,
	`"%{ if x == "v" }yes \"q\"%{ else }no%{ endif }"`,
	`"%{ for i in y ~}  ${i},%{ endfor }"`,
	`"${join(",", [for i in y : "${i}=http://${i}:80"])}"`,
	`"${join("\n", y)}"`, `"${"nested \"q\" ${x}"}"`,
	`join(",", y)`, `x == "v" ? "a" : "b"`,
	"<<EOT\nline ${x}\n  two \\n \"q\" $${x}\nEOT\n",
	"<<EOT\nEOT\n",
	"<<-EOT\n    a\n      b ${x}\n\n    ${x} c\n    EOT\n",
	"<<-EOT\n\t\ta\n\t\t${x}\n\t  b\n  EOT\n",
	"<<-EOT\n    %{ for i in y ~}\n      v ${i}\n    %{ endfor ~}\n    end\n    EOT\n",
	"<<-EOT\n   \n     a\n  EOT\n",
	"<<-EOT\n  ${join(\",\", [\n  x,\n x])}\n    a\n  EOT\n",
	"\"${join(\",\", [\n x,\n x])}\"",
}

func evalContext() *hcl.EvalContext {
	return &hcl.EvalContext{
		Variables: map[string]cty.Value{
			"x": cty.StringVal("v"),
			"y": cty.ListVal([]cty.Value{cty.StringVal("p"), cty.StringVal("q")}),
		},
		Functions: map[string]function.Function{"join": stdlib.JoinFunc},
	}
}

func TestTemplatesKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	for _, src := range templateSources {
		file := "statefulset \"a\" {\n  process \"p\" {\n    command = [\"x\"]\n    working_dir = " + src + "\n  }\n}\n"
		objs, diags := readOnly([]byte(file))
		if len(objs) != 1 {
			t.Errorf("%s: got %d objects: %v", src, len(objs), diags)
			continue
		}
		text := objs[0].(*spec.StatefulSet).Spec.Processes[0].WorkingDir
		checkMeaning(t, src, text)
		// And written again.
		out, err := EncodeHCL(objs[0])
		if err != nil {
			t.Errorf("%s: cannot write %q: %v", src, text, err)
			continue
		}
		again, diags := readOnly(out)
		if len(again) != 1 || again[0].(*spec.StatefulSet).Spec.Processes[0].WorkingDir != text {
			t.Errorf("%s: text %q does not survive HCL: %v\n%s", src, text, diags, out)
		}
	}
}

// readOnly decodes HCL without validation's say.
func readOnly(src []byte) ([]Object, []Diagnostic) {
	return Decode([]Source{{Name: "t.hcl", Data: src}})
}

func checkMeaning(t *testing.T, src, text string) {
	t.Helper()
	e, diags := hclsyntax.ParseExpression([]byte(src), "", hcl.InitialPos)
	if diags.HasErrors() {
		e, diags = fromAttribute(src)
	}
	if diags.HasErrors() {
		t.Fatalf("%s: bad case: %v", src, diags)
	}
	want, diags := e.Value(evalContext())
	if diags.HasErrors() {
		t.Fatalf("%s: bad case: %v", src, diags)
	}
	tmpl, diags := hclsyntax.ParseTemplate([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		t.Errorf("%s: kept as %q, which is no template: %v", src, text, diags)
		return
	}
	got, diags := tmpl.Value(evalContext())
	if diags.HasErrors() || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
		t.Errorf("%s: kept as %q, which means %#v, want %#v (%v)", src, text, got, want, diags)
	}
}

func fromAttribute(src string) (hclsyntax.Expression, hcl.Diagnostics) {
	f, diags := hclsyntax.ParseConfig([]byte("a = "+src+"\n"), "", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	return f.Body.(*hclsyntax.Body).Attributes["a"].Expr, nil
}

// checkEscape: escaped text means the literal.
func checkEscape(t *testing.T, s string) {
	t.Helper()
	if !validText([]byte(s)) {
		t.Skip("not text")
	}
	text := spec.EscapeTemplate(s)
	e, diags := hclsyntax.ParseTemplate([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%q: %q is no template: %v", s, text, diags)
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		t.Fatalf("%q: %q: %v", s, text, diags)
	}
	if got := v.AsString(); got != cty.StringVal(s).AsString() {
		t.Fatalf("%q: %q means %q", s, text, got)
	}
}
