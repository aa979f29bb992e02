package main

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// chaosHosts is how many hosts the pretended machine room has.
const chaosHosts = 5

// lab is a machine room on this machine: a switch, a bridge in a network namespace of its own, and hosts around it. All of
// it lives in processes and their namespaces, so nothing of it is in this machine's own, and all ends with the test
// binary however that ends. What can be left over is a directory and empty cgroups; the next lab removes those of dead ones.
type lab struct {
	t      testing.TB
	size   int // how many hosts
	id     string
	dir    string // LAB: lives, locks, one directory for each host
	cgroup string
	exe    string // this binary, where every host can run it
	bin    string // with the daemons
	subnet string // of 10.0.0.0/8, such as "10.77.3."
	watch  *observer
	kept   string // see keepDir

	hub     *exec.Cmd // holds the switch's namespace
	hubEnds io.Closer
	hosts   []*host

	mu   sync.Mutex      // guards what follows
	cuts map[[2]int]cut  // from one host to another
	down map[string]bool // what of the switch is down: "br0", "p1"...
}

// chaosSkip is why there can be no lab here; "" when there can.
func chaosSkip() string {
	if os.Geteuid() != 0 {
		return "needs root: it makes network, mount, time and cgroup namespaces"
	}
	for _, tool := range []string{"ip", "bridge", "unshare", "nsenter", "mount", "mkfs.ext4", "e2fsck"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "needs " + tool
		}
	}
	if _, err := cgroup2(); err != nil {
		return "needs cgroup v2: " + err.Error()
	}
	out, err := exec.Command("unshare", "--net", "--mount", "--uts", "--cgroup", "--time", "--boottime", "1000", "--fork", "sh", "-c",
		"ip link add br0 type bridge && ip link add p1 type veth peer name q1 && mount -t tmpfs none /run && losetup -f").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("this machine can't make the namespaces, bridge, veth or loop device: %v: %s", err, out)
	}
	return ""
}

// cgroup2 is where cgroup v2 is mounted.
func cgroup2() (string, error) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && f[2] == "cgroup2" && !strings.Contains(","+f[3]+",", ",ro,") {
			return f[1], nil
		}
	}
	return "", errors.New("it is not mounted")
}

func newLab(t testing.TB, bin string) *lab { return newLabOf(t, bin, chaosHosts) }

