// Command supd is the daemon: one on each host, together a cluster.
package main

import (
	"os"
	"path/filepath"

	"supd/supervisor"
	"supd/supervisor/keeper"
)

func main() {
	if filepath.Base(os.Args[0]) == supervisor.KeeperName {
		os.Exit(keeper.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
