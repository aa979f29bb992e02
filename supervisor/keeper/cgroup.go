package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is the keeper's part of the cgroup v2 tree: ROOT/MEMBER/PROCESS holds a process and all it forks,
// ROOT/MEMBER/PROCESS/aux/N a Run beside it. A nil *cgroups means there are none.
type cgroups struct {
	mount string // where cgroup v2 is mounted
	top   string // ROOT, or above it: the highest cgroup whose controllers are ours to enable
	root  string // MOUNT/supd/NAME, or the one that was delegated to us
}

// openCgroups makes the keeper's subtree: the directory root, if it is named, else one of that name below CGROUP2/supd.
func openCgroups(name, root string) (*cgroups, error) {
	mount, err := cgroup2Mount("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	c := placeCgroups(mount, name, root, systemdRuns())
	if root == "" { // a delegated one is never made: it would be nobody's
		if err := os.MkdirAll(c.root, 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.Access(filepath.Join(c.root, "cgroup.procs"), unix.W_OK); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", c.root, err)
	}
	return c, nil
}

// placeCgroups decides where the keeper's cgroups are. Nothing is written above top: a delegated cgroup is given by
// somebody to whom all above belongs, as systemd does the root of a host it runs.
func placeCgroups(mount, name, root string, systemd bool) *cgroups {
	switch {
	case root != "":
		return &cgroups{mount: mount, top: filepath.Clean(root), root: filepath.Clean(root)}
	case systemd:
		return &cgroups{mount: mount, top: filepath.Join(mount, "supd"), root: filepath.Join(mount, "supd", fileName(name))}
	}
	return &cgroups{mount: mount, top: mount, root: filepath.Join(mount, "supd", fileName(name))}
}

// systemdRuns tells whether systemd is this host's init, as its own sd_booted does.
func systemdRuns() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// controllers are those that limits may ask for here.
func (c *cgroups) controllers() []string {
	offered, err := readControl(filepath.Join(c.top, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	known := []string{"memory", "cpu", "pids", "io"}
	return slices.DeleteFunc(known, func(s string) bool { return !slices.Contains(offered, s) })
}

// cgroup2Mount finds the v2 hierarchy, also that of a host that has v1 beside it.
func cgroup2Mount(mountinfo string) (string, error) {
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if !ok || len(f) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if o := "," + f[5] + ","; strings.Contains(o, ",ro,") {
			continue
		}
		return unescapeMount(f[4]), nil
	}
	return "", errors.New("no writable cgroup v2 is mounted")
}

// unescapeMount undoes the \040 of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (c *cgroups) member(name string) string { return filepath.Join(c.root, fileName(name)) }

func (c *cgroups) process(k key) string {
	return filepath.Join(c.member(k.member), fileName(k.process))
}

func (c *cgroups) aux(k key, n uint64) string {
	return filepath.Join(c.process(k), "aux", strconv.FormatUint(n, 10))
}

// contains tells whether a process is in a cgroup or below.
func (c *cgroups) contains(dir string, pid int) bool {
	at, err := cgroupOf(pid)
	if err != nil {
		return false
	}
	// The path that /proc shows starts at the reader's cgroup namespace, dir at the mount: compare what they share.
	rel, err := filepath.Rel(c.mount, dir)
	if err != nil {
		return false
	}
	at = strings.TrimSuffix(at, " (deleted)")
	return strings.HasSuffix(at, "/"+rel) || strings.Contains(at+"/", "/"+rel+"/")
}

// populated tells whether any process is in the cgroup or below. One that doesn't exist has none.
func populated(dir string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	return !bytes.Contains(b, []byte("populated 0")), nil
}

// mustNotBeFrozen refuses a cgroup that stands still, itself or with one above: a child forked right into it would never get to
// its exec, and all of the keeper waits for that.
func mustNotBeFrozen(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if err != nil || !bytes.Contains(b, []byte("frozen 1")) {
		return nil // not there, or of a Linux that freezes none
	}
	at := dir
	for up := dir; ; up = filepath.Dir(up) {
		word, err := readControl(filepath.Join(up, "cgroup.freeze"))
		if err != nil {
			break
		}
		if slices.Contains(word, "1") {
			at = up
		}
	}
	return fmt.Errorf("the cgroup %s is frozen: somebody has written 1 to its cgroup.freeze, and is to write 0", at)
}

// cgroupProcs lists the processes in the cgroup itself, not those below.
func cgroupProcs(dir string) ([]procStat, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []procStat
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		if s, err := readStat(pid); err == nil && !s.dead() {
			found = append(found, s)
		}
	}
	return found, nil
}

// procsBelow lists the processes in the cgroup and below.
func procsBelow(dir string) (all []procStat, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		procs, err := cgroupProcs(path)
		all = append(all, procs...)
		return err
	})
	return all, err
}

