package configs

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// apiFields are Kubernetes' own: by type, the fields in order, and what type each is of.
func apiFields(t *testing.T) (fields map[string][]string, types map[string]string) {
	t.Helper()
	b, err := os.ReadFile("testdata/kubernetes/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	fields, types = map[string][]string{}, map[string]string{}
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' {
			continue
		}
		path, of, _ := strings.Cut(l, " ")
		typ, field, ok := strings.Cut(path, ".")
		if !ok {
			t.Fatalf("%q is no TYPE.FIELD", l)
		}
		fields[typ] = append(fields[typ], field)
		types[path] = of
	}
	return fields, types
}

func (t *kubeType) apiName() string {
	if t.api != "" {
		return t.api
	}
	return t.name
}

// TestKubeTableIsComplete: of each type that is read, every field that Kubernetes has is
// decided on, and no other; and every type of a field that is taken is read.
func TestKubeTableIsComplete(t *testing.T) {
	t.Parallel()
	fields, types := apiFields(t)
	read := map[string]bool{}
	for _, typ := range slices.Concat(kubeTypes...) {
		read[typ.apiName()] = true
	}
	for _, typ := range slices.Concat(kubeTypes...) {
		want, got := slices.Sorted(slices.Values(fields[typ.apiName()])), slices.Sorted(slices.Values(typ.names()))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -Kubernetes +table\n%s", typ.name, d)
		}
		for _, f := range typ.fields {
			if of := types[typ.apiName()+"."+f.name]; f.is == taken && of != "" && !read[of] {
				t.Errorf("%s.%s is taken, but its type %s is not in the table", typ.name, f.name, of)
			}
			if f.is != taken && f.note == "" {
				t.Errorf("%s.%s is %s, and nothing says why", typ.name, f.name, f.is)
			}
		}
	}
}

// TestKubeTableIsTrue feeds every field to the decoder, by name: what the table says of
// it must happen. What is taken makes another object than leaving it out, but for what is
// only held against something; what is ignored doesn't.
func TestKubeTableIsTrue(t *testing.T) {
	t.Parallel()
	for _, typ := range slices.Concat(kubeTypes...) {
		open, ok := kubePlaces[typ.name]
		if !ok {
			t.Errorf("%s: no manifest to try its fields in; add one to kubePlaces", typ.name)
			continue
		}
		for _, f := range typ.fields {
			value := kubeValues[typ.name+"."+f.name]
			if value == "" {
				value = kubeValues[f.name]
			}
			if value == "" {
				value = "{x: y}" // not even looked at
			}
			in := open(f.name+": "+value) + kubeMap
			_, diags := Decode([]Source{{Name: "x.yaml", Data: []byte(in)}})
			if err := checkOutcome(f, diags); err != nil {
				t.Errorf("%s.%s (%s): %v\n%s", typ.name, f.name, f.is, err, in)
			}
			if f.is == refused {
				continue
			}
			if effect := decoded(t, in) != decoded(t, open("-"+f.name)+kubeMap); effect != (f.is == taken && !kubeChecks[typ.name+"."+f.name]) {
				t.Errorf("%s.%s (%s): the object is another one with it: %v\n%s", typ.name, f.name, f.is, effect, in)
			}
		}
	}
}

// kubeChecks are fields that are taken by holding them against what is so in any case.
var kubeChecks = wordSet(`
	StatefulSetSpec.selector LabelSelector.matchLabels LabelSelector.matchExpressions
	LabelSelectorRequirement.key LabelSelectorRequirement.operator LabelSelectorRequirement.values
	PersistentVolumeClaimSpec.accessModes PersistentVolumeClaimSpec.volumeMode
	PodTemplateSpec.metadata TemplateMeta.labels TemplateMeta.annotations
	PodSpec.restartPolicy PodSpec.dnsPolicy PodSpec.os PodSpec.hostUsers PodOS.name
	PodSecurityContext.runAsNonRoot SecurityContext.runAsNonRoot
	TopologySpreadConstraint.whenUnsatisfiable Affinity.nodeAffinity Affinity.podAffinity Affinity.podAntiAffinity
	EmptyDirVolumeSource.medium InitContainer.resources
	ContainerPort.hostPort VolumeMount.mountPropagation
	ConfigMapVolumeSource.optional ConfigMapProjection.optional ConfigMapEnvSource.optional ConfigMapKeySelector.optional
	ServiceSpec.clusterIP ServiceSpec.type ServicePort.targetPort
	PodDisruptionBudget.apiVersion PodDisruptionBudget.kind PodDisruptionBudget.metadata PodDisruptionBudget.spec
	PodDisruptionBudgetSpec.selector PodDisruptionBudgetSpec.minAvailable PodDisruptionBudgetSpec.maxUnavailable
`)

