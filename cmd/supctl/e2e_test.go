package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// How long the real world may take on a busy machine.
const (
	startTimeout = 90 * time.Second
	stopTimeout  = 60 * time.Second
	eventually   = 90 * time.Second
	poll         = 50 * time.Millisecond
)

// TestEndToEnd runs the real binaries: testdata/script as a user would, and clients
// that write while leaders are killed.
func TestEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end tests take minutes: skipped by -short")
	}
	bin := build(t)
	examples, err := filepath.Abs("../../configs/examples")
	if err != nil {
		t.Fatal(err)
	}
	root := workRoot(t)
	for _, dir := range []string{"script", "kubernetes", "database"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, scripts("testdata/"+dir, root, bin, examples))
		})
	}
	t.Run("linearizable", func(t *testing.T) {
		t.Parallel()
		linearizable(t, bin, root)
	})
}

// scripts are those of a directory, with the commands that they have beside testscript's.
func scripts(dir, root, bin, examples string) testscript.Params {
	return testscript.Params{
		Dir:         dir,
		WorkdirRoot: root,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("EXAMPLES", examples)
			env.Setenv("BIN", bin)
			t, ok := env.T().(interface {
				Errorf(format string, args ...any)
			})
			if !ok {
				return errors.New("testscript's T has no Errorf")
			}
			env.Values[worldKey{}] = &world{errorf: t.Errorf, bin: bin, dir: filepath.Join(env.WorkDir, "c")}
			env.Setenv("DIR", filepath.Join(env.WorkDir, "c"))
			return os.Chmod(env.WorkDir, 0o755)
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Getuid() == 0, nil
			case "disks":
				return mayMount(), nil
			}
			if path, ok := strings.CutPrefix(cond, "file:"); ok {
				_, err := os.Stat(path)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"cluster":    cmdCluster,
			"binaries":   cmdBinaries,
			"shutdown":   cmdShutdown,
			"killnode":   cmdKillNode,
			"startnode":  cmdStartNode,
			"eventually": cmdEventually,
			"exits":      cmdExits,
			"capture":    cmdCapture,
			"leader":     cmdLeader,
			"pids":       cmdPids,
			"samepids":   cmdSamePids,
			"kill9":      cmdKill9,
			"alive":      cmdAlive,
			"stdouts":    cmdStdouts,
			"ready":      cmdReady,
			"fill":       cmdFill,
			"dirof":      cmdDirOf,
			"nodeof":     cmdNodeOf,
			"healthy":    cmdHealthy,
			"resolves":   cmdResolves,
			"srv":        cmdSRV,
			"pty":        cmdPty,
			"host":       cmdHost,
			"up":         cmdUp,
			"down":       cmdDown,
			"ended":      cmdEnded,
			"spoil":      cmdSpoil,
			"disk":       cmdDisk,
			"follow":     cmdFollow,
			"least":      cmdLeast,
			"serves":     cmdServes,
			"api":        cmdAPI,
			"freeport":   cmdFreePort,
			"powercut":   cmdPowerCut,
			"boot":       cmdBoot,
		},
	}
}

// TestScriptsHaveTheirOwnCommands: testscript's builtins go before commands of the same name.
func TestScriptsHaveTheirOwnCommands(t *testing.T) {
	t.Parallel()
	cmds := scripts("", "", "", "").Cmds
	for name := range strings.FieldsSeq("cd chmod cmp cmpenv cp env exec exists grep kill mkdir mv rm skip stderr stdin stdout stop symlink ttyin ttyout unix2dos unquote wait") {
		if cmds[name] != nil {
			t.Errorf("command %s of the scripts is never run: testscript has one of that name", name)
		}
	}
}

// build makes the three binaries, and what scripts have as members, once.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "supd/cmd/supd", "supd/cmd/supctl", "supd/cmd/supd-keeper",
		"supd/cmd/supctl/testdata/teller", "supd/cmd/supctl/testdata/webserver")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the binaries: %v\n%s", err, out)
	}
	// Members with a user of their own pass through here.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// workRoot is where clusters live: short, for socket paths end at 107 bytes, and
// open, for members with users of their own.
func workRoot(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "supd-e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Errorf("cannot remove %s: %v", root, err)
		}
	})
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// cluster [UID] [ARGS...] starts or resumes the script's cluster.
func cmdCluster(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || w.dev != nil {
		ts.Fatalf("usage: cluster [UID] [--nodes N ...], once at a time")
	}
	if len(args) > 0 {
		if uid, err := strconv.ParseUint(args[0], 10, 32); err == nil {
			w.uid, args = uint32(uid), args[1:]
		}
	}
	w.deferStop(ts)
	addr, err := w.start(context.Background(), args...)
	ts.Check(err)
	ts.Setenv("SUPCTL_ADDR", addr)
}

