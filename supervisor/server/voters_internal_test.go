package server

import (
	"fmt"
	"slices"
	"testing"

	"supd/supervisor/spec"
)

// TestCountVoters: only what keeps a voter from voting counts it as gone.
func TestCountVoters(t *testing.T) {
	t.Parallel()
	yes, no, none, text := true, false, "", "the newest snapshot is of yesterday"
	fine := spec.NodeStatus{Alive: true, Trouble: &none, CanVote: &yes}
	for _, c := range []struct {
		what string
		one  *spec.NodeStatus // of the first voter; the others are fine
		gone bool
	}{
		{"nothing", &fine, false},
		{"a warning", &spec.NodeStatus{Alive: true, Trouble: &text, CanVote: &yes}, false},
		{"a disk that can't be written", &spec.NodeStatus{Alive: true, Trouble: &text, CanVote: &no}, true},
		{"silence in the log", &spec.NodeStatus{TroubleReason: "NodeLost: it does not answer the leader"}, true},
		{"no answer to this node", &spec.NodeStatus{Alive: true, TroubleReason: "cannot reach supd at 10.0.0.1:7950"}, true},
		{"not asked", &spec.NodeStatus{Alive: true, TroubleReason: unaskedTrouble}, false},
		{"too old to say", &spec.NodeStatus{Alive: true, TroubleReason: notAsked + ": its supd is too old to say"}, false},
		{"lost, and not asked", &spec.NodeStatus{TroubleReason: unaskedTrouble}, true},
		{"no such node", nil, true},
	} {
		for voters, canLose := range map[int][2]int{1: {0, 0}, 2: {0, 0}, 3: {1, 0}, 4: {1, 0}, 5: {2, 1}} {
			st := spec.ClusterStatus{Leader: "n1"}
			for i := range voters {
				n := spec.Node{Metadata: spec.Meta{Name: fmt.Sprintf("n%d", i)}, Status: fine}
				st.Voters = append(st.Voters, n.Metadata.Name)
				if i == 0 {
					if c.one == nil {
						continue
					}
					n.Status = *c.one
				}
				st.Nodes = append(st.Nodes, n)
			}
			gone, lose := []string{}, canLose[0]
			if c.gone {
				gone, lose = []string{"n0"}, canLose[1]
			}
			if countVoters(&st); !slices.Equal(st.VotersGone, gone) || st.CanLose != lose {
				t.Errorf("%s of one in %d voters: gone %v, can lose %d; want %v, %d", c.what, voters, st.VotersGone, st.CanLose, gone, lose)
			}
			st.Leader = ""
			if countVoters(&st); st.CanLose != 0 {
				t.Errorf("%s of one in %d voters, without a leader: can lose %d", c.what, voters, st.CanLose)
			}
		}
	}
}
