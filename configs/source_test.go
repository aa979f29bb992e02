package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supd/supervisor/spec"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, n := range []string{"b.yaml", "a.hcl", "c.json", "notes.txt", ".hidden.yaml", "sub.yml"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "deep.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Load([]string{dir, "-"}, strings.NewReader("in"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got {
		names = append(names, filepath.Base(s.Name)+"="+filepath.Base(string(s.Data)))
	}
	want := "a.hcl=a.hcl b.yaml=b.yaml c.json=c.json sub.yml=sub.yml <stdin>=in"
	if strings.Join(names, " ") != want {
		t.Errorf("got %v, want %s", names, want)
	}
	for _, p := range []string{filepath.Join(dir, "none"), t.TempDir()} {
		if _, err := Load([]string{p}, nil); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
}

func TestStdinIsRecognised(t *testing.T) {
	t.Parallel()
	for text, hcl := range map[string]bool{
		"# c\n\nstatefulset \"web\" {\n": true, "program \"a:1\" {}": true, "// c\nservice \"x\" {": true,
		"apiVersion: v1\n": false, "---\n": false, "{\"kind\": 1}": false, "": false, "# only\n": false,
	} {
		if got := (Source{Name: "<stdin>", Data: []byte(text)}).isHCL(); got != hcl {
			t.Errorf("%q: got %v, want %v", text, got, hcl)
		}
	}
}

// TestExamples: every example is read without an error, and its Programs make it whole.
func TestExamples(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("examples/*")
	if err != nil {
		t.Fatal(err)
	}
	var files []Source
	for _, dir := range dirs {
		s, err := Load([]string{dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s {
			if filepath.Base(f.Name) != "web.yaml" { // the same set again
				files = append(files, f)
			}
		}
	}
	objs, diags := Decode(files)
	for _, d := range diags {
		t.Errorf("%s", d)
	}
	programs := programsOf(objs)
	for _, o := range objs {
		roundTrip(t, o)
	}
	for _, o := range objs {
		if s, ok := o.(*spec.StatefulSet); ok {
			spec.Default(s)
			if _, problems := spec.Resolve(s.Spec, func(n string) *spec.ProgramSpec { return programs[n] }); len(problems) > 0 {
				t.Errorf("%s: %v", s.Metadata.Name, problems)
			}
		}
	}
}

// TestWebIsTheSameTwice: web.yaml and web.hcl say the same.
func TestWebIsTheSameTwice(t *testing.T) {
	t.Parallel()
	var objs []Object
	for _, n := range []string{"web.hcl", "web.yaml"} {
		s, err := Load([]string{filepath.Join("examples", "web", n)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		o, diags := Decode(s)
		if len(diags) > 0 || len(o) != 1 {
			t.Fatalf("%s: %v", n, diags)
		}
		objs = append(objs, o[0])
	}
	y, err := EncodeYAML(objs[1])
	if err != nil {
		t.Fatal(err)
	}
	same(t, objs[0], "web.yaml", y)
}
