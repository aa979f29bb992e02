package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

const nobody = 65534

// tries prints for each path whether a file can be written in it.
const tries = `for d in "$@"; do (echo x > $d/try) 2>/dev/null && echo "$d yes" || echo "$d no"; done`

func (r *rig) writable(e func(*keeper.Exec), dirs ...string) string {
	r.t.Helper()
	return r.run(tries, func(x *keeper.Exec) {
		x.Argv = append(x.Argv, dirs...)
		e(x)
	})
}

func mkdirs(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadOnlyPaths(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r := newRig(t, "")
	dir := t.TempDir()
	data, other, conf, sub, free := dir+"/data", dir+"/other", dir+"/srv/conf", dir+"/srv/data/sub", dir+"/free"
	mkdirs(t, data+"/sub", data+"/ro", other, conf, free)
	got := r.writable(func(e *keeper.Exec) {
		e.ReadOnlyPaths = []string{dir + "/srv", dir + "/srv/data/ro"}
		e.Mounts = []keeper.Mount{{Source: other, Target: sub}, {Source: data, Target: dir + "/srv/data"}}
	}, conf, dir+"/srv/data", sub, dir+"/srv/data/ro", free)
	want := fmt.Sprintf("%s no\n%s yes\n%s yes\n%s no\n%s yes\n", conf, dir+"/srv/data", sub, dir+"/srv/data/ro", free)
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if _, err := os.Stat(other + "/try"); err != nil {
		t.Errorf("a mount below another: %v", err)
	}
	t.Run("root", func(t *testing.T) {
		target := dir + "/made/for/it"
		got := r.writable(func(e *keeper.Exec) {
			e.ReadOnlyPaths = []string{"/"}
			e.Mounts = []keeper.Mount{{Source: data, Target: target}, {Source: other, Target: "/tmp"}}
		}, "/etc", "/usr", "/var", "/run", "/dev/shm", "/tmp")
		want := "/etc no\n/usr no\n/var no\n/run no\n/dev/shm yes\n/tmp yes\n"
		if got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		got = r.writable(func(e *keeper.Exec) {
			e.ReadOnlyPaths = []string{"/"}
			e.Mounts = []keeper.Mount{{Source: data, Target: target}, {Source: data, Target: dir + "/srv/data", ReadOnly: true}}
		}, target, dir+"/srv/data", free, dir+"/made")
		want = fmt.Sprintf("%s yes\n%s no\n%s no\n%s no\n", target, dir+"/srv/data", free, dir+"/made")
		if got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if _, err := os.Stat("/dev/shm/try"); err == nil {
			err = os.Remove("/dev/shm/try")
			if err != nil {
				t.Error(err)
			}
		}
		if err := os.WriteFile(free+"/host", nil, 0o600); err != nil {
			t.Errorf("the host's own view: %v", err)
		}
	})
	run := keeper.Run{Member: "a", Process: "main", Exec: r.shell("", "exit 0").Exec}
	run.ReadOnlyPaths = []string{dir + "/missing"}
	_, err := r.Run(t.Context(), run)
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), dir+"/missing") {
		t.Errorf("a path that is not there: %v", err)
	}
}

// TestMountsFollowNoLinksOfMembers: neither the mount point nor the source is taken through a link that a member made.
func TestMountsFollowNoLinksOfMembers(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r := newRig(t, "")
	dir, victim := t.TempDir(), t.TempDir()
	vol := dir + "/vol"
	mkdirs(t, vol+"/real", dir+"/src")
	err := errors.Join(os.Symlink(victim, vol+"/link"), os.Lchown(vol+"/link", nobody, nobody),
		os.Symlink("real", vol+"/inside"), os.Lchown(vol+"/inside", nobody, nobody), os.Symlink(vol+"/real", dir+"/roots"))
	if err != nil {
		t.Fatal(err)
	}
	start := func(m keeper.Mount) error {
		run := keeper.Run{Member: "a", Process: "main", Exec: r.shell("", "exit 0").Exec}
		run.Mounts = []keeper.Mount{m}
		_, err := r.Run(t.Context(), run)
		return err
	}
	for _, c := range []struct {
		name string
		m    keeper.Mount
		want error
		text string
	}{
		{"a target through a link", keeper.Mount{Source: dir + "/src", Target: vol + "/link/x"}, unix.ELOOP, "link is a symbolic link of user 65534"},
		{"a target that is a link", keeper.Mount{Source: dir + "/src", Target: vol + "/link"}, unix.ELOOP, vol + "/link"},
		{"a target through root's link", keeper.Mount{Source: dir + "/src", Target: dir + "/roots/new"}, nil, ""},
		{"a source through a link", keeper.Mount{Source: vol + "/link", Target: "/mnt", Beneath: vol}, unix.EXDEV, "leads out of " + vol},
		{"a source by a link inside", keeper.Mount{Source: vol + "/inside", Target: "/mnt", Beneath: vol}, nil, ""},
		{"a source that is not there", keeper.Mount{Source: vol + "/gone", Target: "/mnt", Beneath: vol}, unix.ENOENT, vol + "/gone"},
		{"a source elsewhere", keeper.Mount{Source: victim, Target: "/mnt", Beneath: vol}, unix.EXDEV, "not beneath"},
	} {
		err := start(c.m)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v naming %q", c.name, err, c.want, c.text)
		}
	}
	if left, err := os.ReadDir(victim); err != nil || len(left) > 0 {
		t.Errorf("made where a link led: %v, %v", left, err)
	}
	if _, err := os.Stat(vol + "/real/new"); err != nil {
		t.Error(err)
	}
}

// TestMountRace: a member swaps a directory for a link while its next start mounts on it and from it. Nothing is ever
// made, shown or hidden outside of its volume.
func TestMountRace(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r := newRig(t, "")
	dir, victim := t.TempDir(), t.TempDir()
	vol := dir + "/vol"
	mkdirs(t, vol+"/a", dir+"/src")
	if err := errors.Join(os.WriteFile(victim+"/secret", []byte("precious"), 0o600), os.Symlink(victim, vol+"/b"), os.Lchown(vol+"/b", nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, vol+"/a", unix.AT_FDCWD, vol+"/b", unix.RENAME_EXCHANGE); err != nil {
				ended <- err
				return
			}
		}
	}()
	var good, bad int
	for i := 0; i < 2000 && (i < 60 || good == 0 || bad == 0); i++ {
		run := keeper.Run{Member: "a", Process: "main", Exec: r.shell("", `ls /mnt "$1"`, victim).Exec}
		run.Mounts = []keeper.Mount{{Source: vol + "/a", Target: "/mnt", Beneath: vol}, {Source: dir + "/src", Target: fmt.Sprintf("%s/a/%d/x", vol, i)}}
		res, err := r.Run(t.Context(), run)
		switch {
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOENT):
			bad++
		case err != nil:
			t.Errorf("a start: %v", err)
		case strings.Count(string(res.Output), "secret") != 1: // once: the victim as it is
			t.Fatalf("a member sees %s", res.Output)
		default:
			good++
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(victim)
	if err != nil || len(left) != 1 {
		t.Errorf("something was made outside: %v, %v", left, err)
	}
	t.Logf("%d starts went through, %d were refused", good, bad)
	if good == 0 || bad == 0 {
		t.Error("there was no race")
	}
}
