package volumes_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supd/volumes"
)

func TestTrashRestoreEmpty(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	c, ctx := claim(0, "aaaaaaaa"), t.Context()
	d := ensure(t, p, c)
	write(t, d.Data+"/row", "1")
	trashed := dir + "/.trash/default/data-web-0.aaaaaaaa"

	wants(t, p.Empty(ctx, c), volumes.ErrInUse) // in place
	must(t, p.Trash(c))
	must(t, p.Trash(c))
	if exists(t, d.Container) || read(t, trashed+"/data/row") != "1" {
		t.Fatal("not in the trash")
	}
	for _, c := range []volumes.Claim{c, made(c)} {
		_, err := p.Ensure(ctx, c)
		wants(t, err, volumes.ErrMissing)
		if !strings.Contains(err.Error(), "trash") {
			t.Errorf("%v does not say that it is in the trash", err)
		}
	}
	if n, err := p.Usage(ctx, c); err != nil || n == 0 {
		t.Errorf("usage in the trash: %d, %v", n, err)
	}
	must(t, p.Restore(c))
	must(t, p.Restore(c))
	if read(t, d.Data+"/row") != "1" {
		t.Fatal("row lost")
	}
	must(t, p.Trash(c))
	must(t, p.Empty(ctx, made(c)))
	must(t, p.Empty(ctx, made(c)))
	wants(t, p.Restore(made(c)), volumes.ErrMissing)
	wants(t, p.Trash(made(c)), volumes.ErrMissing)
	found, err := p.List()
	must(t, err)
	if len(found) != 0 {
		t.Errorf("left: %+v", found)
	}
}

func TestReleaseOfWhatWasNeverMade(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	c := claim(0, "aaaaaaaa")
	must(t, p.Trash(c))
	must(t, p.Restore(c)) // else it would wait for ever to come back, and its ordinal with it
	must(t, p.Trash(c))
	must(t, p.Empty(t.Context(), c))
	wants(t, p.Trash(made(c)), volumes.ErrMissing)
	wants(t, p.Restore(made(c)), volumes.ErrMissing)
	wants(t, p.Empty(t.Context(), made(c)), volumes.ErrMissing)
	if exists(t, dir) {
		t.Error("something was made")
	}
}

func TestTrashRefusesWhileALockIsHeld(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	f, err := os.Create(d.Lock("main"))
	must(t, err)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	write(t, d.Lock("other"), "")
	err = p.Trash(c)
	wants(t, err, volumes.ErrInUse)
	if !strings.Contains(err.Error(), "process main") {
		t.Errorf("%v does not name the process", err)
	}
	must(t, f.Close())
	must(t, p.Trash(c))
}

func TestEmptyFollowsNoLink(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	must(t, os.Mkdir(outside, 0o700))
	write(t, outside+"/precious", "1")
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	must(t, os.Symlink(outside, d.Data+"/dir"))
	must(t, os.Symlink(outside+"/precious", d.Data+"/file"))
	must(t, os.Symlink("/", d.Data+"/root"))
	must(t, os.Link(outside+"/precious", d.Data+"/hard"))
	must(t, p.Trash(c))
	must(t, p.Empty(t.Context(), c))
	if read(t, outside+"/precious") != "1" {
		t.Error("emptied what was linked to")
	}
}

func TestEmptyDeepAndLocked(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	deep(t, d.Data, 700)
	must(t, os.MkdirAll(d.Data+"/locked/in", 0o700))
	write(t, d.Data+"/locked/in/file", "1")
	must(t, os.Chmod(d.Data+"/locked/in", 0o500))
	must(t, os.Chmod(d.Data+"/locked", 0))
	must(t, syscall.Mkfifo(d.Data+"/pipe", 0o600))
	for i := range 5000 {
		write(t, d.Data+"/f"+strings.Repeat("x", i%100)+string(rune('a'+i%26))+strings.Repeat("y", i/100), "")
	}
	must(t, p.Trash(c))
	must(t, p.Empty(t.Context(), c))
	if found, err := p.List(); err != nil || len(found) != 0 {
		t.Errorf("left %+v, %v", found, err)
	}
}

// deep makes n directories within each other, longer than any path may be.
func deep(t *testing.T, at string, n int) {
	t.Helper()
	fd, err := unix.Open(at, unix.O_DIRECTORY, 0)
	must(t, err)
	for range n {
		must(t, unix.Mkdirat(fd, "a-rather-long-name", 0o700))
		next, err := unix.Openat(fd, "a-rather-long-name", unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
}

func TestEmptyStopsWithItsContext(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	write(t, d.Data+"/row", "1")
	must(t, p.Trash(c))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Empty(ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	found, err := p.List()
	must(t, err)
	if len(found) != 1 || found[0].Place != volumes.PlaceGone || found[0].Foreign {
		t.Fatalf("found %+v in %s", found, dir)
	}
	wants(t, p.Restore(made(c)), volumes.ErrMissing)
	must(t, p.Empty(t.Context(), c))
}

func TestList(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	ensure(t, p, claim(0, "aaaaaaaa1"))
	must(t, p.Take(claim(0, "aaaaaaaa1"), 7, "n1"))
	foreign := ensure(t, p, claim(1, "bbbbbbbb"))
	change(t, foreign.Container+"/marker", "cluster", "other")
	ensure(t, p, claim(2, "cccccccc"))
	must(t, p.Trash(claim(2, "cccccccc")))
	must(t, os.Mkdir(dir+"/default/lost+found", 0o700))
	must(t, os.Symlink("/", dir+"/link"))
	must(t, os.Mkdir(dir+"/default/.data-web-9.dddddddd.new", 0o700))
	found, err := p.List()
	must(t, err)
	var got []string
	for _, f := range found {
		rel, _ := filepath.Rel(dir, f.Path)
		s := f.Place + " " + rel
		if f.Foreign {
			s += " foreign"
			if f.Why == "" {
				t.Errorf("%s: not said why it is foreign", rel)
			}
		}
		got = append(got, s)
	}
	want := []string{
		"trash .trash/default/data-web-2.cccccccc",
		"live default/data-web-0.aaaaaaaa",
		"live default/data-web-1.bbbbbbbb foreign",
		"live default/lost+found foreign",
		"live link foreign",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if f := found[1]; f.Epoch != 7 || f.Node != "n1" || f.Marker.UID != "aaaaaaaa1" {
		t.Errorf("found %+v", f)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	write(t, d.Data+"/a", strings.Repeat("x", 1<<20))
	must(t, os.Link(d.Data+"/a", d.Data+"/b"))
	must(t, os.Symlink("/usr", d.Data+"/usr"))
	must(t, os.Mkdir(d.Data+"/sub", 0o700))
	write(t, d.Data+"/sub/c", strings.Repeat("x", 1<<20))
	n, err := p.Usage(t.Context(), c)
	must(t, err)
	if n < 2<<20 || n > 3<<20 {
		t.Errorf("usage %d", n)
	}
	_, err = p.Usage(t.Context(), claim(1, "bbbbbbbb"))
	wants(t, err, volumes.ErrMissing)
}