// binaries DIR gives the script's daemons and keepers binaries of their own, which it may replace.
func cmdBinaries(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) != 1 || w.dev != nil {
		ts.Fatalf("usage: binaries DIR, before cluster")
	}
	ts.Check(os.MkdirAll(args[0], 0o755))
	for _, name := range []string{"supd", "supd-keeper"} {
		b, err := os.ReadFile(filepath.Join(w.bin, name))
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(args[0], name), b, 0o755))
	}
	w.bin = args[0]
}

// shutdown ends the cluster as Ctrl-C does; cluster resumes it. (A command called stop would be testscript's
// own, which ends a script and passes it.)
func cmdShutdown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: shutdown")
	}
	ts.Check(worldOf(ts).stop())
}

// killnode K...: kill -9 of daemons; their keepers and members stay.
func cmdKillNode(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	for _, k := range args {
		pid, err := readPID(filepath.Join(w.dir, "node-"+k, "supd.pid"))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
		ts.Check(until(eventually, func() error {
			if live(pid) {
				return fmt.Errorf("supd of node-%s (pid %d) is still there", k, pid)
			}
			return nil
		}))
		for i, n := range w.nodes {
			if n.Process.Pid == pid {
				_ = n.Wait() // killed
				w.nodes = slices.Delete(w.nodes, i, i+1)
				break
			}
		}
	}
}

// startnode K brings a daemon back by hand.
func cmdStartNode(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	for _, k := range args {
		ts.Check(w.startNode(k))
	}
}

// startNode starts the daemon of a node by hand, below a command that execs what follows it.
func (w *world) startNode(k string, below ...string) error {
	log, err := os.OpenFile(filepath.Join(w.dir+"-node-"+k+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := append(below, filepath.Join(w.bin, "supd"), "run", "--config", filepath.Join(w.dir, "node-"+k, "supd.yaml"))
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if w.uid != 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: w.uid, Gid: w.uid}
	}
	if err := c.Start(); err != nil {
		return err
	}
	w.nodes = append(w.nodes, c)
	return nil
}

// eventually [!] CMD...: until it succeeds (or, with !, fails).
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	want := true
	if len(args) > 0 && args[0] == "!" {
		want, args = false, args[1:]
	}
	try := map[string]func(*testscript.TestScript, []string) error{"exec": tryExec, "stdouts": tryStdouts, "ready": tryReady}[args[0]]
	if try == nil {
		ts.Fatalf("eventually knows exec, stdouts and ready, not %s", args[0])
	}
	ts.Check(until(eventually, func() error {
		err := try(ts, args[1:])
		if (err == nil) != want {
			return fmt.Errorf("%s: %v", strings.Join(args, " "), err)
		}
		return nil
	}))
}

func tryExec(ts *testscript.TestScript, args []string) error { return ts.Exec(args[0], args[1:]...) }

// tryStdouts REGEXP CMD...: it succeeds and prints what matches.
func tryStdouts(ts *testscript.TestScript, args []string) error {
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		return err
	}
	re, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	if out := ts.ReadFile("stdout"); !re.MatchString(out) {
		return fmt.Errorf("no match for %s in %q", args[0], out)
	}
	return nil
}

// tryReady MEMBER [false]: what its node has reported.
func tryReady(ts *testscript.TestScript, args []string) error {
	want := "true"
	if len(args) > 1 {
		want = args[1]
	}
	return tryStdouts(ts, []string{"^" + want + "$", "supctl", "get", "m", args[0], "-o", "jsonpath={.status.ready}"})
}

// healthy N: so many members there are, and each is fully well: ready, and steady too.
func cmdHealthy(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(until(eventually, func() error {
		list, err := listMembers(ts)
		if err != nil {
			return err
		}
		if len(list) != want {
			return fmt.Errorf("%d members, want %d", len(list), want)
		}
		for _, m := range list {
			if !m.Status.Healthy {
				return fmt.Errorf("%s is not healthy: %s, %s", m.Metadata.Name, m.Status.Reason, m.Status.Message)
			}
		}
		return nil
	}))
}

// nodeof VAR SET NODE sets a variable to the member of the set on that node.
func cmdNodeOf(ts *testscript.TestScript, neg bool, args []string) {
	list, err := listMembers(ts)
	ts.Check(err)
	for _, m := range list {
		if strings.HasPrefix(m.Metadata.Name, args[1]+"-") && m.Spec.Node == args[2] {
			ts.Setenv(args[0], m.Metadata.Name)
			return
		}
	}
	ts.Fatalf("no member of %s is on %s", args[1], args[2])
}

