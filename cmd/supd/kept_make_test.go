package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// A kept data directory is one that an earlier build left behind: see TestKeptData.
var (
	makeKept = flag.String("make-kept", "", "make testdata/kept/NAME.tar.gz with the build of SUPD_KEPT_SOURCE (default: this source)")
	keptIn   = filepath.Join("testdata", "kept")
)

// keptHome is where kept directories are made: their logs name it, and no other path.
const keptHome = "/tmp/supd-kept"

// keptAccount is a file that is there when the build knew accounts.
const keptAccount = "has-account"

// keptUID is whose they are, so that none needs root.
const keptUID = 65534

// smallSnapshots makes a build that writes a snapshot where others do after 8192 entries.
var smallSnapshots = strings.NewReplacer(
	"o.SnapshotThreshold = 8192", "o.SnapshotThreshold = 24",
	"o.TrailingLogs = 8192", "o.TrailingLogs = 16",
	"o.SnapshotInterval = 30 * time.Second", "o.SnapshotInterval = 200 * time.Millisecond",
)

// buildKept builds the programs of a source tree, with small snapshots.
func buildKept(t *testing.T, source string) string {
	t.Helper()
	source, err := filepath.Abs(source)
	if err != nil {
		t.Fatal(err)
	}
	bin, store := openDir(t), filepath.Join(source, "raftstore", "store.go")
	text, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	small := smallSnapshots.Replace(string(text))
	if strings.Contains(small, "= 8192") || strings.Contains(small, "= 30 * time.Second") {
		t.Fatalf("%s has its defaults elsewhere", store)
	}
	if err := buildOver(t, bin, source, map[string]string{store: small}, "-trimpath"); err != nil {
		t.Fatal(err)
	}
	return bin
}

// makeKeptData has a build make a data directory with something of everything in it.
func makeKeptData(t *testing.T, name string) {
	source := os.Getenv("SUPD_KEPT_SOURCE")
	if source == "" {
		source = filepath.Join("..", "..")
	}
	bin := buildKept(t, source)
	if err := os.Mkdir(keptHome, 0o755); err != nil {
		t.Fatalf("%v; remove it if nobody uses it", err)
	}
	defer os.RemoveAll(keptHome)
	if err := os.Chown(keptHome, keptUID, keptUID); err != nil {
		t.Fatal(err)
	}
	dev := startDevOf(t, bin, keptUID, keptHome, "--nodes", "1", "--address-plan", "none")
	fillKept(t, dial(t, dev.ready), filepath.Join(keptHome, nodeName(1), "raft", "snapshots"))
	dev.end(t)
	if err := pack(filepath.Join(keptIn, name+".tar.gz"), filepath.Join(keptHome, nodeName(1))); err != nil {
		t.Fatal(err)
	}
}

// fillKept makes three sets, one of which leaves its directories behind, and writes
// until there are two snapshots, and entries behind the last.
func fillKept(t *testing.T, api *client.Client, snapshots string) {
	for _, s := range []*spec.StatefulSet{keptSet("web", true), keptSet("plain", false), keptSet("old", true)} {
		if _, _, err := api.PutStatefulSet(t.Context(), s, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	memberPids(t, api, 6)
	if _, err := api.CreateAccount(t.Context(), "kept", client.AccountRequest{Role: spec.RoleViewer}, client.WriteOptions{}); err != nil {
		t.Logf("this build has no accounts: %v", err)
	} else if err := os.WriteFile(filepath.Join(snapshots, "..", "..", keptAccount), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Delete(t.Context(), client.StatefulSets, spec.DefaultNS, "old", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	memberPids(t, api, 4)
	until(t, "a directory can be released", func() error {
		_, _, err := api.ReleaseVolume(t.Context(), spec.DefaultNS, "data-old-1", client.ReleaseRequest{}, client.WriteOptions{})
		return err
	})
	write := func() {
		for _, do := range []func() error{
			func() error { _, err := api.Cordon(t.Context(), nodeName(1), client.WriteOptions{}); return err },
			func() error { _, err := api.Uncordon(t.Context(), nodeName(1), client.WriteOptions{}); return err },
		} {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "two snapshots", func() error {
		write()
		metas, err := filepath.Glob(filepath.Join(snapshots, "*", "meta.json"))
		if err == nil && len(metas) < 2 {
			err = fmt.Errorf("there are %d", len(metas))
		}
		return err
	})
	for range 3 {
		write()
	}
}

// keptSet is a set of two whose members write their epoch where they can.
func keptSet(name string, volume bool) *spec.StatefulSet {
	s := set(2)
	s.Metadata.Name = name
	s.Spec.Processes[0].Command = []string{"sh", "-c", `echo "$SUP_EPOCH" >> "$SUP_VOLUME_DATA/epochs"; exec sleep 3600`}
	if !volume {
		s.Spec.Volumes = nil
		s.Spec.Processes[0].Command = []string{"sleep", "3600"}
	}
	return s
}

// pack writes a directory's files and directories to an archive, with nothing of their
// owners and times.
func pack(archive, dir string) (err error) {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	defer func() { err = errors.Join(err, w.Close(), z.Close(), f.Close()) }()
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
			return err // a socket
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(rel), Mode: int64(info.Mode().Perm()), Typeflag: tar.TypeDir}
		if info.IsDir() {
			return w.WriteHeader(h)
		}
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	})
}

// unpack is pack backwards.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("%s leads out of the directory", h.Name)
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, fs.FileMode(h.Mode)))
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.WriteFile(path, b, 0o600), os.Chmod(path, fs.FileMode(h.Mode)))
			}
		}
		if err != nil {
			return err
		}
	}
}

// buildOver builds supd and supd-keeper of a source tree, some of whose files have
// another text, or are not there ("").
func buildOver(t *testing.T, bin, source string, texts map[string]string, flags ...string) error {
	t.Helper()
	overlay := map[string]string{}
	dir := t.TempDir()
	for path, text := range texts {
		if overlay[path] = ""; text == "" {
			continue
		}
		overlay[path] = filepath.Join(dir, fmt.Sprint(len(overlay))+".go")
		if err := os.WriteFile(overlay[path], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlayJSON(t, overlay), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"build", "-overlay", file, "-o", bin}, flags...)
	c := exec.Command("go", append(args, "./cmd/supd", "./cmd/supd-keeper")...)
	c.Dir = source
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
