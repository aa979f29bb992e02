package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
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
	"time"

	"golang.org/x/sys/unix"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// host is a pretended machine: an init in network, mount, UTS, cgroup and time namespaces of its own, a disk that is an
// image, an address on the switch. It keeps what a machine keeps over a power cut, the disk; a boot brings a new boot
// id and another CLOCK_BOOTTIME.
type host struct {
	lab      *lab
	n        int
	name, ip string
	mac      string
	dir      string // LAB/hN: the image, the mount point, the daemon's log
	cgroup   string

	power sync.Mutex // held while power is given or taken

	mu    sync.Mutex // guards what follows
	init  *exec.Cmd  // nil: it has no power
	tell  io.WriteCloser
	over  chan struct{} // closed when the init's output has ended
	pid   int           // of the init itself
	pids  map[string]int
	fsck  bool // the disk had an error
	calls *client.Client

	saidMu sync.Mutex // guards said
	said   []string   // errors of the init
}

const (
	chaosLease     = 5 * time.Second
	chaosHeartbeat = 400 * time.Millisecond
	chaosTrash     = 20 * time.Second
)

func newHost(l *lab, n int) *host {
	h := &host{lab: l, n: n, name: fmt.Sprintf("h%d", n), ip: l.subnet + strconv.Itoa(n), mac: fmt.Sprintf("02:5d:00:00:00:%02x", n), pids: map[string]int{}}
	h.dir, h.cgroup = filepath.Join(l.dir, h.name), filepath.Join(l.cgroup, h.name)
	err := os.MkdirAll(h.data(), 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.dir, "machine-id"), []byte(fmt.Sprintf("%016x%016x\n", rand.Uint64(), rand.Uint64())), 0o644)
	}
	if err == nil {
		err = h.configure()
	}
	if err == nil {
		err = errors.Join(h.makeDisk(), h.setClock(0))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

func (h *host) data() string  { return filepath.Join(h.dir, "data") }
func (h *host) image() string { return filepath.Join(h.dir, "disk.img") }
func (h *host) clock() string { return filepath.Join(h.dir, "clock") }
func (h *host) file() string  { return filepath.Join(h.dir, "supd.yaml") }

// holdsKeeper tells whether the host's init starts the keeper, as systemd does; on the other hosts supd does.
func (h *host) holdsKeeper() bool { return h.n > 3 }

// root is how this test sees the host's files; only with power.
func (h *host) root() string { return fmt.Sprintf("/proc/%d/root", h.pid) }

// makeDisk makes a small ext4, a file.
func (h *host) makeDisk() error {
	f, err := os.Create(h.image())
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(256<<20), f.Close()); err != nil {
		return err
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", h.image()).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}

func (h *host) configure() error {
	c := configs.DefaultDaemon()
	c.Name, c.DataDir, c.Socket, c.SocketGroup = h.name, h.data(), "/run/supd/supd.sock", ""
	c.HostIP = h.ip
	if h.holdsKeeper() {
		c.KeeperManaged = configs.KeeperBySystemd
	}
	c.API, c.Raft, c.Gossip, c.DNS = h.ip+":7950", h.ip+":7951", h.ip+":7952", h.ip+":7953"
	for n := 1; n <= h.lab.size; n++ {
		if n != h.n {
			c.Join = append(c.Join, h.lab.subnet+strconv.Itoa(n)+":7952")
		}
	}
	c.BootstrapExpect, c.SecretFile = h.lab.size, filepath.Join(h.lab.dir, "secret")
	c.Lease, c.Heartbeat, c.TrashKeep = spec.Duration(chaosLease), spec.Duration(chaosHeartbeat), spec.Duration(chaosTrash)
	c.LogMax = "1Mi"
	text, err := c.YAML()
	if err != nil {
		return err
	}
	return os.WriteFile(h.file(), []byte(text), 0o644)
}

// boot gives the host power. uptime is what its CLOCK_BOOTTIME and CLOCK_MONOTONIC begin with.
func (h *host) boot(uptime time.Duration) error {
	h.power.Lock()
	defer h.power.Unlock()
	if h.api() != nil {
		return nil
	}
	if err := h.readyDisk(); err != nil {
		return err
	}
	bootID := filepath.Join(h.dir, "boot-id")
	if err := os.WriteFile(bootID, []byte(fmt.Sprintf("%08x-0000-4000-8000-%012x\n", rand.Uint32(), rand.Uint64()>>16)), 0o644); err != nil {
		return err
	}
	if err := removeCgroups(h.cgroup); err != nil {
		return err
	}
	m := chaosMachine{
		Name: h.name, BootID: bootID, MachineID: filepath.Join(h.dir, "machine-id"), Disk: h.image(), Data: h.data(),
		Supd: []string{filepath.Join(h.lab.bin, "supd"), "run", "--config", h.file()}, Log: filepath.Join(h.dir, "supd.log"),
		Clock: h.clock(),
	}
	if h.holdsKeeper() {
		m.Keeper = []string{filepath.Join(h.lab.bin, "supd-keeper"), "run", "--dir", filepath.Join(h.data(), "keeper"), "--cgroup", "members"}
	}
	told, err := json.Marshal(m)
	if err != nil {
		return err
	}
	clocks, err := clocksAt(uptime)
	if err != nil {
		return err
	}
	c := exec.Command("unshare", append(clocks, "--net", "--mount", "--uts", "--cgroup", "--fork", "--kill-child",
		h.lab.exe, initMark, string(told))...)
	c.Stderr = limited{h.say}
	cg, err := h.lab.enter(h.name, c)
	if err != nil {
		return err
	}
	defer cg.Close()
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	pid := 0
	if lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "ready %d", &pid) // 0: it is something else
	}
	if pid == 0 {
		_ = in.Close() // it ends by that
		_ = c.Wait()
		return fmt.Errorf("%s does not boot: %s %v", h.name, lines.Text(), h.said)
	}
	return h.on(c, in, lines, pid)
}

