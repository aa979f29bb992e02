package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) restartCommand() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "restart NAME|MEMBER",
		Short: "Restart a set's members in order, or one member, under the gates",
		Long: `restart starts the members of a set anew: in order, one at a time, under the same
gates as a rollout; or one member by its name.

Exit status: 0 accepted; 1 with --wait: the set has stalled; 3 not found; 4 refused; 5 no
leader; 6 --timeout ran out.`,
		Example: `  supctl restart web --wait
  supctl restart web-1`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
	}
	w.add(cmd, "all of it has been restarted and is ready")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		return a.restart(cmd.Context(), args[0], w)
	})
	return cmd
}

func (a *app) restart(ctx context.Context, arg string, w waitFlags) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	k, name, err := a.setOrMember(ctx, c, arg)
	if err != nil {
		return err
	}
	if k.resource == client.StatefulSets {
		return a.restartSet(ctx, c, name, w)
	}
	epoch, err := a.epochOf(ctx, c, name)
	if err != nil {
		return err
	}
	res, err := c.RestartMember(ctx, a.namespace, name, a.writeOptions())
	if err != nil {
		return err
	}
	a.warnings(res)
	a.printf("member/%s is restarted in its turn\n", name)
	if !w.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	return a.follow(ctx, c, follower{
		kind: k, ns: a.namespace, name: name, what: "ready again", minIndex: res.Index, timeout: w.timeout,
		judge: a.withWait(ctx, c, name, readyAfter(name, epoch)), progress: a.progress(),
	})
}

// withWait adds to what a judge notes of a member what the planner waits for.
func (a *app) withWait(ctx context.Context, c *client.Client, name string, judge func(json.RawMessage) (verdict, error)) func(json.RawMessage) (verdict, error) {
	return func(raw json.RawMessage) (verdict, error) {
		v, err := judge(raw)
		if err != nil || v.done {
			return v, err
		}
		// An answer that does not come only leaves the note shorter.
		if x, xerr := c.Explain(ctx, client.Members, a.namespace, name); xerr == nil && len(x.Details) > 0 {
			v.note += "; " + x.Details[0]
		}
		return v, nil
	}
}

func (a *app) restartSet(ctx context.Context, c *client.Client, name string, w waitFlags) error {
	res, err := c.RestartSet(ctx, a.namespace, name, client.RestartRequest{}, a.writeOptions())
	if err != nil {
		return err
	}
	a.warnings(res)
	a.printf("statefulset/%s is restarted, one member at a time\n", name)
	if !w.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	set := &spec.StatefulSet{Metadata: spec.Meta{Namespace: a.namespace, Name: name}}
	return a.followSet(ctx, c, set, res, w.timeout)
}

// setOrMember finds what a bare name means: a set of that name, else a member.
func (a *app) setOrMember(ctx context.Context, c *client.Client, arg string) (kindOf, string, error) {
	k, name, err := parseTargetOr(arg, "statefulset")
	if err != nil {
		return k, name, err
	}
	if k.resource != client.StatefulSets && k.resource != client.Members {
		return k, name, usagef("want a statefulset or a member, not a %s", k.word)
	}
	if k.resource == client.Members {
		return k, name, nil
	}
	_, _, err = c.GetRaw(ctx, client.StatefulSets, a.namespace, name, client.ReadOptions{})
	if err == nil || spec.CodeOf(err) != spec.CodeNotFound || arg != name {
		return k, name, err
	}
	if _, _, merr := c.GetRaw(ctx, client.Members, a.namespace, name, client.ReadOptions{}); spec.CodeOf(merr) == spec.CodeNotFound {
		return k, name, spec.Errorf(spec.CodeNotFound, "there is neither a statefulset nor a member %s in namespace %s", name, a.namespace)
	} else if merr != nil {
		return k, name, merr
	}
	return kindTable[1], name, nil
}
