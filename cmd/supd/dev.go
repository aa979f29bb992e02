package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"supd/configs"
)

// devOptions are what a user asks of supd dev.
type devOptions struct {
	nodes       int // 0: as many as there are, or 3
	dir         string
	detach      bool
	addressPlan string
}

// How long the steps of supd dev may take.
const (
	devReady      = 60 * time.Second
	devDaemonStop = 15 * time.Second
	devStopSlack  = 20 * time.Second
)

func (a *app) devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, for trying and tests",
		Long: `Dev starts daemons on loopback, each a process of its own with its own keeper in
DIR/node-1 ... DIR/node-N, forms them into one cluster, prints
    ready: export SUPCTL_ADDR=unix://...
when it can take a definition, and stays in the foreground. Ctrl-C stops the members
in order, then the daemons, then the keepers; the next start on the same DIR starts
them again. A daemon that dies is not restarted; supd run --config
DIR/node-K/supd.yaml brings it back.`,
		Example: "  supd dev\n  supd dev --nodes 5 --dir /tmp/five",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("nodes") && (o.nodes < 1 || o.nodes > 100) {
				return usageError{fmt.Errorf("--nodes must be between 1 and 100, not %d", o.nodes)}
			}
			if o.addressPlan != configs.PlanLoopback && o.addressPlan != configs.PlanNone {
				return usageError{fmt.Errorf("--address-plan must be loopback or none, not %q", o.addressPlan)}
			}
			return a.dev(o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", 0, "how many daemons (default 3, or as many as DIR holds)")
	f.StringVar(&o.dir, "dir", "", "where everything is kept (default ~/.local/share/supd/dev)")
	f.BoolVar(&o.detach, "detach-members", false, "leave members and keepers running at the end")
	f.StringVar(&o.addressPlan, "address-plan", configs.PlanLoopback, "addresses of members in a new cluster: loopback or none")
	return cmd
}

// dev runs the cluster until a signal comes.
func (a *app) dev(o devOptions) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := devDir(o.dir)
	if err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	secret, err := devSecret(dir)
	if err != nil {
		return err
	}
	nodes, err := devNodes(dir, secret, o)
	if err != nil {
		return err
	}
	c := &devCluster{app: a, dir: dir, nodes: nodes, detach: o.detach}
	err = c.start(ctx)
	if err == nil {
		fmt.Fprintf(a.stdout, "ready: export SUPCTL_ADDR=unix://%s\n", nodes[0].cfg.Socket)
		c.attend(ctx)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C while starting is an end like another
	}
	stop() // from now on a second Ctrl-C is the default: it ends this process at once
	hurry, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	return errors.Join(err, c.stop(hurry, err != nil))
}

// devDir makes the directory of the cluster. Members' users reach their
// directories through it.
func devDir(dir string) (string, error) {
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("cannot choose a directory: %w; name one with --dir", err)
		}
		dir = filepath.Join(home, ".local", "share", "supd", "dev")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("cannot make the directory of the cluster: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", fmt.Errorf("cannot use %s: %w", dir, err)
	}
	return dir, nil
}

// lockDir keeps a second supd dev off the directory.
func lockDir(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, "dev.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		by := ""
		b := make([]byte, 32)
		if n, rerr := f.ReadAt(b, 0); n > 0 && (rerr == nil || n < len(b)) {
			by = " (pid " + firstLine(b[:n]) + ")"
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("supd dev runs on %s already%s; stop that one first, or name another --dir", dir, by)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, fmt.Sprintln(os.Getpid()))); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func firstLine(b []byte) string {
	for i, c := range b {
		if c == '\n' {
			return string(b[:i])
		}
	}
	return string(b)
}
