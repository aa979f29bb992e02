package state

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, path, want string
		found          bool
	}{
		{`{"a":1,"b":2}`, "a", `{"b":2}`, true},
		{`{"b":2}`, "a", `{"b":2}`, false},
		{`{"a":[{"b":1,"c":1},{"c":2}]}`, "a.b", `{"a":[{"c":1},{"c":2}]}`, true},
		{`{"a":{"x":{"b":1},"y":{"b":2,"c":3}}}`, "a.*.b", `{"a":{"x":{},"y":{"c":3}}}`, true},
		{`{"a":1}`, "a.b", `{"a":1}`, false},
	} {
		var tree any
		if err := json.Unmarshal([]byte(c.in), &tree); err != nil {
			t.Fatal(err)
		}
		found := cut(tree, strings.Split(c.path, "."))
		got, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want || found != c.found {
			t.Errorf("%s without %s: %s, %v", c.in, c.path, got, found)
		}
	}
}

func TestFieldsThatANodeLacks(t *testing.T) {
	t.Parallel()
	old := &Node{Name: "b", Version: "1"}
	added := []string{"RegisterNode node.dns", "ScaleSet silent"}
	c, err := fitFields(&RegisterNode{Node: Node{Name: "a", DNS: "x", API: "y"}}, old, added)
	if r, ok := c.(*RegisterNode); err != nil || !ok || r.Node.DNS != "" || r.Node.API != "y" {
		t.Errorf("a registration is cut down: %+v, %v", c, err)
	}
	if _, err := fitFields(&ScaleSet{Name: "web", Silent: []string{"web-1"}}, old, added); err == nil || !strings.Contains(err.Message, "ScaleSet.silent") {
		t.Errorf("a field the node lacks: %v", err)
	}
	if c, err := fitFields(&ScaleSet{Name: "web"}, old, added); err != nil || c == nil {
		t.Errorf("without the field: %v", err)
	}
}
