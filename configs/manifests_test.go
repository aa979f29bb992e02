package configs

import (
	"strings"
	"testing"

	"supd/supervisor/spec"
)

// TestManifests: files in the manner of those that people publish, with the Programs that
// make them run here; or with the reasons why they don't as they are.
func TestManifests(t *testing.T) {
	t.Parallel()
	goldenOf(t, "manifests", func(*testing.T, []Object, []Diagnostic) {}, func(t *testing.T, objs []Object, diags []Diagnostic) string {
		var b strings.Builder
		for _, d := range diags {
			b.WriteString(d.String() + "\n")
		}
		if HasErrors(diags) {
			return b.String()
		}
		programs := programsOf(objs)
		for _, o := range objs {
			set, ok := o.(*spec.StatefulSet)
			if !ok {
				continue
			}
			c := *set
			c.Spec = set.Spec.Clone()
			spec.Default(&c)
			_, problems := spec.Resolve(c.Spec, func(name string) *spec.ProgramSpec { return programs[name] })
			for _, p := range problems {
				b.WriteString("with its Programs: " + p.String() + "\n")
			}
			hcl, err := EncodeHCL(set)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(hcl)
		}
		return b.String()
	})
}

func programsOf(objs []Object) map[string]*spec.ProgramSpec {
	programs := map[string]*spec.ProgramSpec{}
	for _, o := range objs {
		if p, ok := o.(*spec.Program); ok {
			programs[p.Metadata.Name] = &p.Spec
		}
	}
	return programs
}
