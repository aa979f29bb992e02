package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/supervisor/spec"
)

// digest is written INDEX WORD: nodes with the same word have the same state.
func digest(t *testing.T, s string) (d spec.Digest) {
	t.Helper()
	var word string
	if _, err := fmt.Sscanf(s, "%d %s", &d.Index, &word); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	d.Form = "f"
	if form, rest, ok := strings.Cut(word, "/"); ok {
		d.Form, word = form, rest
	}
	d.Parts = map[string]string{"cluster": "c", "member": word}
	return d
}

// said writes a check down: "5", or "5: a astray of b+c at 5", or "5: a+b split at 5".
func said(c spec.StateCheck) string {
	out := fmt.Sprint(c.Index)
	if x := c.Differs; x != nil {
		out += ": " + strings.Join(x.Nodes, "+")
		if len(x.Majority) > 0 {
			out += " astray of " + strings.Join(x.Majority, "+")
		} else {
			out += " split"
		}
		out += fmt.Sprintf(" at %d in %s", x.Index, strings.Join(x.Parts, ","))
	}
	return out
}

func TestCompareStates(t *testing.T) {
	t.Parallel()
	astray := func(node string, index uint64, majority ...string) map[string]spec.StateCheck {
		return map[string]spec.StateCheck{node: {Index: index, Differs: &spec.StateDifference{
			Index: index, Nodes: []string{node}, Majority: majority, Parts: []string{"member"},
		}}}
	}
	for _, c := range []struct {
		name   string
		before map[string]spec.StateCheck
		told   map[string]string // node to its digests
		unripe uint64
		want   map[string]string
	}{
		{"nobody told", nil, map[string]string{}, 0, map[string]string{}},
		{"one alone is compared with nobody", nil, map[string]string{"a": "5 x"}, 0, map[string]string{}},
		{"the same", nil, map[string]string{"a": "5 x", "b": "5 x", "c": "5 x"}, 0, map[string]string{"a": "5", "b": "5", "c": "5"}},
		{"no place in common", nil, map[string]string{"a": "5 x", "b": "6 x"}, 0, map[string]string{}},
		{"forms are not compared", nil, map[string]string{"a": "5 x", "b": "5 x", "c": "5 new/y"}, 0, map[string]string{"a": "5", "b": "5"}},
		{"each form by itself", nil, map[string]string{"a": "5 x", "b": "5 x", "c": "5 new/y", "d": "5 new/z"}, 0, map[string]string{
			"a": "5", "b": "5", "c": "5: c+d split at 5 in member", "d": "5: c+d split at 5 in member",
		}},
		{"one astray", nil, map[string]string{"a": "5 x", "b": "5 y", "c": "5 x"}, 0, map[string]string{
			"a": "5", "b": "5: b astray of a+c at 5 in member", "c": "5",
		}},
		{"two astray in two ways", nil, map[string]string{"a": "5 x", "b": "5 y", "c": "5 x", "d": "5 z", "e": "5 x"}, 0, map[string]string{
			"a": "5", "b": "5: b+d astray of a+c+e at 5 in member", "c": "5", "d": "5: b+d astray of a+c+e at 5 in member", "e": "5",
		}},
		{"two differ, nobody knows who", nil, map[string]string{"a": "5 x", "b": "5 y"}, 0, map[string]string{
			"a": "5: a+b split at 5 in member", "b": "5: a+b split at 5 in member",
		}},
		{"two and two", nil, map[string]string{"a": "5 x", "b": "5 y", "c": "5 x", "d": "5 y"}, 0, map[string]string{
			"a": "5: a+b+c+d split at 5 in member", "b": "5: a+b+c+d split at 5 in member",
			"c": "5: a+b+c+d split at 5 in member", "d": "5: a+b+c+d split at 5 in member",
		}},
		{"others may still tell", nil, map[string]string{"a": "4 x,5 x", "b": "4 x,5 y"}, 5, map[string]string{"a": "4", "b": "4"}},
		{"who agrees need not wait", nil, map[string]string{"a": "5 x", "b": "5 x"}, 5, map[string]string{"a": "5", "b": "5"}},
		{
			"a later place without a majority takes nothing back", nil,
			map[string]string{"a": "5 x,6 x", "b": "5 x", "c": "5 y,6 y"},
			0,
			map[string]string{"a": "5", "b": "5", "c": "5: c astray of a+b at 5 in member"},
		},
		{
			"first seen earlier", astray("c", 3, "a", "b"),
			map[string]string{"a": "5 x", "b": "5 x", "c": "5 y"},
			0,
			map[string]string{"a": "5", "b": "5", "c": "5: c astray of a+b at 3 in member"},
		},
		{
			"until a newer place says otherwise", astray("c", 3, "a", "b"),
			map[string]string{"a": "5 x", "b": "5 x"},
			0,
			map[string]string{"a": "5", "b": "5", "c": "3: c astray of a+b at 3 in member"},
		},
		{
			"mended", astray("c", 3, "a", "b"),
			map[string]string{"a": "3 x,5 x", "b": "3 x,5 x", "c": "5 x"},
			0,
			map[string]string{"a": "5", "b": "5", "c": "5"},
		},
		{
			"a new leader that is astray itself accuses nobody else", nil,
			map[string]string{"leader": "5 y", "b": "5 x", "c": "5 x"},
			0,
			map[string]string{"leader": "5: leader astray of b+c at 5 in member", "b": "5", "c": "5"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			told := map[string][]spec.Digest{}
			for node, list := range c.told {
				for d := range strings.SplitSeq(list, ",") {
					told[node] = append(told[node], digest(t, d))
				}
			}
			got := map[string]string{}
			for node, check := range compareStates(c.before, told, func(p place) bool { return p.index != c.unripe }) {
				got[node] = said(check)
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("told %v: got %v, want %v", c.told, got, c.want)
			}
		})
	}
}

