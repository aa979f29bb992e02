package configs

import (
	"fmt"
	"strings"
	"testing"

	"supd/supervisor/spec"
)

const mapUser = kubeSetHead + "spec: {" + kubeLabels + ", template: {" + kubeMeta + ", spec: {volumes: [{name: c, configMap: {name: m}}], " + kubeMain + "}]}}}\n"

func mapOf(name, text string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {k: %q}\n", name, text)
}

// TestConfigMapsOfAllFiles: a ConfigMap may stand in any file, before or after the set, or in one of
// its own without any definition.
func TestConfigMapsOfAllFiles(t *testing.T) {
	t.Parallel()
	set, m := Source{Name: "set.yaml", Data: []byte(mapUser)}, Source{Name: "map.yaml", Data: []byte(mapOf("m", "text"))}
	both := Source{Name: "both.yaml", Data: []byte(mapOf("m", "text") + "---\n" + mapUser)}
	for _, files := range [][]Source{{set, m}, {m, set}, {both}} {
		objs, diags := Decode(files)
		if len(diags) != 0 || len(objs) != 1 {
			t.Fatalf("%d objects, %v; want the set and nothing said", len(objs), diags)
		}
		if f := objs[0].(*spec.StatefulSet).Spec.Processes[0].Files; len(f) != 1 || f[0].Content != "text" {
			t.Errorf("files %v", f)
		}
	}
	if _, diags := Decode([]Source{m}); len(diags) != 1 || !diags[0].Warning {
		t.Errorf("a ConfigMap alone: %v, want one warning", diags)
	}
}

// TestConfigMapChangesTheTemplate: another text is another revision, and so a rollout.
func TestConfigMapChangesTheTemplate(t *testing.T) {
	t.Parallel()
	hash := func(text string) string {
		objs, diags := Decode([]Source{{Name: "x.yaml", Data: []byte(mapUser + "---\n" + mapOf("m", text))}})
		if len(diags) != 0 {
			t.Fatal(diags)
		}
		set := objs[0].(*spec.StatefulSet)
		spec.Default(set)
		tpl, problems := spec.Resolve(set.Spec, nil)
		if len(problems) != 0 {
			t.Fatal(problems)
		}
		return tpl.Hash()
	}
	first, again := hash("a"), hash("a")
	if first == hash("b") {
		t.Error("a changed ConfigMap makes no other revision")
	}
	if first != again {
		t.Error("the same ConfigMap makes another revision")
	}
}

// TestConfigMapsFitAnEntry: what would not go into an entry of the log is refused where the text is.
func TestConfigMapsFitAnEntry(t *testing.T) {
	t.Parallel()
	decode := func(text string) []Diagnostic {
		_, diags := Decode([]Source{
			{Name: "set.yaml", Data: []byte(mapUser)},
			{Name: "map.yaml", Data: []byte(mapOf("m", text))},
		})
		return diags
	}
	if diags := decode(strings.Repeat("a", 500<<10)); len(diags) != 0 {
		t.Errorf("500 KiB: %v", diags)
	}
	// What JSON writes longer counts as long as that.
	for what, text := range map[string]string{"much": strings.Repeat("a", 520<<10), "marked up": strings.Repeat("<", 100<<10)} {
		diags := decode(text)
		if len(diags) != 1 || diags[0].Warning || diags[0].File != "map.yaml" || diags[0].Line != 3 || !strings.Contains(diags[0].Message, "StatefulSet x") {
			t.Errorf("%s: %v, want an error at the ConfigMap", what, diags)
		}
	}
}
