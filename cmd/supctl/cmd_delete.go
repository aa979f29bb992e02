package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) deleteCommand() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "delete KIND NAME",
		Short: "Delete a set, a service or a Program, or stop a member to be replaced by itself",
		Long: `delete removes an object. A set is stopped from the highest ordinal down, and its
volumes are retained, unless the definition asks for their deletion
(volumeRetention.whenDeleted). Deleting a member stops it gracefully, and its
replacement is it: same name, address and directories. Volumes are released, not
deleted (supctl volume release).

Exit status: 0 accepted; 3 not found; 4 refused; 5 no leader; 6 --timeout ran out.`,
		Example: `  supctl delete sts web --wait
  supctl delete member web-1`,
		Args:        cobra.RangeArgs(1, 2),
		Annotations: map[string]string{writes: "yes", versioned: "yes"},
	}
	w.add(cmd, "the object is gone, or the member ready again")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		k, name, err := parseTarget(args)
		if err != nil {
			return err
		}
		switch k.resource {
		case client.StatefulSets, client.Members, client.Services, client.Programs:
		case client.Volumes:
			return usagef("a volume is not deleted but released: supctl volume release %s", name)
		default:
			return usagef("a %s cannot be deleted", k.word)
		}
		return a.delete(cmd.Context(), k, name, w)
	})
	return cmd
}

func (a *app) delete(ctx context.Context, k kindOf, name string, w waitFlags) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var epoch uint64
	fate := ""
	if k.resource == client.StatefulSets {
		if fate, err = a.fateOf(ctx, c, name); err != nil {
			return err
		}
	}
	if k.resource == client.Members && w.wait {
		if epoch, err = a.epochOf(ctx, c, name); err != nil {
			return err
		}
	}
	res, err := c.Delete(ctx, k.resource, a.namespace, name, a.writeOptions())
	if err != nil {
		return err
	}
	a.warnings(res)
	switch k.resource {
	case client.StatefulSets:
		a.printf("statefulset/%s is being deleted; %s\n", name, fate)
	case client.Members:
		a.printf("member/%s is being stopped; it comes back as itself\n", name)
	default:
		a.printf("%s/%s deleted\n", k.word, name)
	}
	if !w.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	f := follower{kind: k, ns: a.namespace, name: name, what: "deleted", minIndex: res.Index, timeout: w.timeout, judge: judgeGone, progress: a.progress()}
	if k.resource == client.Members {
		f.what, f.judge = "ready again", readyAfter(name, epoch)
	}
	return a.follow(ctx, c, f)
}

// fateOf says what becomes of a set's directories when it is deleted.
func (a *app) fateOf(ctx context.Context, c *client.Client, set string) (string, error) {
	s, _, err := client.Get[spec.StatefulSet](ctx, c, client.StatefulSets, a.namespace, set, client.ReadOptions{})
	if err != nil {
		return "", err
	}
	if len(s.Spec.Volumes) > 0 && s.Spec.VolumeRetention.WhenDeleted == spec.Delete {
		return "its members' directories are deleted, as the definition asks", nil
	}
	return "its volumes are retained", nil
}

func (a *app) epochOf(ctx context.Context, c *client.Client, member string) (uint64, error) {
	m, _, err := client.Get[spec.Member](ctx, c, client.Members, a.namespace, member, client.ReadOptions{})
	if err != nil {
		return 0, err
	}
	return m.Spec.Epoch, nil
}

// readyAfter: the member is ready with a later start than the one of epoch.
func readyAfter(name string, epoch uint64) func(json.RawMessage) (verdict, error) {
	return decodeJudge("member", name, func(m *spec.Member) (verdict, error) {
		note := "it is " + m.Status.Phase
		if m.Status.Message != "" {
			note += ": " + m.Status.Message
		}
		return verdict{done: m.Status.Ready && m.Spec.Epoch > epoch, note: note}, nil
	})
}
