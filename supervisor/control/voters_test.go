package control

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// servers makes n servers, the first v of them voters.
func servers(n, v int) []Server {
	var out []Server
	for i := range n {
		out = append(out, Server{ID: fmt.Sprintf("n%d", i), Addr: fmt.Sprintf("127.0.0.1:%d", i+1), Voter: i < v})
	}
	return out
}

func TestVoters(t *testing.T) {
	t.Parallel()
	all := func(string) bool { return true }
	none := func(string) bool { return false }
	one := func(id string) bool { return id == "n3" }
	for _, c := range []struct {
		servers []Server
		well    func(string) bool
		want    string
	}{
		{servers(1, 1), all, ""},
		{servers(2, 1), all, ""},   // two voters could lose no more than one
		{servers(3, 1), all, "n1"}, // the first of two
		{servers(3, 1), none, ""},
		{servers(3, 2), all, "n2"}, // the second
		{servers(4, 3), all, ""},
		{servers(5, 3), all, "n3"},
		{servers(5, 3), one, ""}, // four voters would be no gain
		{servers(5, 4), all, "n4"},
		{servers(9, 5), all, ""},
	} {
		if got := Voters(c.servers, c.well); got != c.want {
			t.Errorf("%d servers: got %q, want %q", len(c.servers), got, c.want)
		}
	}
}

func TestFirstIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	s := servers(4, 0)
	got := First([]Server{s[2], s[0], s[3], s[1]})
	if d := cmp.Diff(First(s), got); d != "" {
		t.Error(d)
	}
	voters := 0
	for _, x := range got {
		if x.Voter {
			voters++
		}
	}
	if voters != 3 {
		t.Errorf("%d of 4 vote, want 3", voters)
	}
}

// forming is a small world of nodes that gossip perfectly or partially.
type forming struct {
	id, ballot string
	formed     []Server
}

func TestFormationIsUnanimous(t *testing.T) {
	t.Parallel()
	ids := []string{"a.1", "b.2", "c.3"}
	nodes := map[string]*forming{}
	for _, id := range ids {
		nodes[id] = &forming{id: id}
	}
	peersSeen := func(visible ...string) []Peer {
		var out []Peer
		for _, id := range visible {
			out = append(out, Peer{ID: id, Name: id[:1], Raft: "127.0.0.1:" + id[2:], Expect: 3, Alive: true, ClusterID: nodes[id].ballot})
		}
		return out
	}
	step := func(id string, visible ...string) Formation {
		f := Form(id, 3, nodes[id].ballot, peersSeen(visible...))
		nodes[id].ballot = f.Ballot
		if f.Servers != nil {
			nodes[id].formed = f.Servers
		}
		return f
	}
	if f := step("a.1", "a.1", "b.2"); f.Ballot != "" || f.Servers != nil {
		t.Fatalf("two of three: %+v", f)
	}
	for _, id := range ids {
		if f := step(id, ids...); f.Ballot == "" {
			t.Fatalf("all three: %+v", f)
		}
	}
	for _, id := range ids {
		step(id, ids...)
	}
	for _, id := range ids {
		if d := cmp.Diff(nodes["a.1"].formed, nodes[id].formed); d != "" || len(nodes[id].formed) != 3 {
			t.Errorf("node %s forms %v: %s", id, nodes[id].formed, d)
		}
	}
}

func TestFormationRefuses(t *testing.T) {
	t.Parallel()
	peer := func(id, cluster string) Peer {
		return Peer{ID: id, Name: id[:1], Raft: "127.0.0.1:1", Expect: 3, Alive: true, ClusterID: cluster}
	}
	four := []Peer{peer("a.1", ""), peer("b.2", ""), peer("c.3", ""), peer("d.4", "")}
	if f := Form("a.1", 3, "", four); f.Ballot != "" || f.Servers != nil {
		t.Errorf("four nodes that expect three: %+v", f)
	}
	found := []Peer{peer("a.1", ""), peer("b.2", "cluster-1"), peer("c.3", "")}
	if f := Form("a.1", 3, "", found); !f.Found || f.Ballot != "" || f.Servers != nil {
		t.Errorf("a cluster exists: %+v", f)
	}
	if f := Form("a.1", 0, "", four[:3]); f.Ballot != "" || f.Servers != nil {
		t.Errorf("no expectation: %+v", f)
	}
	// Committed to a, b, c: never to b, c, d, whoever else comes.
	b := Form("b.2", 3, "", four[:3]).Ballot
	if f := Form("b.2", 3, b, []Peer{peer("b.2", b), peer("c.3", ""), peer("d.4", "")}); f.Ballot != b || f.Servers != nil {
		t.Errorf("committed to others: %+v", f)
	}
}
