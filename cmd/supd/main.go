// Command supd is the daemon: one on each host, together a cluster.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
