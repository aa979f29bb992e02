package server

import (
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// requirement is one part of a label selector.
type requirement struct {
	key    string
	op     string // "=", "!=", "exists", "absent", "in", "notin"
	values []string
}

// selector is all of its requirements.
type selector []requirement

// parseSelector reads "app=web,tier!=cache,zone,!old,env in (a,b)".
func parseSelector(s string) (selector, error) {
	var out selector
	for _, part := range splitOutside(s) {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		r, ok := parseRequirement(part)
		if !ok {
			return nil, spec.Errorf(spec.CodeInvalid, "cannot read selector %q at %q: write for example app=web,tier!=cache", s, part)
		}
		out = append(out, r)
	}
	return out, nil
}

// splitOutside splits at commas that are not within brackets.
func splitOutside(s string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range s {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

func parseRequirement(p string) (requirement, bool) {
	for _, op := range []string{" notin ", " in "} {
		if k, list, ok := strings.Cut(p, op); ok {
			list = strings.TrimSpace(list)
			inner, ok1 := strings.CutPrefix(list, "(")
			inner, ok2 := strings.CutSuffix(inner, ")")
			r := requirement{key: strings.TrimSpace(k), op: strings.TrimSpace(op)}
			for _, v := range strings.Split(inner, ",") {
				r.values = append(r.values, strings.TrimSpace(v))
			}
			return r, ok1 && ok2 && validKey(r.key)
		}
	}
	for _, op := range []string{"!=", "==", "="} {
		if k, v, ok := strings.Cut(p, op); ok {
			r := requirement{key: strings.TrimSpace(k), op: op, values: []string{strings.TrimSpace(v)}}
			if op == "==" {
				r.op = "="
			}
			return r, validKey(r.key) && !strings.ContainsAny(r.values[0], "=!() ")
		}
	}
	if k, ok := strings.CutPrefix(p, "!"); ok {
		return requirement{key: k, op: "absent"}, validKey(k)
	}
	return requirement{key: p, op: "exists"}, validKey(p)
}

func validKey(k string) bool { return k != "" && !strings.ContainsAny(k, "=!(), ") }

func (s selector) matches(labels map[string]string) bool {
	for _, r := range s {
		v, has := labels[r.key]
		ok := false
		switch r.op {
		case "=", "in":
			ok = has && slices.Contains(r.values, v)
		case "!=", "notin":
			ok = !has || !slices.Contains(r.values, v)
		case "exists":
			ok = has
		case "absent":
			ok = !has
		}
		if !ok {
			return false
		}
	}
	return true
}
