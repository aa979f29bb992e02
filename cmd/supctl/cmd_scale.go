package main

import (
	"context"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
)

func (a *app) scaleCommand() *cobra.Command {
	var replicas, current int
	var accept []string
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "scale NAME --replicas N",
		Short: "Change the number of members",
		Long: `scale changes how many members a set wants. A lower number is refused while any
member is unhealthy: each is named with its reason, and nothing is changed. The one
way round names exactly the members that are accepted as lost.

Exit status: 0 accepted; 1 with --wait: the set has stalled; 3 not found; 4 refused; 5 no
leader; 6 --timeout ran out.`,
		Example: `  supctl scale web --replicas 5 --wait
  supctl scale web --replicas 2 --current-replicas 3
  supctl scale web --replicas 2 --accept-unhealthy web-2`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: objectForms, writes: "yes", versioned: "yes"},
	}
	cmd.Flags().IntVar(&replicas, "replicas", 0, "how many members are wanted")
	cmd.Flags().IntVar(&current, "current-replicas", 0, "only if so many are wanted now")
	cmd.Flags().StringSliceVar(&accept, "accept-unhealthy", nil, "members accepted as lost, by name: web-1,web-2")
	w.add(cmd, "the set is ready")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		if !cmd.Flags().Changed("replicas") || replicas < 0 {
			return usagef("say how many members are wanted: --replicas N, 0 or more")
		}
		name, err := a.setName(args[0])
		if err != nil {
			return err
		}
		req := client.ScaleRequest{Replicas: &replicas, AcceptUnhealthy: accept}
		if cmd.Flags().Changed("current-replicas") {
			req.CurrentReplicas = &current
		}
		return a.scale(cmd.Context(), name, req, w)
	})
	return cmd
}

// setName takes "web" and "sts/web".
func (a *app) setName(arg string) (string, error) {
	k, name, err := parseTargetOr(arg, "statefulset")
	if err != nil {
		return "", err
	}
	if k.resource != client.StatefulSets {
		return "", usagef("want a statefulset, not a %s", k.word)
	}
	return name, nil
}

func (a *app) scale(ctx context.Context, name string, req client.ScaleRequest, w waitFlags) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	set, res, err := c.Scale(ctx, a.namespace, name, req, a.writeOptions())
	if err != nil {
		return err
	}
	a.warnings(res)
	switch {
	case a.output == "name":
		a.printf("statefulset/%s\n", name)
	case a.isData():
		if err := a.writeValue(set); err != nil {
			return err
		}
	case res.Result == client.Unchanged:
		a.printf("statefulset/%s unchanged\n", name)
	default:
		a.printf("statefulset/%s scaled to %d\n", name, *req.Replicas)
	}
	if !w.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	return a.followSet(ctx, c, set, res, w.timeout)
}
