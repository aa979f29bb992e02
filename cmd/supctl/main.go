// Command supctl talks to supd: it applies definitions, shows what is, explains
// why, and follows changes.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