// on takes an init that is ready, and has it start the daemon.
func (h *host) on(c *exec.Cmd, in io.WriteCloser, lines *bufio.Scanner, pid int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.init, h.pid, h.tell, h.over = c, pid, in, make(chan struct{})
	go h.listen(lines, h.over)
	var err error
	h.calls, err = client.New("unix://"+h.root()+"/run/supd/supd.sock", client.Options{RequestTimeout: 3 * time.Second, NoRetry: true})
	if err == nil {
		err = h.plugIn()
	}
	if err == nil {
		_, err = io.WriteString(h.tell, "start keeper\nstart supd\n")
	}
	return err
}

// clocksAt are the options of unshare(1) by which a host has been up so long.
func clocksAt(uptime time.Duration) ([]string, error) {
	var out []string
	for option, clock := range map[string]int32{"--boottime": unix.CLOCK_BOOTTIME, "--monotonic": unix.CLOCK_MONOTONIC} {
		var ts unix.Timespec
		if err := unix.ClockGettime(clock, &ts); err != nil {
			return nil, err
		}
		out = append(out, option, strconv.FormatInt(int64(uptime/time.Second)-ts.Sec, 10))
	}
	return append(out, "--time"), nil
}

// limited hands short texts on.
type limited struct{ say func(string) }

func (w limited) Write(b []byte) (int, error) {
	w.say(string(bytes.TrimSpace(b)))
	return len(b), nil
}

func (h *host) say(s string) {
	h.saidMu.Lock()
	defer h.saidMu.Unlock()
	if len(h.said) < 20 {
		h.said = append(h.said, s)
	}
}

// listen notes what the init tells, until it ends.
func (h *host) listen(lines *bufio.Scanner, over chan struct{}) {
	defer close(over)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		h.mu.Lock()
		switch {
		case len(f) == 3 && f[0] == "run":
			h.pids[f[1]], _ = strconv.Atoi(f[2]) // the init writes numbers
		case len(f) >= 2 && f[0] == "end":
			h.pids[f[1]] = 0
		default:
			h.say(lines.Text())
		}
		h.mu.Unlock()
	}
}

// readyDisk waits until nothing has the disk any more, and mends it after an error.
func (h *host) readyDisk() error {
	err := waitFor(20*time.Second, func() error {
		files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			return err
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil && strings.TrimSpace(string(b)) == h.image() {
				return fmt.Errorf("%s is still mounted", h.image())
			}
		}
		return nil
	})
	h.mu.Lock()
	mend := h.fsck
	h.mu.Unlock()
	if err != nil || !mend {
		return err
	}
	out, err := exec.Command("e2fsck", "-fy", h.image()).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode()&^3 == 0 {
		err = nil // mended
	}
	if err != nil {
		return fmt.Errorf("e2fsck: %w: %s", err, out)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fsck = false
	return nil
}

// plugIn makes the cable to the switch, with its present faults.
func (h *host) plugIn() error {
	port := fmt.Sprintf("p%d", h.n)
	// The cable of the boot before goes with its namespace, some time.
	_ = h.lab.sw("link del " + port)
	err := h.lab.sw(
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %d", port, h.mac, h.pid),
		fmt.Sprintf("link set %s master br0", port))
	if err != nil {
		return err
	}
	commands := []string{"link set lo up", "link set eth0 up", fmt.Sprintf("addr add %s/24 dev eth0", h.ip)}
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	if !h.lab.down[port] {
		err = h.lab.sw("link set " + port + " up")
	}
	for _, to := range h.lab.hosts {
		if to != h {
			commands = append(commands, h.towards(to, h.lab.cuts[[2]int{h.n, to.n}])...)
		}
	}
	return errors.Join(err, ipIn(h.pid, commands...))
}

