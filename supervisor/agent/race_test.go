package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"supd/supervisor/keeper"
	"supd/supervisor/racetest"
	"supd/supervisor/spec"
	"supd/volumes"
)

// memberDir makes a data directory of the member's, reachable for him.
func memberDir(t *testing.T, sub string) string {
	t.Helper()
	// t.TempDir is root's alone.
	dir, err := os.MkdirTemp("", "supd-race-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	for _, f := range []func() error{
		func() error { return os.Chmod(dir, 0o711) },
		func() error { return os.MkdirAll(filepath.Join(data, sub), 0o755) },
		func() error { return os.Chown(data, racetest.UID, racetest.UID) },
		func() error { return os.Chown(filepath.Join(data, sub), racetest.UID, racetest.UID) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

const raceRounds = 3000

// TestFilesAreNotLedAstray: root writes a file of a member's, while the member changes a directory on the way for a link out of
// it. What the file is in is a volume, or part of one, mounted elsewhere.
func TestFilesAreNotLedAstray(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path   string
		mounts func(data string) []keeper.Mount
	}{
		"volume": {path: "DATA/sub/shadow"},
		"part of a volume": {path: "/conf/shadow", mounts: func(data string) []keeper.Mount {
			return []keeper.Mount{{Source: filepath.Join(data, "sub"), Beneath: data, Target: "/conf"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			canary := racetest.Canary(t, "shadow", "hosts")
			data := memberDir(t, "sub")
			path := c.path
			if path[0] != '/' {
				path = data + path[len("DATA"):]
			}
			var mounts []keeper.Mount
			if c.mounts != nil {
				mounts = c.mounts(data)
			}
			j := job{part: Part{Template: &spec.Template{}}}
			base, rel, ok := j.ownPlace(path, map[string]volumes.Dir{"data": {Data: data}}, mounts)
			if !ok {
				t.Fatalf("%s is in no directory of the member's", path)
			}
			flips, stop := racetest.Flip(t, filepath.Join(data, "sub"), canary)
			wrote := 0
			for i := range raceRounds {
				f := renderedFile{
					Name: path, Base: base, Rel: rel, Content: fmt.Appendf(nil, "round %d", i), Mode: 0o600, UID: racetest.UID, GID: racetest.UID,
				}
				if f.write() == nil {
					wrote++
				}
			}
			stop()
			t.Logf("%d of %d rounds wrote, %d flips", wrote, raceRounds, flips())
			if wrote == 0 || flips() == 0 {
				t.Error("nobody raced")
			}
		})
	}
}

// TestSubPathsAreNotLedAstray: so it is with the directories that root makes.
func TestSubPathsAreNotLedAstray(t *testing.T) {
	t.Parallel()
	canary := racetest.Canary(t, "new")
	data := memberDir(t, "sub")
	flips, stop := racetest.Flip(t, filepath.Join(data, "sub"), canary)
	made := 0
	for i := range raceRounds {
		if makeSubPath(data, fmt.Sprintf("sub/new-%d/deep", i), racetest.UID, racetest.UID) == nil {
			made++
		}
	}
	stop()
	t.Logf("%d of %d made, %d flips", made, raceRounds, flips())
	if made == 0 || flips() == 0 {
		t.Error("nobody raced")
	}
}

// TestHardLinksAreNotDressed: a file that has another name may be another's, and is replaced, not changed.
func TestHardLinksAreNotDressed(t *testing.T) {
	t.Parallel()
	canary := racetest.Canary(t, "shadow")
	data := filepath.Join(filepath.Dir(canary), "data") // the same file system
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	f := renderedFile{Name: "f", Base: data, Rel: "f", Content: []byte("canary"), Mode: 0o644, UID: racetest.UID, GID: racetest.UID}
	if err := os.Link(filepath.Join(canary, "shadow"), filepath.Join(data, "f")); err != nil {
		t.Fatal(err)
	}
	if err := f.write(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(data, "f")); err != nil || st.Mode() != 0o644 {
		t.Errorf("the file is %v, %v", st.Mode(), err)
	}
}
