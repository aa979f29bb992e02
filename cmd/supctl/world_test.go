package main_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type worldKey struct{}

// world is one script's cluster.
type world struct {
	errorf   func(format string, args ...any) // fails the script, at its end too
	bin, dir string
	dev      *exec.Cmd
	devDone  chan error
	nodes    []*exec.Cmd
	hosts    []*host
	deferred bool
	boots    int      // of nodes that were cut off power
	uid      uint32   // who runs supd; 0: who runs the tests
	witness  *witness // of the set that is followed
}

func worldOf(ts *testscript.TestScript) *world {
	w, ok := ts.Value(worldKey{}).(*world)
	if !ok {
		ts.Fatalf("no world")
	}
	return w
}

// start runs supd dev and waits for its ready line; it returns the address.
func (w *world) start(ctx context.Context, args ...string) (string, error) {
	if err := os.MkdirAll(w.dir, 0o711); err != nil {
		return "", err
	}
	log, err := os.OpenFile(w.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	defer log.Close()
	w.dev = exec.Command(filepath.Join(w.bin, "supd"), append([]string{"dev", "--dir", w.dir}, args...)...)
	w.dev.Env = append(os.Environ(), "PATH="+w.bin+":"+os.Getenv("PATH"))
	w.dev.Stderr = log
	w.dev.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if w.uid != 0 {
		if err := os.Chown(w.dir, int(w.uid), int(w.uid)); err != nil {
			return "", err
		}
		w.dev.SysProcAttr.Credential = &syscall.Credential{Uid: w.uid, Gid: w.uid}
	}
	out, err := w.dev.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := w.dev.Start(); err != nil {
		return "", err
	}
	addr := make(chan string, 1)
	w.devDone = make(chan error, 1)
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if _, a, ok := strings.Cut(sc.Text(), "ready: export SUPCTL_ADDR="); ok {
				addr <- a
			}
		}
		w.devDone <- w.dev.Wait()
	}()
	select {
	case a := <-addr:
		return a, nil
	case err := <-w.devDone:
		w.dev = nil
		return "", fmt.Errorf("supd dev ended before it was ready: %v\n%s", err, w.log())
	case <-time.After(startTimeout):
		return "", fmt.Errorf("supd dev was not ready after %s\n%s", startTimeout, w.log())
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (w *world) log() string {
	b, err := os.ReadFile(w.dir + ".log")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// stop ends the cluster as Ctrl-C does, and tells whether anything is left running.
func (w *world) stop() error {
	var errs []error
	if w.dev != nil {
		if err := w.dev.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		select {
		case err := <-w.devDone:
			if err != nil {
				errs = append(errs, fmt.Errorf("supd dev: %w\n%s", err, w.log()))
			}
		case <-time.After(stopTimeout):
			errs = append(errs, fmt.Errorf("supd dev had not ended %s after SIGINT\n%s", stopTimeout, w.log()), w.dev.Process.Kill())
			<-w.devDone
		}
		w.dev = nil
	}
	for _, n := range w.nodes {
		if err := n.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		_ = n.Wait() // how a daemon ended that may have been killed is not told
	}
	w.nodes = nil
	errs = append(errs, w.stopHosts())
	if left := w.leftovers(); len(left) > 0 {
		errs = append(errs, fmt.Errorf("still running after the end:\n%s", strings.Join(left, "\n")))
	}
	return errors.Join(errs...)
}

// leftovers kills, by its pid, every process that still belongs to this cluster, and
// names it.
func (w *world) leftovers() (left []string) {
	procs, err := processesIn(w.dir)
	if err != nil {
		return []string{err.Error()}
	}
	for pid, cmdline := range procs {
		left = append(left, fmt.Sprintf("%d %s", pid, cmdline))
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
	}
	return left
}

// processesIn are the command lines of all that belongs to a directory, by pid. Members have a variable
// or argument that names it, or work in it.
func processesIn(dir string) (map[int]string, error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		cmdline, err := os.ReadFile(p + "/cmdline")
		if err != nil || pid == os.Getpid() {
			continue // gone meanwhile
		}
		environ, _ := os.ReadFile(p + "/environ") // not readable: not ours
		cwd, _ := os.Readlink(p + "/cwd")         // some write their title over their environment
		mark := dir + "/"
		if strings.Contains(string(cmdline), mark) || envHas(environ, mark) || strings.HasPrefix(cwd, mark) {
			found[pid] = strings.ReplaceAll(string(cmdline), "\x00", " ")
		}
	}
	return found, nil
}

// envHas looks in what supd itself sets for members.
func envHas(environ []byte, mark string) bool {
	for kv := range strings.SplitSeq(string(environ), "\x00") {
		if strings.HasPrefix(kv, "SUP_VOLUME_") && strings.Contains(kv, mark) {
			return true
		}
	}
	return false
}

// deferStop ends all that runs when the script does.
func (w *world) deferStop(ts *testscript.TestScript) {
	if w.deferred {
		return
	}
	w.deferred = true
	ts.Defer(func() {
		for _, log := range w.logs() { // of daemons that were started by hand: the others are in supd dev's own
			ts.Logf("%s", log)
		}
		if err := w.stop(); err != nil {
			w.errorf("at the end: %v", err)
		}
	})
}

// logs are the ends of what daemons that were started by hand have written.
func (w *world) logs() (out []string) {
	files, _ := filepath.Glob(w.dir + "-node-*.log") // the pattern is well
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			b = []byte(err.Error())
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		out = append(out, filepath.Base(f)+":\n"+strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
	return out
}
