package state_test

import (
	"encoding"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// pathsOf lists the JSON paths of a type: through lists, and "*" for a map's keys.
func pathsOf(t reflect.Type, prefix string, into map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()), reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return
	case t.Kind() == reflect.Map:
		pathsOf(t.Elem(), prefix+"*.", into)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case !f.IsExported() || name == "-":
			case f.Anonymous && name == "":
				pathsOf(f.Type, prefix, into)
			default:
				if name == "" {
					name = f.Name
				}
				into[prefix+name] = true
				pathsOf(f.Type, prefix+name+".", into)
			}
		}
	}
}

// TestNewFieldsAreCounted: a field that a command got after a version without it was
// released must stand in Fields, or an older node would meet it and stop following.
func TestNewFieldsAreCounted(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "fields")
	b, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	released, kinds := map[string]bool{}, map[string]bool{}
	for l := range strings.Lines(string(b)) {
		released[strings.TrimSpace(l)] = true
		kind, _, _ := strings.Cut(l, " ")
		kinds[kind] = true
	}
	added := map[string]bool{}
	for _, f := range state.Fields() {
		added[f] = true
	}
	all := map[string]bool{}
	for _, c := range state.Commands() {
		paths := map[string]bool{}
		pathsOf(reflect.TypeOf(c).Elem(), "", paths)
		for p := range paths {
			f := state.Kind(c) + " " + p
			all[f] = true
			counted := released[f]
			for path := f; path != "" && !counted; path = path[:max(0, strings.LastIndexByte(path, '.'))] {
				counted = added[path]
			}
			if kinds[state.Kind(c)] && !counted {
				t.Errorf("%q is new in a command that older versions know: put it at the end of state.Fields", f)
			}
		}
	}
	for f := range added {
		if !all[f] {
			t.Errorf("state.Fields has %q, which no command has", f)
		}
	}
	if *update && len(released) == 0 {
		out := slices.Sorted(maps.Keys(all))
		if err := os.WriteFile(path, []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// leveled is a View with nodes of these levels.
func leveled(t *testing.T, levels map[string]state.Level) *state.View {
	t.Helper()
	v := state.New()
	add := func(c state.Command) {
		var res state.Result
		v, res = v.Apply(v.Index+1, state.Entry{At: at(int(v.Index)), Cmd: c})
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	add(&state.InitCluster{ID: "c", Incarnation: "i", Zone: "z", Plan: "none"})
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		add(&state.RegisterNode{Node: state.Node{Name: name, ID: name + ".1", Run: "r", Version: "v" + name, Level: levels[name]}})
	}
	return v
}

func TestNothingIsProposedThatANodeDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	own := state.OwnLevel()
	cmds := state.Commands()
	newest := cmds[len(cmds)-1]
	before := own
	before.Commands--
	v := leveled(t, map[string]state.Level{"a": own, "b": before})
	if own.Commands > 27 { // else no version registers less
		_, err := v.Fit(newest)
		if err == nil || err.Reason != "NodeTooOld" || !strings.Contains(err.Message, "node b (supd vb)") {
			t.Errorf("the newest command with an older node: %v", err)
		}
	}
	if _, err := v.Fit(&state.SetStopping{}); err != nil {
		t.Error(err)
	}
	if _, err := leveled(t, map[string]state.Level{"a": own, "b": own}).Fit(newest); err != nil {
		t.Error(err)
	}
	// One that registered nothing knows what the first version knew.
	if l, who, _ := leveled(t, map[string]state.Level{"a": own, "b": {}}).Level(); l.Commands != 27 || own.Commands > 27 && who.Name != "b" {
		t.Errorf("least level %+v of %v", l, who)
	}
}

// TestADefinitionKeepsWhatItAsksFor: what an older node would leave out of a definition is
// refused while it is there; one that asks for nothing of the kind is taken, by the older rules.
func TestADefinitionKeepsWhatItAsksFor(t *testing.T) {
	t.Parallel()
	own := state.OwnLevel()
	older := own
	older.Fields = slices.Index(state.Fields(), "PutSet rules")
	v := leveled(t, map[string]state.Level{"a": own, "b": older})
	put := func(h spec.Hook) *state.PutSet {
		p := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"/bin/x"}}, Hooks: spec.Hooks{spec.HookPreStop: h}}}
		return &state.PutSet{Namespace: "default", Name: "web", UID: "u", Rules: state.RulesNow, Spec: spec.StatefulSetSpec{Processes: p}, Template: spec.Template{Processes: p}}
	}
	got, err := v.Fit(put(spec.Hook{Command: []string{"/bin/y"}}))
	if c, ok := got.(*state.PutSet); err != nil || !ok || c.Rules != 0 || len(c.Spec.Processes[0].Hooks) != 1 {
		t.Errorf("a definition that an older node understands: %+v, %v", got, err)
	}
	_, err = v.Fit(put(spec.Hook{HTTP: &spec.HTTPGet{Port: "80"}}))
	if err == nil || err.Reason != state.NodeTooOld || !strings.Contains(err.Message, "hooks.*.http") {
		t.Errorf("a hook that an older node does not know: %v", err)
	}
}

// TestANodeTooOldForTheLogIsRefused: it would hold the others to what it knows, and
// can't follow by itself.
func TestANodeTooOldForTheLogIsRefused(t *testing.T) {
	t.Parallel()
	own := state.OwnLevel()
	v := leveled(t, map[string]state.Level{"a": own})
	v.Cluster.Commands = 30
	_, res := v.Apply(v.Index+1, state.Entry{At: at(9), Cmd: &state.RegisterNode{Node: state.Node{Name: "b", ID: "b.1", Run: "r", Version: "0.1", Level: state.Level{Commands: 29}}}})
	if res.Err == nil || res.Err.Reason != "NodeTooOld" {
		t.Errorf("got %v", res.Err)
	}
	_, res = v.Apply(v.Index+1, state.Entry{At: at(9), Cmd: &state.RegisterNode{Node: state.Node{Name: "b", ID: "b.1", Run: "r", Level: state.Level{Commands: 30}}}})
	if res.Err != nil {
		t.Error(res.Err)
	}
}
