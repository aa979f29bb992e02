package volumes_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tree prints all below dir, with the contents of its files.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%v %s", info.Mode(), rel)
		switch {
		case e.Type().IsRegular():
			fmt.Fprintf(&b, " %q", read(t, path))
		case e.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", to)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

// change sets one key of a JSON file.
func change(t *testing.T, path, key string, value any) {
	t.Helper()
	m := map[string]any{}
	must(t, json.Unmarshal([]byte(read(t, path)), &m))
	m[key] = value
	b, err := json.Marshal(m)
	must(t, err)
	write(t, path, string(b))
}

func owner(t *testing.T, path string) (uid, gid int) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}
