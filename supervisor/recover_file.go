package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/pki"
)

// RecoverFromFile makes the node of a data directory the only server of its cluster, as it
// was when a snapshot file was saved, after the raft stores of all voters were lost. What is
// left of the node's own is put aside. The file's cluster and this node's are the same, so
// directories and running members are known again.
func RecoverFromFile(o RecoverOptions, path string) (state.SnapshotMeta, error) {
	id, err := openOffline(o.DataDir)
	if err != nil {
		return state.SnapshotMeta{}, err
	}
	v, meta, err := readSnapshotFile(path)
	if err != nil {
		return meta, err
	}
	creds, err := pki.Open(filepath.Join(o.DataDir, "pki"))
	if err != nil {
		return meta, err
	}
	dir := filepath.Join(o.DataDir, "raft")
	in, ierr := raftstore.Inspect(raftstore.Options{Dir: dir, ID: id.server()})
	switch {
	case errors.Is(ierr, raftstore.ErrInUse):
		return meta, ierr
	case ierr == nil && in.Cluster.ID != "":
		return meta, fmt.Errorf("cannot recover from a file: this node's raft store is whole, at %s, and has what came after the file too: supd recover without --from-snapshot goes on from it",
			Found{Inspection: in}.Position())
	}
	if err := mayRecoverFromFile(id.ID, creds, v, o); err != nil {
		return meta, err
	}
	recovered := v.RecoveredFromFile(newID(), "recover:"+id.ID, time.Now())
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil { // of an attempt that was cut short
		return meta, fmt.Errorf("cannot recover from a file: %w", err)
	}
	if _, err := id.putAside(dir); err != nil {
		return meta, err
	}
	if err := raftstore.CreateFrom(raftstore.Options{Dir: fresh, ID: id.server()}, v.NodeByID(id.ID).Raft, recovered, meta.Term+1); err != nil {
		return meta, err
	}
	// Until the new store has its name this node waits to be taken back into its cluster, and this may be done again.
	if err := errors.Join(os.Rename(fresh, dir), syncDir(o.DataDir)); err != nil {
		return meta, fmt.Errorf("cannot put the new raft store in place: %w", err)
	}
	id.Member = true
	return meta, id.save()
}

func readSnapshotFile(path string) (*state.View, state.SnapshotMeta, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, state.SnapshotMeta{}, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	v, meta, err := state.ReadFile(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, meta, fmt.Errorf("cannot use %s: %w", path, err)
	}
	return v, meta, nil
}

// mayRecoverFromFile refuses a file that is not of this node's cluster, and a node that
// could not lead it.
func mayRecoverFromFile(node string, creds *pki.Store, v *state.View, o RecoverOptions) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("cannot recover from a file: "+format, args...)
	}
	if v.NodeByID(node) == nil || v.Cluster.Forgot(node) != nil {
		return refuse("node %s was no part of cluster %s when the file was saved; take a node that was, or a later file", node, v.Cluster.ID)
	}
	pin := ""
	if v.Cluster.CA != "" {
		var err error
		if pin, err = pki.PinOf([]byte(v.Cluster.CA)); err != nil {
			return refuse("the file's CA certificate cannot be read: %v", err)
		}
	}
	switch {
	case pin != "" && creds.Pin() != "" && creds.Pin() != pin:
		return refuse("this node's credentials are of a cluster with the CA %s, and the file is of one with %s", creds.Pin(), pin)
	case creds.Seed().IsZero():
		return refuse("this node does not hold the cluster's secret, of which all certificates come: take a node that voted, " +
			"or bring seed, ca.pem and gossip of one (DATA/pki there) into this node's DATA/pki (mode 0600)")
	case !o.Alone:
		return refuse("a raft store of any voter has more than the file: look at each (supd recover), and go on from the best; " +
			"say --alone when none of them is whole")
	case o.Confirm != node:
		return fmt.Errorf("nothing is recovered: confirm it with this node's id, --confirm %s, when this is done on one node only", node)
	}
	return nil
}
