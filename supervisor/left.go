package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// errLeft ends the daemon of a node that has left its cluster.
var errLeft = errors.New("this node has left its cluster: supd does not start again on its data directory, which is kept as it is, " +
	"unless it is given a token to join anew (supd run --join ADDRESS --token TOKEN)")

// untilLeft returns errLeft once the log says that this node has left, and marks its
// directory.
func (d *Daemon) untilLeft(ctx context.Context) error {
	for {
		changed := d.store.Changed()
		if f := d.store.View().Cluster.Forgot(d.id.ID); f != nil && f.Left {
			d.id.Left = true
			if err := d.id.save(); err != nil {
				return err
			}
			return errLeft
		}
		select {
		case <-changed:
			calm(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// startAnew makes the directory of a node that has left one that may join, under a new
// id, if it was given a token. What it was is put aside, not removed.
func (d *Daemon) startAnew() error {
	if d.o.Config.Token == "" && d.o.Config.TokenFile == "" {
		return fmt.Errorf("cannot start: %w", errLeft)
	}
	dir := d.o.Config.DataDir
	aside := filepath.Join(dir, "left-"+d.id.ID)
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("cannot put the old state of node %s aside: %w", d.id.ID, err)
	}
	for _, name := range []string{"raft", "pki", "node.json"} { // node.json last: until then it is done again
		err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot put the old state of node %s aside: %w", d.id.ID, err)
		}
	}
	old := d.id.ID
	var err error
	if d.id, err = openIdentity(dir, d.o.Config.Name); err != nil {
		return err
	}
	d.log.Info("node that has left begins anew", "was", old, "id", d.id.ID, "aside", aside)
	return nil
}
