package server_test

import (
	"testing"

	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
)

// TestTroubleOfAVoter: a failed snapshot is told as trouble and costs no vote; a disk that takes no log does.
func TestTroubleOfAVoter(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(1)
	c, _ := serve(t, n)
	for _, x := range []struct {
		set  func(*server.RaftStatus)
		gone int
	}{
		{func(rs *server.RaftStatus) { rs.Warning = "cannot write a snapshot" }, 0},
		{func(rs *server.RaftStatus) { rs.Trouble = "its state differs" }, 0},
		{func(rs *server.RaftStatus) { rs.NoVote = true }, 1},
	} {
		n.SetStatus(x.set)
		st, err := c.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Nodes[0].Status; got.Trouble == nil || *got.Trouble == "" || len(st.VotersGone) != x.gone {
			t.Errorf("%+v: trouble %v, gone %v; want %d", n.Status(), got.Trouble, st.VotersGone, x.gone)
		}
	}
}
