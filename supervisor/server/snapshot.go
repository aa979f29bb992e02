package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// maxRestoreBody bounds a request that restores a snapshot.
const maxRestoreBody = 16 << 20

// saveSnapshot answers with a snapshot file of this node's View; of the leader's, after
// a barrier, with ?consistent=1.
func (s *Server) saveSnapshot(w http.ResponseWriter, _ *http.Request) error {
	rd := s.reading()
	if rd.v.Cluster.ID == "" {
		return refused("NoCluster", "cannot save a snapshot: the cluster has not been formed yet")
	}
	var b bytes.Buffer
	meta := state.SnapshotMeta{Term: rd.rs.Term, Time: s.o.Now().UTC().Truncate(time.Millisecond), Version: s.o.Version, Node: s.o.Node}
	if err := rd.v.WriteFile(&b, meta); err != nil {
		return err
	}
	setIndex(w, rd.v)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes()) // a reader that is gone needs no answer
	return nil
}

// restoreSnapshot brings back what was wanted in a snapshot of this cluster. With
// ?dryRun=1 it only says what would change.
func (s *Server) restoreSnapshot(w http.ResponseWriter, r *http.Request) error {
	var in client.RestoreRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	v := s.o.Store.View()
	if in.Confirm != v.Cluster.ID && !flag(r, "dryRun") {
		return refused("NotConfirmed", "nothing is restored: the cluster's id is %s, and %q was given; see supctl cluster status", v.Cluster.ID, in.Confirm)
	}
	old, meta, err := state.ReadFile(bytes.NewReader(in.File))
	if err != nil {
		return spec.Errorf(spec.CodeInvalid, "cannot restore: %v", err)
	}
	if least, commands, fields := v.Level(); least != state.OwnLevel() {
		if commands == nil {
			commands = fields
		}
		return refused("NodeTooOld", "cannot restore while nodes of several versions are in the cluster: upgrade supd on node %s (supd %s) first", commands.Name, commands.Version)
	}
	cmd, err := state.NewRestore(old, newUID(), v.Cluster.Incarnation)
	if err != nil {
		return err
	}
	changes := v.Parted(old)
	after, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	s.log.Warn("a snapshot was restored", "who", who(r), "snapshot", meta.Index, "of", meta.Time, "dryRun", flag(r, "dryRun"))
	return answer(w, res, client.Restored{
		Index: meta.Index, Time: meta.Time, Incarnation: after.Cluster.Incarnation, Epoch: after.Cluster.Epoch, Changes: changes,
		Message: fmt.Sprintf("what was wanted at index %d is wanted again", meta.Index),
	})
}
