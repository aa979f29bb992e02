package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) snapshotCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "snapshot", Short: "Save what the cluster knows to a file, look into one, restore one"})
	cmd.AddCommand(a.snapshotSaveCommand(), a.snapshotInspectCommand(), a.snapshotRestoreCommand())
	return cmd
}

func (a *app) snapshotSaveCommand() *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Save what the cluster knows to a file",
		Long: `save writes the state of the cluster to a file (mode 0600): sets, members, volumes,
nodes, and what has happened. Data directories are not in it. It holds no key of the
cluster, only hashes; but definitions are in it as they were applied, with their env.

A cluster that is built anew from nothing needs DATA/pki of one voter beside it.

Exit status: 0 done; 1 failed; 5 no leader (--stale takes what the daemon asked knows).`,
		Example:     "  supctl cluster snapshot save monday.supd",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml"},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "what the daemon asked knows, also without a leader")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		var b bytes.Buffer
		if err := c.SaveSnapshot(cmd.Context(), &b, stale); err != nil {
			return err
		}
		v, meta, err := state.ReadFile(bytes.NewReader(b.Bytes()))
		if err != nil {
			return spec.Errorf(spec.CodeInternal, "cannot save the snapshot: what the daemon sent: %v", err)
		}
		if err := writeWhole(args[0], b.Bytes()); err != nil {
			return spec.Errorf(spec.CodeInternal, "cannot save the snapshot: %v", err)
		}
		if a.isData() {
			return a.writeValue(inspection(v, meta, b.Len()))
		}
		a.printf("snapshot of index %d saved to %s (%d bytes)\n", meta.Index, args[0], b.Len())
		return nil
	})
	return cmd
}

// writeWhole writes a file so that it is there as a whole or not at all.
func writeWhole(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// snapshotInfo is what inspect tells.
type snapshotInfo struct {
	state.SnapshotMeta
	Checksum string         `json:"checksum"`
	Bytes    int            `json:"bytes"`
	Objects  map[string]int `json:"objects"`
}

func inspection(v *state.View, meta state.SnapshotMeta, size int) snapshotInfo {
	return snapshotInfo{SnapshotMeta: meta, Checksum: "ok", Bytes: size, Objects: v.Counts()}
}

func (a *app) snapshotInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a snapshot file holds; needs no daemon",
		Long: `inspect checks a snapshot file from end to end and shows what it holds.

Exit status: 0 it is whole; 1 it cannot be read; 2 it is damaged or no snapshot.`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
	}
	cmd.RunE = a.do(func(_ *cobra.Command, args []string) error {
		b, err := os.ReadFile(args[0])
		if err != nil {
			return spec.Errorf(spec.CodeInternal, "cannot read the snapshot: %v", err)
		}
		v, meta, err := state.ReadFile(bytes.NewReader(b))
		if err != nil {
			return spec.Errorf(spec.CodeInvalid, "cannot use %s: %v", args[0], err)
		}
		info := inspection(v, meta, len(b))
		if a.isData() {
			return a.writeValue(info)
		}
		d := &describer{a: a}
		d.field("Cluster", "%s", meta.ClusterID)
		d.field("Incarnation", "%s", meta.Incarnation)
		d.field("Index", "%d (term %d)", meta.Index, meta.Term)
		d.field("Saved", "%s by node %s, supd %s", meta.Time.UTC().Format(time.RFC3339), meta.Node, dash(meta.Version))
		d.field("Checksum", "ok")
		d.field("Hash", "%s", meta.Hash)
		for _, k := range []string{"statefulsets", "members", "volumes", "services", "programs", "revisions", "nodes", "events"} {
			d.field(strings.ToUpper(k[:1])+k[1:], "%d", info.Objects[k])
		}
		return nil
	})
	return cmd
}

func (a *app) snapshotRestoreCommand() *cobra.Command {
	var confirm string
	var dry bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Want again what was wanted when a snapshot was saved",
		Long: `restore brings back what was wanted when a snapshot of this cluster was saved: sets,
their templates, services, programs. What is stays as it is: nodes, who runs where,
directories, accounts. Members go from what runs now to what is wanted, by the usual
rules; a set that was made after the snapshot is stopped, and its directories retained.
No directory is deleted; one that is gone by now is told of, and not made anew empty.

Look first with --dry-run. It asks to type the cluster's id, or takes --confirm ID.
A cluster that lost its quorum needs supd recover instead.

Exit status: 0 restored; 2 no whole snapshot; 4 refused; 5 no leader.`,
		Example: `  supctl cluster snapshot restore monday.supd --dry-run
  supctl cluster snapshot restore monday.supd --confirm "$(supctl cluster status -o jsonpath={.clusterID})"`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml", writes: "yes"},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the cluster's id, instead of typing it")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would change")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error { return a.restore(cmd.Context(), args[0], confirm, dry) })
	return cmd
}

func (a *app) restore(ctx context.Context, path, confirm string, dry bool) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return spec.Errorf(spec.CodeInternal, "cannot read the snapshot: %v", err)
	}
	_, meta, err := state.ReadFile(bytes.NewReader(b))
	if err != nil {
		return spec.Errorf(spec.CodeInvalid, "cannot use %s: %v", path, err)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if confirm == "" && !dry {
		if confirm, err = a.askCluster(meta); err != nil {
			return err
		}
	}
	done, err := c.RestoreSnapshot(ctx, client.RestoreRequest{File: b, Confirm: confirm}, dry, a.writeOptions())
	if err != nil {
		return err
	}
	if a.isData() {
		return a.writeValue(done)
	}
	for _, change := range done.Changes {
		a.printf("%s\n", change)
	}
	switch {
	case dry && len(done.Changes) == 0:
		a.printf("nothing that is wanted would change\n")
	case dry:
	default:
		a.printf("cluster restored to what was wanted at index %d, %s\n", done.Index, done.Time.UTC().Format(time.RFC3339))
	}
	return nil
}

func (a *app) askCluster(meta state.SnapshotMeta) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", spec.Errorf(spec.CodeRefused, "cannot restore: nobody is there to confirm it; give --confirm %s", meta.ClusterID)
	}
	a.notef("What was wanted at %s will be wanted again in cluster %s.", meta.Time.UTC().Format(time.RFC3339), meta.ClusterID)
	if _, err := io.WriteString(a.stderr, "Type the id of the cluster to go on: "); err != nil {
		return "", spec.Errorf(spec.CodeInternal, "cannot ask for the id: %v", err)
	}
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", spec.Errorf(spec.CodeInternal, "cannot read the id: %v", err)
	}
	return strings.TrimSpace(line), nil
}