// powerOff takes the power: every process of the host ends at once, those that stand still too.
func (h *host) powerOff() error {
	h.power.Lock()
	defer h.power.Unlock()
	h.mu.Lock()
	if h.init == nil {
		h.mu.Unlock()
		return nil
	}
	c, over := h.init, h.over
	h.init, h.pid = nil, 0
	h.calls.Close()
	err := os.WriteFile(filepath.Join(h.cgroup, "cgroup.kill"), []byte("1"), 0)
	if err == nil {
		_ = os.WriteFile(filepath.Join(h.cgroup, "cgroup.freeze"), []byte("0"), 0)
	}
	h.mu.Unlock()
	<-over
	_ = h.tell.Close()
	_ = c.Wait() // killed
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pids = map[string]int{}
	return errors.Join(err, waitFor(20*time.Second, func() error {
		b, err := os.ReadFile(filepath.Join(h.cgroup, "cgroup.events"))
		if err == nil && !strings.Contains(string(b), "populated 0") {
			err = fmt.Errorf("%s has processes after its power was cut", h.name)
		}
		return err
	}))
}

// powered tells whether it runs; api is nil without power.
func (h *host) api() *client.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return nil
	}
	return h.calls
}

// order tells the init something; without power nobody listens.
func (h *host) order(line string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return nil
	}
	_, err := io.WriteString(h.tell, line+"\n")
	return err
}

// supd is the daemon's pid; 0: it is down.
func (h *host) supd() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pids["supd"]
}

// keeper is the keeper's pid as the daemon noted it; 0: there is none.
func (h *host) keeper() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return 0
	}
	b, err := os.ReadFile(h.root() + h.data() + "/keeper.pid")
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	// The number may be another's by now: a keeper has its directory in its arguments.
	arg, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(arg, []byte(h.data()+"/keeper")) {
		return 0
	}
	return pid
}

// hit sends a signal to pids; those that have ended or are 0 are none.
func hit(sig syscall.Signal, pids ...int) error {
	var errs []error
	for _, pid := range pids {
		if pid == 0 {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("signal %v to %d: %w", sig, pid, err))
		}
	}
	return errors.Join(errs...)
}

// freeze stops all of the host at once, or lets it go on.
func (h *host) freeze(yes bool) error {
	word := "0"
	if yes {
		word = "1"
	}
	err := os.WriteFile(filepath.Join(h.cgroup, "cgroup.freeze"), []byte(word), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never had power
	}
	return err
}

// fill takes the disk's last byte, or gives back what it took.
func (h *host) fill(yes bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return nil
	}
	path := h.root() + h.data() + "/filler"
	if !yes {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EROFS) {
			return err
		}
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return ignoreDisk(err)
	}
	defer f.Close()
	var size int64
	for step := int64(64 << 20); step >= 4096; {
		if err := unix.Fallocate(int(f.Fd()), 0, size, step); err != nil {
			step /= 2
			continue
		}
		size += step
	}
	return nil
}

// ignoreDisk passes over what a disk with an error or no room says.
func ignoreDisk(err error) error {
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) {
		return nil
	}
	return err
}

// breakDisk has the file system find an error, by which it becomes read-only until it was mended.
func (h *host) breakDisk() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", h.pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == h.data() {
			h.fsck = true
			return os.WriteFile("/sys/fs/ext4/"+filepath.Base(f[0])+"/trigger_fs_error", []byte("chaos"), 0)
		}
	}
	return fmt.Errorf("%s has no disk", h.name)
}

// setClock makes the host's CLOCK_REALTIME, as the daemons see it, wrong by so much, if they were built for it.
func (h *host) setClock(by time.Duration) error {
	f, err := os.OpenFile(h.clock(), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(by/time.Second)), 0)
	return errors.Join(err, f.Close())
}

// broken tells whether the disk must be mended.
func (h *host) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fsck
}

// containers are the directories of volumes on the host's disk, in place or in the trash, by NAME.UID8 and with what the
// member wrote into them; nil when the host has no power or its disk can't be read.
func (h *host) containers() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return nil
	}
	found := map[string]string{}
	pool := h.root() + h.data() + "/volumes"
	for _, pattern := range []string{pool + "/*/*.*", pool + "/.trash/*/*.*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // a bad pattern
		}
		for _, p := range paths {
			if strings.HasPrefix(filepath.Base(p), ".") || strings.Contains(p, "/.gone/") {
				continue // half made or being removed
			}
			b, err := os.ReadFile(filepath.Join(p, "data", "identity"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			found[filepath.Base(p)] = strings.TrimSpace(string(b))
		}
	}
	return found
}
