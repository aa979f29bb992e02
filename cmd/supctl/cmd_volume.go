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

func (a *app) volumeCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "volume",
		Aliases: []string{"vol", "volumes"},
		Short:   "List and release data directories",
	})
	cmd.AddCommand(a.volumeListCommand(), a.volumeDescribeCommand(), a.volumeReleaseCommand(), a.volumeUndoCommand(), a.volumeAbandonCommand())
	return cmd
}

// group makes a command that only holds others: without one of them it is wrong usage.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		what := "a command is missing"
		if len(args) > 0 {
			what = "there is no command " + args[0]
		}
		return usagef("%s: %s has %s", what, cmd.CommandPath(), strings.Join(names, ", "))
	}
	return cmd
}

func (a *app) volumeListCommand() *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"},
		Short:       "List the volumes",
		Long:        "list shows the volumes, as get volumes does.\n\nExit status: 0 done; 2 wrong usage; 5 no daemon.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: getForms},
	}
	g.add(cmd)
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		return a.get(cmd.Context(), kindTable[2], nil, g)
	})
	return cmd
}

func (a *app) volumeDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show all there is about one volume",
		Long:  "describe shows one volume, as describe volume does.\n\nExit status: 0 done; 3 not found; 5 no daemon.",
		Args:  cobra.ExactArgs(1),
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			return a.describe(cmd.Context(), kindTable[2], args[0])
		}),
	}
}

func (a *app) volumeReleaseCommand() *cobra.Command {
	var now bool
	var confirm string
	cmd := &cobra.Command{
		Use:   "release NAME",
		Short: "Give a retained directory up: to the trash, then gone",
		Long: `release is the only way a retained directory goes. It is moved to the trash of its
node and deleted when its time there is over; until then undo-release brings it back.
With --now it is deleted at once: type its name when asked, or give --confirm NAME.
A directory that a member uses is never released.

Exit status: 0 accepted; 3 not found; 4 refused; 5 no leader.`,
		Example: `  supctl volume release data-web-2
  supctl volume release data-web-2 --now --confirm data-web-2`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: objectForms, writes: "yes", versioned: "yes"},
	}
	cmd.Flags().BoolVar(&now, "now", false, "delete at once, with no time in the trash")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the volume's name, instead of typing it (with --now)")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("confirm") && !now {
			return usagef("--confirm goes with --now")
		}
		return a.release(cmd.Context(), args[0], now, confirm)
	})
	return cmd
}

func (a *app) release(ctx context.Context, name string, now bool, confirm string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if now {
		if confirm == "" {
			// Refused before anybody is asked to type: the name may be wrong, the volume in use.
			v, _, err := client.Get[spec.Volume](ctx, c, client.Volumes, a.namespace, name, client.ReadOptions{})
			if err != nil {
				return err
			}
			if confirm, err = a.askName(v); err != nil {
				return err
			}
		}
		if confirm != name {
			return spec.Errorf(spec.CodeRefused, "volume %s is not released: %q is not its name", name, confirm)
		}
	}
	v, res, err := c.ReleaseVolume(ctx, a.namespace, name, client.ReleaseRequest{Now: now, Confirm: confirm}, a.writeOptions())
	if err != nil {
		return err
	}
	return a.tellVolume(v, res, func() {
		if v.Metadata.Name == "" { // nothing is left to be done
			a.printf("volume/%s is released; its node was forgotten, so nobody deletes what is there\n", name)
			return
		}
		if now || v.Status.ReleaseAt == nil {
			a.printf("volume/%s is being deleted\n", name)
			return
		}
		a.printf("volume/%s is released; it is deleted after %s (supctl volume undo-release %s brings it back)\n", name, timeWord(v.Status.ReleaseAt), name)
	})
}

func (a *app) tellVolume(v *spec.Volume, res client.Written, say func()) error {
	switch {
	case a.output == "name":
		a.printf("volume/%s\n", v.Metadata.Name)
	case a.isData():
		return a.writeValue(v)
	case res.Result == client.Unchanged:
		a.printf("volume/%s unchanged\n", v.Metadata.Name)
	default:
		say()
	}
	return nil
}

// askName asks the user to type a volume's name. Where nobody can type it is refused.
func (a *app) askName(v *spec.Volume) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", spec.Errorf(spec.CodeRefused, "cannot release volume %s at once: nobody is there to confirm it; give --confirm %s", v.Metadata.Name, v.Metadata.Name)
	}
	a.notef("The data of volume %s (%s on node %s) will be deleted for good.", v.Metadata.Name, dash(v.Status.Path), v.Spec.Node)
	if _, err := io.WriteString(a.stderr, "Type the name of the volume to go on: "); err != nil {
		return "", spec.Errorf(spec.CodeInternal, "cannot ask for the name: %v", err)
	}
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", spec.Errorf(spec.CodeInternal, "cannot read the name: %v", err)
	}
	return strings.TrimSpace(line), nil
}

func (a *app) volumeUndoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undo-release NAME",
		Short: "Bring a released directory back from the trash",
		Long: `undo-release takes a release back while the directory is still in the trash.

Exit status: 0 accepted; 3 not found; 4 refused (it is too late); 5 no leader.`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: objectForms, writes: "yes"},
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		v, res, err := c.UndoRelease(cmd.Context(), a.namespace, args[0], a.writeOptions())
		if err != nil {
			return err
		}
		return a.tellVolume(v, res, func() { a.printf("volume/%s comes back from the trash\n", args[0]) })
	})
	return cmd
}
