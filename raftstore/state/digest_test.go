package state_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// TestDigest: it is the same after a snapshot, and names what differs.
func TestDigest(t *testing.T) {
	t.Parallel()
	v := storyBefore(t)
	d := v.Digest()
	if d.Index != v.Index || d.Form == "" || d.Parts["cluster"] == "" || d.Parts["member"] == "" {
		t.Errorf("the digest is %+v", d)
	}
	var file bytes.Buffer
	if err := v.WriteSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	read := func(text string) spec.Digest {
		t.Helper()
		back, err := state.ReadSnapshot(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return back.Digest()
	}
	if back := read(text); back.Index != d.Index || back.Form != d.Form || len(back.Differs(d)) != 0 {
		t.Errorf("after a snapshot %+v, before %+v", back, d)
	}
	// Each part alone.
	tables := slices.Collect(maps.Keys(d.Parts))
	for _, table := range tables {
		mark := `{"t":"` + table + `"`
		if table == "cluster" {
			mark = `{"t":"header"`
		}
		var lines []string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, mark) {
				line = strings.Replace(strings.Replace(line, "2026", "2027", 1), `"default"`, `"other"`, 1)
				line = strings.Replace(strings.Replace(line, `:"n1`, `:"n9`, 1), `:"c1"`, `:"c9"`, 1)
			}
			lines = append(lines, line)
		}
		if got := read(strings.Join(lines, "")).Differs(d); !slices.Equal(got, []string{table}) {
			t.Errorf("with another %s %q differ", table, got)
		}
	}
	for _, table := range []string{"node", "set", "member", "volume", "service", "revision", "event"} {
		if !slices.Contains(tables, table) {
			t.Errorf("no part %s in %q", table, tables)
		}
	}
	if got := (spec.Digest{Parts: map[string]string{"a": "1", "b": "2"}}).Differs(spec.Digest{Parts: map[string]string{"a": "1", "c": "3"}}); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("parts that only one has: %q differ", got)
	}
}

// BenchmarkDigest of 10 000 members: what each node does once a minute, in a goroutine of its own.
func BenchmarkDigest(b *testing.B) {
	v := crowd(b, 1000, 10)
	b.ReportAllocs()
	for b.Loop() {
		v.Digest()
	}
}