// TestStatesOfATerm: a difference is told when it is ripe, once; a node that is no more is forgotten.
func TestStatesOfATerm(t *testing.T) {
	t.Parallel()
	s, now := newStates(), time.Unix(1000, 0)
	nodes := []string{"a", "b", "c"}
	known := func(n string) bool { return slices.Contains(nodes, n) }
	tell := func(index uint64, words ...string) {
		for i, w := range words {
			s.hear(string(rune('a'+i)), []spec.Digest{digest(t, fmt.Sprint(index, " ", w))}, now)
		}
	}
	expect := func(what string, found int, healed bool, checks map[string]string) {
		t.Helper()
		f, h := s.check(known, now)
		got := map[string]string{}
		for n, c := range s.checks {
			got[n] = said(c)
		}
		if len(f) != found || h != healed || !maps.Equal(got, checks) {
			t.Errorf("%s: found %d, healed %t, %v; want %d, %t, %v", what, len(f), h, got, found, healed, checks)
		}
	}
	tell(10, "x", "x", "x")
	expect("all the same", 0, false, map[string]string{"a": "10", "b": "10", "c": "10"})
	tell(20, "x", "y", "x")
	expect("not ripe", 0, false, map[string]string{"a": "10", "b": "10", "c": "10"})
	now = now.Add(ripeAfter)
	astray := map[string]string{"a": "20", "b": "20: b astray of a+c at 20 in member", "c": "20"}
	expect("ripe", 1, false, astray)
	expect("told once", 0, false, astray)
	tell(30, "x", "y", "x")
	now = now.Add(ripeAfter)
	astray = map[string]string{"a": "30", "b": "30: b astray of a+c at 20 in member", "c": "30"}
	expect("still", 0, false, astray)
	s.hear("b", nil, now)
	expect("started again", 0, false, astray)
	tell(40, "x", "x", "x")
	expect("mended", 0, true, map[string]string{"a": "40", "b": "40", "c": "40"})
	nodes = []string{"a", "c"}
	expect("forgotten", 0, false, map[string]string{"a": "40", "c": "40"})
	if len(s.digests) != 2 || len(s.first) != 1 {
		t.Errorf("kept: %d nodes, %d places", len(s.digests), len(s.first))
	}
}
