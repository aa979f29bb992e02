package control

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"supd/raftstore/state"
)

// servers makes n servers, the first v of them voters.
func servers(n, v int) []Server {
	var out []Server
	for i := range n {
		out = append(out, Server{ID: fmt.Sprintf("n%d", i), Addr: fmt.Sprintf("127.0.0.1:%d", i+1), Voter: i < v})
	}
	return out
}

// stand makes servers of words: "a1V" is server 1 of rack a with a vote. After V come
// what it is: "S" the leader, "-" silent, "x" dead, "g" gone, "~" not fit.
func stand(text string) []Standing {
	var out []Standing
	for _, w := range strings.Fields(text) {
		s := Standing{Server: Server{ID: w[:2]}, Rack: w[:1], Alive: true, Fit: true}
		for _, c := range w[2:] {
			switch c {
			case 'V':
				s.Voter = true
			case 'S':
				s.Self = true
			case '-':
				s.Alive, s.Fit = false, false
			case 'x':
				s.Alive, s.Fit, s.Dead = false, false, true
			case 'g':
				s.Gone = true
			case '~':
				s.Fit = false
			}
		}
		out = append(out, s)
	}
	return out
}

func TestVoters(t *testing.T) {
	t.Parallel()
	for servers, want := range map[string]string{
		// growing
		"a1VS":                 "",
		"a1VS a2":              "", // two voters could lose no more than one
		"a1VS a2 a3":           "promote a2",
		"a1VS a2~ a3":          "", // one of two is not fit yet
		"a1VS a2V a3":          "promote a3",
		"a1VS a2V a3~":         "", // it will be
		"a1VS a2V a3V a4":      "",
		"a1VS a2V a3V a4 a5":   "promote a4",
		"a1VS a2V a3V a4 a5~":  "",
		"a1VS a2V a3V a4V a5":  "promote a5",
		"a1VS a2V a3V a4V a5V": "", "a1VS a2V a3V a4V a5V a6 a7": "",
		// spread
		"a1VS a2 b1 b2":              "promote b1",
		"a1VS b1V a2 c1":             "promote c1",
		"a1VS a2V b1V b2 c1":         "promote c1",
		"a1VS a2V b1V c1V":           "demote a2",
		"a1V a2VS b1V c1V":           "demote a1",
		"a1VS a2V b1V c1-":           "", // all must be well for an exchange
		"a1VS b1V c1V a2 b2":         "promote a2",
		"a1VS a2V a3V b1V b2V c1":    "promote c1",
		"a1VS a2V a3V b1V b2V c1V":   "demote a3",
		"a1VS a2V b1V b2V c1V c2":    "",
		"a1VS a2V b1V b2V c1V d1":    "promote d1",
		"a1VS a2V b1V b2V c1V d1 c2": "promote d1",
		// death
		"a1VS a2V a3V-":              "",
		"a1VS a2V a3Vx":              "", // nobody is there for it
		"a1VS a2V a3Vx a4":           "promote a4",
		"a1VS a2V a3Vx a4~":          "",
		"a1VS a2V a3Vx a4V":          "demote a3",
		"a1VS a2V a3x a4V":           "",
		"a1VS a2V a3V a4V-":          "demote a4",
		"a1VS a2Vx a3Vx a4":          "", // no majority
		"a1VS a2V a3V a4Vx a5Vx":     "",
		"a1VS b1Vx c1V a2 b2":        "promote b2", // the dead one's rack has no other vote
		"a1VS a2V a3V a4Vx a5Vx a6":  "promote a6",
		"a1VS a2V a3V a4Vx a5Vx a6V": "demote a4",
		// forgotten
		"a1VS a2V a3V a4g":   "remove a4",
		"a1VS a2V a3Vxg":     "remove a3",
		"a1VS a2V":           "demote a2",
		"a1VS a2V a3Vxg a4":  "promote a4",
		"a1VS a2V a3Vxg a4V": "remove a3",
		"a1VS a2V a3Vg":      "remove a3", // it has left, and ends soon
		"a1VS a2V a3Vg a4":   "promote a4",
		"a1VS a2V a3Vg a4V":  "remove a3",
		"a1VS a2Vg":          "remove a2",
		"a1VSg a2V a3V":      "transfer",
		"a1VSg":              "",
		"a1VS a2Vxg":         "remove a2",
		"a1VS a2V- a3Vxg":    "",
	} {
		got := ""
		if ch, ok := Voters(stand(servers)); ok {
			got = strings.TrimSpace(ch.Do + " " + ch.ID)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", servers, got, want)
		}
	}
}

