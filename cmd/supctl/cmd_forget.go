package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) nodeForgetCommand() *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use:   "forget NODE",
		Short: "Give up a machine that never comes back",
		Long: `forget takes a node out of the cluster for good. It is refused unless the node is Lost, or
cordoned and empty. You vouch that its machine is dead, or never comes back connected:

  - members without volumes that were on it are started on other nodes at once;
  - members with volumes wait until each volume is given up too (supctl volume abandon);
  - members accepted as lost by a scale-down lose their record;
  - its id is never let in again. A machine may join under the same name with an empty
    data directory.

The risk: if the machine does run on and cannot reach the cluster, members with
onNodeLoss Keep run there beside their replacements, and may write and answer, until it
hears that it was forgotten. Then it stops all of them before anything else, keeps their
directories, marks them, and starts nothing again. So switch it off first.

Type the node's name when asked, or give --confirm NODE.

Exit status: 0 done; 3 not found; 4 refused; 5 no leader.`,
		Example:     "  supctl node forget node-3 --confirm node-3 --reason 'burnt down'",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the node's name, instead of typing it")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		k, name, err := parseTargetOr(args[0], "node")
		if err != nil {
			return err
		}
		if k.resource != client.Nodes {
			return usagef("want a node, not a %s", k.word)
		}
		return a.forgetNode(cmd.Context(), name, confirm)
	})
	return cmd
}

func (a *app) forgetNode(ctx context.Context, name, confirm string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if confirm == "" {
		n, _, err := client.Get[spec.Node](ctx, c, client.Nodes, "", name, client.ReadOptions{})
		if err != nil {
			return err
		}
		a.notef("Node %s is %s. If its machine still runs, cut off, its members with onNodeLoss Keep run on there beside their replacements.", name, n.Status.State)
		if confirm, err = a.typeName("forget node "+name, "node", name); err != nil {
			return err
		}
	}
	if confirm != name {
		return spec.Errorf(spec.CodeRefused, "node %s is not forgotten: %q is not its name", name, confirm)
	}
	res, err := c.ForgetNode(ctx, name, client.ConfirmRequest{Confirm: confirm}, a.writeOptions())
	if err != nil {
		return err
	}
	if res.Result == client.Unchanged {
		a.printf("node/%s unchanged\n", name)
		return nil
	}
	a.printf("node/%s forgotten\n", name)
	return nil
}

func (a *app) volumeAbandonCommand() *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use:   "abandon NAME",
		Short: "Give up a directory that does not come back, or on a node that does not",
		Long: `abandon gives up a directory whose node is Lost or forgotten. Its name is free: its member
gets an empty directory on another node and is started there. You vouch that the member
does not run on the old one any more.

Given up may also be a directory that its node answers for but does not find (VolumeMissing:
is a disk not mounted?). Then nothing is vouched for: its member is stopped, and starts with
an empty directory, on that node or another (supctl node cordon keeps it off).

The risk: what is in the old directory is missing from the new one; and if the old node
runs on, cut off, with onNodeLoss Keep, the member is there twice until the node is back.
Then it stops the old one before anything else.

The directory is kept on its node and listed as NAME.UID8 (Abandoned). No member ever
gets it again; supctl volume release NAME.UID8 deletes it.

Type the volume's name when asked, or give --confirm NAME.

Exit status: 0 done; 3 not found; 4 refused; 5 no leader.`,
		Example:     "  supctl volume abandon data-web-2 --confirm data-web-2",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: objectForms, writes: "yes", versioned: "yes"},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the volume's name, instead of typing it")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		return a.abandonVolume(cmd.Context(), args[0], confirm)
	})
	return cmd
}

func (a *app) abandonVolume(ctx context.Context, name, confirm string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if confirm == "" {
		v, _, err := client.Get[spec.Volume](ctx, c, client.Volumes, a.namespace, name, client.ReadOptions{})
		if err != nil {
			return err
		}
		a.notef("The data of volume %s stays behind on node %s (%s); its member starts with an empty directory.", name, v.Spec.Node, dash(v.Status.Path))
		if confirm, err = a.typeName("abandon volume "+name, "volume", name); err != nil {
			return err
		}
	}
	if confirm != name {
		return spec.Errorf(spec.CodeRefused, "volume %s is not abandoned: %q is not its name", name, confirm)
	}
	v, res, err := c.AbandonVolume(ctx, a.namespace, name, client.ConfirmRequest{Confirm: confirm}, a.writeOptions())
	if err != nil {
		return err
	}
	return a.tellVolume(v, res, func() {
		a.printf("volume/%s is abandoned; what is on node %s is kept there as %s\n", name, v.Spec.Node, v.Metadata.Name)
	})
}

// typeName asks the user to type a name. Where nobody can type it is refused.
func (a *app) typeName(what, kind, name string) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", spec.Errorf(spec.CodeRefused, "cannot %s: nobody is there to confirm it; give --confirm %s", what, name)
	}
	if _, err := io.WriteString(a.stderr, "Type the name of the "+kind+" to go on: "); err != nil {
		return "", spec.Errorf(spec.CodeInternal, "cannot ask for the name: %v", err)
	}
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", spec.Errorf(spec.CodeInternal, "cannot read the name: %v", err)
	}
	return strings.TrimSpace(line), nil
}
