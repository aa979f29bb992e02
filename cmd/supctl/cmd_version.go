package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the build (-ldflags "-X main.version=...").
var version = ""

func versionWord() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func (a *app) versionCommand() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of supctl and of the daemon",
		Long: `version shows the version of supctl, and of the daemon if one answers.

Exit status: 0 done.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only of supctl")
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		a.printf("supctl %s\n", versionWord())
		if clientOnly {
			return nil
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		v, err := c.ServerVersion(cmd.Context())
		if err != nil {
			a.notef("supd: %s", oneLine(err.Error()))
			return nil
		}
		a.printf("supd   %s on node %s\n", v.Version, v.Node)
		return nil
	})
	return cmd
}
