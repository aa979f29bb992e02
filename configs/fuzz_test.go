package configs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"supd/supervisor/spec"
)

// seeds are the cases' files with one of the endings.
func seeds(f *testing.F, endings ...string) {
	for _, dir := range []string{"good", "bad", "manifests"} {
		paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range paths {
			ar, err := txtar.ParseFile(p)
			if err != nil {
				f.Fatal(err)
			}
			for _, file := range ar.Files {
				for _, e := range endings {
					if filepath.Ext(file.Name) == e {
						f.Add(string(file.Data))
					}
				}
			}
		}
	}
}

// check: no input panics, and what is accepted survives both encoders.
func check(t *testing.T, name, text string) {
	objs, diags := Decode([]Source{{Name: name, Data: []byte(text)}})
	if HasErrors(diags) {
		return
	}
	for _, o := range objs {
		y, err := EncodeYAML(o)
		if err != nil {
			t.Fatalf("YAML: %v", err)
		}
		same(t, o, "x.yaml", y)
		h, err := EncodeHCL(o)
		if err != nil {
			continue // text that is no template: refused when applied
		}
		same(t, bare(o), "x.hcl", h)
	}
}

func FuzzHCL(f *testing.F) {
	seeds(f, ".hcl")
	for _, src := range templateSources {
		f.Add("statefulset \"a\" {\n  process \"p\" {\n    command = [" + src + "\n]\n  }\n}\n")
	}
	f.Fuzz(func(t *testing.T, text string) { check(t, "a.hcl", text) })
}

func FuzzYAML(f *testing.F) {
	seeds(f, ".yaml", ".json")
	f.Fuzz(func(t *testing.T, text string) { check(t, "a.yaml", text) })
}

func FuzzKube(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("examples", "mysql", "statefulset.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b), "$(A)", "${x} %{y} $$(A) $")
	f.Fuzz(func(t *testing.T, text, arg, env string) {
		check(t, "a.yaml", text)
		// A manifest's strings, whatever they hold.
		doc, err := EncodeYAML(kubeSet(arg, env))
		if err != nil {
			t.Fatal(err)
		}
		check(t, "b.yaml", string(doc))
	})
}

func kubeSet(arg, env string) any {
	type m = map[string]any
	return m{
		"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": m{"name": "a"},
		"spec": m{
			"selector": m{"matchLabels": m{"a": "b"}},
			"template": m{
				"metadata": m{"labels": m{"a": "b"}},
				"spec": m{"containers": []m{{
					"name": "c", "image": "i", "command": []string{"x", arg},
					"env": []m{{"name": "A", "value": env}, {"name": "B", "value": arg}},
				}}},
			},
		},
	}
}

func FuzzTemplateEscape(f *testing.F) {
	for _, s := range []string{"", "$", "${x}", "$${x}", "$$${x}", "%$${", "$%{x}", "%%%{", "\\${x}\"", "a$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkEscape(t, s) })
}

// TestKubeStringsKeepTheirMeaning: what Kubernetes gives a program is what our template
// renders to.
func TestKubeStringsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	known := vars{"A": {kind: plainVar}, "B.C": {kind: plainVar}, "S": {kind: secretVar}, "L": {literalVar, "${l}$"}}
	for in, want := range map[string]string{
		"plain":             "plain",
		"$(A)":              "${env.A}",
		"$(A)$(A)":          "${env.A}${env.A}",
		"$(L)$(A)":          `$${l}${"$"}${env.A}`,
		"$(B.C)":            `${env["B.C"]}`,
		"$(NOT)":            "$(NOT)",
		"$$(A)":             "$(A)",
		"$$$(A)":            "$${env.A}",
		"$":                 "$",
		"$$":                "$",
		"$(A":               "$(A",
		"${HOME} %{x}":      "$${HOME} %%{x}",
		"echo ${A:-$(A)} $": "echo $${A:-${env.A}} $",
	} {
		got, _ := expandVars(in, known)
		if in == "$$$(A)" { // a $ right before a sequence
			want = `${"$"}${env.A}`
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
	if _, secret := expandVars("x$(S)", known); secret != "S" {
		t.Errorf("a secret on a command line is not noticed")
	}
}

// TestAwkwardTextSurvives: texts that fuzzing found to break an encoder once.
func TestAwkwardTextSurvives(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"\t\ta\n)\t${x}\n\t  b\n", "} $$(U?\x16A\u009adQ\n\n\n", " a\nb\n", "\na\nb\n", "a \nb\n", "a\r\nb\n",
		"EOT\nb\n", "a\n  EOT\n", "a\n\"\"\"\n\\\n", "%{~ if true ~}\n a\n%{~ endif ~}\n", "~", "null", "0x10", "1_000", "1e3",
		"yes", "2020-01-01", "<<", "=", "- a", "a: b", "a #b", "'", "\"", "\u00e9 e\u0301 \u2028 \ufeff \U0001F600", "12:30:45", "$$$${x}",
	} {
		set := &spec.StatefulSet{
			APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet,
			Metadata: spec.Meta{Name: "a", Annotations: map[string]string{"k": s}},
			Spec: spec.StatefulSetSpec{Processes: []spec.Process{{
				Name: "p",
				Exec: spec.Exec{
					Command: []string{"x", spec.EscapeTemplate(s), "y"},
					Env:     spec.Env{{Name: "A", Value: spec.EscapeTemplate(s)}, {Name: "B", Value: "b"}},
				},
				Files: []spec.File{{Path: "/f", Content: spec.EscapeTemplate(s)}},
			}}},
		}
		roundTrip(t, set)
	}
}
