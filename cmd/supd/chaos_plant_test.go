package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// plant is a mistake put into the daemons on purpose, to see that TestChaos finds it.
type plant struct {
	name  string
	edits []edit
	want  string // what TestChaos must say
}

// edit changes a file of this module for one build, by an overlay.
type edit struct{ file, old, new string }

// plants are the mistakes. TestChaosFindsPlants tries those named by SUPD_CHAOS_PLANT, or all of them.
var plants = []plant{
	{
		name:  "the keeper looks away when the lease ends",
		edits: []edit{{"supervisor/keeper/fence.go", "\tv := k.lease.judge()\n", "\tv := k.lease.judge()\n\tv.kill, v.stop = nil, nil\n"}},
		want:  "found another alive",
	},
	{
		name:  "the leader has no patience",
		edits: []edit{{"supervisor/control/lease.go", "\treturn from.Add(l.lost)\n", "\treturn from.Add(l.lost / 4)\n"}},
		want:  "found another alive",
	},
	{
		name: "a new keeper starts everything again",
		edits: []edit{
			{"supervisor/keeper/adopt.go", "\tif found != nil {\n\t\tp.reopenEar(l)", "\tif found = nil; found != nil {\n\t\tp.reopenEar(l)"},
			{"supervisor/keeper/cgroup.go", "return !bytes.Contains(b, []byte(\"populated 0\")), nil", "return bytes.Contains(b, []byte(\"populated 2\")), nil"},
			{"supervisor/keeper/cgroup.go", "os.Remove(d); err != nil && !errors.Is(err, os.ErrNotExist) {", "os.Remove(d); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EBUSY) {"},
			{"supervisor/keeper/lock.go", "\tif errors.Is(err, unix.EWOULDBLOCK) {\n\t\treturn fmt.Errorf(\"%w: %s is held", "\tif errors.Is(err, unix.EWOULDBLOCK) {\n\t\terr = nil\n\t}\n\tif err != nil {\n\t\treturn fmt.Errorf(\"%w: %s is held"},
		},
		want: "found another alive",
	},
	{
		name: "what was retained goes to the trash too",
		edits: []edit{
			{"supervisor/agent/trash.go", "case vol.Phase != spec.VolumeReleasing:", "case vol.Phase != spec.VolumeReleasing && vol.Phase != spec.VolumeRetained:"},
			{"supervisor/agent/trash.go", "case vol.Emptying:", "case vol.Emptying || vol.Phase == spec.VolumeRetained:"},
			{"supervisor/agent/trash.go", "\t\tif err := t.o.Pool.Empty(ctx, c); err != nil {", "\t\t_ = t.o.Pool.Trash(c)\n\t\tif err := t.o.Pool.Empty(ctx, c); err != nil {"},
		},
		want: "nobody released it",
	},
	{
		name:  "a directory in use may be released",
		edits: []edit{{"raftstore/state/apply_volume.go", "\tcase spec.VolumeRetained, spec.VolumeAbandoned:\n\tdefault:", "\tcase spec.VolumeRetained, spec.VolumeAbandoned, spec.VolumeBound:\n\tdefault:"}},
		want:  "accepted while it was in use",
	},
	{
		name:  "conditions are not looked at",
		edits: []edit{{"raftstore/state/apply.go", "\tif asked == 0 || asked == have {", "\tif asked == 0 || asked != 0 {"}},
		want:  "not linearizable",
	},
	{
		name:  "consistent reads are answered from the copy",
		edits: []edit{{"supervisor/server/route.go", "\t\tif rt.Leader || consistent {", "\t\tif rt.Leader {"}, {"supervisor/server/route.go", "\t\tif consistent {", "\t\tif rt.Leader && consistent {"}},
		want:  "not linearizable",
	},
}

