package powertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a mounted file system whose power can be cut.
type Disk struct {
	Dir   string
	start image
	fs    *recorder

	unmounted func() error
}

// Mount mounts an empty disk, or, given a tree, one that begins as it. It skips where that is not possible.
func Mount(t *testing.T, begin *Tree) *Disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a file system that loses what was not synced can be mounted by root only")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("a file system that loses what was not synced needs FUSE: %v", err)
	}
	start := newImage()
	if begin != nil {
		start = begin.im
	}
	d := &Disk{Dir: t.TempDir(), start: start, fs: newRecorder(start)}
	server, err := fuse.NewServer(d.fs, d.Dir, &fuse.MountOptions{
		AllowOther: true, DirectMountStrict: true, FsName: "powertest", Name: "powertest",
		Options: []string{"default_permissions"}, DisableReadDirPlus: true, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		t.Skipf("a file system that loses what was not synced can't be mounted here: %v", err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve() }() // ends when it is unmounted
	d.unmounted = sync.OnceValue(func() error {
		err := server.Unmount()
		if err == nil {
			<-served
		}
		return err
	})
	t.Cleanup(func() { d.unmount(t) })
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	return d
}

// unmount ends the disk.
func (d *Disk) unmount(t *testing.T) {
	t.Helper()
	if err := d.unmounted(); err != nil {
		t.Errorf("cannot unmount %s: %v", d.Dir, err)
	}
}

// childEnv tells the child its disk.
const childEnv = "SUPD_POWERTEST_DISK"

// Run runs one test of this test's binary in a process of its own. It must call Child.
func (d *Disk) Run(t *testing.T, test string, env ...string) {
	t.Helper()
	if out, err := d.run(t, test, 0, env); err != nil {
		t.Fatalf("%s below %s: %v\n%s", test, d.Dir, err, out)
	}
}

// Kill is Run, with a kill -9 right after the next ops operations. It does not matter whether the test had ended by then.
func (d *Disk) Kill(t *testing.T, test string, ops int, env ...string) {
	t.Helper()
	if out, err := d.run(t, test, ops, env); err != nil && !d.fs.killed() {
		t.Fatalf("%s below %s: %v\n%s", test, d.Dir, err, out)
	}
}

func (d *Disk) run(t *testing.T, test string, ops int, env []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+d.Dir)
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if ops > 0 {
		d.fs.killAfter(ops, cmd.Process)
	}
	err := cmd.Wait()
	return out.Bytes(), err
}

// Child gives a test that Run runs its disk, and the way to say what is acknowledged: it is part of the record when say
// returns. In any other process the test is skipped.
func Child(t *testing.T) (dir string, say func(format string, args ...any)) {
	t.Helper()
	dir = os.Getenv(childEnv)
	if dir == "" {
		t.Skip("the part of another test that runs in a process of its own")
	}
	f, err := os.OpenFile(filepath.Join(dir, said), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return dir, func(format string, args ...any) {
		// Always at its beginning: what crosses a page may come in two pieces.
		if _, err := f.WriteAt(fmt.Appendf(nil, format, args...), 0); err != nil {
			t.Errorf("cannot say: %v", err)
		}
	}
}

// Record is what has been done so far.
func (d *Disk) Record() *Record {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	return &Record{start: d.start, ops: slices.Clone(d.fs.ops)}
}

// number is a number from the environment, or usual.
func number(t *testing.T, env string, usual int) int {
	t.Helper()
	v := os.Getenv(env)
	if v == "" {
		return usual
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}
