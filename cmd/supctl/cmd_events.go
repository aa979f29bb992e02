package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) eventsCommand() *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened, oldest first",
		Long: `events shows what happened, as the log tells it. Events of nodes and of the cluster
belong to no namespace and are always shown.

Exit status: 0 done; 2 wrong usage; 4 refused, also when access ends while it watches; 5 no
daemon.`,
		Example:     "  supctl events -w --for member/web-0",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: getForms},
	}
	cmd.Flags().BoolVarP(&g.watch, "watch", "w", false, "go on and show what happens")
	cmd.Flags().BoolVarP(&g.all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().StringVar(&g.about, "for", "", "only of this object: KIND/NAME")
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		if g.about != "" {
			if !strings.Contains(g.about, "/") {
				return usagef("--for wants KIND/NAME")
			}
			k, name, err := parseTarget([]string{g.about})
			if err != nil {
				return err
			}
			g.about = k.word + "/" + name
		}
		return a.get(cmd.Context(), kindTable[len(kindTable)-1], nil, g)
	})
	return cmd
}
