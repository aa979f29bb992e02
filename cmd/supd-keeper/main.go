// Command supd-keeper is the parent of a host's member processes.
package main

import (
	"os"

	"supd/supervisor/keeper"
)

func main() { os.Exit(keeper.Main(os.Args[1:], os.Stdout, os.Stderr)) }
