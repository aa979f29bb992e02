package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// powercut K...: all that runs on these nodes is gone at once: daemons, keepers and members with volumes.
func cmdPowerCut(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: powercut K...")
	}
	// Who would start others again goes first.
	for _, name := range []string{"keeper.pid", "supd.pid"} {
		for _, k := range args {
			pid, err := readPID(filepath.Join(w.dir, "node-"+k, name))
			ts.Check(err)
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	ts.Check(until(eventually, func() error {
		var left error
		for _, k := range args {
			procs, err := processesIn(filepath.Join(w.dir, "node-"+k))
			if err != nil {
				return err
			}
			for pid, cmdline := range procs {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
				left = fmt.Errorf("%d %s is still there", pid, cmdline)
			}
		}
		return left
	}))
	w.nodes = slices.DeleteFunc(w.nodes, func(n *exec.Cmd) bool {
		if live(n.Process.Pid) {
			return false
		}
		_ = n.Wait() // killed
		return true
	})
}

// boot K...: the daemons of these nodes are started as after a boot: with a boot id of its own,
// by which keepers know that nothing of before lives.
func cmdBoot(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: boot K...")
	}
	w.boots++
	id := filepath.Join(ts.Getenv("WORK"), "boot-"+strconv.Itoa(w.boots))
	ts.Check(os.WriteFile(id, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", w.boots), 0o644))
	for _, k := range args {
		ts.Check(w.startNode(k, "unshare", "--mount", "--propagation", "slave", "sh", "-c",
			`mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, id))
	}
}
