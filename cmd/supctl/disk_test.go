package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// mayMount tells whether scripts can have disks of their own.
func mayMount() bool {
	_, loop := os.Stat("/dev/loop-control")
	_, mkfs := exec.LookPath("mkfs.ext4")
	return os.Getuid() == 0 && loop == nil && mkfs == nil
}

// disk DIR SIZE: a disk of its own is mounted at DIR until the script's end; disk DIR: mounted
// anew, checked, after it was taken off.
func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: disk DIR [SIZE]")
	}
	image := filepath.Join(ts.Getenv("WORK"), "disk-"+filepath.Base(filepath.Dir(args[0])))
	steps := [][]string{{"e2fsck", "-fy", image}}
	if len(args) == 2 {
		ts.Check(os.MkdirAll(args[0], 0o700))
		// Members have their own view of the host's mounts: only what is shared is taken off in theirs too.
		at := filepath.Dir(args[0])
		steps = [][]string{
			{"mount", "--bind", at, at},
			{"mount", "--make-shared", at},
			{"truncate", "-s", args[1], image},
			{"mkfs.ext4", "-q", "-F", "-m", "0", image},
		}
		ts.Defer(func() {
			if err := unmount(args[0], at); err != nil {
				worldOf(ts).errorf("%v", err)
			}
		})
	}
	if len(args) == 1 {
		ts.Check(unmount(args[0]))
		ts.Check(until(eventually, func() error { return unplugged(image) }))
	}
	for _, step := range append(steps, []string{"mount", "-o", "loop", image, args[0]}) {
		out, err := exec.Command(step[0], step[1:]...).CombinedOutput()
		var exit *exec.ExitError
		if step[0] == "e2fsck" && errors.As(err, &exit) && exit.ExitCode()&^3 == 0 {
			err = nil // mended
		}
		if err != nil {
			ts.Fatalf("%v: %v: %s", step, err, out)
		}
	}
}

// unmount takes disks off. A process that was killed seems to have ended when its first thread has, and its others may
// hold files still.
func unmount(dirs ...string) error {
	for _, dir := range dirs {
		if err := until(eventually, func() error {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				return fmt.Errorf("cannot take the disk at %s off: %w: %s", dir, err, out)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// unplugged tells whether the kernel has let go of a disk that was taken off; while it has not, a mount is the old one.
func unplugged(image string) error {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(b)) == image {
			return fmt.Errorf("%s is still mounted somewhere", image)
		}
	}
	return nil
}
