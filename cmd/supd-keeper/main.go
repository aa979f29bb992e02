// Command supd-keeper is the parent of a host's member processes.
package main

import (
	"os"

	"supd/supervisor/archive"
	"supd/supervisor/keeper"
)

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "pack" || os.Args[1] == "unpack") { // an end of supctl cp
		os.Exit(archive.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(keeper.Main(os.Args[1:], os.Stdout, os.Stderr))
}
