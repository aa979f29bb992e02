package state_test

import (
	"fmt"
	"testing"

	"supd/raftstore/state"
)

// joined applies commands, a second apart from second from on, and gives each one's refusal.
func joined(t *testing.T, v *state.View, from int, cmds ...state.Command) (*state.View, []string) {
	t.Helper()
	var out []string
	for i, c := range cmds {
		var res state.Result
		v, res = v.Apply(v.Index+1, state.Entry{At: at(from + i), Cmd: c})
		reason := ""
		if res.Err != nil {
			reason = res.Err.Reason
		}
		out = append(out, reason)
	}
	return v, out
}

func TestJoinTokensExpireAndAreBounded(t *testing.T) {
	t.Parallel()
	v, _ := joined(t, state.New(), 0, &state.InitCluster{ID: "c1", Incarnation: "i1", Zone: "z"},
		&state.AddJoinToken{ID: "t", Hash: "h", Uses: 2, Expires: at(10)})
	v, got := joined(t, v, 9, &state.AdmitNode{Token: "t", Hash: "h", ID: "a.1", Key: "k"}, // in time
		&state.AdmitNode{Token: "t", Hash: "h", ID: "b.2", Key: "k"}, // at its very end
		&state.AdmitNode{Token: "t", Hash: "h", ID: "a.1", Key: "k"}, // the answer was lost
		&state.AdmitNode{Token: "t", Hash: "h", ID: "A.1", Key: "k"},
		&state.AdmitNode{Token: "t", Hash: "h", ID: "a", Key: "k"})
	if want := fmt.Sprint([]string{"", "TokenExpired", "", "Invalid", "Invalid"}); fmt.Sprint(got) != want {
		t.Errorf("got %q, want %s", got, want)
	}
	for i := range state.MaxJoinTokens {
		if v, got = joined(t, v, 20, &state.AddJoinToken{ID: fmt.Sprint(i), Hash: "h", Uses: 1, Expires: at(100)}); got[0] != "" {
			t.Fatalf("token %d: %s", i, got[0])
		}
	}
	if v.Cluster.JoinToken("t") != nil {
		t.Error("an expired token takes up a place")
	}
	v, got = joined(t, v, 21, &state.AddJoinToken{ID: "more", Hash: "h", Uses: 1, Expires: at(100)},
		&state.RevokeJoinToken{ID: "7"}, &state.AddJoinToken{ID: "more", Hash: "h", Uses: 1, Expires: at(100)},
		&state.AddJoinToken{ID: "many", Hash: "h", Uses: state.MaxTokenUses + 1, Expires: at(100)})
	if want := fmt.Sprint([]string{"TooMany", "", "", "Invalid"}); fmt.Sprint(got) != want {
		t.Errorf("got %q, want %s", got, want)
	}
	if n := len(v.Cluster.JoinTokens); n != state.MaxJoinTokens {
		t.Errorf("%d tokens", n)
	}
}