// newLabOf makes one with so many hosts.
func newLabOf(t testing.TB, bin string, size int) *lab {
	t.Helper()
	removeDeadLabs(t)
	root, err := cgroup2()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{
		t: t, size: size, id: fmt.Sprintf("%08x", rand.Uint32()), bin: bin, cuts: map[[2]int]cut{}, down: map[string]bool{},
		subnet: fmt.Sprintf("10.%d.%d.", 64+rand.IntN(128), rand.IntN(256)),
	}
	l.dir = filepath.Join(os.TempDir(), labStart+l.id)
	l.cgroup = filepath.Join(root, labStart+l.id)
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	owner, err := processMark(os.Getpid())
	if err == nil {
		err = os.WriteFile(filepath.Join(l.dir, "owner"), []byte(owner+"\n"+l.cgroup+"\n"), 0o644)
	}
	t.Cleanup(l.close)
	for _, d := range []string{filepath.Join(l.dir, "lives"), filepath.Join(l.dir, "locks"), l.cgroup} {
		err = errors.Join(err, os.Mkdir(d, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "secret"), []byte(crand.Text()+crand.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	l.exe = filepath.Join(l.dir, "member")
	if err := copyProgram("/proc/self/exe", l.exe); err != nil {
		t.Fatal(err)
	}
	l.startHub()
	for n := 1; n <= size; n++ {
		l.hosts = append(l.hosts, newHost(l, n))
	}
	return l
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// labStart begins the names of a lab's directory and cgroup.
const labStart = "supd-chaos-"

// processMark names a process in a way that no later one has.
func processMark(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fmt.Sprintf("%d %s %s", pid, f[19], strings.TrimSpace(string(boot))), nil
}

// removeDeadLabs removes what test binaries left that were killed.
func removeDeadLabs(t testing.TB) {
	t.Helper()
	owners, err := filepath.Glob(filepath.Join(os.TempDir(), labStart+"*", "owner"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range owners {
		b, err := os.ReadFile(path)
		owner, cgroup, ok := strings.Cut(string(b), "\n")
		cgroup = strings.TrimSpace(cgroup)
		if err != nil || !ok || filepath.Base(cgroup) != filepath.Base(filepath.Dir(path)) {
			continue // half made or being removed, by its owner
		}
		pid, err := strconv.Atoi(strings.Fields(owner)[0])
		if err != nil {
			continue
		}
		if now, err := processMark(pid); err == nil && now == owner {
			continue // it runs
		}
		t.Logf("removing %s, left by process %d", filepath.Dir(path), pid)
		if err := errors.Join(endCgroup(cgroup), os.RemoveAll(filepath.Dir(path))); err != nil {
			t.Error(err)
		}
	}
}

// endCgroup kills all in a cgroup and below, and removes it.
func endCgroup(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = waitFor(20*time.Second, func() error {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err == nil && !strings.Contains(string(b), "populated 0") {
			err = fmt.Errorf("%s has processes that SIGKILL has not ended", dir)
		}
		return ignoreGone(err)
	})
	if err != nil {
		return err
	}
	return removeCgroups(dir)
}

// removeCgroups removes empty cgroups, the deepest first.
func removeCgroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeCgroups(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, ignoreGone(os.Remove(dir)))
}

// ignoreGone passes over that something is not there: another test binary may tidy up too.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// waitFor tries f until it gives nil, so long at most.
func waitFor(d time.Duration, f func() error) error {
	deadline := time.Now().Add(d)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(10 * time.Millisecond)
	}
}

// startHub makes the switch: its namespace lives as long as a process that waits for the end of its input.
func (l *lab) startHub() {
	l.t.Helper()
	in, ends, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	l.hub = exec.Command("unshare", "--net", "sh", "-c", "echo ready; exec cat >/dev/null")
	l.hub.Stdin, l.hubEnds = in, ends
	cg, err := l.enter("switch", l.hub)
	if err != nil {
		l.t.Fatal(err)
	}
	defer cg.Close()
	out, err := l.hub.StdoutPipe()
	if err == nil {
		err = l.hub.Start()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	_ = in.Close() // the process has it
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		l.t.Fatalf("the switch: %v", err)
	}
	if err := l.sw("link add br0 type bridge forward_delay 0", "link set br0 up"); err != nil {
		l.t.Fatal(err)
	}
}

// enter has a command start in a cgroup of the lab.
func (l *lab) enter(name string, c *exec.Cmd) (io.Closer, error) {
	dir := filepath.Join(l.cgroup, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd()), Setsid: true}
	return f, nil
}

// sw has the switch do commands of ip(8).
func (l *lab) sw(commands ...string) error { return ipIn(l.hub.Process.Pid, commands...) }

// ipIn does commands of ip(8) in the network namespace of a process.
func ipIn(pid int, commands ...string) error {
	c := exec.Command("nsenter", "-t", strconv.Itoa(pid), "--net", "ip", "-batch", "-")
	c.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s: %s", err, strings.Join(commands, "; "), out)
	}
	return nil
}

// close ends the room. Nothing may be left, also not of what hosts had started.
func (l *lab) close() {
	for _, h := range l.hosts {
		if err := h.powerOff(); err != nil {
			l.t.Error(err)
		}
	}
	if l.hub != nil && l.hub.Process != nil {
		_ = l.hubEnds.Close() // it ends by that
		_ = l.hub.Wait()      // killed or not
	}
	err := errors.Join(endCgroup(l.cgroup), l.keep())
	if left := processesWith(l.id); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("processes are left: %v", left))
	}
	if err = errors.Join(err, os.RemoveAll(l.dir)); err != nil {
		l.t.Error(err)
	}
}

// keepDir is where the traces of a failed run go. It outlives the test.
func (l *lab) keepDir() string {
	if l.kept == "" {
		l.kept = os.Getenv("SUPD_CHAOS_KEEP")
	}
	if l.kept == "" {
		dir, err := os.MkdirTemp("", "supd-failed-chaos-")
		if err != nil {
			l.t.Fatal(err)
		}
		l.kept = dir
	}
	return l.kept
}

// keep saves what tells of a failed run.
func (l *lab) keep() error {
	if !l.t.Failed() {
		return nil
	}
	to := l.keepDir()
	l.t.Logf("logs and lives are in %s", to)
	var err error
	for _, h := range l.hosts {
		log := filepath.Join(h.dir, "supd.log")
		if _, serr := os.Stat(log); serr == nil {
			err = errors.Join(err, os.Rename(log, filepath.Join(to, h.name+".supd.log")))
		}
	}
	return errors.Join(err, os.CopyFS(filepath.Join(to, "lives-"+l.id), os.DirFS(filepath.Join(l.dir, "lives"))))
}

// onHost tells whether a process is in a host's cgroups.
func (l *lab) onHost(pid int, h *host) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && bytes.Contains(b, []byte("/"+filepath.Base(l.cgroup)+"/"+h.name+"/"))
}

// processesWith finds processes that have a word in their arguments, but for this one.
func processesWith(word string) []string {
	var found []string
	for _, pid := range allPids() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && pid != os.Getpid() && bytes.Contains(b, []byte(word)) {
			found = append(found, fmt.Sprintf("%d (%s)", pid, bytes.ReplaceAll(b, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// allPids lists the processes of this machine.
func allPids() []int {
	d, err := os.Open("/proc")
	if err != nil {
		panic(err) // nothing works without
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		panic(err)
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
