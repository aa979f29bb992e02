package server

import "testing"

func TestSelector(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app": "web", "tier": "front"}
	for s, want := range map[string]bool{
		"":                      true,
		"app=web":               true,
		"app==web,tier!=back":   true,
		"app=db":                false,
		"app":                   true,
		"!app":                  false,
		"!zone":                 true,
		"app in (db, web)":      true,
		"app notin (web),tier":  false,
		"zone notin (a,b), app": true,
	} {
		sel, err := parseSelector(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if got := sel.matches(labels); got != want {
			t.Errorf("%q matches = %t, want %t", s, got, want)
		}
	}
	for _, s := range []string{"=x", "a in b", "a=b=c", "!"} {
		if _, err := parseSelector(s); err == nil {
			t.Errorf("%q is taken, want an error", s)
		}
	}
}