// TestVotersWalk lets servers die, return, move and be forgotten, and looks after each step.
func TestVotersWalk(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	for i := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, i))
		w := &votersWalk{t: t, name: fmt.Sprintf("seed %d/%d", seed, i), r: r}
		w.add().Voter = true
		w.servers[0].Self = true
		for range 40 {
			w.happen()
			w.settle()
			if t.Failed() {
				return
			}
		}
	}
}

type votersWalk struct {
	t       *testing.T
	name    string
	r       *rand.Rand
	servers []*Standing
	next    int
}

func (w *votersWalk) add() *Standing {
	w.next++
	s := &Standing{Server: Server{ID: fmt.Sprintf("n%03d", w.next)}, Rack: string(rune('a' + w.r.IntN(4))), Alive: true, Fit: true}
	w.servers = append(w.servers, s)
	return s
}

// happen is one thing from outside.
func (w *votersWalk) happen() {
	s := w.servers[w.r.IntN(len(w.servers))]
	switch w.r.IntN(8) {
	case 0, 1:
		if len(w.servers) < 9 {
			w.add()
		}
	case 2:
		s.Alive, s.Fit = false, false
	case 3:
		s.Dead = !s.Alive
	case 4:
		s.Alive, s.Fit, s.Dead = true, w.r.IntN(3) > 0, false
	case 5:
		s.Gone = s.Gone || !s.Alive
	case 6:
		s.Rack = string(rune('a' + w.r.IntN(4)))
	case 7:
		s.Fit = s.Alive
	}
	// Raft sees to it that a living voter leads.
	leader := false
	for _, s := range w.servers {
		s.Self = s.Self && s.Voter && s.Alive
		leader = leader || s.Self
	}
	for _, s := range w.servers {
		if !leader && s.Voter && s.Alive {
			s.Self, s.Fit, leader = true, true, true
		}
	}
}

func (w *votersWalk) list() []Standing {
	var out []Standing
	for _, s := range w.servers {
		out = append(out, *s)
	}
	return out
}

func voting(in []Standing) []Standing {
	return slices.DeleteFunc(slices.Clone(in), func(s Standing) bool { return !s.Voter })
}

// settle takes steps until there is none.
func (w *votersWalk) settle() {
	for step := 0; ; step++ {
		before := w.list()
		ch, ok := Voters(before)
		if !ok {
			w.rest(before)
			return
		}
		if step > 50 {
			w.t.Errorf("%s: no end of steps: %+v of %+v", w.name, ch, before)
			return
		}
		for i, s := range w.servers {
			switch {
			case s.ID != ch.ID:
				if ch.Do == doTransfer {
					s.Self = false
				}
			case ch.Do == doPromote:
				if !s.Fit || s.Voter {
					w.t.Errorf("%s: %+v gets a vote", w.name, s)
				}
				s.Voter = true
			case ch.Do == doDemote:
				if s.Self {
					w.t.Errorf("%s: the leader loses its vote", w.name)
				}
				s.Voter = false
			case ch.Do == doRemove:
				if !s.Gone || s.Self {
					w.t.Errorf("%s: %+v is removed", w.name, s)
				}
				w.servers = slices.Delete(slices.Clone(w.servers), i, i+1)
			}
		}
		if ch.Do == doTransfer {
			for _, s := range w.servers {
				if s.Voter && s.Alive && !s.Gone {
					s.Self = true
					break
				}
			}
			return
		}
		if a, b := spare(voting(before)), spare(voting(w.list())); b < max(a, 0) {
			w.t.Errorf("%s: %+v leaves %d voters to spare, before %d: %+v", w.name, ch, b, a, before)
			return
		}
	}
}