// listMembers asks the API of SUPCTL_ADDR.
func listMembers(ts *testscript.TestScript) ([]spec.Member, error) {
	c, err := client.New(ts.Getenv("SUPCTL_ADDR"), client.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, _, err := client.List[spec.Member](context.Background(), c, client.Members, client.ReadOptions{})
	return list, err
}

// dirof VAR VOLUME: where its directory is, once its node has made it.
func cmdDirOf(ts *testscript.TestScript, neg bool, args []string) {
	show := []string{"supctl", "get", "vol", args[1], "-o", "jsonpath={.status.path}"}
	ts.Check(until(eventually, func() error { return tryStdouts(ts, append([]string{"^/."}, show...)) }))
	cmdCapture(ts, false, append(args[:1:1], show...))
}

func cmdStdouts(ts *testscript.TestScript, neg bool, args []string) { ts.Check(tryStdouts(ts, args)) }

func cmdReady(ts *testscript.TestScript, neg bool, args []string) { ts.Check(tryReady(ts, args)) }

// fill FILE...: puts the script's directory in place of @WORK@, that of the binaries in place of @BIN@.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	for _, f := range args {
		s := strings.NewReplacer("@WORK@", ts.Getenv("WORK"), "@BIN@", ts.Getenv("BIN")).Replace(ts.ReadFile(f))
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(s), 0o644))
	}
}

// exits STATUS CMD...: the exact exit status; stdout and stderr may be looked at after.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// capture VAR CMD...: what it prints, without the last newline, into a variable.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(ts.Exec(args[1], args[2:]...))
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// leader VAR: the number of the node that leads, as the node of SUPCTL_ADDR knows it.
func cmdLeader(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(until(eventually, func() error {
		c, err := client.New(ts.Getenv("SUPCTL_ADDR"), client.Options{})
		if err != nil {
			return err
		}
		defer c.Close()
		st, err := c.Cluster(context.Background())
		if err != nil {
			return err
		}
		if st.Leader == "" {
			return errors.New("nobody leads")
		}
		ts.Setenv(args[0], strings.TrimPrefix(st.Leader, "node-"))
		return nil
	}))
}

// members lists "NAME PROCESS PID STARTTIME" of all members, by what the host says.
func members(ts *testscript.TestScript) (string, error) {
	list, err := listMembers(ts)
	if err != nil {
		return "", err
	}
	var out []string
	for _, m := range list {
		for _, p := range m.Status.Processes {
			out = append(out, fmt.Sprintf("%s/%s %s %d %s", m.Metadata.Namespace, m.Metadata.Name, p.Name, p.PID, born(p.PID)))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n", nil
}

// born is a process's start time as the kernel counts it, so that a pid used again
// is seen; "dead" when there is none.
func born(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "dead"
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if fields[0] == "Z" {
		return "dead"
	}
	return fields[19]
}

func live(pid int) bool { return born(pid) != "dead" }

// pids FILE notes who runs.
func cmdPids(ts *testscript.TestScript, neg bool, args []string) {
	s, err := members(ts)
	ts.Check(err)
	if strings.Contains(s, "dead") || len(s) < 2 {
		ts.Fatalf("not all members run:\n%s", s)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(s), 0o644))
}

// samepids FILE: the very same processes run, now, as the host itself says.
func cmdSamePids(ts *testscript.TestScript, neg bool, args []string) {
	for l := range strings.Lines(ts.ReadFile(args[0])) {
		f := strings.Fields(l)
		pid, err := strconv.Atoi(f[2])
		ts.Check(err)
		if got := born(pid); got != f[3] {
			ts.Fatalf("%s (pid %d) was touched: start time %s, was %s", f[0], pid, got, f[3])
		}
	}
	if len(args) > 1 { // and supd says the same
		ts.Check(until(eventually, func() error {
			s, err := members(ts)
			if err == nil && s != ts.ReadFile(args[0]) {
				err = fmt.Errorf("got:\n%swant:\n%s", s, ts.ReadFile(args[0]))
			}
			return err
		}))
	}
}

func cmdKill9(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
}

// alive PID...
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		ts.Check(err)
		if live(pid) == neg {
			ts.Fatalf("process %d lives: %v", pid, !neg)
		}
	}
}

func readPID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// until asks again and again until there is no error, or the time is over.
func until(d time.Duration, ask func() error) error {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("after %s: %w", d, err)
		}
	}
}
