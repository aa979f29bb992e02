package volumes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supd/volumes"
)

// mount puts a file system of its own under a test; it is taken off at its end.
func mount(t *testing.T, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	must(t, os.MkdirAll(target, 0o711))
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Skipf("this root may not mount: %v", err)
	}
	// By a descriptor, for the mount point may be renamed meanwhile.
	fd, err := unix.Open(target, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() {
		if err := unix.Unmount(fmt.Sprintf("/proc/self/fd/%d", fd), unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", target, err)
		}
		must(t, unix.Close(fd))
	})
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "disk")
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=32,mode=0711")
	p := open(t, volumes.Options{Dir: dir + "/volumes"})
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	must(t, p.Take(c, 1, "n1"))
	fill(t, d.Data+"/big")
	before := tree(t, d.Container+"/data/..")

	wants(t, p.Take(c, 2, "n1"), volumes.ErrFull)
	wants(t, p.OnceDone(c, "step"), volumes.ErrFull)
	_, err := p.Ensure(t.Context(), claim(1, "bbbbbbbb"))
	wants(t, err, volumes.ErrFull)
	if after := tree(t, d.Container+"/data/.."); after != before {
		t.Errorf("something was touched\nbefore:\n%s\nafter:\n%s", before, after)
	}
	ensure(t, p, made(c)) // what is there is found

	must(t, os.Remove(d.Data+"/big"))
	must(t, p.Take(c, 2, "n1"))
	ensure(t, p, claim(1, "bbbbbbbb"))
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "disk")
	mount(t, "tmpfs", dir, "tmpfs", 0, "mode=0711")
	p := open(t, volumes.Options{Dir: dir + "/volumes"})
	c, trashed := claim(0, "aaaaaaaa"), claim(2, "cccccccc")
	ensure(t, p, c)
	ensure(t, p, trashed)
	must(t, p.Trash(trashed))
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	before := tree(t, dir)

	ensure(t, p, made(c))
	wants(t, p.Take(c, 1, "n1"), volumes.ErrReadOnly)
	_, err := p.Ensure(t.Context(), claim(1, "bbbbbbbb"))
	wants(t, err, volumes.ErrReadOnly)
	wants(t, p.Trash(made(c)), volumes.ErrReadOnly)
	wants(t, p.Restore(trashed), volumes.ErrReadOnly)
	wants(t, p.Empty(t.Context(), trashed), volumes.ErrReadOnly)
	if after := tree(t, dir); after != before {
		t.Errorf("something was touched\nbefore:\n%s\nafter:\n%s", before, after)
	}

	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
	must(t, p.Take(c, 1, "n1"))
	must(t, p.Restore(trashed))
}

func TestEmptyCrossesNoMountPoint(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	must(t, os.Mkdir(outside, 0o700))
	write(t, outside+"/precious", "1")
	c := claim(0, "aaaaaaaa")
	ensure(t, p, c)
	must(t, p.Trash(c))
	// A bind mount of the same file system: the device number does not tell.
	in := dir + "/.trash/default/data-web-0.aaaaaaaa/data/sub/bind"
	mount(t, outside, in, "", unix.MS_BIND, "")
	wants(t, p.Empty(t.Context(), c), volumes.ErrInUse)
	if read(t, outside+"/precious") != "1" {
		t.Error("emptied what was mounted")
	}
}

func TestAnotherUsersDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("giving a directory away needs root")
	}
	p, dir := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	for _, path := range []string{d.Container, filepath.Dir(d.Container), dir} {
		must(t, os.Chown(path, 4321, 4321))
		_, err := p.Ensure(t.Context(), made(c))
		wants(t, err, volumes.ErrInTheWay)
		must(t, os.Chown(path, 0, 0))
	}
	ensure(t, p, made(c))
}
