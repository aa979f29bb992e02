package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// How often it is looked whether all is gone where nothing tells: pauses double from first to last.
const (
	drainFirst = 2 * time.Millisecond
	drainLast  = 250 * time.Millisecond
	drainTold  = time.Second // the kernel tells; this is for a notice missed
)

// leftBehind says what is left of a process whose main process is dead.
type leftBehind struct {
	cgroup bool       // its cgroup holds somebody
	procs  []procStat // certainly the process's own
	locked bool       // the lock is held, if procs is empty by nobody who can be seen
	maybe  []procStat // in a group of its number, but perhaps strangers: not signalled
}

func (l leftBehind) none() bool {
	return !l.cgroup && len(l.procs) == 0 && len(l.maybe) == 0 && !l.locked
}

func (l leftBehind) String() string {
	switch {
	case len(l.procs) > 0:
		return "process " + pidList(l.procs) + " of it still runs"
	case l.cgroup:
		return "its cgroup is not empty"
	case len(l.maybe) > 0:
		return "process " + pidList(l.maybe) + " may be of its group"
	case l.locked:
		return "its lock is held by a process that can't be seen"
	}
	return "nothing of it is left"
}

// left looks for what is left.
func (p *process) left() (leftBehind, error) {
	if dir := p.cgroup(); dir != "" {
		full, err := populated(dir)
		if err != nil {
			return leftBehind{cgroup: full}, err
		}
		if full {
			procs, err := cgroupProcs(dir)
			return leftBehind{cgroup: true, procs: procs}, err
		}
		if procs, err := p.lastAlive(); err != nil || len(procs) > 0 {
			return leftBehind{procs: procs}, err
		}
	} else if l, err := p.leftGroup(); err != nil || !l.none() {
		return l, err
	}
	free, err := lockFree(p.lockPath())
	if err != nil || free {
		return leftBehind{}, err
	}
	procs, err := lockHolders(p.lockPath())
	return leftBehind{procs: procs, locked: true}, err
}

// leftGroup looks for processes of the dead main process's group or session.
func (p *process) leftGroup() (leftBehind, error) {
	pgid := p.last.pid
	if pgid == 0 || errors.Is(unix.Kill(-pgid, 0), unix.ESRCH) {
		return leftBehind{}, nil
	}
	if s, err := readStat(pgid); err == nil && s.ticks != p.last.ticks {
		return leftBehind{}, nil // the number is used again, which the kernel does only after all of the group had gone
	}
	procs, err := groupOf(pgid)
	if err != nil {
		return leftBehind{}, err
	}
	var l leftBehind
	lock, err := fileIDOf(p.lockPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return leftBehind{}, err
	}
	for _, s := range procs {
		switch {
		case s.ticks < p.last.ticks:
		case p.lastOwn, holds(s.pid, lock), holdsDeleted(s.pid, p.lockPath()):
			l.procs = append(l.procs, s)
		default:
			l.maybe = append(l.maybe, s)
		}
	}
	return l, nil
}

// kill kills all that is left and certainly the process's own.
func (p *process) kill(l leftBehind) error {
	if l.cgroup {
		p.killed = true
		return killCgroup(p.cgroup())
	}
	var err error
	for _, s := range l.procs {
		err = errors.Join(err, signalProcess(s, unix.SIGKILL))
	}
	return err
}

// drain waits until nothing is left of a process whose main process is dead, kills what may be killed, and goes on to
// what comes then: Stopped, Failed or the next start.
func (p *process) drain() {
	p.quietDrain()
	l, err := p.left()
	if err == nil && l.none() {
		p.drained()
		return
	}
	if err == nil {
		err = p.clear(l)
	}
	if err != nil {
		p.trouble = err.Error()
	} else {
		p.trouble = l.String()
	}
	p.show()
	p.note()
	p.await()
}

// clear kills what is left, or in a stop that has time yet only what is beside the process.
func (p *process) clear(l leftBehind) error {
	if p.status.State == Stopping && time.Now().Before(p.killAt) {
		if l.cgroup {
			return killCgroup(filepath.Join(p.cgroup(), "aux"))
		}
		return nil
	}
	return p.kill(l)
}

// quietDrain forgets what an earlier drain has waited for.
func (p *process) quietDrain() {
	poll := p.poll
	p.quiet()
	p.poll = poll
}

// await calls drain again when something has changed.
func (p *process) await() {
	p.poll = min(max(2*p.poll, drainFirst), drainLast)
	wait := p.poll
	p.k.setDraining(p, true)
	if dir := p.cgroup(); dir != "" && p.watchCgroup(dir) {
		wait = drainTold
	}
	if left := time.Until(p.killAt); p.status.State == Stopping && left > 0 {
		wait = min(wait, left)
	}
	p.later(wait, p.drain)
}

