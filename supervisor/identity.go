package supervisor

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"supd/raftstore"
	"supd/supervisor/control"
	"supd/supervisor/spec"
)

// identity is what a data directory knows of its node: DATA/node.json.
type identity struct {
	// ID is the node's for the directory's life: NAME.8HEX.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Ballot is what the node has committed itself to before its cluster was formed.
	Ballot string `json:"ballot,omitempty"`
	// Member: the node has been part of a cluster, so there must be a raft store.
	Member bool `json:"member,omitempty"`
	// Store counts the raft stores that this node has given up. Each store is a server
	// of its own in Raft: what an earlier one voted for binds no later one.
	Store int `json:"store,omitempty"`
	// Alone: it was told to form a cluster by itself.
	Alone bool `json:"alone,omitempty"`
	// Peers are where other nodes gossiped when this one was let in.
	Peers []string `json:"peers,omitempty"`
	// Left: the node has left its cluster; under this id it is never let in again.
	Left bool `json:"left,omitempty"`

	path string
}

// openIdentity reads the identity, or makes one for a new directory.
func openIdentity(dataDir, name string) (*identity, error) {
	path := filepath.Join(dataDir, "node.json")
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		// Under another id the log would be nobody's, and what the keeper runs too.
		for _, left := range []string{"raft/raft.db", "raft/snapshots/*", "keeper/records/*.json", "pki/node.pem"} {
			found, err := filepath.Glob(filepath.Join(dataDir, left))
			if err == nil && len(found) > 0 {
				err = fmt.Errorf("%s is there, but node.json, which says whose it is, is gone; bring that file back from a copy, "+
					"or have it made again and the node join its cluster anew: supd recover --rejoin", found[0])
			}
			if err != nil {
				return nil, fmt.Errorf("cannot use %s: %w", dataDir, err)
			}
		}
		var r [4]byte
		if _, err := rand.Read(r[:]); err != nil {
			return nil, fmt.Errorf("cannot make a node id: %w", err)
		}
		id := &identity{ID: name + "." + hex.EncodeToString(r[:]), Name: name, path: path}
		return id, id.save()
	}
	id, err := readIdentity(path)
	if err != nil {
		return nil, err
	}
	if id.Name != name {
		return nil, fmt.Errorf("cannot use %s: it belongs to node %s, and this one is called %s; a node keeps its name", dataDir, id.Name, name)
	}
	return id, nil
}

// readIdentity reads the identity of a directory that has one.
func readIdentity(path string) (*identity, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the node's identity: %w", err)
	}
	id := &identity{path: path}
	if err := json.Unmarshal(b, id); err != nil || id.ID == "" {
		return nil, fmt.Errorf("cannot read the node's identity: %s is damaged (%v); bring it back from a copy, "+
			"or have it made again and the node join its cluster anew: supd recover --rejoin", path, err)
	}
	return id, nil
}

// traces makes the identity of a directory whose node.json is gone or damaged from what its
// raft store says of its owner.
func traces(dataDir string) (*identity, error) {
	owner, err := raftstore.Owner(filepath.Join(dataDir, "raft"))
	if err != nil {
		return nil, fmt.Errorf("cannot make node.json again: the raft store does not tell whose it is (%w); bring node.json back from a copy, "+
			"or give the node up: supctl node forget, and an empty data directory", err)
	}
	id := &identity{path: filepath.Join(dataDir, "node.json")}
	id.ID, id.Store = control.SplitServer(owner)
	id.Name = spec.NodeName(id.ID)
	return id, nil
}

// server is the id of this node's present store in Raft.
func (i *identity) server() string { return control.ServerID(i.ID, i.Store) }

// save writes the identity so that it survives a crash.
func (i *identity) save() error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return writeDurably(i.path, append(b, '\n'), 0o600)
}

// writeDurably replaces a file: temporary file, sync, rename, sync of the directory.
func writeDurably(path string, b []byte, mode os.FileMode) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// anchor has the way to a directory on disk for good: with a lost name of it all below is lost. Whoever made it may have been
// killed before that.
func anchor(path string) error {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	for err == nil && path != "/" {
		path = filepath.Dir(path)
		if err = syncDir(path); errors.Is(err, fs.ErrPermission) {
			err = nil // it is not ours to make names in
		}
	}
	return err
}
