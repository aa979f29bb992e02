package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// binaries builds supd and supd-keeper once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "supd-test-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other users run them too
		return dir, err
	}
	out, err := exec.Command("go", "build", "-o", dir, "supd/cmd/supd", "supd/cmd/supd-keeper").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	if len(os.Args) > 4 && os.Args[1] == matrixMark {
		os.Exit(matrixMain(os.Args[2:]))
	}
	if len(os.Args) == 3 && os.Args[1] == initMark {
		os.Exit(chaosInit(os.Args[2]))
	}
	if len(os.Args) > 4 && os.Args[1] == chaosMark {
		os.Exit(chaosMember(os.Args[2:]))
	}
	code := m.Run()
	if dir, _ := binaries(); dir != "" {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// devProcess is a supd dev under test.
type devProcess struct {
	cmd    *exec.Cmd
	dir    string
	ready  string // the address of the ready line
	stderr *bytes.Buffer
}

func startDev(t testing.TB, dir string, args ...string) *devProcess {
	t.Helper()
	return startDevAs(t, 0, dir, args...)
}

// startDevAs starts it as another user; 0 is this one, whoever that is.
func startDevAs(t testing.TB, uid uint32, dir string, args ...string) *devProcess {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return startDevOf(t, bin, uid, dir, args...)
}

// startDevOf starts that of a build.
func startDevOf(t testing.TB, bin string, uid uint32, dir string, args ...string) *devProcess {
	t.Helper()
	p := &devProcess{dir: dir, stderr: new(bytes.Buffer)}
	p.cmd = exec.Command(filepath.Join(bin, "supd"), append([]string{"dev", "--dir", dir}, args...)...)
	p.cmd.Stderr = p.stderr
	if uid != 0 {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(t) })
	s := bufio.NewScanner(out)
	for s.Scan() {
		if addr, ok := strings.CutPrefix(s.Text(), "ready: export SUPCTL_ADDR="); ok {
			p.ready = addr
			return p
		}
	}
	t.Fatalf("supd dev never got ready: %s", p.stderr)
	return nil
}

// end presses Ctrl-C and waits.
func (p *devProcess) end(t testing.TB) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("supd dev: %v: %s", err, p.stderr)
	}
}

// pid reads a pid file of node k; 0 when there is none.
func (p *devProcess) pid(t testing.TB, k int, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, nodeName(k), name))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// alive tells whether a process runs; one that only awaits its burial does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(b), ") ")
	return err == nil && ok && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// until tries f until it gives nil.
func until(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute) // whatever else the machine has to do
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// set is a set that needs nothing but sleep.
func set(replicas int) *spec.StatefulSet {
	s := &spec.StatefulSet{
		APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: "web"},
	}
	s.Spec.Replicas = &replicas
	s.Spec.Volumes = []spec.VolumeSpec{{Name: "data"}}
	s.Spec.Processes = []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"sleep", "3600"}}}}
	spec.Default(s)
	return s
}

func memberPids(t *testing.T, api *client.Client, n int) []int {
	t.Helper()
	var pids []int
	until(t, "members run", func() error {
		ms, _, err := client.List[spec.Member](t.Context(), api, client.Members, client.ReadOptions{})
		if err != nil {
			return err
		}
		pids = nil
		for _, m := range ms {
			if m.Status.Ready && len(m.Status.Processes) == 1 && m.Status.Processes[0].PID > 0 {
				pids = append(pids, m.Status.Processes[0].PID)
			}
		}
		if len(pids) != n {
			return fmt.Errorf("%d of %d members are ready", len(pids), n)
		}
		return nil
	})
	return pids
}

