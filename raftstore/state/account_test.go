package state_test

import (
	"bytes"
	"fmt"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func formed(t *testing.T) *state.View {
	t.Helper()
	v, res := state.New().Apply(1, state.Entry{At: at(1), Cmd: &state.InitCluster{ID: "c1", Incarnation: "i1", Zone: "cluster.local"}})
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	return v
}

func token(i int) *state.PutAccount {
	return &state.PutAccount{Name: fmt.Sprintf("a%d", i), UID: "u", Role: spec.RoleViewer, Kind: spec.AccountToken, Token: fmt.Sprintf("t%d", i), Hash: "h"}
}

// Accounts are bounded, and one that is revoked makes room.
func TestAccountsAreBounded(t *testing.T) {
	t.Parallel()
	v := formed(t)
	put := func(i int) state.Result {
		next, res := v.Apply(v.Index+1, state.Entry{At: at(1), Cmd: token(i)})
		v = next
		return res
	}
	for i := range state.MaxAccounts {
		if res := put(i); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	if res := put(-1); res.Err == nil || res.Err.Reason != "TooManyAccounts" {
		t.Errorf("one too many = %v, want TooManyAccounts", res.Err)
	}
	v, _ = v.Apply(v.Index+1, state.Entry{At: at(1), Cmd: &state.RevokeAccount{Name: "a7"}})
	if v.AccountByToken("t7") != nil || v.Account("a7") != nil {
		t.Error("a revoked account is still found")
	}
	if res := put(-1); res.Err != nil {
		t.Errorf("one in the place of a revoked one = %v", res.Err)
	}
}

// The index by token comes back with a snapshot.
func TestAccountsAreFoundAfterASnapshot(t *testing.T) {
	t.Parallel()
	v, res := formed(t).Apply(2, state.Entry{At: at(1), Who: "unix:root", Cmd: token(1)})
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	var b bytes.Buffer
	if err := v.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	back, err := state.ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	if a := back.AccountByToken("t1"); a == nil || a.Name != "a1" || a.CreatedBy != "unix:root" {
		t.Errorf("by token = %+v, want a1", a)
	}
	if back.AccountByToken("") != nil {
		t.Error("an account is found by no token")
	}
}
