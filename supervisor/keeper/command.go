package keeper

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const usage = `supd-keeper keeps the member processes of one host. supd starts it and talks to it.

  supd-keeper run --dir DIR [--cgroup NAME | --cgroup-root DIR] [--log-file FILE]
  supd-keeper halt --dir DIR [--cgroup NAME | --cgroup-root DIR]
  supd-keeper check-state FILE
  supd-keeper version

run works until SIGTERM or SIGINT and leaves the members running; the next keeper on DIR takes them over.
halt stops all members on DIR, of each set from the last to the first; whether a keeper runs there or not. A supd that
runs starts them again: stop it first.
SIGHUP has it become the binary now on disk, in place: same process, same children. It asks
the new one first, with check-state and the present state in FILE, whether it can go on with that; if not, the old one does.
Exit status: 0 ended as told, 1 failed (also: another keeper works on DIR), 2 wrong usage.
`

// Main is the command supd-keeper: args are without the program's name. It returns the exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "stage": // what it is told comes through a descriptor
		return stage()
	case "run":
		return runMain(args[1:], stderr)
	case "halt":
		return haltMain(args[1:], stderr)
	case "check-state":
		return checkMain(args[1:], stderr)
	case "version":
		fmt.Fprintf(stdout, "supd-keeper %s protocol %d\n", BuildVersion(), Protocol)
		return 0
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "supd-keeper: %q is not a command\n%s", args[0], usage)
	return 2
}

func checkMain(args []string, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err := checkStateMain(args[0]); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// BuildVersion is the version the binary was built from.
func BuildVersion() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := b.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}

func runMain(args []string, stderr io.Writer) int {
	var o Options
	var logFile string
	fs := flag.NewFlagSet("supd-keeper run", flag.ContinueOnError)
	fs.StringVar(&logFile, "log-file", "", "where the keeper's own log is appended; none: standard error")
	if code := o.parse(fs, args, stderr); code != 0 {
		return code
	}
	return verdict(runKeeper(o, logFile, stderr), stderr)
}

func haltMain(args []string, stderr io.Writer) int {
	var o Options
	h := halt{}
	fs := flag.NewFlagSet("supd-keeper halt", flag.ContinueOnError)
	fs.DurationVar(&h.inOrder, "in-order", haltInOrder, "how long members wait for each other; then all that are left stop at once")
	if code := o.parse(fs, args, stderr); code != 0 {
		return code
	}
	return verdict(runHalt(h, o, stderr), stderr)
}

// parse reads the flags that run and halt share, and their own; not 0 is the exit status.
func (o *Options) parse(fs *flag.FlagSet, args []string, stderr io.Writer) int {
	fs.SetOutput(stderr)
	fs.StringVar(&o.Dir, "dir", "", "directory of the socket, records, locks and epochs")
	fs.StringVar(&o.Cgroup, "cgroup", "", "name of the members' subtree below CGROUP2/supd; none: process groups only")
	fs.StringVar(&o.CgroupRoot, "cgroup-root", "", "instead: a delegated cgroup without processes, below which they are")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if o.Dir == "" || fs.NArg() > 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	return 0
}

func verdict(err error, stderr io.Writer) int {
	if err != nil {
		fmt.Fprintln(stderr, "supd-keeper:", err)
		return 1
	}
	return 0
}

func runKeeper(o Options, logFile string, stderr io.Writer) (err error) {
	out := stderr
	if logFile != "" {
		f, err := openOwnLog(logFile, ownLogMax)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	if o.given, err = takeHandover(); err != nil {
		return fmt.Errorf("cannot go on as the keeper before; the next one takes the members over from their records: %w", err)
	}
	if o.given != nil {
		o.Binary = o.given.Binary
	} else if o.Binary, err = startedFrom(); err != nil {
		return err
	}
	o.Args = os.Args
	if err := o.prepare(out); err != nil {
		return err
	}
	o.systemd = startedBy(os.Getenv, os.Getpid())
	k, err := New(o)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	err = k.Run(ctx)
	if err == nil {
		o.Logger.Info("keeper ends, members run on")
	}
	return err
}

func runHalt(h halt, o Options, stderr io.Writer) error {
	if err := o.prepare(stderr); err != nil {
		return err
	}
	h.o, h.log, h.tell = o, o.Logger, startedBy(os.Getenv, os.Getpid()).tell
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	return h.run(ctx)
}

// prepare makes this process one that may be a keeper, and completes what its command line said.
func (o *Options) prepare(log io.Writer) (err error) {
	if err := cleanProcess(); err != nil {
		return err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	o.Version = BuildVersion()
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	debug.SetMemoryLimit(64 << 20) // collects more often rather than grow
	return nil
}

// cleanProcess undoes what the keeper has inherited and its members must not: open descriptors, ignored and blocked
// signals.
func cleanProcess() error {
	if err := unblockSignals(); err != nil { // first: what it starts anew needs what was handed over
		return err
	}
	if err := keepNothing(); err != nil {
		return err
	}
	unix.Close(LockFD) // where a member started the keeper, it is that one's lock; else there is none
	// A signal that is handled, if by nobody, is back to its default after exec; an ignored one stays ignored. SIGPIPE is
	// among them so that a reader of the log who goes away doesn't end the keeper, SIGHUP so that one that comes too early doesn't: see hangups.
	discard := make(chan os.Signal, 1)
	for s := unix.Signal(1); s < 65; s++ {
		switch s {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT:
			continue
		case unix.SIGPIPE, unix.SIGHUP:
			signal.Notify(discard, s)
		default:
			if signal.Ignored(s) {
				signal.Notify(discard, s)
			}
		}
	}
	return defaultSignals()
}

// defaultSignals resets the signals that the signal package does not reach: those of terminals, which the runtime leaves
// as it has found them, and those that the C library keeps for its threads: its posix_spawn leaves them ignored in the
// child (GNU make starts its commands so).
func defaultSignals() error {
	var byDefault [4]uint64 // the kernel's struct sigaction: handler, flags, restorer, mask
	for _, s := range []unix.Signal{unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, 32, 33, 34} {
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
		if errno != 0 {
			return os.NewSyscallError("rt_sigaction", errno)
		}
	}
	return nil
}

// unblockSignals starts the binary anew if it was started with signals blocked, because the runtime keeps the mask it has
// found.
func unblockSignals() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none, old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &old); err != nil {
		return os.NewSyscallError("rt_sigprocmask", err)
	}
	if old == none {
		return nil
	}
	return errors.Join(errors.New("cannot unblock signals"), syscall.Exec(selfExe, os.Args, os.Environ()))
}
