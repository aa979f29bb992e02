package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supd/supervisor/archive"
)

// tree lists what is at a path: "NAME MODE CONTENT".
func tree(t *testing.T, root string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		name, text := strings.TrimPrefix(p, root), ""
		switch {
		case st.Mode()&fs.ModeSymlink != 0:
			text, err = os.Readlink(p)
		case st.Mode().IsRegular():
			var b []byte
			b, err = os.ReadFile(p)
			text = string(b)
		}
		mode := st.Mode().String()
		if st.Mode()&fs.ModeSymlink != 0 {
			mode = "link"
		}
		out = append(out, name+" "+mode+" "+text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// plant makes a tree with all there is.
func plant(t *testing.T) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	must(t,
		os.MkdirAll(filepath.Join(src, "sub", "deep"), 0o755),
		os.WriteFile(filepath.Join(src, "a"), []byte("alpha"), 0o640),
		os.WriteFile(filepath.Join(src, "sub", "empty"), nil, 0o755),
		os.WriteFile(filepath.Join(src, "sub", "bytes\xff name\n"), []byte{0, 1, 2, 0xff}, 0o600),
		os.WriteFile(filepath.Join(src, "sub", strings.Repeat("long", 60)), []byte("long"), 0o400),
		os.Symlink("../a", filepath.Join(src, "sub", "link")),
		os.Symlink("/etc/passwd", filepath.Join(src, "sub", "out")),
		os.Symlink("nowhere", filepath.Join(src, "dangling")),
		os.Chmod(filepath.Join(src, "sub", "deep"), 0o500),
		os.Chmod(src, 0o750),
	)
	return src
}

func pack(t *testing.T, path string) []byte {
	t.Helper()
	var b bytes.Buffer
	if r, err := archive.Pack(&b, path); err != nil || len(r.Failed) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	src := plant(t)
	stream := pack(t, src)
	dest := t.TempDir()
	in := filepath.Join(dest, "into")
	must(t, os.Mkdir(in, 0o755))
	for _, c := range []struct{ dest, name, at string }{
		{filepath.Join(dest, "new"), "src", "new"},
		{in, "src", "into/src"},
		{in + "/", "src", "into/src"}, // again: what is there is replaced
		{in, "other", "into/other"},
	} {
		r, err := archive.Unpack(bytes.NewReader(stream), c.dest, c.name)
		if err != nil {
			t.Fatalf("%s: %v", c.dest, err)
		}
		want, got := tree(t, src), tree(t, filepath.Join(dest, c.at))
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", c.dest, got, want)
		}
		if r.Files != 10 || r.Bytes != 13 {
			t.Errorf("%s: %+v", c.dest, r)
		}
	}
	// What is in it, into what is there.
	must(t, os.Mkdir(filepath.Join(dest, "merged"), 0o711), os.WriteFile(filepath.Join(dest, "merged", "kept"), nil, 0o600))
	if _, err := archive.Unpack(bytes.NewReader(stream), filepath.Join(dest, "merged"), "."); err != nil {
		t.Fatal(err)
	}
	got := tree(t, filepath.Join(dest, "merged"))
	if !slices.Contains(got, "/kept -rw------- ") || !slices.Contains(got, "/a -rw-r----- alpha") || got[0] != " drwx--x--x " {
		t.Errorf("got %q", got)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	must(t, os.WriteFile(at("f"), []byte("new"), 0o755), os.Symlink("f", at("l")), os.WriteFile(at("old"), []byte("older"), 0o600))
	for _, c := range []struct{ from, dest, want string }{
		{"f", "g", "g"},
		{"l", "h", "h"}, // the path itself is followed
		{"f", "old", "old"},
		{"f", "none/x", ""},
		{"f", "none/", ""},
		{"f", "old/", ""},
	} {
		_, err := archive.Unpack(bytes.NewReader(pack(t, at(c.from))), dir+"/"+c.dest, c.from)
		if c.want == "" {
			if err == nil || !strings.HasPrefix(err.Error(), "cannot write ") {
				t.Errorf("%s: %v, want an error", c.dest, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.dest, err)
			continue
		}
		st, err := os.Lstat(at(c.want))
		b, rerr := os.ReadFile(at(c.want))
		if err != nil || rerr != nil || string(b) != "new" || st.Mode() != 0o755 {
			t.Errorf("%s: %v %q %v", c.dest, st, b, errors.Join(err, rerr))
		}
	}
	if err := func() error {
		_, err := archive.Pack(io.Discard, at("missing"))
		return err
	}(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
}

// A directory is not replaced by a file, and the other way round.
func TestKindsDoNotMix(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600), os.Mkdir(filepath.Join(dir, "d"), 0o755), os.MkdirAll(filepath.Join(dir, "t", "x"), 0o755))
	if _, err := archive.Unpack(bytes.NewReader(pack(t, filepath.Join(dir, "d"))), filepath.Join(dir, "x"), "d"); err == nil {
		t.Error("a file became a directory")
	}
	if _, err := archive.Unpack(bytes.NewReader(pack(t, filepath.Join(dir, "x"))), filepath.Join(dir, "t"), "x"); err == nil {
		t.Error("a directory became a file")
	}
	if got := tree(t, filepath.Join(dir, "t")); len(got) != 2 {
		t.Errorf("something is left over: %q", got)
	}
}

// However much of a stream comes: what is cut short is no success, and leaves no file of a wrong size.
func TestCutShort(t *testing.T) {
	t.Parallel()
	src := plant(t)
	must(t, os.WriteFile(filepath.Join(src, "big"), bytes.Repeat([]byte("0123456789"), 1000), 0o600))
	stream := pack(t, src)
	end := bytes.LastIndex(stream, []byte("SUPD.end="))
	for n := 0; n <= end; n += 97 {
		dest := filepath.Join(t.TempDir(), "d")
		if _, err := archive.Unpack(bytes.NewReader(stream[:n]), dest, "src"); !errors.Is(err, archive.ErrCutShort) {
			t.Fatalf("%d bytes of %d: %v", n, len(stream), err)
		}
		if b, err := os.ReadFile(filepath.Join(dest, "big")); err == nil && len(b) != 10000 {
			t.Fatalf("%d bytes: a file of %d", n, len(b))
		}
		left, err := filepath.Glob(filepath.Join(dest, ".supd-cp-*"))
		if err != nil || len(left) > 0 {
			t.Fatalf("%d bytes: left over: %q, %v", n, left, err)
		}
	}
}

// A stream from a member that nobody trusts writes nothing outside of where it belongs.
func TestNothingOutside(t *testing.T) {
	t.Parallel()
	for what, entries := range map[string][]tar.Header{
		"dots":               {{Name: "../evil", Typeflag: tar.TypeReg}},
		"absolute":           {{Name: "/evil", Typeflag: tar.TypeReg}},
		"through its link":   {{Name: "./", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../out"}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"through a far link": {{Name: "./", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "@"}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"directory by link":  {{Name: "./", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "@"}, {Name: "l/", Typeflag: tar.TypeDir, Mode: 0}},
		"hard link":          {{Name: "./", Typeflag: tar.TypeDir}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"device":             {{Name: "./", Typeflag: tar.TypeDir}, {Name: "d", Typeflag: tar.TypeChar}},
	} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		must(t, os.Mkdir(out, 0o755), os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			if h.Linkname == "@" {
				h.Linkname = out
			}
			must(t, w.WriteHeader(&h))
		}
		must(t, w.Close())
		if _, err := archive.Unpack(&b, filepath.Join(dir, "a", "b", "dest"), "x"); err == nil {
			t.Errorf("%s: no error", what)
		}
		st, err := os.Stat(out)
		left, lerr := os.ReadDir(out)
		if err != nil || lerr != nil || len(left) > 0 || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: it got out: %v, %v", what, left, st.Mode())
		}
	}
	// And one into a link that is there already.
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "src", "l"), 0o755), os.WriteFile(filepath.Join(dir, "src", "l", "f"), nil, 0o644),
		os.MkdirAll(filepath.Join(dir, "dest", "src"), 0o755), os.Symlink("/tmp", filepath.Join(dir, "dest", "src", "l")))
	if _, err := archive.Unpack(bytes.NewReader(pack(t, filepath.Join(dir, "src"))), filepath.Join(dir, "dest"), "src"); err == nil {
		t.Error("a link in the way was followed")
	}
}

func TestSkipsAndFailures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	r, err := archive.Pack(io.Discard, dir)
	if err != nil || len(r.Skipped) != 1 || r.Files != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
	var out, errs bytes.Buffer
	if s := archive.Main([]string{"pack", filepath.Join(dir, "nothing")}, nil, &out, &errs); s != 1 || !strings.Contains(errs.String(), "nothing") {
		t.Errorf("got %d, %q", s, &errs)
	}
	if s := archive.Main([]string{"pack"}, nil, &out, &errs); s != 2 {
		t.Errorf("got %d", s)
	}
	out.Reset()
	if s := archive.Main([]string{"pack", dir}, nil, &out, &errs); s != 0 {
		t.Errorf("got %d, %q", s, &errs)
	}
	if s := archive.Main([]string{"unpack", "--name", "x", t.TempDir()}, &out, io.Discard, &errs); s != 0 {
		t.Errorf("got %d, %q", s, &errs)
	}
}
