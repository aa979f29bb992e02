package keeper

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors of the stage, beside 0-2 and LockFD.
const (
	stageConfigFD = 3
	stageErrorFD  = 4
	stageCgroupFD = 5 // only if it has to be passed
)

// launcher turns an Exec into a child process.
type launcher struct {
	null        int  // /dev/null
	reserved    bool // LockFD is
	reaper      *reaper
	standing    standing     // what of the keeper's own must not be inherited
	forking     sync.Mutex   // held over a fork: LockFD is this child's
	noCloneInto atomic.Bool  // the kernel can't fork into a cgroup: the stage moves itself
	threads     atomic.Int32 // that set something up, or hang
}

// launch is what one child needs beside its Exec.
type launch struct {
	exec   *Exec
	out    int    // descriptor of stdout and stderr
	lock   int    // descriptor of the lock, -1 = none
	cgroup string // directory, "" = none
	// Of a session only.
	stdio *[3]int     // in place of /dev/null and out
	tty   bool        // stdio is a terminal, to be the controlling one
	self  bool        // the program is the keeper's own binary
	join  []namespace // entered first
	// inside is the cgroup's descriptor where it has to be entered from within those; 0 = not.
	inside int
	may    func() error // asked right before the fork; nil = it may
}

// needsStage tells whether something is asked that belongs to a process, so that only the child itself can set it up.
func (l *launcher) needsStage(n launch) bool {
	return len(n.exec.Rlimits) > 0 || (l.noCloneInto.Load() && n.cgroup != "")
}

// start forks c, which has its callbacks set. They may run before start returns.
func (l *launcher) start(n launch, c *child) *ErrExec {
	n.exec = l.standing.nices(n.exec)
	env, err := withSecrets(n.exec)
	if err != nil {
		return &ErrExec{"secret", err}
	}
	switch {
	case l.needsStage(n) && len(n.join) > 0:
		return l.stagedInside(n, env, c)
	case l.needsStage(n):
		return l.staged(n, env, c)
	case needsThread(n.exec) || len(n.join) > 0:
		return l.onThread(n.exec, n.join, func() *ErrExec { return l.direct(n, env, c) })
	}
	return l.direct(n, env, c)
}

// stagedInside is staged in other namespaces. The cgroup is opened first: it may be read-only there.
func (l *launcher) stagedInside(n launch, env []string, c *child) *ErrExec {
	if n.cgroup != "" && l.noCloneInto.Load() {
		dir, err := unix.Open(n.cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &ErrExec{"cgroup", &os.PathError{Op: "open", Path: n.cgroup, Err: err}}
		}
		defer unix.Close(dir)
		n.inside = dir
	}
	return l.onThread(&Exec{Umask: -1}, n.join, func() *ErrExec { return l.staged(n, env, c) })
}

// direct forks and execs the program, in the view and with the properties of this thread.
func (l *launcher) direct(n launch, env []string, c *child) *ErrExec {
	path, err := lookPath(n.exec, env)
	if n.self {
		path, err = selfExe, nil
	}
	if err != nil {
		return &ErrExec{"exec", err}
	}
	attr := &syscall.ProcAttr{
		Dir: workDir(n.exec), Env: env, Files: l.files(n),
		Sys: &syscall.SysProcAttr{Credential: credential(n.exec), AmbientCaps: ambient(n.exec)},
	}
	err = l.fork(n, path, n.exec.Argv, attr, c)
	if errors.Is(err, unix.ENOSYS) && n.cgroup != "" {
		l.noCloneInto.Store(true) // before Linux 5.7, or forbidden by a sandbox
		return l.staged(n, env, c)
	}
	return diagnose(n.exec, path, err)
}

// files lays out the child's descriptors, beside the lock's.
func (l *launcher) files(n launch, more ...int) []uintptr {
	files := []uintptr{uintptr(l.null), uintptr(n.out), uintptr(n.out)}
	if n.stdio != nil {
		files = []uintptr{uintptr(n.stdio[0]), uintptr(n.stdio[1]), uintptr(n.stdio[2])}
	}
	for _, fd := range more {
		files = append(files, uintptr(fd))
	}
	return files
}