func wordSet(s string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// decoded is what becomes of a manifest, places aside.
func decoded(t *testing.T, text string) string {
	t.Helper()
	objs, _ := Decode([]Source{{Name: "x.yaml", Data: []byte(text)}})
	b, err := json.Marshal(objs)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkOutcome compares what was said with what the table says.
func checkOutcome(f kubeField, diags []Diagnostic) error {
	var told, refusals, others []string
	for _, d := range diags {
		switch {
		case d.Warning && strings.Contains(d.Message, "ignored") && strings.Contains(d.Message, "."+f.name):
			told = append(told, d.String())
		case !d.Warning && strings.HasSuffix(d.Path, "."+f.name) && d.Message == f.note:
			refusals = append(refusals, d.String())
		case !d.Warning:
			others = append(others, d.String())
		}
	}
	want := map[outcome][2]int{taken: {0, 0}, silent: {0, 0}, ignored: {1, 0}, refused: {0, 1}}[f.is]
	if got := [2]int{len(told), len(refusals)}; got != want {
		return fmt.Errorf("told as ignored %d times, refused %d times, want %v: %v", got[0], got[1], want, diags)
	}
	if len(others) > 0 {
		return fmt.Errorf("not expected: %v", others)
	}
	return nil
}

// TestKubeKinds: the documents of the table, as a whole.
func TestKubeKinds(t *testing.T) {
	t.Parallel()
	for _, k := range kubeKinds {
		if k.is == taken {
			continue // the cases of testdata
		}
		in := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: x}\n", k.version, k.kind)
		objs, diags := Decode([]Source{{Name: "x.yaml", Data: []byte(in)}})
		if len(objs) != 0 || len(diags) != 1 || diags[0].Warning != (k.is == ignored) {
			t.Errorf("%s is %s, got %v, %v", k.kind, k.is, objs, diags)
			continue
		}
		if want := strings.ReplaceAll(k.note, "%s", k.kind); !strings.Contains(diags[0].Message, want) {
			t.Errorf("%s: %q does not say %q", k.kind, diags[0].Message, want)
		}
	}
}

// TestKubeDocument keeps kubernetes.md what the table says.
func TestKubeDocument(t *testing.T) {
	t.Parallel()
	const file = "kubernetes.md"
	got := kubeDocument()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what the table says (rewrite with -update): -file +table\n%s", file, d)
	}
}

const kubeIntro = `# Kubernetes manifests

What becomes of each field of Kubernetes' apps/v1 StatefulSet and its pod template, of ConfigMap, Service and PodDisruptionBudget. This page
is printed from the table that the decoder itself works by (kube_table*.go); a test holds it to every field of Kubernetes 1.36.

- **taken**: it means here what it means there. The note names the native field it becomes, which is then held to the rules that hold for
  native definitions; ` + "`supctl convert -f F -o hcl`" + ` shows all of it.
- **ignored, with a warning**: only Kubernetes' own machinery needs it. One warning lists all such fields of a document.
- **passed over**: filled in by Kubernetes' server, or it says what holds in any case.
- **refused**: passing over it would change the meaning. The note is the error. ` + "`false`" + ` and empty values are not refused: they say nothing.

**ConfigMaps** are given in the same apply as the sets that use them (the same file, the same directory, or another ` + "`-f`" + `); they may stand
anywhere in it. Nothing is stored of them but what sets use, literally, as files and variables of their templates. So, other than in Kubernetes, a
changed ConfigMap is a changed template, and is rolled out member by member when it is applied: no member restarts later into a text that it was never
started with, and ` + "`supctl rollout undo`" + ` goes back to the old text too. Files are owned by the user of the process that has them, lie in a scratch
directory that is made anew at each start, and are mounted read-only: as there, what the host has below the mountPath is hidden. A ConfigMap that is used but
not given is an error, unless it is optional; one that nobody uses is warned of. A set with its texts may take about 500 KiB (an entry of the log
has it twice). Secrets are no part of definitions: their values would be in the log.

**Services** are names, for no proxy holds an address. That of a set's serviceName, headless or not, lists the set's members; any other lists the one
set of the same files whose template's labels its selector selects (natively: ` + "`selector: {supd/set: NAME}`" + `). Clients get the ready members' own addresses,
so a port that would be forwarded to another is refused.

A field that is in no table is an error with a guess at what was meant. A container's ` + "`image`" + ` is the name of a Program, which says what
it means on these hosts; without one, the container's own ` + "`command`" + ` must run here. Files that show it: [testdata/manifests](testdata/manifests).
`

func kubeDocument() string {
	var b strings.Builder
	b.WriteString(kubeIntro + "\n## Documents\n\n| kind | of | | |\n|---|---|---|---|\n")
	for _, k := range kubeKinds {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", k.kind, k.version, k.is, strings.ReplaceAll(k.note, "%s", k.kind))
	}
	for _, part := range []struct {
		title string
		types []kubeType
	}{
		{"StatefulSet", kubeSetTypes},
		{"Pod", kubePodTypes},
		{"Containers", kubeContainerTypes},
		{"ConfigMap, and what names it", kubeConfigTypes},
		{"Service and PodDisruptionBudget", kubeServiceTypes},
	} {
		fmt.Fprintf(&b, "\n## %s\n", part.title)
		for _, typ := range part.types {
			fmt.Fprintf(&b, "\n**%s**: %s\n\n| field | | |\n|---|---|---|\n", typ.apiName(), typ.where)
			for _, f := range typ.fields {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", f.name, f.is, f.note)
			}
		}
	}
	return b.String()
}
