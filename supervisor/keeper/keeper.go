package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what a keeper works on.
type Options struct {
	Dir    string // absolute; holds the socket, records, locks, epochs, notify sockets
	Cgroup string // name of the subtree below CGROUP2/supd; "" = no cgroups, unless CgroupRoot is set
	// CgroupRoot is the directory of a cgroup that was delegated to the keeper and holds no processes of its own: the
	// members' are made below, and nothing above is written. "" = below CGROUP2/supd.
	CgroupRoot string
	Version    string // shown by Hello
	Logger     *slog.Logger
	systemd    systemd // who is told that the keeper is ready and lives

	// Binary is the program's file, where a newer one will be found, and Args its arguments, with its name; without them
	// it can't be upgraded.
	Binary string
	Args   []string
	given  *handover // what the keeper was that this one replaces in its process

	clock func() time.Duration // CLOCK_BOOTTIME but in tests
}

func (o Options) socket() string { return files{o.Dir}.socket() }

// Keeper is the server: the parent of a host's member processes. It must be alone in its process, because it reaps every
// child there is.
type Keeper struct {
	opts      Options
	log       *slog.Logger
	files     files
	boot      string
	cg        *cgroups
	noCgroups error // why cg is nil
	launch    *launcher
	watch     *watcher
	logs      *logWatch
	table     *table
	ready     chan struct{}
	busy      chan struct{} // holds one when something was started, see rest
	// sessions are the only thing with a client that the keeper holds for long: child, client's connection, cgroup.
	sessions sessions
	lease    *lease
	// fencers holds one for each member that is just being stopped because the lease lapses.
	fencers chan struct{}
	gate    *gate
	given   *handover // nil: nothing was handed over
	home    *home
	failed  chan error // of what the keeper can't work without

	hup       chan os.Signal
	upgrading sync.Mutex // held by an upgrade

	mu       sync.Mutex // guards what follows; nothing else is locked under it
	members  map[string]*member
	draining map[*process]struct{}
	aux      uint64 // number of the latest Run
	upgrades Upgrades
}

// New makes a keeper. It opens and starts nothing.
func New(o Options) (*Keeper, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("the keeper's directory %q is not absolute", o.Dir)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.clock == nil {
		o.clock = boottime
	}
	return &Keeper{
		opts: o, log: o.Logger, files: files{o.Dir}, ready: make(chan struct{}), busy: make(chan struct{}, 1), gate: newGate(), given: o.given,
		fencers: make(chan struct{}, fencers),
		home:    &home{path: o.Dir}, failed: make(chan error, 3), hup: make(chan os.Signal, 1),
		members: map[string]*member{}, draining: map[*process]struct{}{},
	}, nil
}

// Ready is closed when the keeper has adopted what runs and answers on its socket.
func (k *Keeper) Ready() <-chan struct{} { return k.ready }

// Run keeps processes until ctx ends, and returns when all of its own goroutines have. The members are left running, the
// records stay: the next keeper on the directory takes them over. It fails at once if another works on the directory.
func (k *Keeper) Run(ctx context.Context) error {
	closeAll, err := k.open()
	if err != nil {
		return err
	}
	defer closeAll()

	// The loops below end after everything that needs them.
	base, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	k.restore()
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context) error{
		k.launch.reaper.loop, k.watch.loop,
	} {
		loops.Go(func() {
			if err := loop(base); err != nil {
				k.failed <- err
			}
		})
	}
	loops.Go(func() { k.pulse(base, k.opts.systemd) })
	loops.Go(func() { k.rest(base) })
	loops.Go(func() { k.lease.loop(base, k.leaseDue) }) // it waits for nobody, nor for an upgrade
	k.leaseDue()
	if k.given != nil {
		k.resume()
	} else {
		err = k.adopt()
	}
	if err == nil {
		err = k.listen(ctx)
	}
	if terr := k.opts.systemd.tell("STOPPING=1"); terr != nil {
		k.log.Warn("systemd not told", "err", terr)
	}
	k.gate.close()
	k.closeOutputs()
	stopLoops()
	loops.Wait()
	if k.cg != nil && k.opts.CgroupRoot == "" {
		_ = removeCgroup(k.cg.root) // what somebody lives in stays
	}
	return err
}

