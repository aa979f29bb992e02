// Command supd is the daemon: one on each host, together a cluster.
package main

import (
	"os"
	"path/filepath"

	"supd/supervisor"
	"supd/supervisor/archive"
	"supd/supervisor/keeper"
)

func main() {
	if filepath.Base(os.Args[0]) == supervisor.KeeperName {
		if len(os.Args) > 1 && (os.Args[1] == "pack" || os.Args[1] == "unpack") { // an end of supctl cp
			os.Exit(archive.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		}
		os.Exit(keeper.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
