package main_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// host is a machine of a script's own cluster: a daemon that supd dev knows nothing of.
type host struct {
	name   string
	dir    string
	daemon *exec.Cmd // nil while it is down
}

func (h *host) file() string { return filepath.Join(h.dir, "supd.yaml") }

// host NAME [KEY=VALUE...]: writes DIR/NAME/supd.yaml with addresses of its own, and sets
// NAME_ADDR (for supctl) and NAME_API (for --join). Nothing is started.
func cmdHost(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: host NAME [KEY=VALUE...]")
	}
	h := &host{name: args[0], dir: filepath.Join(w.dir, args[0])}
	ts.Check(os.MkdirAll(h.dir, 0o711))
	lines := []string{
		"name: " + h.name, "data_dir: " + h.dir, "socket: " + h.dir + "/supd.sock", `socket_group: ""`,
		"heartbeat: 100ms", "lease: 3s",
	}
	addrs, err := freeAddrs(4)
	ts.Check(err)
	for i, key := range []string{"api", "raft", "gossip", "dns"} {
		lines = append(lines, key+": "+addrs[i])
	}
	for _, kv := range args[1:] {
		k, v, _ := strings.Cut(kv, "=")
		lines = append(lines, k+": "+v)
	}
	ts.Check(os.WriteFile(h.file(), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	w.hosts = append(slices.DeleteFunc(w.hosts, func(o *host) bool { return o.name == h.name }), h)
	ts.Setenv(h.name+"_ADDR", "unix://"+h.dir+"/supd.sock")
	ts.Setenv(h.name+"_API", addrs[0])
	w.deferStop(ts)
}

// freeport VAR: a port of 127.0.0.1 that nobody has now, so that scripts beside each other don't meet on one.
func cmdFreePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport VAR")
	}
	addrs, err := freeAddrs(1)
	ts.Check(err)
	_, port, err := net.SplitHostPort(addrs[0])
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// freeAddrs draws loopback addresses below the kernel's own range, held together until
// all are drawn.
func freeAddrs(n int) (out []string, err error) {
	var held []interface{ Close() error }
	defer func() {
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	for range 2000 {
		if len(out) == n {
			return out, nil
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		held = append(held, l)
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		held = append(held, u)
		out = append(out, addr)
	}
	return nil, errors.New("no free ports")
}

func (w *world) host(ts *testscript.TestScript, name string) *host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	ts.Fatalf("there is no host %s", name)
	return nil
}

// up NAME [ARGS...]: supd run with the host's configuration, and waits until it answers.
func cmdUp(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	h := w.host(ts, args[0])
	log, err := os.OpenFile(h.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	h.daemon = exec.Command(filepath.Join(w.bin, "supd"), append([]string{"run", "--config", h.file()}, args[1:]...)...)
	h.daemon.Env = append(os.Environ(), "PATH="+w.bin+":"+os.Getenv("PATH"))
	h.daemon.Stdout, h.daemon.Stderr = log, log
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(h.daemon.Start())
	ts.Check(log.Close())
	ts.Check(until(eventually, func() error {
		c, err := net.Dial("unix", filepath.Join(h.dir, "supd.sock"))
		if err != nil {
			return err
		}
		return c.Close()
	}))
}

// down NAME [-9]: ends a host's daemon; its keeper stays.
func cmdDown(ts *testscript.TestScript, neg bool, args []string) {
	h := worldOf(ts).host(ts, args[0])
	sig := syscall.SIGTERM
	if len(args) > 1 && args[1] == "-9" {
		sig = syscall.SIGKILL
	}
	ts.Check(h.end(sig))
}

// ended NAME: the host's daemon ends by itself.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	h := worldOf(ts).host(ts, args[0])
	ts.Check(until(eventually, func() error {
		if live(h.daemon.Process.Pid) {
			return fmt.Errorf("supd of %s is still there", h.name)
		}
		return nil
	}))
	_ = h.daemon.Wait() // how is told in its log
	h.daemon = nil
}

func (h *host) end(sig syscall.Signal) error {
	if h.daemon == nil {
		return nil
	}
	err := h.daemon.Process.Signal(sig)
	_ = h.daemon.Wait() // how a daemon ended that may have been killed is not told
	h.daemon = nil
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// stopHosts ends daemons, then keepers with what they have.
func (w *world) stopHosts() error {
	var errs []error
	for _, h := range w.hosts {
		errs = append(errs, h.end(syscall.SIGTERM))
	}
	for _, h := range w.hosts {
		if _, err := os.Stat(filepath.Join(h.dir, "keeper", "keeper.sock")); err != nil {
			continue
		}
		out, err := exec.Command(filepath.Join(w.bin, "supd-keeper"), "halt", "--dir", filepath.Join(h.dir, "keeper")).CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("members of %s not ended: %w: %s", h.name, err, out))
		}
		pid, err := readPID(filepath.Join(h.dir, "keeper.pid"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, syscall.Kill(pid, syscall.SIGTERM), until(stopTimeout, func() error {
			if live(pid) {
				return fmt.Errorf("keeper of %s (pid %d) is still there", h.name, pid)
			}
			return nil
		}))
	}
	w.hosts = nil
	return errors.Join(errs...)
}