func dial(t testing.TB, addr string) *client.Client {
	t.Helper()
	api, err := client.New(addr, client.Options{RequestTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

func TestDevLife(t *testing.T) {
	t.Parallel()
	// A path longer than a socket address, as homes may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 20))
	p := startDev(t, dir, "--nodes", "3")
	if want := "unix://" + filepath.Join(dir, "node-1", "supd.sock"); p.ready != want {
		t.Errorf("ready: %s, want %s", p.ready, want)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	api := dial(t, p.ready)
	if _, _, err := api.PutStatefulSet(t.Context(), set(3), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	pids := memberPids(t, api, 3)

	t.Log("a second supd dev on the same directory is refused")
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(bin, "supd"), "dev", "--dir", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "already") {
		t.Errorf("got %v: %s", err, out)
	}

	t.Log("a killed keeper is back at once")
	old := p.pid(t, 2, "keeper.pid")
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "another keeper", func() error {
		now := p.pid(t, 2, "keeper.pid")
		if now == old || !alive(now) {
			return fmt.Errorf("keeper.pid holds %d", now)
		}
		k := keeper.Dial(filepath.Join(dir, "node-2", "keeper", "keeper.sock"))
		defer k.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Hello(ctx)
		return err
	})

	t.Log("a killed daemon is not, and touches no member")
	dead := p.pid(t, 3, "supd.pid")
	if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the daemon is dead", func() error {
		if alive(dead) {
			return errors.New("it lives")
		}
		return nil
	})
	by := exec.Command(filepath.Join(bin, "supd"), "run", "--config", filepath.Join(dir, "node-3", "supd.yaml"))
	if err := by.Start(); err != nil {
		t.Fatal(err)
	}
	third := dial(t, "unix://"+filepath.Join(dir, "node-3", "supd.sock"))
	until(t, "brought back by hand", func() error { return third.Ready(t.Context()) })
	if got := memberPids(t, third, 3); fmt.Sprint(got) != fmt.Sprint(pids) {
		t.Errorf("members have pids %v, had %v", got, pids)
	}

	t.Log("Ctrl-C stops members, daemons and keepers, whoever started them")
	var keepers, daemons []int
	for k := 1; k <= 3; k++ {
		keepers = append(keepers, p.pid(t, k, "keeper.pid"))
		daemons = append(daemons, p.pid(t, k, "supd.pid"))
	}
	p.end(t)
	if err := by.Wait(); err != nil {
		t.Errorf("the daemon brought back by hand: %v", err)
	}
	for what, list := range map[string][]int{"member": pids, "keeper": keepers, "daemon": daemons} {
		for _, pid := range list {
			if alive(pid) {
				t.Errorf("%s %d still runs", what, pid)
			}
		}
	}

	t.Log("the same directory resumes, with as many nodes, and members start again")
	again := startDev(t, dir, "--detach-members")
	if again.ready != p.ready {
		t.Errorf("ready: %s, was %s", again.ready, p.ready)
	}
	pids = memberPids(t, api, 3)

	t.Log("--detach-members leaves members and keepers")
	again.end(t)
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("member %d was stopped", pid)
		}
	}
	last := startDev(t, dir)
	if got := memberPids(t, api, 3); fmt.Sprint(got) != fmt.Sprint(pids) {
		t.Errorf("members have pids %v, had %v", got, pids)
	}
	last.end(t)
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("member %d still runs", pid)
		}
	}
}

// A keeper that the daemon started just before its own end does not answer yet, and is stopped all the same.
func TestDevStopsAKeeperThatComes(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	n := &devNode{name: nodeName(1), dir: t.TempDir()}
	n.cfg.DataDir, n.cfg.Socket = n.dir, filepath.Join(n.dir, "supd.sock")
	if err := n.connect(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(n.cfg.KeeperSocket())
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `sleep 0.3; exec "$0" run --dir "$1"`, filepath.Join(bin, "supd-keeper"), dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // ended by now, or the test has failed
	if err := os.WriteFile(filepath.Join(n.dir, "keeper.pid"), fmt.Appendln(nil, cmd.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c := &devCluster{app: &app{stdout: io.Discard, stderr: io.Discard}, nodes: []*devNode{n}}
	if err := c.stop(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the keeper runs on")
	}
	if pid := n.noted(); pid != 0 {
		t.Errorf("keeper %d is noted still", pid)
	}
}

func TestDevStopsMembersWithoutQuorum(t *testing.T) {
	t.Parallel()
	p := startDev(t, t.TempDir(), "--nodes", "3")
	api := dial(t, p.ready)
	if _, _, err := api.PutStatefulSet(t.Context(), set(3), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	pids := memberPids(t, api, 3)
	for k := 2; k <= 3; k++ {
		if err := syscall.Kill(p.pid(t, k, "supd.pid"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	p.end(t)
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("member %d still runs", pid)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]int{
		"":                              exitUsage,
		"bogus":                         exitUsage,
		"run --bogus":                   exitUsage,
		"run --api 0.0.0.0:1":           exitUsage,
		"dev --nodes 0":                 exitUsage,
		"dev --address-plan pool":       exitUsage,
		"config --config /nonexistent":  exitUsage,
		"version":                       exitOK,
		"config --name n --lease 20s":   exitOK,
		"config --name n --lease short": exitUsage,
	} {
		var stdout, stderr bytes.Buffer
		if got := run(strings.Fields(args), &stdout, &stderr); got != want {
			t.Errorf("supd %s: exit %d, want %d: %s", args, got, want, &stderr)
		} else if got != exitOK && !strings.HasPrefix(stderr.String(), "supd: ") {
			t.Errorf("supd %s: %q", args, &stderr)
		}
	}
}

func TestConfigPrintsWhatItReads(t *testing.T) {
	t.Parallel()
	var first, stderr bytes.Buffer
	if run([]string{"config", "--name", "n", "--labels", "Disk=SSD,rack=r1", "--join", "127.0.0.1:1,127.0.0.1:2"}, &first, &stderr) != exitOK {
		t.Fatal(&stderr)
	}
	file := filepath.Join(t.TempDir(), "supd.yaml")
	if err := os.WriteFile(file, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var second bytes.Buffer
	if run([]string{"config", "--config", file}, &second, &stderr) != exitOK {
		t.Fatal(&stderr)
	}
	if first.String() != second.String() {
		t.Errorf("got\n%s\nfrom\n%s", &second, &first)
	}
}
