package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How long a machine that is emulated, on a host with other work, may take.
const (
	vmBoot = 4 * time.Minute
	vmWait = 90 * time.Second
)

// machine is a Debian in QEMU: its root file system is its memory's, anew at each boot; /var/lib/supd is a disk that stays.
type machine struct {
	t      testing.TB
	dir    string
	base   string   // where kernel and root file system are
	layers []string // archives on top of the root file system, the later ones win
	boots  int
	cmd    *exec.Cmd
	ended  chan error
	shell  net.Conn
	answer *bufio.Reader
}

// masked are the units of Debian that a machine for tests does without.
var masked = strings.Fields(`systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket
	systemd-udevd-control.socket getty.target getty-static.service serial-getty@.service apt-daily.timer
	apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer dbus.service dbus.socket
	systemd-logind.service dev-hugepages.mount systemd-binfmt.service systemd-hwdb-update.service
	systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service systemd-pcrphase.service
	systemd-pcrphase-sysinit.service systemd-tmpfiles-clean.timer`)

// need skips, or fails, where a virtual machine can't be.
func needMachine(t *testing.T) {
	t.Helper()
	missing := func() string {
		if os.Geteuid() != 0 {
			return "not root, which debootstrap needs"
		}
		for _, p := range []string{"qemu-system-x86_64", "debootstrap", "cpio", "zstd", "mkfs.ext4", "make"} {
			if _, err := exec.LookPath(p); err != nil {
				return p + " is missing (apt-get install qemu-system-x86 debootstrap cpio zstd e2fsprogs make)"
			}
		}
		return ""
	}
	switch mode := os.Getenv("SUPD_TEST_VM"); mode {
	case "":
		t.Skip("make test-vm runs it")
	case "auto":
		if why := missing(); why != "" {
			t.Skip("NOT TESTED: units, limits, shutdown and power cut in a virtual machine: " + why)
		}
	default:
		if why := missing(); why != "" {
			t.Fatal("no virtual machine: " + why)
		}
	}
}

// newMachine makes the disk and what goes on top of the base.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), base: baseImage(t)}
	m.host("mkfs.ext4 -q -F disk 512M")
	m.host(`cp -r "$1" root && cd root/etc/systemd/system && shift && mkdir -p multi-user.target.wants local-fs.target.wants &&
		ln -s ../vm-shell.service multi-user.target.wants/ && ln -s ../vm-disk.service local-fs.target.wants/ &&
		for u; do ln -s /dev/null "$u"; done`, append([]string{abs(t, "testdata/vm/root")}, masked...)...)
	m.host(`CGO_ENABLED=0 make -s -C "$1" install DESTDIR="$2/root" BIN="$2/bin"`, abs(t, "../.."), m.dir)
	m.host(`cd "$1" && CGO_ENABLED=0 go test -c -o "$2/root/vm/keeper.test" ./supervisor/keeper`, abs(t, "../.."), m.dir)
	m.layer("root")
	t.Cleanup(m.cut)
	return m
}

