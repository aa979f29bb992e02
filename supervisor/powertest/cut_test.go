package powertest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// lines prints a tree, a line for each file.
func (t *Tree) lines() string {
	var out []string
	var walk func(id uint64, path string)
	walk = func(id uint64, path string) {
		for name, child := range t.im[id].names {
			out = append(out, fmt.Sprintf("%s=%s", path+name, strings.ReplaceAll(string(t.im[child].data), "\x00", "-")))
			walk(child, path+name+"/")
		}
	}
	walk(rootID, "")
	slices.Sort(out)
	return strings.Join(out, " ")
}

func file(id, dir uint64, name string) op {
	return op{kind: opMake, id: id, dir: dir, name: name, attrs: attrs{mode: syscall.S_IFREG | 0o600}}
}

func folder(id, dir uint64, name string) op {
	return op{kind: opMake, id: id, dir: dir, name: name, attrs: attrs{mode: syscall.S_IFDIR | 0o700}}
}

func write(id uint64, off int64, data string) op {
	return op{kind: opWrite, id: id, off: off, data: []byte(data)}
}

func syncOf(kind opKind, id uint64) op { return op{kind: kind, id: id} }

// TestWhatMayBeLost: of each record, exactly these states are made.
func TestWhatMayBeLost(t *testing.T) {
	t.Parallel()
	rename := func(dir uint64, a string, dir2 uint64, b string) op {
		return op{kind: opRename, dir: dir, name: a, dir2: dir2, name2: b}
	}
	for name, c := range map[string]struct {
		ops  []op
		want []string
	}{
		"nothing synced":        {[]op{file(2, rootID, "a"), write(2, 0, "x")}, []string{"", "a=", "a=-", "a=x"}},
		"file synced, name not": {[]op{file(2, rootID, "a"), write(2, 0, "x"), syncOf(opSyncFile, 2)}, []string{"", "a=x"}},
		"name synced, file not": {[]op{file(2, rootID, "a"), write(2, 0, "x"), syncOf(opSyncFolder, rootID)}, []string{"a=", "a=-", "a=x"}},
		"both synced":           {[]op{file(2, rootID, "a"), write(2, 0, "x"), syncOf(opSyncFile, 2), syncOf(opSyncFolder, rootID)}, []string{"a=x"}},
		"overwritten": {[]op{
			file(2, rootID, "a"), write(2, 0, "x"), syncOf(opSyncAll, 0), write(2, 0, "y"), {kind: opSize, id: 2},
		}, []string{"a=", "a=-", "a=x", "a=y"}},
		"replaced by rename": {[]op{
			file(2, rootID, "a"), write(2, 0, "x"), syncOf(opSyncAll, 0),
			file(3, rootID, "t"), write(3, 0, "y"), syncOf(opSyncFile, 3), rename(rootID, "t", rootID, "a"),
		}, []string{"a=x", "a=x t=y", "a=y"}},
		"moved, one directory synced": {[]op{
			folder(2, rootID, "d"), file(3, rootID, "a"), syncOf(opSyncAll, 0), rename(rootID, "a", 2, "b"), syncOf(opSyncFolder, 2),
		}, []string{"a= d=", "d/b= d="}},
		"moved, both synced": {[]op{
			folder(2, rootID, "d"), file(3, rootID, "a"), syncOf(opSyncAll, 0), rename(rootID, "a", 2, "b"),
			syncOf(opSyncFolder, 2), syncOf(opSyncFolder, rootID),
		}, []string{"d/b= d="}},
		"name in a directory that is not safe": {[]op{
			folder(2, rootID, "d"), file(3, 2, "a"), syncOf(opSyncFolder, 2),
		}, []string{"", "d/a= d="}},
		"removed": {[]op{
			folder(2, rootID, "d"), file(3, 2, "a"), syncOf(opSyncAll, 0),
			{kind: opRemove, id: 3, dir: 2, name: "a"},
			{kind: opRemove, id: 2, dir: rootID, name: "d"},
		}, []string{"", "d/a= d=", "d="}},
	} {
		r := &Record{start: newImage(), ops: c.ops}
		got := map[string]bool{}
		for seed := range uint64(3000) {
			got[r.Cut(r.Len(), seed).lines()] = true
		}
		if states := slices.Sorted(maps.Keys(got)); !slices.Equal(states, c.want) {
			t.Errorf("%s: got %q, want %q", name, states, c.want)
		}
	}
}

// TestBlocksAreTorn: of a large write any mixture of blocks may reach the disk, and of one block any of its sectors.
func TestBlocksAreTorn(t *testing.T) {
	t.Parallel()
	r := &Record{start: newImage(), ops: []op{
		file(2, rootID, "a"), write(2, 0, strings.Repeat("x", 2*blockSize)), syncOf(opSyncAll, 0),
		write(2, 0, strings.Repeat("y", 2*blockSize)),
	}}
	var blocks, sectors bool
	for seed := range uint64(500) {
		data := r.Cut(r.Len(), seed).im[2].data
		if len(data) != 2*blockSize {
			t.Fatalf("seed %d: %d bytes", seed, len(data))
		}
		blocks = blocks || data[0] != data[blockSize]
		sectors = sectors || data[0] != data[sector]
		if data[0] != data[sector-1] {
			t.Fatalf("seed %d: a sector is torn", seed)
		}
	}
	if !blocks || !sectors {
		t.Errorf("torn blocks: %v, torn sectors: %v", blocks, sectors)
	}
}

// TestPowerChild writes two files, one with all that is needed, and one without the sync of its directory.
func TestPowerChild(t *testing.T) {
	dir, say := Child(t)
	for _, name := range []string{"safe", "unsafe"} {
		f, err := os.CreateTemp(dir, name)
		if err == nil {
			_, err = f.WriteString("here")
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if name == "safe" {
			d, err := os.Open(dir)
			if err != nil || d.Sync() != nil {
				t.Fatal(err)
			}
			d.Close()
		}
		say("%s %s", name, filepath.Base(f.Name()))
	}
}

// TestPowerCutOfAProgram: the whole way, mount and all, loses what it may and nothing else.
func TestPowerCutOfAProgram(t *testing.T) {
	t.Parallel()
	lost := map[string]int{}
	Lives(t, Life{
		Child: "TestPowerChild", Cuts: 300, PerLife: 100, KillWithin: 5,
		Check: func(dir string, said []string) error {
			for _, line := range said {
				name, file, _ := strings.Cut(line, " ")
				if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(b) != "here" {
					lost[name]++
				}
			}
			return nil
		},
	})
	if lost["safe"] > 0 || lost["unsafe"] == 0 {
		t.Errorf("lost: %v, want unsafe only", lost)
	}
}
