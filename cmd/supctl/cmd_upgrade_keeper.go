package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) upgradeKeeperCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "upgrade-keeper NODE | --all",
		Short: "Have a node's keeper become the binary on that node's disk",
		Long: `upgrade-keeper has a node's keeper become the supd-keeper that is now on that node's
disk, in place: same process, and its members don't notice. The new one is asked first
whether it can go on with what the present one knows; if it can't, or something under
way can't be handed over, nothing changes.

With --all it is done on one node after the other, and ends with the first failure.

Exit status: 0 done, also if the binary was the same; 2 wrong usage; 3 no such node; 4
the keeper refused, and goes on as it was; 5 no daemon, or that of the node is away; 6
no answer in time.`,
		Example: `  supctl node upgrade-keeper n1
  supctl node upgrade-keeper --all`,
	}
	cmd.Flags().BoolVar(&all, "all", false, "all nodes, one after the other")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if all == (len(args) == 1) || len(args) > 1 {
			return usagef("want one NODE, or --all")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if !all {
			k, name, err := parseTargetOr(args[0], "node")
			if err != nil {
				return err
			}
			if k.resource != client.Nodes {
				return usagef("want a node, not a %s", k.word)
			}
			return a.upgradeKeeper(cmd.Context(), c, name)
		}
		nodes, _, err := client.List[spec.Node](cmd.Context(), c, client.Nodes, client.ReadOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if err := a.upgradeKeeper(cmd.Context(), c, n.Metadata.Name); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

func (a *app) upgradeKeeper(ctx context.Context, c *client.Client, node string) error {
	done, err := c.UpgradeKeeper(ctx, node)
	if err != nil {
		return err
	}
	if done.From == done.Version {
		a.printf("node/%s keeper exec'ed anew, its version unchanged: %s (pid %d, members untouched)\n", node, done.Version, done.PID)
		return nil
	}
	a.printf("node/%s keeper upgraded: %s (pid %d, members untouched)\n", node, done.Version, done.PID)
	return nil
}

// keeper tells of a node's keeper.
func (d *describer) keeper(node string, s spec.NodeStatus) {
	k := s.Keeper
	if k == nil {
		d.field("Keeper", "unknown: %s", s.KeeperReason)
		return
	}
	d.field("Keeper", "%s, protocol %d, pid %d", k.Version, k.Protocol, k.PID)
	u := k.Upgrade
	switch {
	case u.OnDisk == nil:
		d.field("Keeper on disk", "unknown: %s", u.OnDiskReason)
	case u.Possible:
		d.field("Keeper on disk", "%s (%s): supctl node upgrade-keeper %s", *u.OnDisk, u.Binary, node)
	default:
		d.field("Keeper on disk", "the same (%s)", u.Binary)
	}
	if u.Done > 0 {
		d.field("Upgraded", "%s from %s", timeWord(u.At), u.From)
	}
	if u.Refused != "" {
		d.field("Not upgraded", "%s", strings.TrimPrefix(oneLine(u.Refused), "not upgraded, "))
	}
	if k.Cgroup == "" {
		d.field("Holds members", "by process groups: there are no cgroups, nor limits")
		return
	}
	d.field("Holds members", "by cgroups below %s", k.Cgroup)
	d.field("Limits of", "%s", dash(strings.Join(k.Controllers, ",")))
}