// baseImage is made once for each content of the script that makes it, and kept.
func baseImage(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache"
	}
	dir := filepath.Join(cache, "supd-vm")
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", `set -e
		d=$1/$(sha256sum <"$2" | cut -c1-16); mkdir -p "$d"; exec 9>"$d/lock"; flock 9
		[ -e "$d/base.cpio.zst" ] || sh "$2" "$d" >"$d/log" 2>&1 || { tail -n 20 "$d/log" >&2; exit 1; }
		echo "$d"`, "sh", dir, abs(t, "testdata/vm/base.sh")).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("no image: %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Logf("base image made in %s", d.Round(time.Second))
	}
	return strings.TrimSpace(string(out))
}

func abs(t testing.TB, path string) string {
	t.Helper()
	p, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// host runs a script on this host, in the machine's directory.
func (m *machine) host(script string, args ...string) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "/bin/sh", append([]string{"-ec", script, "sh"}, args...)...)
	cmd.Dir = m.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// layer puts a directory of the machine's on top of the root file system, from the next boot on.
func (m *machine) layer(dir string) {
	m.t.Helper()
	m.host(`cd "$1" && find . -print0 | cpio --quiet -0 -o -H newc -R 0:0 >"../$1.cpio"`, dir)
	m.layers = append(m.layers, dir+".cpio")
}

// boot starts the machine and waits for its shell.
func (m *machine) boot() {
	m.t.Helper()
	m.boots++
	began := time.Now()
	m.host(`zstd -dqcf "$1/base.cpio.zst" >initrd; shift; cat "$@" >>initrd; rm -f shell.sock`, append([]string{m.base}, m.layers...)...)
	serial := fmt.Sprintf("serial-%d.log", m.boots)
	m.cmd = exec.Command("qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "1280", "-smp", "1",
		"-nodefaults", "-display", "none", "-no-reboot", "-kernel", filepath.Join(m.base, "vmlinuz"), "-initrd", "initrd",
		"-append", "console=ttyS0 panic=-1 loglevel=4 audit=0 mitigations=off systemd.show_status=no "+
			"systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info",
		"-chardev", "file,id=log,path="+serial, "-serial", "chardev:log",
		"-chardev", "socket,id=sh,path=shell.sock,server=on,wait=off", "-serial", "chardev:sh",
		"-drive", "file=disk,if=virtio,format=raw")
	m.cmd.Dir = m.dir
	var said bytes.Buffer
	m.cmd.Stderr = &said
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	cmd := m.cmd
	go func() { ended <- cmd.Wait() }() // ends with QEMU, which off and cut wait for
	m.ended = ended
	for m.shell == nil {
		c, err := net.Dial("unix", filepath.Join(m.dir, "shell.sock"))
		if err == nil {
			m.shell, m.answer = c, bufio.NewReader(c)
			break
		}
		select {
		case err := <-ended:
			ended <- err
			m.t.Fatalf("QEMU ended: %v: %s", err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(began) > vmWait {
			m.t.Fatal("QEMU opens no socket")
		}
	}
	for line := ""; !strings.Contains(line, "ready"); {
		line = m.read(vmBoot)
	}
	m.t.Logf("boot %d: a shell after %s", m.boots, time.Since(began).Round(time.Second))
}

// read reads one line of the shell's.
func (m *machine) read(within time.Duration) string {
	m.t.Helper()
	if err := m.shell.SetReadDeadline(time.Now().Add(within)); err != nil {
		m.t.Fatal(err)
	}
	line, err := m.answer.ReadString('\n')
	if err != nil {
		m.t.Fatalf("the machine does not answer within %s: %v", within, err)
	}
	return strings.TrimSpace(line)
}

// try runs a script in the machine and gives its output and whether it succeeded.
func (m *machine) try(script string) (string, error) {
	m.t.Helper()
	return m.tryWithin(vmWait, script)
}

func (m *machine) tryWithin(d time.Duration, script string) (string, error) {
	m.t.Helper()
	m.tell(script)
	status, rest, _ := strings.Cut(m.read(d), " ")
	out, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		m.t.Fatalf("the machine's answer to %q: %v", script, err)
	}
	if status != "0" {
		return string(out), fmt.Errorf("exit status %s: %s", status, out)
	}
	return string(out), nil
}

// tell has a script run in the machine, and doesn't wait.
func (m *machine) tell(script string) {
	m.t.Helper()
	if _, err := fmt.Fprintf(m.shell, "%s\n", base64.StdEncoding.EncodeToString([]byte(script))); err != nil {
		m.t.Fatalf("the machine takes no command: %v", err)
	}
}

// do runs a script in the machine that must succeed.
func (m *machine) do(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		m.t.Fatalf("in the machine: %s: %v", script, err)
	}
	return strings.TrimSpace(out)
}

// until runs a script in the machine until it succeeds.
func (m *machine) until(script string) string {
	m.t.Helper()
	tick := time.NewTicker(300 * time.Millisecond) // each look costs the machine
	defer tick.Stop()
	for deadline := time.Now().Add(vmWait); ; <-tick.C {
		out, err := m.try(script)
		if err == nil {
			return strings.TrimSpace(out)
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("in the machine, in vain: %s: %v", script, err)
		}
	}
}

// number is a script's output as a number.
func (m *machine) number(script string) int {
	m.t.Helper()
	n, err := strconv.Atoi(m.do(script))
	if err != nil {
		m.t.Fatalf("%s: %v", script, err)
	}
	return n
}

// off waits until the machine has switched itself off.
func (m *machine) off() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), vmBoot)
	defer cancel()
	select {
	case err := <-m.ended:
		if err != nil {
			m.t.Fatalf("QEMU: %v", err)
		}
	case <-ctx.Done():
		m.t.Fatal("the machine does not switch off")
	}
	m.gone()
}

// cut pulls the plug.
func (m *machine) cut() {
	if m.cmd == nil {
		return
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.t.Error(err)
	}
	<-m.ended // "signal: killed"
	m.gone()
}

func (m *machine) gone() {
	if m.shell != nil {
		m.shell.Close()
	}
	m.cmd, m.shell = nil, nil
}

// console is what the machine has printed since its latest boot.
func (m *machine) console() string {
	b, err := os.ReadFile(filepath.Join(m.dir, fmt.Sprintf("serial-%d.log", m.boots)))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