// rest says what holds when nothing is left to do.
func (w *votersWalk) rest(in []Standing) {
	e := newElectorate(in)
	if spare(e.voters) < 0 {
		return // frozen
	}
	n := len(e.voters)
	if n%2 == 0 && !e.later {
		w.t.Errorf("%s: at rest with %d voters: %+v", w.name, n, in)
	}
	if n > MaxVoters {
		w.t.Errorf("%s: at rest with %d voters", w.name, n)
	}
	if n%2 == 1 && e.dead != nil && len(e.fit) > 0 {
		w.t.Errorf("%s: at rest with a dead voter and one who could vote: %+v", w.name, in)
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

func TestMembership(t *testing.T) {
	t.Parallel()
	three := []Server{{ID: "a", Addr: "h:1", Voter: true}, {ID: "b", Addr: "h:2", Voter: true}, {ID: "c", Addr: "h:3"}}
	peer := func(id, addr string) Peer { return Peer{ID: id, Name: id, Raft: addr, Alive: true} }
	gone := func(p Peer) Peer { p.Alive = false; return p }
	for _, c := range []struct {
		name  string
		peers []Peer
		want  change
	}{
		{"as it is", []Peer{peer("a", "h:1"), peer("b", "h:2"), peer("c", "h:3")}, change{}},
		{"a new node", []Peer{peer("a", "h:1"), peer("d", "h:4")}, change{Do: doAdd, ID: "d", Addr: "h:4"}},
		{"a new address", []Peer{peer("a", "h:1"), peer("b", "i:2")}, change{Do: doMove, ID: "b", Addr: "i:2", Voter: true}},
		{"the dead stay", []Peer{peer("a", "h:1"), gone(peer("b", "i:2"))}, change{}},
		{
			"two have changed addresses with each other",
			[]Peer{peer("a", "h:2"), peer("b", "h:1")},
			change{Do: doMove, ID: "b", Addr: "b.moved:0", Voter: true},
		},
		{
			"a new node has a dead one's address",
			[]Peer{gone(peer("c", "h:3")), peer("d", "h:3")},
			change{Do: doMove, ID: "c", Addr: "c.moved:0"},
		},
		{"two nodes with one address", []Peer{peer("a", "h:1"), peer("b", "h:1"), peer("d", "h:1")}, change{}},
	} {
		got, _ := membership(state.New(), "", three, c.peers, nil)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// TestMembershipAfterExchange walks two servers that have changed addresses to their places.
func TestMembershipAfterExchange(t *testing.T) {
	t.Parallel()
	list := []Server{{ID: "a", Addr: "h:1"}, {ID: "b", Addr: "h:2"}, {ID: "c", Addr: "h:3"}}
	peers := []Peer{{ID: "a", Raft: "h:2", Alive: true}, {ID: "b", Raft: "h:3", Alive: true}, {ID: "c", Raft: "h:1", Alive: true}}
	for range 10 {
		ch, ok := membership(state.New(), "", list, peers, nil)
		if !ok {
			break
		}
		for i, s := range list {
			if s.ID == ch.ID {
				list[i].Addr = ch.Addr
			} else if s.Addr == ch.Addr {
				t.Fatalf("%s gets the address of %s, which raft refuses", ch.ID, s.ID)
			}
		}
	}
	want := []Server{{ID: "a", Addr: "h:2"}, {ID: "b", Addr: "h:3"}, {ID: "c", Addr: "h:1"}}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}
}

func TestMayLeave(t *testing.T) {
	t.Parallel()
	for servers, want := range map[string]string{
		"a1VS":                   "the last one",
		"a1VS a2":                "", // the other gets a vote first
		"a1VS a2V a3V":           "",
		"a1VS a2V- a3V a4":       "majority", // a1 and a3 of three, then one of two
		"a1VS a2V a3V a4V- a5V-": "majority",
		"a1VS a2V a3V a4V- a5V":  "",
		"a1VS a2Vxg":             "the last one",
		"a1V a2VS a3V-":          "majority",
	} {
		list := stand(servers)
		got := mayLeave(list, list[0].ID)
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", servers, got, want)
		}
	}
	// What votes no more costs nothing, whoever is silent.
	list := stand("a1VS a2V a3V- a4")
	if got := mayLeave(list, "a4"); got != "" {
		t.Errorf("a server without a vote: %s", got)
	}
}

// TestSeedBeforeVote: who is to vote fetches the cluster's secret first.
func TestSeedBeforeVote(t *testing.T) {
	t.Parallel()
	list := stand("a1VS a2 a3")
	for i := range list {
		list[i].Bare = list[i].ID != "a1"
	}
	if ch, ok := Voters(list); !ok || ch.Do != doSeed || ch.ID != "a2" {
		t.Errorf("without the secret: %+v", ch)
	}
	list[1].Bare = false
	if ch, ok := Voters(list); !ok || ch.Do != doPromote || ch.ID != "a2" {
		t.Errorf("with it: %+v", ch)
	}
}
