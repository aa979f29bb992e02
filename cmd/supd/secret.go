package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"supd/supervisor/pki"
)

func (a *app) secretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Print a new secret for the nodes that form a cluster together",
		Long: `Secret prints a new random secret. Put it into a file that only root can read, copy that
to all nodes that are to form a cluster (bootstrap_expect > 1) by a safe way, and name it
in their configuration as bootstrap_secret_file. Whoever has the secret can be any node
of the cluster.`,
		Example: "  (umask 077; supd secret > /etc/supd/secret)",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := pki.NewSecret()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, s)
			return err
		},
	}
}

// devSecret makes the secret of the cluster in dir, once, and names its file.
func devSecret(dir string) (path string, err error) {
	path = filepath.Join(dir, "secret")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return "", fmt.Errorf("cannot use %s: %w", dir, err)
		}
		return path, nil
	}
	s, err := pki.NewSecret()
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".secret.*") // 0600
	if err != nil {
		return "", fmt.Errorf("cannot make the cluster's secret: %w", err)
	}
	_, err = f.WriteString(s + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it was nobody's yet
		return "", fmt.Errorf("cannot make the cluster's secret: %w", err)
	}
	return path, nil
}
