package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) drainCommand() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Stop a node's members gracefully and keep them stopped",
		Long: `drain cordons a node and stops its members, of each set from the highest ordinal
down and within the set's budget (updateStrategy.rollingUpdate.maxUnavailable), in which
every unavailable member counts, whatever made it so. Who serves nobody is stopped at
once. A member with directories keeps its place: it is Stopped, with reason Drained,
until the node is uncordoned. One without gets a place on another node, and starts there
when it has stopped here.

The node is drained when its keeper has reported every member gone; node list then says
Drained. The wish is kept by the cluster: it outlives leaders and restarts of the node.
node uncordon takes it back. A set is not made smaller while a member of it is drained
away, unless that member is named: supctl scale NAME --replicas N --accept-unhealthy M.

Exit status: 0 accepted, or with --wait drained; 3 not found; 5 no leader; 6 --timeout
ran out: the drain goes on.`,
		Example: `  supctl node drain n3 --wait --reason 'new disk'
  supctl node uncordon n3`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
	}
	w.add(cmd, "every member of the node is gone")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		name, err := nodeNamed(args[0])
		if err != nil {
			return err
		}
		return a.drain(cmd.Context(), name, w)
	})
	return cmd
}

func (a *app) drain(ctx context.Context, name string, w waitFlags) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	res, err := c.Drain(ctx, name, a.writeOptions())
	if err != nil {
		return err
	}
	a.warnings(res)
	if res.Result == client.Unchanged {
		a.printf("node/%s is being drained already\n", name)
	} else {
		a.printf("node/%s is cordoned and being drained\n", name)
	}
	if !w.wait {
		return nil
	}
	k, err := parseKind("node")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if err := a.follow(ctx, c, follower{
		kind: k, name: name, what: "drained", minIndex: res.Index, timeout: w.timeout,
		judge: decodeJudge("node", name, judgeDrained), progress: a.progress(),
	}); err != nil {
		return err
	}
	a.printf("node/%s drained\n", name)
	return nil
}

// judgeDrained tells how far a drain is, and that it was taken back.
func judgeDrained(n *spec.Node) (verdict, error) {
	if !n.Spec.Draining {
		return verdict{}, spec.Errorf(spec.CodeConflict, "node %s is not being drained any more: it was uncordoned", n.Metadata.Name)
	}
	if n.Status.Drained {
		return verdict{done: true}, nil
	}
	waits := n.Status.DrainWaits
	if len(waits) == 0 {
		return verdict{note: "its members are being stopped"}, nil
	}
	note := fmt.Sprintf("%s left; %s %s", count(len(waits), "member"), waits[0].Subject, waits[0].Message)
	return verdict{note: note}, nil
}

func (a *app) labelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "label NODE KEY=VALUE... KEY-...",
		Short: "Set labels of a node, or take them off",
		Long: `label sets labels of a node, KEY=VALUE, or takes them off, KEY-. What is set or taken off
here wins over the labels in the node's own configuration, and outlives its restarts; a
label that is set to what the configuration says is the node's own again. Members that
are placed stay where they are.

Exit status: 0 done; 2 no label; 3 not found; 5 no leader.`,
		Example: `  supctl node label n3 zone=b disk-
  supctl get nodes -l zone=b`,
		Args:        cobra.MinimumNArgs(2),
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			name, err := nodeNamed(args[0])
			if err != nil {
				return err
			}
			labels, err := parseLabels(args[1:])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			res, err := c.LabelNode(cmd.Context(), name, labels, a.writeOptions())
			if err != nil {
				return err
			}
			word := "labelled"
			if res.Result == client.Unchanged {
				word = client.Unchanged
			}
			a.printf("node/%s %s\n", name, word)
			return nil
		}),
	}
}

// parseLabels reads KEY=VALUE and KEY-.
func parseLabels(args []string) (client.Labels, error) {
	out := client.Labels{Set: map[string]string{}}
	seen := map[string]bool{}
	for _, arg := range args {
		key, value, set := strings.Cut(arg, "=")
		if !set {
			var off bool
			if key, off = strings.CutSuffix(arg, "-"); !off {
				return out, usagef("want KEY=VALUE or KEY-, not %q", arg)
			}
			out.Remove = append(out.Remove, key)
		} else {
			out.Set[key] = value
		}
		if key == "" || seen[key] {
			return out, usagef("label %q is empty or stands there twice", key)
		}
		seen[key] = true
	}
	return out, nil
}

// warnings tells the server's warnings about a write.
func (a *app) warnings(res client.Written) {
	for _, w := range res.Warnings {
		a.notef("warning: %s", oneLine(w))
	}
}
