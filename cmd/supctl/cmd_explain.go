package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Say why a set, member, volume or node is as it is",
		Long: `explain says what is wanted, what is, the rule that holds it, since when, the next
step, and the exact command that would help. A bare name is looked for among sets,
members, volumes and nodes, in this order.

Exit status: 0 done; 3 not found; 5 no daemon.`,
		Example: `  supctl explain web
  supctl explain web-1
  supctl explain node/node-2`,
		Args:        cobra.RangeArgs(1, 2),
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		x, err := a.explain(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		if a.isData() {
			return a.writeValue(x)
		}
		a.tellExplanation(x)
		return nil
	})
	return cmd
}

// explained has what can be explained, in the order in which a bare name is looked for.
var explained = []client.Resource{client.StatefulSets, client.Members, client.Volumes, client.Nodes}

func (a *app) explain(ctx context.Context, c *client.Client, args []string) (*client.Explanation, error) {
	if k, name, err := parseTarget(args); err == nil {
		if !slices.Contains(explained, k.resource) {
			return nil, usagef("cannot explain a %s: explain knows statefulsets, members, volumes and nodes", k.word)
		}
		return c.Explain(ctx, k.resource, a.namespace, name)
	} else if len(args) == 2 {
		return nil, err
	}
	for _, r := range explained {
		x, err := c.Explain(ctx, r, a.namespace, args[0])
		if err == nil || spec.CodeOf(err) != spec.CodeNotFound {
			return x, err
		}
	}
	return nil, spec.Errorf(spec.CodeNotFound, "there is no statefulset, member, volume or node %s in namespace %s", args[0], a.namespace)
}

func (a *app) tellExplanation(x *client.Explanation) {
	a.printf("%s\n", x.Object)
	a.printf("  wanted:   %s\n", oneLine(x.Wanted))
	a.printf("  actual:   %s\n", oneLine(x.Actual))
	a.printf("  rule:     %s\n", oneLine(x.Rule))
	since := timeWord(x.Since)
	if x.Since != nil {
		since += " (" + age(x.Since, a.now()) + " ago)"
	}
	a.printf("  since:    %s\n", since)
	a.printf("  next:     %s\n", oneLine(x.Next))
	a.printf("  command:  %s\n", dash(x.Command))
	for _, d := range x.Details {
		a.printf("    - %s\n", oneLine(d))
	}
}