// TestChaosPlantsFit sees to it that each mistake can still be made.
func TestChaosPlantsFit(t *testing.T) {
	t.Parallel()
	for _, p := range plants {
		if _, err := changedFiles(p.edits); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}

// TestChaosFindsPlants builds daemons with one mistake after the other and expects TestChaos to fail for it. A mistake
// may need luck to show: it has several runs, each with a seed of its own.
func TestChaosFindsPlants(t *testing.T) {
	which := os.Getenv("SUPD_CHAOS_PLANT")
	if which == "" {
		t.Skip("takes many minutes; SUPD_CHAOS_PLANT=all, or the name of one, runs it")
	}
	if why := chaosSkip(); why != "" {
		t.Skip("NOT run: " + why)
	}
	if i := slices.IndexFunc(plants, func(p plant) bool { return p.name == which }); which != "all" && i < 0 {
		t.Fatalf("there is no mistake called %s", which)
	}
	for _, p := range plants {
		if which != "all" && which != p.name {
			continue
		}
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			bin, err := buildDaemons(t.TempDir(), false, p.edits)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				c := exec.Command("/proc/self/exe", "-test.run=^TestChaos$", "-test.v", "-test.timeout=20m")
				c.Env = append(os.Environ(), "SUPD_CHAOS_BIN="+bin, "SUPD_CHAOS_FOR=2m")
				out, err := c.CombinedOutput()
				if err != nil && strings.Contains(string(out), p.want) {
					for line := range strings.Lines(string(out)) {
						if strings.Contains(line, p.want) || strings.Contains(line, "SUPD_CHAOS_SEED") {
							t.Log(strings.TrimSpace(line))
						}
					}
					return
				}
				t.Logf("not found, wanted %q: %v: %s", p.want, err, out[max(0, len(out)-3000):])
			}
			t.Errorf("TestChaos does not find it")
		})
	}
}

// changedFiles gives the files as they are with all edits, by path from the module's root.
func changedFiles(edits []edit) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range edits {
		if _, ok := files[e.file]; !ok {
			b, err := os.ReadFile(filepath.Join("..", "..", e.file))
			if err != nil {
				return nil, err
			}
			files[e.file] = string(b)
		}
		if n := strings.Count(files[e.file], e.old); n != 1 {
			return nil, fmt.Errorf("%s has %q %d times", e.file, e.old, n)
		}
		files[e.file] = strings.Replace(files[e.file], e.old, e.new, 1)
	}
	return files, nil
}

// clockVariable names the file with what the clock is wrong by, for daemons built with clocks.
const clockVariable = "CHAOS_CLOCK"

// wrongClock is put into package time: whatever a daemon asks for the time of day goes through it.
const wrongClock = `package time

import (
	"syscall"
	"unsafe"
)

var wrongBy = mapWrongBy()

func mapWrongBy() *int64 {
	path, _ := syscall.Getenv("` + clockVariable + `")
	if fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
		if b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED); err == nil {
			return (*int64)(unsafe.Pointer(&b[0]))
		}
	}
	return new(int64)
}
`

// buildDaemons builds supd and supd-keeper with mistakes and, if asked, with a clock of their own, into dir/bin.
func buildDaemons(dir string, clocks bool, edits []edit) (string, error) {
	replace := map[string]string{}
	put := func(path string, text []byte) error {
		at := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		replace[path] = at
		return os.WriteFile(at, text, 0o644)
	}
	files, err := changedFiles(edits)
	if err != nil {
		return "", err
	}
	for file, text := range files {
		path, err := filepath.Abs(filepath.Join("..", "..", file))
		if err = errors.Join(err, put(path, []byte(text))); err != nil {
			return "", err
		}
	}
	if clocks {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return "", err
		}
		src := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
		const old = "sec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
		text, err := os.ReadFile(filepath.Join(src, "time.go"))
		if err == nil && strings.Count(string(text), old) != 1 {
			err = errors.New("this Go's package time is another than the one whose clock can be made wrong here")
		}
		if err != nil {
			return "", err
		}
		text = []byte(strings.Replace(string(text), old, strings.Replace(old, "\n", "\n\tsec += *wrongBy\n", 1), 1))
		if err := errors.Join(put(filepath.Join(src, "time.go"), text), put(filepath.Join(src, "wrong_clock.go"), []byte(wrongClock))); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "bin")
	if err := errors.Join(os.WriteFile(overlay, b, 0o644), os.Mkdir(bin, 0o755)); err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", bin, "supd/cmd/supd", "supd/cmd/supd-keeper").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
}
