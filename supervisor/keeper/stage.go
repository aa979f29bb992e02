package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stageConfig is what the keeper hands its stage, through a memory file.
type stageConfig struct {
	Exec
	Lock   bool   `json:"lock,omitempty"`   // LockFD is the lock, to be inherited
	Cgroup string `json:"cgroup,omitempty"` // to be entered
	Self   bool   `json:"self,omitempty"`   // the program is this binary
}

// stageSteps are done in this order. What needs root comes before the user is changed; the working directory after, so
// that one the user may not enter is told.
var stageSteps = []struct {
	name string
	do   func(*stageConfig) error
}{
	{"cgroup", stageCgroup},
	{"mount", onExec(stageMounts)},
	{"hostname", onExec(stageHostname)},
	{"nice", onExec(stageNice)},
	{"rlimit", stageRlimits},
	{"capabilities", onExec(stageBounding)},
	{"capabilities", onExec(stageKeepCaps)},
	{"user", onExec(stageUser)},
	{"capabilities", onExec(stageAmbient)},
	{"umask", onExec(stageUmask)},
	{"chdir", stageDir},
	{"no_new_privs", onExec(stageNoNewPrivs)},
	{"descriptors", stageDescriptors},
}

func onExec(f func(*Exec) error) func(*stageConfig) error {
	return func(c *stageConfig) error { return f(&c.Exec) }
}

// stage is the process between the keeper's fork and the program: in namespaces of its own already, it sets up the rest
// and becomes the program. What fails is told through a pipe that a successful exec closes.
func stage() int {
	debug.SetGCPercent(-1)
	runtime.LockOSThread() // user and no_new_privs are a thread's own; exec is from this one
	unix.CloseOnExec(stageErrorFD)
	step, err := runStage()
	ex := &ErrExec{step, err}
	b, err := json.Marshal(toWire(ex))
	if err == nil {
		_, err = unix.Write(stageErrorFD, append(b, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "supd-keeper stage:", ex)
	}
	return 127
}

func runStage() (string, error) {
	var c stageConfig
	b, err := io.ReadAll(io.NewSectionReader(os.NewFile(stageConfigFD, "config"), 0, maxLine))
	if err != nil {
		return "stage", err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return "stage", err
	}
	for _, s := range stageSteps {
		if err := s.do(&c); err != nil {
			return s.name, err
		}
	}
	path, err := lookPath(&c.Exec, c.Env)
	if c.Self {
		path, err = selfExe, nil
	}
	if err != nil {
		return "exec", err
	}
	return "exec", execError(&c.Exec, path, syscall.Exec(path, c.Argv, c.Env))
}

func stageCgroup(c *stageConfig) error {
	if c.Cgroup == "" {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(c.Cgroup, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("0")
	return errors.Join(err, f.Close())
}

func stageHostname(c *Exec) error {
	if c.Hostname == "" {
		return nil
	}
	return unix.Sethostname([]byte(c.Hostname))
}

func stageNice(c *Exec) error {
	if c.Nice == nil {
		return nil
	}
	return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, *c.Nice))
}

// rlimits are the names that Exec.Rlimits may use.
var rlimits = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
	"sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// RlimitNames are all that Exec.Rlimits may name, sorted.
func RlimitNames() []string { return slices.Sorted(maps.Keys(rlimits)) }

func stageRlimits(c *stageConfig) error {
	names := make([]string, 0, len(c.Rlimits))
	for n := range c.Rlimits {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		v := c.Rlimits[n]
		// The syscall package's own call: it also forgets the limit that its Exec would put back.
		if err := syscall.Setrlimit(rlimits[n], &syscall.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("%s to %d: %w", n, v, err)
		}
	}
	return nil
}

// stageUser changes this thread's user only: it is the one that becomes the program.
func stageUser(c *Exec) error {
	cred := credential(c)
	if cred == nil {
		return nil
	}
	var groups unsafe.Pointer
	if len(cred.Groups) > 0 {
		groups = unsafe.Pointer(&cred.Groups[0])
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(cred.Groups)), uintptr(groups), 0); e != 0 {
		return fmt.Errorf("groups %v: %w", cred.Groups, e)
	}
	gid, uid := uintptr(cred.Gid), uintptr(cred.Uid)
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return fmt.Errorf("group %d: %w", cred.Gid, e)
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return fmt.Errorf("user %d: %w", cred.Uid, e)
	}
	return nil
}

func stageUmask(c *Exec) error {
	if c.Umask >= 0 {
		unix.Umask(c.Umask)
	}
	return nil
}

func stageDir(c *stageConfig) error {
	dir := workDir(&c.Exec)
	err := os.Chdir(dir)
	if errors.Is(err, unix.EACCES) {
		if why := whoIs(&c.Exec).barred(dir+"/.", 0); why != "" {
			return fmt.Errorf("%s: %s: %w", dir, why, unix.EACCES)
		}
	}
	return err
}

func stageNoNewPrivs(c *Exec) error {
	if !c.NoNewPrivs {
		return nil
	}
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
}

func stageDescriptors(c *stageConfig) error {
	if err := keepNothing(); err != nil || !c.Lock {
		return err
	}
	_, err := unix.FcntlInt(LockFD, unix.F_SETFD, 0)
	return os.NewSyscallError("fcntl", err)
}

// checkExec refuses what can't be meant, before anything is done.
func checkExec(e *Exec) error {
	if len(e.Argv) == 0 || e.Argv[0] == "" {
		return invalid("there is no command")
	}
	if e.Dir != "" && !filepath.IsAbs(e.Dir) {
		return invalid("the working directory %q is not absolute", e.Dir)
	}
	for _, s := range slices.Concat(e.Argv, e.Env, []string{e.Dir, e.Hostname}) {
		if strings.IndexByte(s, 0) >= 0 {
			return invalid("an argument or variable holds a zero byte")
		}
	}
	for n := range e.Rlimits {
		if _, ok := rlimits[n]; !ok {
			return invalid("%q is not a limit", n)
		}
	}
	if _, err := capabilitySet(e.Capabilities); err != nil {
		return err
	}
	if err := checkView(e); err != nil {
		return err
	}
	for _, s := range e.Secrets {
		if s.Name == "" || strings.ContainsAny(s.Name, "=\x00") || !filepath.IsAbs(s.File) {
			return invalid("the secret %q from %q", s.Name, s.File)
		}
	}
	return nil
}

func checkView(e *Exec) error {
	for _, m := range e.Mounts {
		if !filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Target) || m.Beneath != "" && !filepath.IsAbs(m.Beneath) {
			return invalid("the mount of %q on %q is not absolute", m.Source, m.Target)
		}
	}
	for _, p := range e.ReadOnlyPaths {
		if !filepath.IsAbs(p) {
			return invalid("the read-only path %q is not absolute", p)
		}
	}
	return nil
}
