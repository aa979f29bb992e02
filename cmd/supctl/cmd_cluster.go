package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "cluster", Short: "Show the state of the cluster"})
	status := &cobra.Command{
		Use:   "status",
		Short: "Show leader, voters, nodes, and how many voters may still be lost",
		Long: `status shows the cluster as the daemon that is asked knows it. Without a leader
everything is frozen as it is: members run on, nothing else happens.

Exit status: 0 done; 5 no daemon.`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "wide json yaml jsonpath"},
	}
	status.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		st, err := c.Cluster(cmd.Context())
		if err != nil {
			return err
		}
		if a.isData() {
			return a.writeValue(st)
		}
		return a.tellCluster(st)
	})
	cmd.AddCommand(status,
		a.freezeCommand("freeze", "Stop the cluster from starting, stopping or moving members",
			`freeze is the brake: from here on no member is started, stopped, placed or moved by the
cluster, and no directory is deleted, until unfreeze. Members run on and are restarted
in place when they crash; a stop that was under way ends. Definitions, scales, restarts
and drains are taken and wait; deleting a member and releasing a volume are refused.
Nodes are still called suspect and lost.`, "frozen", (*client.Client).Freeze),
		a.freezeCommand("unfreeze", "Let the cluster go on after freeze",
			"unfreeze takes the brake off: all that waited goes on.", "unfrozen", (*client.Client).Unfreeze),
		a.transferLeaderCommand(),
		a.snapshotCommand(),
	)
	cmd.AddCommand(a.clusterInitCommand(), a.joinTokenCommand(), a.leaveCommand(), a.rotateGossipKeyCommand())
	return cmd
}

type clusterWrite func(c *client.Client, ctx context.Context, o client.WriteOptions) (client.Written, error)

func (a *app) freezeCommand(verb, short, long, done string, write clusterWrite) *cobra.Command {
	return &cobra.Command{
		Use: verb, Short: short, Long: long + "\n\nExit status: 0 done; 5 no leader.",
		Example:     "  supctl cluster " + verb + " --reason 'storage is being moved'",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			res, err := write(c, cmd.Context(), a.writeOptions())
			if err != nil {
				return err
			}
			word := done
			if res.Result == client.Unchanged {
				word = client.Unchanged
			}
			a.printf("cluster %s\n", word)
			return nil
		}),
	}
}

func (a *app) transferLeaderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "transfer-leader [NODE]",
		Short: "Hand leadership to another voter",
		Long: `transfer-leader hands leadership to a voter: to NODE, or to the one that is furthest.
Members don't notice. It returns when the new leader is known.

Exit status: 0 done; 3 no such node; 4 it is no voter, or did not take over; 5 no leader.`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				var err error
				if name, err = nodeNamed(args[0]); err != nil {
					return err
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			done, err := c.TransferLeader(cmd.Context(), name, a.writeOptions())
			if err != nil {
				return err
			}
			if done.From == done.Leader {
				a.printf("node/%s leads already\n", done.Leader)
				return nil
			}
			a.printf("node/%s leads, after node/%s\n", done.Leader, done.From)
			return nil
		}),
	}
}

func (a *app) rotateGossipKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-gossip-key",
		Short: "Change the key by which the nodes' gossip is sealed",
		Long: `rotate-gossip-key has all nodes change to a new key for gossip. They take it at once, use
it after a minute, and go on hearing the key before. It is done by itself every 30 days;
ask for it when a node's disk may have been read. Nodes that are away get the key when
they are back. Two changes are two minutes apart at least.

Exit status: 0 done; 4 refused, as when the last change is too young; 5 no leader.`,
		Example:     "  supctl cluster rotate-gossip-key",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.RotateGossipKey(cmd.Context(), a.writeOptions()); err != nil {
				return err
			}
			a.printf("gossip key rotated\n")
			return nil
		}),
	}
}

func (a *app) tellCluster(st *spec.ClusterStatus) error {
	d := &describer{a: a}
	leader := st.Leader
	if leader == "" {
		leader = "none"
	}
	d.field("Cluster", "%s", dash(st.ClusterID))
	d.field("Leader", "%s (term %d)", leader, st.Term)
	d.field("Index", "%d", st.Index)
	d.field("Voters", "%s", votersWord(st))
	d.field("Can lose", "%s", canLoseWord(st))
	d.field("Frozen", "%s", frozenWord(st))
	d.field("DNS", "%s", dash(st.DNS))
	d.field("Address plan", "%s", dash(st.AddressPlan))
	for _, n := range st.Nodes {
		if t := n.Status.Trouble; t != nil && *t != "" {
			d.field("Trouble", "node %s: %s", n.Metadata.Name, oneLine(*t))
		}
	}
	var items []json.RawMessage
	for _, n := range st.Nodes {
		b, err := json.Marshal(n)
		if err != nil {
			return spec.Errorf(spec.CodeInternal, "cannot encode the output: %v", err)
		}
		items = append(items, b)
	}
	return d.objects("Nodes", client.Nodes, items)
}

func votersWord(st *spec.ClusterStatus) string {
	out := dash(strings.Join(st.Voters, ", "))
	if len(st.VotersGone) > 0 {
		out += " (gone: " + strings.Join(st.VotersGone, ", ") + ")"
	}
	return out
}

func frozenWord(st *spec.ClusterStatus) string {
	if st.Freeze == nil {
		return fmt.Sprint(st.Frozen)
	}
	out := "true, by command since " + timeWord(st.Freeze.Since)
	if st.Freeze.Who != "" {
		out += " by " + st.Freeze.Who
	}
	if st.Freeze.Why != "" {
		out += " (" + st.Freeze.Why + ")"
	}
	return out + "; supctl cluster unfreeze lets it go on"
}

func canLoseWord(st *spec.ClusterStatus) string {
	if st.Leader == "" {
		return "no leader is known: everything is frozen as it is, members run on"
	}
	return fmt.Sprintf("%d more of the %d voters that are there, before everything freezes", st.CanLose, len(st.Voters)-len(st.VotersGone))
}