// staged starts the keeper's own binary, which sets up what is asked and then becomes the program.
func (l *launcher) staged(n launch, env []string, c *child) *ErrExec {
	cfg := stageConfig{Exec: *n.exec, Lock: n.lock >= 0, Self: n.self}
	cfg.Env, cfg.Secrets = env, nil
	if l.noCloneInto.Load() {
		cfg.Cgroup = n.cgroup
	}
	var more []int
	if n.inside > 0 {
		cfg.Cgroup, more = "/proc/self/fd/"+strconv.Itoa(stageCgroupFD), []int{n.inside}
	}
	config, err := memfd(cfg)
	if err != nil {
		return &ErrExec{"stage", err}
	}
	defer unix.Close(config)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return &ErrExec{"stage", os.NewSyscallError("pipe2", err)}
	}
	r := os.NewFile(uintptr(p[0]), "stage")
	defer r.Close()
	var clone uintptr
	if needsView(n.exec) {
		clone |= unix.CLONE_NEWNS
	}
	if n.exec.Hostname != "" {
		clone |= unix.CLONE_NEWUTS
	}
	attr := &syscall.ProcAttr{Dir: "/", Files: l.files(n, append([]int{config, p[1]}, more...)...), Sys: &syscall.SysProcAttr{Cloneflags: clone}}
	err = l.fork(n, selfExe, []string{"supd-keeper", "stage"}, attr, c)
	unix.Close(p[1])
	if err != nil {
		var ex *ErrExec
		switch {
		case errors.As(err, &ex):
			return ex
		case errors.Is(err, unix.EPERM) && clone != 0:
			return &ErrExec{"namespace", fmt.Errorf("mounts and a host name need root: %w", err)}
		}
		return &ErrExec{"stage", err}
	}
	return stageVerdict(r, c)
}

// stageVerdict waits until the stage has become the program or says why not.
func stageVerdict(r *os.File, c *child) *ErrExec {
	if err := r.SetReadDeadline(time.Now().Add(setupTimeout)); err != nil {
		return &ErrExec{"stage", errors.Join(err, signalFD(c.pidfd, unix.SIGKILL))}
	}
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if len(line) == 0 && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // end of file: closed by exec
	}
	if err != nil {
		return &ErrExec{"stage", errors.Join(fmt.Errorf("not done after %s", setupTimeout), signalFD(c.pidfd, unix.SIGKILL))}
	}
	var w wireError
	if err := json.Unmarshal(line, &w); err != nil {
		return &ErrExec{"stage", err}
	}
	ex := new(ErrExec)
	if !errors.As(w.err(), &ex) {
		ex = &ErrExec{"stage", w.err()}
	}
	return ex
}

func memfd(v any) (int, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("supd-stage", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for off := 0; off < len(b); {
		n, err := unix.Pwrite(fd, b[off:], int64(off))
		if err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("pwrite", err)
		}
		off += n
	}
	return fd, nil
}

// withSecrets is the environment with the secrets as they are now.
func withSecrets(e *Exec) ([]string, error) {
	if len(e.Secrets) == 0 {
		return e.Env, nil
	}
	env := append(make([]string, 0, len(e.Env)+len(e.Secrets)), e.Env...)
	for _, s := range e.Secrets {
		b, err := os.ReadFile(s.File)
		if err != nil {
			return nil, err
		}
		v := strings.TrimSuffix(string(b), "\n")
		if strings.IndexByte(v, 0) >= 0 {
			return nil, fmt.Errorf("%s holds a zero byte", s.File)
		}
		env = append(env, s.Name+"="+v)
	}
	return env, nil
}

// credential is nil when the child stays the keeper's user, which an ordinary user's keeper may ask for too.
func credential(e *Exec) *syscall.Credential {
	if !e.SetUser {
		return nil
	}
	if os.Geteuid() != 0 && int(e.UID) == os.Geteuid() && int(e.GID) == os.Getegid() {
		return nil
	}
	return &syscall.Credential{Uid: e.UID, Gid: e.GID, Groups: e.Groups}
}

func workDir(e *Exec) string {
	if e.Dir == "" {
		return "/"
	}
	return e.Dir
}

// lookPath finds the program as a shell would, in the PATH of the environment that it is to have.
func lookPath(e *Exec, env []string) (string, error) {
	name := e.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(workDir(e), dir)
		}
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not in PATH (%s): %w", name, path, unix.ENOENT)
}