// watchCgroup has drain called when the cgroup turns empty. False if that can't be had.
func (p *process) watchCgroup(dir string) bool {
	fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	var b [256]byte
	if _, err := unix.Pread(fd, b[:], 0); err != nil { // from here on changes are told
		unix.Close(fd)
		return false
	}
	seq := p.seq
	cancel, err := p.k.watch.add(fd, unix.EPOLLPRI, func() { p.locked(seq, p.drain) })
	if err != nil {
		unix.Close(fd)
		return false
	}
	p.unhook = func() { cancel(); unix.Close(fd) }
	// It may have turned empty between the look that led here and the read above.
	full, err := populated(dir)
	if err != nil || !full {
		p.later(0, p.drain)
	}
	return true
}

// drained goes on when nothing is left.
func (p *process) drained() {
	p.poll, p.trouble = 0, ""
	p.leavePlace()
	switch {
	case p.want == wantStop:
		p.finish(Stopped)
	case p.want == wantFail:
		p.finish(Failed)
	case p.status.State == Stopping && p.again:
		p.again = false
		p.dead(time.Since(p.status.StartedAt), p.why)
		p.pauseOrStart()
	default:
		p.pauseOrStart()
	}
}

// pauseOrStart starts the process if its pause is over.
func (p *process) pauseOrStart() {
	wait := time.Until(p.status.NextStart)
	if p.streak.pause == 0 || wait <= 0 {
		p.restart()
		return
	}
	p.show()
	p.note()
	p.later(wait, p.restart)
}

// restart starts the process in place, from its record.
func (p *process) restart() {
	if err := p.m.mayStart(p.start.Epoch); err != nil {
		p.saveWant(wantStop)
		p.why = err.Error()
		p.finish(Stopped)
		return
	}
	lock, err := p.witnesses()
	if err == nil {
		p.status.Restarts++
		ex := p.spawn(lock)
		if ex == nil {
			p.k.log.Info("restarted in place", "member", p.key.member, "process", p.key.process,
				"epoch", p.start.Epoch, "pid", p.status.PID, "restarts", p.status.Restarts)
			return
		}
		p.status.Restarts--
		err = ex
	}
	if errors.Is(err, ErrNoLease) {
		p.lapsed()
		return
	}
	if errors.Is(err, ErrLocked) || errors.Is(err, ErrBusy) {
		p.quiet()
		p.trouble = fmt.Sprintf("not started: %v", err)
		p.show()
		p.note()
		p.poll = min(max(2*p.poll, drainFirst), drainLast)
		p.later(p.poll, p.drain) // kills what is the process's own, and comes back here
		return
	}
	p.dead(0, err.Error())
	p.show()
	p.note()
	p.later(p.streak.pause, p.drain)
}

// witnesses asks the two that must agree before anything is started, the cgroup empty (or the group) and the lock free,
// and returns the lock, taken.
func (p *process) witnesses() (int, error) {
	if err := p.k.mustBeMine(); err != nil {
		return -1, err
	}
	dir := p.cgroup()
	if dir == "" {
		if err := p.k.limitless(p.start.Limits); err != nil {
			return -1, &ErrExec{"limits", err}
		}
		l, err := p.leftGroup()
		if err != nil {
			return -1, err
		}
		if !l.none() {
			return -1, fmt.Errorf("%w: %s: %s", ErrBusy, p.key, l)
		}
		return takeOrphanedLock(p.lockPath())
	}
	full, err := populated(dir)
	if err == nil && full {
		err = p.emptyAux(dir)
	}
	if err != nil {
		return -1, err
	}
	procs, err := p.lastAlive()
	if err != nil {
		return -1, err
	}
	if len(procs) > 0 {
		return -1, fmt.Errorf("%w: %s: process %s runs outside of its cgroup", ErrBusy, p.key, pidList(procs))
	}
	if err := p.freshCgroup(dir); err != nil {
		return -1, &ErrExec{"cgroup", err}
	}
	if err := mustNotBeFrozen(dir); err != nil {
		p.dropCgroup()
		return -1, fmt.Errorf("%w: %s: %w", ErrBusy, p.key, err)
	}
	if err := p.k.cg.limit(dir, p.start.Limits); err != nil {
		p.dropCgroup()
		return -1, &ErrExec{"limits", err}
	}
	return takeLock(p.lockPath())
}

// freshCgroup makes the empty cgroup ready for a start. One that was ever killed is made anew: Linux (seen with 6.18) kills
// everything that is forked right into it for ever after, taking the fork for one that raced with the kill. So is one
// that counts kills of the kernel's, which must not be taken for those of the next life, and one that somebody froze.
func (p *process) freshCgroup(dir string) error {
	if p.killed || p.k.lease.killed(p) || readMemoryEvents(dir).kills > 0 || mustNotBeFrozen(dir) != nil {
		if err := removeCgroup(dir); err != nil {
			return err
		}
	}
	if err := makeCgroup(dir); err != nil {
		return err
	}
	p.killed = false
	return nil
}

// emptyAux kills what runs beside the process. It fails with ErrBusy if the process itself runs.
func (p *process) emptyAux(dir string) error {
	procs, err := cgroupProcs(dir)
	if err != nil {
		return err
	}
	if len(procs) > 0 {
		return fmt.Errorf("%w: %s: process %s is in its cgroup", ErrBusy, p.key, pidList(procs))
	}
	if err := killCgroup(filepath.Join(dir, "aux")); err != nil {
		return err
	}
	return waitEmpty(dir)
}
