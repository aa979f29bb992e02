package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
)

// Found is what supd recover finds in a data directory that no daemon uses.
type Found struct {
	raftstore.Inspection
	Node string // the node's id
	Self raftstore.Server
}

// Position names how much a store has; greater ones have more.
func (f Found) Position() string { return fmt.Sprintf("%d:%d", f.LastTerm, f.LastIndex) }

// openOffline makes sure that no daemon uses a data directory and reads whose it is.
func openOffline(dataDir string) (*identity, error) {
	if err := unused(dataDir); err != nil {
		return nil, err
	}
	path := filepath.Join(dataDir, "node.json")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("cannot use %s: it belongs to no node: %w", dataDir, err)
	}
	return readIdentity(path)
}

// unused makes sure that no daemon uses a data directory.
func unused(dataDir string) error {
	b, err := os.ReadFile(filepath.Join(dataDir, "supd.pid"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot tell whether a daemon uses %s: %w", dataDir, err)
	}
	if pid, perr := strconv.Atoi(strings.TrimSpace(string(b))); perr == nil && pid > 0 {
		comm, cerr := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
		if cerr == nil && strings.TrimSpace(string(comm)) == "supd" {
			return fmt.Errorf("cannot use %s: a daemon (pid %d) uses it; stop supd first, members run on", dataDir, pid)
		}
	}
	return nil
}

// LookOffline looks into the raft store of a data directory.
func LookOffline(dataDir string) (Found, error) {
	id, err := openOffline(dataDir)
	if err != nil {
		return Found{}, err
	}
	f := Found{Node: id.ID}
	if f.Inspection, err = raftstore.Inspect(raftstore.Options{Dir: filepath.Join(dataDir, "raft"), ID: id.server()}); err != nil {
		return f, err
	}
	for _, s := range f.Servers {
		if s.ID == id.server() {
			f.Self = s
		}
	}
	return f, nil
}

// RecoverOptions say what the operator knows.
type RecoverOptions struct {
	DataDir string
	// Confirm is the node's id, typed.
	Confirm string
	// Seen are the positions ("TERM:INDEX") of the other voters' stores that are left;
	// Alone: none is.
	Seen  []string
	Alone bool
}

// Recover makes the node of a data directory the only server of its cluster.
func Recover(o RecoverOptions) (Found, error) {
	f, err := LookOffline(o.DataDir)
	if err != nil {
		return f, err
	}
	if err := mayRecover(f, o); err != nil {
		return f, err
	}
	incarnation := newID()
	addr := f.Self.Addr
	if addr == "" {
		addr = f.Node + ".moved:0" // it is found by what gossip and the View know of it
	}
	id, err := openOffline(o.DataDir)
	if err != nil {
		return f, err
	}
	change := func(v *state.View) *state.View { return v.Recovered(incarnation, "recover:"+f.Node, time.Now()) }
	return f, raftstore.Recover(raftstore.Options{Dir: filepath.Join(o.DataDir, "raft"), ID: id.server()}, addr, change)
}

// mayRecover refuses what would lose more than is lost already.
func mayRecover(f Found, o RecoverOptions) error {
	voters := 0
	for _, s := range f.Servers {
		if s.Voter {
			voters++
		}
	}
	switch {
	case f.Trouble != "":
		return fmt.Errorf("cannot recover: this supd does not understand all of the log (%s); use the newest version that any node ran", f.Trouble)
	case f.Cluster.ID == "":
		return errors.New("cannot recover: this node knows no cluster")
	case voters > 1 && len(o.Seen) == 0 && !o.Alone:
		return fmt.Errorf("cannot recover: %d servers vote, and the others may have more than this one (%s); run supd recover on each that is left and "+
			"give what they have as --seen TERM:INDEX, or --alone if no other is left", voters, f.Position())
	}
	for _, seen := range o.Seen {
		term, index, err := parsePosition(seen)
		if err != nil {
			return err
		}
		if term > f.LastTerm || term == f.LastTerm && index > f.LastIndex {
			return fmt.Errorf("cannot recover: another node has %s, this one only %s: recover that one", seen, f.Position())
		}
	}
	if o.Confirm != f.Node {
		return fmt.Errorf("nothing is recovered: confirm it with this node's id, --confirm %s, when no other node of the cluster has been recovered "+
			"and those that are away can not come back by themselves as a majority", f.Node)
	}
	return nil
}

func parsePosition(s string) (term, index uint64, err error) {
	t, i, ok := strings.Cut(s, ":")
	if ok {
		if term, err = strconv.ParseUint(t, 10, 64); err == nil {
			index, err = strconv.ParseUint(i, 10, 64)
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("cannot read %q: want TERM:INDEX, as supd recover prints it", s)
	}
	return term, index, nil
}

// Rejoin puts a node's raft store aside, so that the node joins its cluster again with
// an empty one. The old one is kept beside it; the path is returned. The new store is
// another server in Raft: nothing that the old one promised is broken in its name.
func Rejoin(dataDir, confirm string) (aside string, err error) {
	if err := unused(dataDir); err != nil {
		return "", err
	}
	dir := filepath.Join(dataDir, "raft")
	id, err := readIdentity(filepath.Join(dataDir, "node.json"))
	if err != nil {
		if id, err = traces(dataDir); err != nil {
			return "", err
		}
	}
	if _, err := raftstore.Inspect(raftstore.Options{Dir: dir, ID: id.server()}); errors.Is(err, raftstore.ErrInUse) {
		return "", err
	}
	if confirm != id.ID {
		return "", fmt.Errorf("nothing is changed: confirm it with this node's id, --confirm %s, when a majority of the cluster's other voters is there", id.ID)
	}
	return id.putAside(dir)
}

// putAside gives the node's raft store up.
func (i *identity) putAside(dir string) (aside string, err error) {
	if !i.Member { // it was made of traces, or a crash came between: with its store gone nobody may take it for a new one
		i.Member = true
		if err := i.save(); err != nil {
			return "", err
		}
	}
	aside = dir + ".before-" + strconv.Itoa(i.Store+1)
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot put the raft store aside: %w", err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return "", fmt.Errorf("cannot put the raft store aside: %w", err)
	}
	// Only now: should this fail, the node does not start with its old name and no store.
	i.Store++
	i.Member, i.Ballot = false, ""
	return aside, i.save()
}
