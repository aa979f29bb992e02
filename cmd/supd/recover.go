package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"supd/supervisor"
)

func (a *app) recoverCommand() *cobra.Command {
	var o supervisor.RecoverOptions
	var rejoin bool
	var file string
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Look into a node's raft store, recover a cluster without a quorum, or rejoin one",
		Long: `Recover works on the data directory of a node whose supd is stopped; members run on.

Without --confirm it shows what the node has, and changes nothing.

A majority of the voters is lost for good: run it on every voter that is left. The
one with the greatest position (TERM:INDEX) goes on: give it the others' positions
(--seen), or --alone when there are none, and its id to confirm. It becomes the only
server. What no quorum acknowledged may be lost, or kept. The cluster is frozen until
supctl cluster unfreeze: bring the nodes back that run members first. A majority of
the old cluster that comes back by itself would be a second cluster: make sure it can't.

A node's raft store is damaged, gone, or of before a recovery: --rejoin puts it aside
and has the node join again with an empty one, if the cluster has a quorum without it.
Members, their directories and the keeper's records stay as they are. Where node.json
is gone or damaged, it is made again.

No voter has a whole raft store, but there is a file of supctl cluster snapshot save, or
of the scheduled ones (DATA/snapshots): --from-snapshot FILE on one node that voted makes
it the only server of the cluster as it was then, frozen as above; on every other node:
--rejoin. Members that run on are known again by their directories. What was wanted since
is forgotten: members that the file does not know are stopped when their node is back,
and their directories retained, to be taken up again by a set and ordinal of that name.
Before supctl cluster unfreeze bring all nodes back, and look at supctl events, supctl
volume list and supctl auth list: accounts that were revoked since are back.

Exit status: 0 done; 1 refused or failed; 2 wrong usage or configuration.`,
		Example: "  supd recover --config /etc/supd/supd.yaml\n" +
			"  supd recover --data-dir /var/lib/supd --seen 4:1022 --confirm n1.0a1b2c3d\n" +
			"  supd recover --data-dir /var/lib/supd --rejoin --confirm n2.4e5f6a7b\n" +
			"  supd recover --data-dir /var/lib/supd --from-snapshot monday.supd --alone --confirm n1.0a1b2c3d",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(c.Flags())
			if err != nil {
				return err
			}
			o.DataDir = cfg.DataDir
			switch {
			case rejoin && (file != "" || len(o.Seen) > 0 || o.Alone):
				return usageError{errors.New("--rejoin goes with --confirm alone")}
			case rejoin:
				return a.rejoin(o)
			case file != "" && len(o.Seen) > 0:
				return usageError{errors.New("--from-snapshot is for when no voter has a whole store: --seen says that one has")}
			case file != "":
				return a.recoverFromFile(o, file)
			case o.Confirm == "" && len(o.Seen) == 0 && !o.Alone:
				return a.lookOffline(o.DataDir)
			}
			return a.recover(o)
		},
	}
	configFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.Confirm, "confirm", "", "this node's id: do it")
	cmd.Flags().StringSliceVar(&o.Seen, "seen", nil, "the positions, TERM:INDEX, of the other voters that are left")
	cmd.Flags().BoolVar(&o.Alone, "alone", false, "no other voter, or no other one's raft store, is left")
	cmd.Flags().StringVar(&file, "from-snapshot", "", "go on from this snapshot file: no voter has a whole raft store")
	cmd.Flags().BoolVar(&rejoin, "rejoin", false, "put the raft store aside and join again with an empty one")
	return cmd
}

func (a *app) lookOffline(dir string) error {
	f, err := supervisor.LookOffline(dir)
	if err != nil {
		return fmt.Errorf("%w; supd recover --help tells of --rejoin and --from-snapshot", err)
	}
	fmt.Fprintf(a.stdout, "node:      %s\nposition:  %s (newest term seen: %d)\ncluster:   %s, incarnation %s\n",
		f.Node, f.Position(), f.Term, f.Cluster.ID, f.Cluster.Incarnation)
	for _, s := range f.Servers {
		kind := "follows"
		if s.Voter {
			kind = "votes"
		}
		fmt.Fprintf(a.stdout, "server:    %s at %s %s\n", s.ID, s.Addr, kind)
	}
	fmt.Fprintf(a.stdout, "state:     %d statefulsets, %d members, %d volumes, newest entry's time %s\n",
		f.Objects["statefulsets"], f.Objects["members"], f.Objects["volumes"], f.Cluster.Now.UTC().Format("2006-01-02 15:04:05 MST"))
	if f.Trouble != "" {
		fmt.Fprintf(a.stdout, "trouble:   %s\n", f.Trouble)
	}
	_, err = fmt.Fprintf(a.stdout, "nothing was changed; supd recover --help says what can be done\n")
	return err
}

func (a *app) recover(o supervisor.RecoverOptions) error {
	f, err := supervisor.Recover(o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "node %s is the only server of cluster %s now, with all of its log up to %s. Next: start supd here; "+
		"on every other node: stop supd, supd recover --rejoin, start supd; when all that run members are back: supctl cluster unfreeze\n",
		f.Node, f.Cluster.ID, f.Position())
	return err
}

func (a *app) recoverFromFile(o supervisor.RecoverOptions, path string) error {
	meta, err := supervisor.RecoverFromFile(o, path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "this node is the only server of cluster %s now, as it was at index %d, %s. Next: start supd here; "+
		"on every other node: stop supd, supd recover --rejoin, start supd; when all that run members are back, and supctl events and supctl volume list "+
		"show nothing unexpected: supctl cluster unfreeze\n", meta.ClusterID, meta.Index, meta.Time.UTC().Format("2006-01-02 15:04:05 MST"))
	return err
}

func (a *app) rejoin(o supervisor.RecoverOptions) error {
	aside, err := supervisor.Rejoin(o.DataDir, o.Confirm)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "the raft store was put aside (%s). Next: start supd; the cluster takes the node back, and gives it a vote when it has caught up\n", aside)
	return err
}