// killCgroup kills all in the cgroup and below at once; on kernels before 5.14 one by one, so call it until it is empty.
func killCgroup(dir string) error {
	err := writeControl(filepath.Join(dir, "cgroup.kill"), "1")
	if errors.Is(err, os.ErrNotExist) {
		return killFrozen(dir)
	}
	return err
}

// freezeWait bounds the wait for a cgroup to stand still.
const freezeWait = 200 * time.Millisecond

// killFrozen kills all in the cgroup and below one by one, while they stand still, so that none forks faster than it is
// found.
func killFrozen(dir string) error {
	freezer := filepath.Join(dir, "cgroup.freeze")
	err := writeControl(freezer, "1")
	if errors.Is(err, os.ErrNotExist) {
		return killEach(dir) // there is nobody, or Linux is older than 5.2
	}
	if err == nil {
		_, err = waitEvent(dir, "frozen 1", freezeWait) // in vain: a process the kernel holds; the rest is killed all the same
	}
	return errors.Join(err, killEach(dir), writeControl(freezer, "0"))
}

func killEach(dir string) error {
	return eachCgroup(dir, func(d string) error {
		procs, err := cgroupProcs(d)
		for _, p := range procs {
			err = errors.Join(err, signalProcess(p, unix.SIGKILL))
		}
		return err
	})
}

// removeCgroup removes an empty cgroup with all below it.
func removeCgroup(dir string) error {
	return eachCgroup(dir, func(d string) error {
		if err := os.Remove(d); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}

// eachCgroup calls f for a cgroup and all below it, the deepest first.
func eachCgroup(dir string, f func(string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := eachCgroup(filepath.Join(dir, e.Name()), f); err != nil {
				return err
			}
		}
	}
	return f(dir)
}

// makeCgroup makes a cgroup; mostly it is there.
func makeCgroup(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	return os.MkdirAll(dir, 0o755)
}

// auxTimeout bounds the wait for what was killed beside a process.
const auxTimeout = 5 * time.Second

// waitEmpty waits until a cgroup has no processes, or fails with ErrBusy.
func waitEmpty(dir string) error {
	empty, err := waitEvent(dir, "populated 0", auxTimeout)
	if err == nil && !empty {
		err = fmt.Errorf("%w: %s did not become empty", ErrBusy, dir)
	}
	return err
}

// waitEvent waits until a cgroup's events say so. One that is gone says everything.
func waitEvent(dir, want string, most time.Duration) (bool, error) {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	until := time.Now().Add(most)
	for {
		var b [256]byte
		n, err := f.ReadAt(b[:], 0)
		if errors.Is(err, unix.ENODEV) || bytes.Contains(b[:n], []byte(want)) {
			return true, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		left := time.Until(until)
		if left <= 0 {
			return false, nil
		}
		err = raw.Control(func(fd uintptr) {
			// Interrupted or in time, what the file says is looked at again.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, int(left.Milliseconds())+1)
		})
		if err != nil {
			return false, err
		}
	}
}