// open gets what the keeper works with. The caller calls closeAll when it no longer does.
func (k *Keeper) open() (closeAll func(), err error) {
	// A keeper before this one may have been killed before it had synced what it made.
	if err := errors.Join(k.files.make(), k.files.settle()); err != nil {
		return nil, err
	}
	if err := k.lockDir(); err != nil {
		return nil, err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		k.home.close()
		return nil, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	closeAll = func() {
		unix.Close(null)
		k.home.close()
		if k.lease != nil {
			k.lease.close()
		}
		if k.launch != nil && k.launch.reserved {
			unix.Close(LockFD)
		}
		if k.logs != nil {
			unix.Close(k.logs.fd)
		}
	}
	if err := k.prepare(null); err != nil {
		closeAll()
		return nil, err
	}
	return closeAll, nil
}

func (k *Keeper) prepare(null int) (err error) {
	if k.boot, err = bootID(); err != nil {
		return err
	}
	if k.lease, err = openLease(k.files.lease(), k.boot, k.opts.clock, k.log); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if k.opts.Cgroup != "" || k.opts.CgroupRoot != "" {
		if k.cg, err = openCgroups(k.opts.Cgroup, k.opts.CgroupRoot); err != nil {
			k.cg, k.noCgroups = nil, err
			if k.opts.CgroupRoot != "" { // it is there, or whoever was to make it has failed
				return err
			}
			k.log.Warn("no cgroups can be used, members are held by process groups", "err", err)
		}
	}
	if k.watch, err = newWatcher(k.task); err != nil {
		return err
	}
	if k.logs, err = newLogWatch(); err != nil {
		return err
	}
	if err := k.logs.hear(k); err != nil {
		return err
	}
	st, err := newStanding(k.log)
	if err != nil {
		return err
	}
	k.launch = &launcher{null: null, reaper: newReaper(k.gate.taskNow, k.orphan), standing: st}
	if _, err := unix.FcntlInt(LockFD, unix.F_GETFD, 0); err == nil {
		return fmt.Errorf("descriptor %d is in use, which must be the members' locks'", LockFD)
	}
	if err := k.launch.reserveLockFD(); err != nil {
		return fmt.Errorf("cannot have descriptor %d: are so many allowed?: %w", LockFD, err)
	}
	k.launch.reserved = true
	k.table = newTable(time.Now())
	switch {
	case k.given != nil:
		k.table.version = k.given.Table + 1
		k.launch.noCloneInto.Store(k.given.NoCloneInto)
	case k.cg != nil:
		return k.tryCloneInto()
	}
	return nil
}

// tryCloneInto finds out whether a process can be forked right into a cgroup. It can't on old kernels, in some sandboxes,
// and where the keeper's own cgroup has a kill behind it (see freshCgroup). Called before the reaper runs.
func (k *Keeper) tryCloneInto() error {
	dir := filepath.Join(k.cg.root, ".try")
	if err := errors.Join(removeCgroup(dir), os.Mkdir(dir, 0o755)); err != nil {
		return err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	if err := mustNotBeFrozen(dir); err != nil { // a child would never get to its exec
		k.launch.noCloneInto.Store(true)
		k.log.Warn("members move to their cgroups themselves", "err", err)
		return removeCgroup(dir)
	}
	null := uintptr(k.launch.null)
	// A stage with nothing to do ends at once.
	pid, err := syscall.ForkExec(selfExe, []string{"supd-keeper", "stage"}, &syscall.ProcAttr{
		Files: []uintptr{null, null, null}, Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd},
	})
	var ws syscall.WaitStatus
	if err == nil {
		_, err = syscall.Wait4(pid, &ws, 0, nil)
	}
	if err != nil || ws.Signaled() {
		k.launch.noCloneInto.Store(true)
		k.log.Warn("members can't be forked right into their cgroups and move there themselves", "err", err)
	}
	return errors.Join(waitEmpty(dir), removeCgroup(dir))
}

// task runs f in a goroutine that Run waits for. After Run was told to end nothing new is begun.
func (k *Keeper) task(f func()) { k.gate.task(f) }

// lockDir makes sure that one keeper works on the directory.
func (k *Keeper) lockDir() error {
	if k.given != nil {
		return k.home.take(k.given.take(k.given.DirLock))
	}
	return k.home.take(-1)
}

// member finds or makes a member.
func (k *Keeper) member(name string) *member {
	k.mu.Lock()
	m := k.members[name]
	if m != nil {
		k.mu.Unlock()
		return m
	}
	m = &member{name: name, procs: map[string]*process{}}
	m.mu.Lock() // until its epoch is read
	defer m.mu.Unlock()
	k.members[name] = m
	k.mu.Unlock()
	m.floor, m.floorErr = k.files.readEpoch(name)
	return m
}

func (k *Keeper) newProcess(m *member, name string) *process {
	p := &process{k: k, m: m, key: key{m.name, name}, want: wantStop, killed: true}
	p.status = Status{Member: m.name, Process: name, State: Stopped}
	m.procs[name] = p
	return p
}

func (k *Keeper) setDraining(p *process, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if on {
		k.draining[p] = struct{}{}
	} else {
		delete(k.draining, p)
	}
}

// orphan is called when an inherited child has ended: it may be what somebody waits for.
func (k *Keeper) orphan() {
	k.mu.Lock()
	waiting := make([]*process, 0, len(k.draining))
	for p := range k.draining {
		waiting = append(waiting, p)
	}
	k.mu.Unlock()
	for _, p := range waiting {
		p.m.mu.Lock()
		k.mu.Lock()
		_, still := k.draining[p]
		k.mu.Unlock()
		if still {
			p.drain()
		}
		p.m.mu.Unlock()
	}
}

// limitless refuses limits where there are no cgroups.
func (k *Keeper) limitless(l *Limits) error {
	what := strings.Join(l.controllers(), ", ")
	switch {
	case what == "":
		return nil
	case os.Geteuid() != 0:
		return fmt.Errorf("%s cannot be limited: that needs cgroups, and so root: %w", what, unix.EPERM)
	case k.noCgroups != nil:
		return fmt.Errorf("%s cannot be limited: no cgroup v2 can be used here: %w", what, k.noCgroups)
	}
	return fmt.Errorf("%s cannot be limited: this keeper was told to work without cgroups", what)
}

// info is Client.Hello.
func (k *Keeper) info() Info {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := Info{Version: k.opts.Version, Protocol: Protocol, PID: os.Getpid(), Boot: k.boot, Binary: k.opts.Binary, Upgrades: k.upgrades}
	if w := k.lease.word(); w.Deadline != 0 {
		i.Lease = &w
	}
	if k.cg != nil {
		i.Cgroup, i.Controllers = k.cg.root, k.cg.controllers()
	}
	return i
}
