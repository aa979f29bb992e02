package control

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"supd/supervisor/spec"
)

// keptDigests is how many of a node's digests are looked at, the newest.
const keptDigests = 4

// ripeAfter is how long the leader waits for other nodes' digests of an entry before it
// says that two differ: each node makes its own, and tells it with its next heartbeat.
const ripeAfter = 5 * time.Second

// place is where in the log, and by which form, digests can be compared.
type place struct {
	index uint64
	form  string
}

// states is the leader's account of what the nodes' states came to, in one term.
type states struct {
	digests map[string][]spec.Digest // by node, the newest last
	first   map[place]time.Time      // when the first digest of a place came
	checks  map[string]spec.StateCheck
}

func newStates() states {
	return states{digests: map[string][]spec.Digest{}, first: map[place]time.Time{}, checks: map[string]spec.StateCheck{}}
}

// hear notes what a node told. One that tells nothing (an older version, or one that has
// just started) stays as it was.
func (s *states) hear(node string, told []spec.Digest, now time.Time) {
	if len(told) == 0 {
		return
	}
	told = told[max(0, len(told)-keptDigests):]
	s.digests[node] = told
	for _, d := range told {
		if p := (place{d.Index, d.Form}); s.first[p].IsZero() {
			s.first[p] = now
		}
	}
}

// check compares, and returns the differences that were not there before and whether
// all that were are gone. Nodes that the log does not know any more are dropped.
func (s *states) check(known func(node string) bool, now time.Time) (found []*spec.StateDifference, healed bool) {
	gone := func(node string) bool { return !known(node) }
	maps.DeleteFunc(s.digests, func(node string, _ []spec.Digest) bool { return gone(node) })
	before := maps.Clone(s.checks)
	maps.DeleteFunc(s.checks, func(node string, _ spec.StateCheck) bool { return gone(node) })
	told := map[place]bool{}
	for _, list := range s.digests {
		for _, d := range list {
			told[place{d.Index, d.Form}] = true
		}
	}
	maps.DeleteFunc(s.first, func(p place, _ time.Time) bool { return !told[p] })
	s.checks = compareStates(s.checks, s.digests, func(p place) bool { return now.Sub(s.first[p]) >= ripeAfter })
	was, is := differences(before), differences(s.checks)
	for _, d := range is {
		if !slices.ContainsFunc(was, d.Same) {
			found = append(found, d)
		}
	}
	return found, len(was) > 0 && len(is) == 0
}

// differences are those among the checks, each once.
func differences(checks map[string]spec.StateCheck) (out []*spec.StateDifference) {
	for _, node := range slices.Sorted(maps.Keys(checks)) {
		if d := checks[node].Differs; d != nil && !slices.ContainsFunc(out, d.Same) {
			out = append(out, d)
		}
	}
	return out
}

// compareStates says of each node how its state compares with the others', by the
// newest place that tells. What was known before holds until a newer place says
// otherwise. Digests that differ are judged when their place is ripe.
func compareStates(before map[string]spec.StateCheck, digests map[string][]spec.Digest, ripe func(place) bool) map[string]spec.StateCheck {
	at := map[place]map[string]spec.Digest{}
	for node, list := range digests {
		for _, d := range list {
			p := place{d.Index, d.Form}
			if at[p] == nil {
				at[p] = map[string]spec.Digest{}
			}
			at[p][node] = d
		}
	}
	out := maps.Clone(before)
	if out == nil {
		out = map[string]spec.StateCheck{}
	}
	for _, p := range slices.SortedFunc(maps.Keys(at), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.index, b.index), strings.Compare(a.form, b.form))
	}) {
		compareAt(out, p, at[p], ripe)
	}
	return out
}

// compareAt compares what nodes have at one place, and notes it.
func compareAt(checks map[string]spec.StateCheck, p place, have map[string]spec.Digest, ripe func(place) bool) {
	groups := alike(have)
	if len(have) < 2 || len(groups) > 1 && !ripe(p) {
		return
	}
	if len(groups[0]) > len(have)/2 {
		note(checks, p, have, groups)
		return
	}
	// No majority here. Those of whom an earlier place has told that they went astray are
	// not counted again; they stay so, for a state does not mend by itself.
	maps.DeleteFunc(have, func(node string, _ spec.Digest) bool {
		d := checks[node].Differs
		return d != nil && len(d.Majority) > 0
	})
	if len(have) > 1 {
		note(checks, p, have, alike(have))
	}
}

// alike puts nodes with the same digest together, the largest group first.
func alike(have map[string]spec.Digest) (groups [][]string) {
next:
	for _, node := range slices.Sorted(maps.Keys(have)) {
		for i, g := range groups {
			if len(have[g[0]].Differs(have[node])) == 0 {
				groups[i] = append(g, node)
				continue next
			}
		}
		groups = append(groups, []string{node})
	}
	slices.SortStableFunc(groups, func(a, b []string) int { return len(b) - len(a) })
	return groups
}

// note writes down what groups of nodes at one place mean for each of them.
func note(checks map[string]spec.StateCheck, p place, have map[string]spec.Digest, groups [][]string) {
	d := &spec.StateDifference{Index: p.index}
	astray := groups
	if len(groups[0]) > len(have)/2 {
		d.Majority, astray = groups[0], groups[1:]
	}
	for _, g := range astray {
		d.Nodes = append(d.Nodes, g...)
	}
	for _, g := range groups[1:] {
		d.Parts = append(d.Parts, have[groups[0][0]].Differs(have[g[0]])...)
	}
	slices.Sort(d.Nodes)
	slices.Sort(d.Parts)
	d.Parts = slices.Compact(d.Parts)
	for node := range have {
		was := checks[node]
		if p.index < was.Index {
			continue
		}
		c := spec.StateCheck{Index: p.index}
		if slices.Contains(d.Nodes, node) {
			mine := *d
			if mine.Same(was.Differs) {
				mine.Index = was.Differs.Index
			}
			c.Differs = &mine
		}
		checks[node] = c
	}
}

// compare compares the nodes' states until the term ends.
func (c *Control) compare(ctx context.Context, t *term) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		v := c.o.Store.View()
		t.mu.Lock()
		found, healed := t.states.check(func(node string) bool { return v.Node(node) != nil }, time.Now())
		t.mu.Unlock()
		for _, d := range found {
			if len(d.Majority) > 0 {
				c.log.Error("state differs from the majority's", "nodes", d.Nodes, "majority", d.Majority, "index", d.Index, "parts", d.Parts)
			} else {
				c.log.Error("states differ, and no majority tells which is right", "nodes", d.Nodes, "index", d.Index, "parts", d.Parts)
			}
		}
		if healed {
			c.log.Info("the nodes' states are the same again", "index", v.Index)
		}
	}
}
