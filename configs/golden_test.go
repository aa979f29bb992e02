package configs

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"supd/supervisor/spec"
)

var update = flag.Bool("update", false, "rewrite what testdata expects")

// wantName is the last part of every case: objects as JSON, then diagnostics.
const wantName = "want"

// golden runs the cases of one folder: all files but the last are the input.
func golden(t *testing.T, dir string, check func(t *testing.T, objs []Object, diags []Diagnostic)) {
	goldenOf(t, dir, check, render)
}

// goldenOf is golden with another way to show what came out.
func goldenOf(t *testing.T, dir string, check func(*testing.T, []Object, []Diagnostic), render func(*testing.T, []Object, []Diagnostic) string) {
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var in []Source
			want := ""
			for _, f := range ar.Files {
				if f.Name == wantName {
					want = string(f.Data)
					continue
				}
				in = append(in, Source{Name: f.Name, Data: f.Data})
			}
			objs, diags := Decode(in)
			check(t, objs, diags)
			got := render(t, objs, diags)
			if *update {
				rewrite(t, path, ar, got)
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (rewrite with -update): -want +got\n%s", path, d)
			}
		})
	}
}

// render is the diagnostics, and the objects as JSON.
func render(t *testing.T, objs []Object, diags []Diagnostic) string {
	t.Helper()
	var b strings.Builder
	for _, d := range diags {
		b.WriteString(d.String() + "\n")
	}
	if HasErrors(diags) {
		return b.String() // what was read of broken files is nobody's promise
	}
	for _, o := range objs {
		var js bytes.Buffer
		enc := json.NewEncoder(&js)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(o); err != nil {
			t.Fatal(err)
		}
		b.Write(js.Bytes())
	}
	return b.String()
}

func rewrite(t *testing.T, path string, ar *txtar.Archive, got string) {
	t.Helper()
	var files []txtar.File
	for _, f := range ar.Files {
		if f.Name != wantName {
			files = append(files, f)
		}
	}
	ar.Files = append(files, txtar.File{Name: wantName, Data: []byte(got)})
	if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGood(t *testing.T) {
	t.Parallel()
	golden(t, "good", func(t *testing.T, objs []Object, diags []Diagnostic) {
		if HasErrors(diags) {
			t.Errorf("refused: %v", diags)
		}
		for _, o := range objs {
			roundTrip(t, o)
		}
	})
}

func TestBad(t *testing.T) {
	t.Parallel()
	golden(t, "bad", func(t *testing.T, _ []Object, diags []Diagnostic) {
		if !HasErrors(diags) {
			t.Error("no error")
		}
		for _, d := range diags {
			if d.File == "" || d.Message == "" {
				t.Errorf("%#v says too little", d)
			}
		}
	})
}

// roundTrip checks that an object survives both encoders.
func roundTrip(t *testing.T, o Object) {
	t.Helper()
	y, err := EncodeYAML(o)
	if err != nil {
		t.Fatalf("YAML: %v", err)
	}
	same(t, o, "x.yaml", y)
	h, err := EncodeHCL(o)
	if err != nil {
		t.Fatalf("HCL: %v\n%s", err, y)
	}
	same(t, bare(o), "x.hcl", h)
}

func same(t *testing.T, want Object, name string, text []byte) {
	t.Helper()
	got, diags := Decode([]Source{{Name: name, Data: text}})
	if HasErrors(diags) || len(got) != 1 {
		t.Fatalf("%s is not read back: %v\n%s", name, diags, text)
	}
	if d := cmp.Diff(plain(t, want), plain(t, got[0])); d != "" {
		t.Fatalf("%s changes the object: -want +got\n%s\n%s", name, d, text)
	}
}

// plain is the object as JSON says it: nil and empty are the same.
func plain(t *testing.T, o Object) any {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// bare is the object without what HCL has no place for.
func bare(o Object) Object {
	clean := func(m *spec.Meta) {
		m.UID, m.Generation, m.ResourceVersion, m.CreatedAt = "", 0, 0, nil
	}
	switch o := o.(type) {
	case *spec.StatefulSet:
		c := *o
		c.APIVersion, c.Kind, c.Status = spec.APIVersion, spec.KindStatefulSet, nil
		clean(&c.Metadata)
		return &c
	case *spec.Service:
		c := *o
		clean(&c.Metadata)
		return &c
	case *spec.Program:
		c := *o
		clean(&c.Metadata)
		return &c
	}
	return o
}

// TestTemplatedFieldsExist keeps the tables of the HCL front end true to package spec.
func TestTemplatedFieldsExist(t *testing.T) {
	t.Parallel()
	for typ, names := range templated {
		for _, n := range names {
			if _, ok := findField(typ, n); !ok {
				t.Errorf("%s has no field %q", typ, n)
			}
		}
	}
	for _, f := range fields(reflect.TypeFor[spec.StatefulSetSpec]()) {
		if camel(snake(f.name)) != f.name {
			t.Errorf("%q does not survive snake_case", f.name)
		}
	}
}
