package main

import (
	"testing"
	"time"
)

func TestJSONPath(t *testing.T) {
	t.Parallel()
	const doc = `{"a":{"b":"x","n":12345678901,"t":true,"z":null,"k.l":"dot"},"items":[
		{"m":{"name":"one"},"s":"up","l":[1,2]},{"m":{"name":"two"},"s":"down","l":[3]}]}`
	for expr, want := range map[string]string{
		"{.a.b}":                   "x",
		".a.b":                     "x",
		"{$.a.n}":                  "12345678901",
		"{.a.t}{.a.z}":             "true",
		"{.a.k\\.l}":               "dot",
		"{.a['k.l']}":              "dot",
		"{.none.at.all}":           "",
		"{.items[0].m.name}":       "one",
		"{.items[-1].m.name}":      "two",
		"{.items[7].m.name}":       "",
		"{.items[*].m.name}":       "one two",
		"{.items[*].l}":            "[1,2] [3]",
		`{.items[?(@.s=="up")].m}`: `{"name":"one"}`,
		`{.items[?(@.s!='up')].s}`: "down",
		`{.items[?(@.none)].s}`:    "",
		`name={.a.b}, {.a.t}`:      "name=x, true",
		`{range .items[*]}{.m.name}{"\t"}{.s}{"\n"}{end}`: "one\tup\ntwo\tdown\n",
		"{.items[0].l[*]}": "1 2",
	} {
		got, err := jsonPath(expr, []byte(doc))
		if err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", expr, got, err, want)
		}
	}
	for _, expr := range []string{"{.a", "{.a[}", "{range .items[*]}x", "{end}", "{.items[x]}", "{..a}"} {
		if got, err := jsonPath(expr, []byte(doc)); err == nil {
			t.Errorf("%s = %q, want an error", expr, got)
		}
	}
}

func TestYAML(t *testing.T) {
	t.Parallel()
	got, err := toYAML([]byte(`{"b":"plain text","a":[],"o":{},"n":3,"t":true,"z":null,"s":"true","d":"10s","c":"a: b",
		"e":"","script":"one\n  two\n\nthree\n","x":"one\ntwo","tab":"a\tb","amp":"<&>","bs":"\\u003c",
		"list":[{"k":"v","l":["x","1"]},[1,2],"y"],"m":{"n":{"o":"p"}},"trail":"a\nb \n\n"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `b: plain text
a: []
o: {}
"n": 3
t: true
z: null
s: "true"
d: "10s"
c: "a: b"
e: ""
script: |
  one
    two

  three
x: |-
  one
  two
tab: "a\tb"
amp: "<&>"
bs: "\\u003c"
list:
- k: v
  l:
  - x
  - "1"
- - 1
  - 2
- "y"
m:
  "n":
    o: p
trail: "a\nb \n\n"
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	if got := unifiedDiff("a", "b", "x\ny\n", "x\ny\n"); got != "" {
		t.Errorf("no difference = %q", got)
	}
	got := unifiedDiff("a", "b", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11\n")
	want := "--- a\n+++ b\n@@ -2,9 +2,10 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n 10\n+11\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := unifiedDiff("a", "b", "", "1\n"); got != "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+1\n" {
		t.Errorf("from nothing: %q", got)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 150 * time.Second: "2m30s",
		179 * time.Minute: "179m", 200 * time.Minute: "3h20m", 9 * time.Hour: "9h", 50 * time.Hour: "2d2h", 400 * time.Hour: "16d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %s, want %s", d, got, want)
		}
	}
}
