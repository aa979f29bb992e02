package main

import (
	"context"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
)

func (a *app) nodeCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "node",
		Aliases: []string{"no", "nodes"},
		Short:   "List nodes, keep new members off them, upgrade their keepers",
	})
	var g getFlags
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"},
		Short:       "List the nodes",
		Long:        "list shows the nodes, as get nodes does.\n\nExit status: 0 done; 2 wrong usage; 5 no daemon.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: getForms},
	}
	list.Flags().BoolVarP(&g.watch, "watch", "w", false, "go on and show what changes")
	list.Flags().StringVarP(&g.selector, "selector", "l", "", "only with these labels: zone=a,disk!=slow")
	list.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		return a.get(cmd.Context(), kindTable[6], nil, g)
	})
	cmd.AddCommand(list,
		a.cordonCommand("cordon", "Keep new members off a node", "cordoned", (*client.Client).Cordon),
		a.cordonCommand("uncordon", "Let new members on a node again", "uncordoned", (*client.Client).Uncordon),
		a.upgradeKeeperCommand(),
	)
	return cmd
}

type nodeWrite func(c *client.Client, ctx context.Context, node string, o client.WriteOptions) (client.Written, error)

func (a *app) cordonCommand(verb, short, done string, write nodeWrite) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NODE",
		Short: short,
		Long: short + `. Members that are there stay.

Exit status: 0 done; 3 not found; 5 no leader.`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			k, name, err := parseTargetOr(args[0], "node")
			if err != nil {
				return err
			}
			if k.resource != client.Nodes {
				return usagef("want a node, not a %s", k.word)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			res, err := write(c, cmd.Context(), name, a.writeOptions())
			if err != nil {
				return err
			}
			if res.Result == client.Unchanged {
				done = client.Unchanged
			}
			a.printf("node/%s %s\n", name, done)
			return nil
		}),
	}
}
