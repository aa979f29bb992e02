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
		Short:   "List nodes, keep members off them, drain and label them, upgrade their keepers",
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
		a.cordonCommand("cordon", "Keep new members off a node",
			"Members that are there stay.", "cordoned", (*client.Client).Cordon),
		a.cordonCommand("uncordon", "Let new members on a node again",
			"A drain is taken back: members\nthat it stopped start again at once, those not yet stopped stay.", "uncordoned", (*client.Client).Uncordon),
		a.drainCommand(),
		a.labelCommand(),
		a.nodeForgetCommand(),
		a.upgradeKeeperCommand(),
	)
	return cmd
}

// nodeNamed is the node that an argument names.
func nodeNamed(arg string) (string, error) {
	k, name, err := parseTargetOr(arg, "node")
	if err == nil && k.resource != client.Nodes {
		err = usagef("want a node, not a %s", k.word)
	}
	return name, err
}

type nodeWrite func(c *client.Client, ctx context.Context, node string, o client.WriteOptions) (client.Written, error)

func (a *app) cordonCommand(verb, short, more, done string, write nodeWrite) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NODE",
		Short: short,
		Long: short + ". " + more + `

Exit status: 0 done; 3 not found; 5 no leader.`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			name, err := nodeNamed(args[0])
			if err != nil {
				return err
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
			word := done
			if res.Result == client.Unchanged {
				word = client.Unchanged
			}
			a.printf("node/%s %s\n", name, word)
			return nil
		}),
	}
}
