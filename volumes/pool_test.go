package volumes_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"supd/supervisor/spec"
	"supd/volumes"
)

const cluster = "c1"

func open(t *testing.T, o volumes.Options) *volumes.Pool {
	t.Helper()
	if o.ClusterID == nil {
		o.ClusterID = func() string { return cluster }
	}
	p, err := volumes.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newPool(t *testing.T) (p *volumes.Pool, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "volumes")
	return open(t, volumes.Options{Dir: dir}), dir
}

func claim(ordinal int, uid string) volumes.Claim {
	return volumes.Claim{
		Namespace: "default", Set: "web", Template: "data", Ordinal: ordinal,
		Name: spec.VolumeName("data", "web", ordinal), UID: uid,
	}
}

func made(c volumes.Claim) volumes.Claim { c.Made = true; return c }

func ensure(t *testing.T, p *volumes.Pool, c volumes.Claim) volumes.Dir {
	t.Helper()
	d, err := p.Ensure(t.Context(), c)
	if err != nil {
		t.Fatalf("Ensure(%+v): %v", c, err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants checks an error's reason and that its text says what could not be done.
func wants(t *testing.T, err error, want volumes.Reason) {
	t.Helper()
	if !errors.Is(err, want) || volumes.ReasonOf(err) != string(want) {
		t.Fatalf("got error %v (%s), want %s", err, volumes.ReasonOf(err), want)
	}
	var e *volumes.Error
	if !errors.As(err, &e) || e.Op == "" {
		t.Fatalf("error %v does not say what could not be done", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestContainer(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	c := claim(3, "0123456789abcdef")
	c.Mode = 0o750
	d := ensure(t, p, c)
	if want := filepath.Join(dir, "default/data-web-3.01234567"); d.Container != want {
		t.Errorf("container %s, want %s", d.Container, want)
	}
	if want := d.Container + "/data"; d.Data != want {
		t.Errorf("data %s, want %s", d.Data, want)
	}
	if want := d.Container + "/lock.main"; d.Lock("main") != want {
		t.Errorf("lock %s, want %s", d.Lock("main"), want)
	}
	for path, mode := range map[string]os.FileMode{
		dir: 0o711, filepath.Dir(d.Container): 0o711, d.Container: 0o711, d.Data: 0o750,
	} {
		st, err := os.Stat(path)
		must(t, err)
		if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", path, st.Mode().Perm(), mode)
		}
	}
	var m volumes.Marker
	must(t, json.Unmarshal([]byte(read(t, d.Container+"/marker")), &m))
	want := volumes.Marker{
		Version: 1, ClusterID: cluster, UID: c.UID, Namespace: "default",
		Name: "data-web-3", Set: "web", Template: "data", Ordinal: 3,
	}
	if m != want {
		t.Errorf("marker %+v, want %+v", m, want)
	}
	if again := ensure(t, p, made(c)); again != d {
		t.Errorf("found %+v, made %+v", again, d)
	}
	if w, err := p.Where(c); err != nil || w != d {
		t.Errorf("Where says %+v, %v", w, err)
	}
}

func TestModeAndDataAreNeverChangedAfterwards(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	must(t, os.Chmod(d.Data, 0o755))
	write(t, d.Data+"/row", "1")
	c.Mode = 0o700
	ensure(t, p, c)
	st, err := os.Stat(d.Data)
	must(t, err)
	if st.Mode().Perm() != 0o755 || read(t, d.Data+"/row") != "1" {
		t.Errorf("mode %v, row %q", st.Mode(), read(t, d.Data+"/row"))
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	c.HasOwner, c.OwnerUID, c.OwnerGID = true, 12345, 12346
	d, err := p.Ensure(t.Context(), c)
	if os.Geteuid() != 0 {
		wants(t, err, volumes.ErrPermission)
		return
	}
	must(t, err)
	if uid, gid := owner(t, d.Data); uid != 12345 || gid != 12346 {
		t.Errorf("data belongs to %d:%d", uid, gid)
	}
	if uid, _ := owner(t, d.Container); uid != 0 {
		t.Errorf("container belongs to %d", uid)
	}
}

func TestMadeVolumeIsNeverMadeAnew(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	c := claim(0, "aaaaaaaa")
	_, err := p.Ensure(t.Context(), made(c)) // not even the pool is there
	wants(t, err, volumes.ErrMissing)
	if exists(t, dir) {
		t.Error("the pool was made for a volume that is missing")
	}
	d := ensure(t, p, c)
	must(t, os.Rename(d.Data, d.Container+"/elsewhere"))
	for _, c := range []volumes.Claim{c, made(c)} {
		_, err = p.Ensure(t.Context(), c)
		wants(t, err, volumes.ErrMissing)
	}
	must(t, os.RemoveAll(d.Container))
	_, err = p.Ensure(t.Context(), made(c))
	wants(t, err, volumes.ErrMissing)
	wants(t, p.Take(made(c), 1, "n1"), volumes.ErrMissing)
	if exists(t, d.Container) {
		t.Error("the container was made anew")
	}
}

func TestForeignIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, marker string){
		"no marker":    func(t *testing.T, m string) { must(t, os.Remove(m)) },
		"not a marker": func(t *testing.T, m string) { write(t, m, "hello") },
		"empty marker": func(t *testing.T, m string) { write(t, m, "") },
		"cluster":      func(t *testing.T, m string) { change(t, m, "cluster", "other") },
		"uid":          func(t *testing.T, m string) { change(t, m, "uid", "aaaaaaaabbbb") },
		"ordinal":      func(t *testing.T, m string) { change(t, m, "ordinal", 7) },
		"set":          func(t *testing.T, m string) { change(t, m, "set", "db") },
		"version":      func(t *testing.T, m string) { change(t, m, "version", 99) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := newPool(t)
			c := claim(0, "aaaaaaaa")
			d := ensure(t, p, c)
			write(t, d.Data+"/row", "1")
			spoil(t, d.Container+"/marker")
			before := tree(t, dir)
			for _, c := range []volumes.Claim{c, made(c)} {
				_, err := p.Ensure(t.Context(), c)
				wants(t, err, volumes.ErrForeign)
				wants(t, p.Take(c, 9, "n1"), volumes.ErrForeign)
				wants(t, p.OnceDone(c, "x"), volumes.ErrForeign)
				wants(t, p.Trash(c), volumes.ErrForeign)
				wants(t, p.Restore(c), volumes.ErrForeign)
				wants(t, p.Empty(t.Context(), c), volumes.ErrForeign)
				_, err = p.Usage(t.Context(), c)
				wants(t, err, volumes.ErrForeign)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("something was touched\nbefore:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestForeignInTrashIsNeverEmptied(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	write(t, d.Data+"/row", "1")
	must(t, p.Trash(c))
	trashed := dir + "/.trash/default/data-web-0.aaaaaaaa"
	change(t, trashed+"/marker", "cluster", "other")
	wants(t, p.Empty(t.Context(), c), volumes.ErrForeign)
	wants(t, p.Restore(c), volumes.ErrForeign)
	must(t, os.MkdirAll(dir+"/.trash/.gone", 0o700))
	must(t, os.Rename(trashed, dir+"/.trash/.gone/default.data-web-0.aaaaaaaa"))
	wants(t, p.Empty(t.Context(), c), volumes.ErrForeign)
	if got := read(t, dir+"/.trash/.gone/default.data-web-0.aaaaaaaa/data/row"); got != "1" {
		t.Errorf("row is %q", got)
	}
}

func TestSymlinkInTheWay(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(dir string, d volumes.Dir) string{
		"pool":      func(dir string, d volumes.Dir) string { return dir },
		"namespace": func(dir string, d volumes.Dir) string { return filepath.Dir(d.Container) },
		"container": func(dir string, d volumes.Dir) string { return d.Container },
		"data":      func(dir string, d volumes.Dir) string { return d.Data },
		"marker":    func(dir string, d volumes.Dir) string { return d.Container + "/marker" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := newPool(t)
			c := claim(0, "aaaaaaaa")
			d := ensure(t, p, c)
			write(t, d.Data+"/row", "1")
			path := at(dir, d)
			must(t, os.Rename(path, path+"-real"))
			must(t, os.Symlink(path+"-real", path))
			before := tree(t, filepath.Dir(dir))
			for _, c := range []volumes.Claim{c, made(c)} {
				_, err := p.Ensure(t.Context(), c)
				wants(t, err, volumes.ErrSymlink)
			}
			if after := tree(t, filepath.Dir(dir)); after != before {
				t.Errorf("something was touched\nbefore:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestNoDirectoryInTheWay(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	must(t, os.MkdirAll(dir+"/default", 0o711))
	write(t, dir+"/default/data-web-0.aaaaaaaa", "a file")
	_, err := p.Ensure(t.Context(), claim(0, "aaaaaaaa"))
	wants(t, err, volumes.ErrInTheWay)
}

func TestBadClaims(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	for name, spoil := range map[string]func(*volumes.Claim){
		"namespace": func(c *volumes.Claim) { c.Namespace = ".." },
		"trash":     func(c *volumes.Claim) { c.Namespace = ".trash" },
		"name":      func(c *volumes.Claim) { c.Name = "data-web-1" },
		"slash":     func(c *volumes.Claim) { c.Name = "a/b" },
		"uid":       func(c *volumes.Claim) { c.UID = "../../x" },
		"no uid":    func(c *volumes.Claim) { c.UID = "" },
	} {
		c := claim(0, "aaaaaaaa")
		spoil(&c)
		if _, err := p.Ensure(t.Context(), c); !errors.Is(err, volumes.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	nobody := open(t, volumes.Options{Dir: dir, ClusterID: func() string { return "" }})
	_, err := nobody.Ensure(t.Context(), claim(0, "aaaaaaaa"))
	wants(t, err, volumes.ErrInvalid)
	if exists(t, dir) {
		t.Error("something was made")
	}
	_, err = volumes.Open(volumes.Options{Dir: "relative"})
	wants(t, err, volumes.ErrInvalid)
}

func TestTake(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	d := ensure(t, p, c)
	must(t, p.Take(c, 5, "n1"))
	must(t, p.Take(c, 5, "n1"))
	wants(t, p.Take(c, 4, "n1"), volumes.ErrOldEpoch)
	wants(t, p.Take(c, 5, "n2"), volumes.ErrOldEpoch)
	must(t, p.Take(c, 6, "n2"))
	wants(t, p.Take(c, 5, "n1"), volumes.ErrOldEpoch)
	write(t, d.Container+"/claim", "")
	wants(t, p.Take(c, 7, "n1"), volumes.ErrDamaged)
	must(t, os.Remove(d.Container+"/claim"))
	wants(t, p.Take(c, 7, "n1"), volumes.ErrDamaged)
}

func TestOnceTravelsWithTheVolume(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t)
	c := claim(0, "aaaaaaaa")
	ensure(t, p, c)
	must(t, p.OnceDone(c, "initdb"))
	must(t, p.Take(c, 5, "n1"))
	must(t, p.OnceDone(c, "load"))
	must(t, p.OnceDone(c, "initdb"))
	must(t, p.Trash(c))
	must(t, p.Restore(c))
	steps, err := p.Once(made(c))
	must(t, err)
	if len(steps) != 2 || steps[0] != "initdb" || steps[1] != "load" {
		t.Errorf("steps %q", steps)
	}
	wants(t, p.Take(c, 4, "n1"), volumes.ErrOldEpoch)
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p, dir := newPool(t)
	var wg sync.WaitGroup
	for i := range 20 {
		for range 3 {
			wg.Go(func() {
				c := claim(i, "aaaaaaaa")
				if _, err := p.Ensure(context.Background(), c); err != nil {
					t.Errorf("%d: %v", i, err)
				}
				if err := p.Take(c, 1, "n1"); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
	}
	wg.Wait()
	found, err := p.List()
	must(t, err)
	if len(found) != 20 {
		t.Errorf("found %d containers in %s", len(found), dir)
	}
}
