package supervisor

import (
	"strings"
	"testing"

	"supd/raftstore"
	"supd/raftstore/state"
)

func TestMayRecover(t *testing.T) {
	t.Parallel()
	three := []raftstore.Server{{ID: "a", Voter: true}, {ID: "b", Voter: true}, {ID: "c", Voter: true}}
	found := Found{Node: "a", Inspection: raftstore.Inspection{LastTerm: 3, LastIndex: 50, Servers: three, Cluster: state.Cluster{ID: "c1"}}}
	troubled := found
	troubled.Trouble = "log entry 7"
	for _, c := range []struct {
		f    Found
		o    RecoverOptions
		want string // "": allowed
	}{
		{found, RecoverOptions{Confirm: "a", Alone: true}, ""},
		{found, RecoverOptions{Confirm: "a", Seen: []string{"3:50", "2:900"}}, ""},
		{found, RecoverOptions{Confirm: "a"}, "--seen"},
		{found, RecoverOptions{Confirm: "b", Alone: true}, "--confirm a"},
		{found, RecoverOptions{Confirm: "a", Seen: []string{"3:51"}}, "recover that one"},
		{found, RecoverOptions{Confirm: "a", Seen: []string{"4:1"}}, "recover that one"},
		{found, RecoverOptions{Confirm: "a", Seen: []string{"x"}}, "TERM:INDEX"},
		{troubled, RecoverOptions{Confirm: "a", Alone: true}, "newest version"},
		{Found{Node: "a"}, RecoverOptions{Confirm: "a", Alone: true}, "no cluster"},
	} {
		err := mayRecover(c.f, c.o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}
