// Package powertest is, for tests only, a disk whose power can be cut: a file system (FUSE) that notes every operation and
// every sync, and from that record makes the states that a power cut may leave. kill -9 leaves the page cache as it is; this
// loses what was not synced, thousands of times out of one recorded run.
//
//	d := powertest.Mount(t)                  the disk; needs root and /dev/fuse
//	d.Run(t, "TestPowerChild")               this test binary's test, in a process of its own, works below d.Dir
//	r := d.Record()                          what it did
//	r.Cut(at, seed).Write(dir)               a directory as a cut after `at` operations may leave it
//	r.Said(at)                               what had been acknowledged by then
//
// What may be lost: every operation on a file after its last fsync, in any mixture of 4 KiB blocks, each of which may be torn
// at 512 bytes; its length, mode and owner likewise. Every name made, moved or removed after the last fsync of
// its *directory*: the fsync of a file does not make its name safe. Operations on the same name keep their order, and a
// rename is there wholly or not at all, durable when both directories have been synced. Each cut draws how: all kept
// (kill -9), all lost, names lost in order (as a journal does), or any mixture.
//
// Goroutines: the FUSE server's, in the test's process; ended by Mount's cleanup. The program under test must be another
// process: one that faults on a page of its own file system stops for its garbage collector.
package powertest
