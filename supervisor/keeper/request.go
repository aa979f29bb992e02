package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// mayStart refuses epochs given up.
func (m *member) mayStart(epoch uint64) error {
	if m.floorErr != nil {
		return fmt.Errorf("%w: nothing of %s is started: its epochs given up can't be read: %v", ErrGivenUp, m.name, m.floorErr)
	}
	if epoch <= m.floor {
		return fmt.Errorf("%w: epoch %d of %s: all up to %d are", ErrGivenUp, epoch, m.name, m.floor)
	}
	return nil
}

func checkStart(s *Start) error {
	if err := (key{s.Member, s.Process}).check(); err != nil {
		return err
	}
	if s.Epoch == 0 {
		return invalid("epoch 0 is no epoch")
	}
	if err := checkExec(&s.Exec); err != nil {
		return err
	}
	if err := s.Limits.check(); err != nil {
		return err
	}
	if s.Watchdog < 0 || s.Watchdog > 0 && (s.Watchdog < time.Millisecond || !s.Notify) {
		return invalid("a watchdog needs notify and a period of a millisecond or more")
	}
	if s.Output != "" && s.Output != OutputFile && s.Output != OutputPipe {
		return invalid("%q is no output, want %s or %s", s.Output, OutputFile, OutputPipe)
	}
	return checkSettings(&s.Settings)
}

func checkSettings(s *Settings) error {
	if s.StopTimeout < 0 || s.BackoffFirst < 0 || s.BackoffMax < 0 {
		return invalid("a duration is negative")
	}
	if s.LogMax != 0 && s.LogMax < MinLogMax {
		return invalid("a log of %d bytes at most: it must be %d or more", s.LogMax, MinLogMax)
	}
	if err := s.PreStop.check(); err != nil {
		return err
	}
	_, err := parseSignal(s.StopSignal)
	return err
}

// startProcess is Client.Start.
func (k *Keeper) startProcess(s Start) error {
	if err := checkStart(&s); err != nil {
		return err
	}
	m := k.member(s.Member)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mayStart(s.Epoch); err != nil {
		return err
	}
	if done, err := m.judge(&s); done || err != nil {
		return err
	}
	p := m.procs[s.Process]
	if p == nil {
		p = k.newProcess(m, s.Process)
	}
	return p.begin(s)
}

// judge looks at what is known of the member: whether a start is done already, or refused.
func (m *member) judge(s *Start) (done bool, err error) {
	for _, p := range m.procs {
		if p.bad != nil {
			continue
		}
		if p.start.Epoch > s.Epoch {
			return false, fmt.Errorf("%w: epoch %d of %s: %d was started here", ErrGivenUp, s.Epoch, p.key, p.start.Epoch)
		}
		if p.start.Epoch < s.Epoch && !p.status.Gone() {
			return false, fmt.Errorf("%w: %s is %s in epoch %d", ErrBusy, p.key, p.status.State, p.start.Epoch)
		}
	}
	p := m.procs[s.Process]
	if p == nil || p.bad != nil || p.start.Epoch < s.Epoch || p.status.State == Stopped {
		return false, nil
	}
	if p.status.State == Stopping && !p.again {
		return false, fmt.Errorf("%w: %s is being stopped", ErrBusy, p.key)
	}
	return true, nil
}

// begin makes a process of what was gone or never there.
func (p *process) begin(s Start) error {
	was := p.start
	decided := s.Decided
	s.Decided = 0
	p.start = ask(s)
	p.killed = true // what is left of its cgroup may have other limits
	lock, err := p.witnesses()
	if err == nil {
		p.unfence() // nothing is left of what it was
		if s.Fence {
			err = p.k.lease.join(p, decided)
		}
		if err != nil {
			unix.Close(lock)
		}
	}
	if err != nil {
		p.start = was
		p.discardNew()
		return err
	}
	delete(p.m.runs, p.lockPath()) // the lock is this process's now
	p.want, p.bad, p.status.Fenced = wantRun, nil, false
	if err := p.save(); err != nil {
		p.unfence()
		p.start, p.want = was, wantStop
		p.discardNew()
		return errors.Join(err, unix.Close(lock))
	}
	p.quiet()
	p.poll, p.streak, p.last, p.lastOwn = 0, backoff{}, procStat{}, false
	p.why, p.trouble = "", ""
	p.status = Status{Member: s.Member, Process: s.Process, Epoch: s.Epoch, State: Starting}
	p.show()
	if ex := p.spawn(lock); ex != nil {
		p.saveWant(wantStop)
		p.why = ex.Error()
		p.finish(Stopped)
		if errors.Is(ex, ErrNoLease) {
			return ex.Err
		}
		return ex
	}
	p.k.log.Info("started", "member", s.Member, "process", s.Process, "epoch", s.Epoch, "pid", p.status.PID)
	return nil
}

// discardNew drops a process that was only made to be started, and wasn't.
func (p *process) discardNew() {
	if p.start.Epoch == 0 && p.bad == nil {
		delete(p.m.procs, p.key.process)
	}
}

// existing finds a process and takes its member's lock, which the caller gives back.
func (k *Keeper) existing(member, process string) (*process, error) {
	if err := (key{member, process}).check(); err != nil {
		return nil, err
	}
	m := k.member(member)
	m.mu.Lock()
	if p := m.procs[process]; p != nil {
		return p, nil
	}
	m.mu.Unlock()
	return nil, fmt.Errorf("%w: no record of %s %s", ErrNotFound, member, process)
}

// updateProcess is Client.Update.
func (k *Keeper) updateProcess(member, process string, s Settings) error {
	if err := checkSettings(&s); err != nil {
		return err
	}
	p, err := k.existing(member, process)
	if err != nil {
		return err
	}
	defer p.m.mu.Unlock()
	if p.bad != nil {
		return fmt.Errorf("%w: the record of %s can't be read: %v", ErrInternal, p.key, p.bad)
	}
	was := p.start.Settings
	if s.Fence && !was.Fence && !p.status.Gone() {
		if err := p.k.lease.join(p, 0); err != nil {
			return err
		}
		p.k.lease.lives(p)
	}
	p.start.Settings = s
	if err := p.save(); err != nil {
		p.start.Settings = was
		if !was.Fence {
			p.unfence()
		}
		return err
	}
	if p.output != nil {
		p.output.setMost(s.logMax())
	}
	if !s.Fence && p.want == wantRun {
		p.unfence()
	}
	hurried := p.hurry(s.StopTimeout)
	p.note()
	if s.Fence != was.Fence || (s.PreStop != nil) != p.status.PreStop || hurried {
		p.show()
	}
	return nil
}

// hurry has a stop that is under way end within timeout from now, if that is sooner than it would.
func (p *process) hurry(timeout time.Duration) bool {
	now := time.Now()
	at := now.Add(timeout)
	if p.status.State != Stopping || p.want != wantStop || p.main == nil || !at.Before(p.killAt) {
		return false
	}
	p.killAt, p.killMax = at, now.Add(extendTimes*min(timeout, maxStopCounted))
	p.later(timeout, p.killDue)
	return true
}

// stopProcess is Client.Stop, or Client.Halt.
func (k *Keeper) stopProcess(member, process string, hook bool) error {
	p, err := k.existing(member, process)
	if err != nil {
		return err
	}
	defer p.m.mu.Unlock()
	if p.bad != nil {
		return p.stopUnknown()
	}
	if p.status.Gone() {
		return nil
	}
	// That it is a stop is on disk before the signal is sent, so no crash turns it into a restart.
	stopping := p.status.State == Stopping
	if p.want == wantRun {
		p.saveWant(wantStop)
	}
	p.again = false
	if stopping {
		return nil
	}
	p.k.log.Info("stopping", "member", member, "process", process, "epoch", p.start.Epoch, "pid", p.status.PID)
	if hook && p.start.PreStop != nil && p.status.State == Running && p.main != nil && p.start.StopTimeout > 0 {
		p.haltHooked()
		return nil
	}
	p.halt(p.start.StopTimeout, "")
	return nil
}

// stopUnknown kills what runs in the cgroup of a process whose record can't be read.
func (p *process) stopUnknown() error {
	dir := p.cgroup()
	if dir == "" {
		return fmt.Errorf("%w: the record of %s can't be read (%v): stop its processes by hand", ErrInternal, p.key, p.bad)
	}
	p.killed = true
	if err := killCgroup(dir); err != nil {
		return err
	}
	return waitEmpty(dir)
}

// restartProcess is Client.Restart.
func (k *Keeper) restartProcess(member, process string, timeout time.Duration, reason string) error {
	if timeout < 0 {
		return invalid("the timeout is negative")
	}
	p, err := k.existing(member, process)
	if err != nil {
		return err
	}
	defer p.m.mu.Unlock()
	switch {
	case p.bad != nil || p.status.Gone():
		return fmt.Errorf("%w: %s does not run", ErrNotFound, p.key)
	case p.status.State == Stopping && !p.again:
		return fmt.Errorf("%w: %s is being stopped", ErrBusy, p.key)
	case p.status.State != Running:
		return nil
	}
	p.k.log.Info("restarting", "member", member, "process", process, "epoch", p.start.Epoch, "pid", p.status.PID,
		"reason", reason)
	p.again = true
	p.halt(timeout, reason)
	return nil
}

// halt begins the stop of a process that isn't gone.
func (p *process) halt(timeout time.Duration, why string) {
	p.quiet()
	p.poll = 0
	p.status.State, p.status.NextStart = Stopping, time.Time{}
	p.why, p.trouble = why, ""
	now := time.Now()
	p.killAt, p.killMax = now.Add(timeout), now.Add(extendTimes*min(timeout, maxStopCounted))
	if p.main == nil { // what a dead main process has left behind gets no grace
		p.killAt = time.Now()
		p.drain()
		return
	}
	if timeout == 0 {
		p.killAll()
		return
	}
	sig := p.stopSignal()
	p.grace.set(sig)
	if err := signalFD(p.main.pidfd, sig); err != nil {
		p.trouble = fmt.Sprintf("cannot signal process %d: %v", p.main.stat.pid, err)
	}
	p.later(timeout, p.killDue)
	p.show()
	p.note()
}

// killDue ends the grace of a stop, unless the program has got more time.
func (p *process) killDue() {
	if left := time.Until(p.killAt); left > 0 {
		p.later(left, p.killDue)
		return
	}
	p.killAll()
}

// killAll kills a whole process, its main process alive or not.
func (p *process) killAll() {
	p.grace.set(0)
	if p.main == nil {
		p.drain()
		return
	}
	p.k.log.Warn("killing what did not stop in time", "member", p.key.member, "process", p.key.process,
		"epoch", p.start.Epoch, "pid", p.main.stat.pid)
	if err := p.killMain(); err != nil {
		p.trouble = fmt.Sprintf("cannot kill process %d: %v", p.main.stat.pid, err)
	}
	p.show()
	p.note()
	p.later(drainTold, p.killAll) // its end is told; this is for a kernel that took its time
}

// killMain kills the live main process with all that belongs to it.
func (p *process) killMain() error {
	if dir := p.cgroup(); dir != "" {
		p.killed = true
		err := killCgroup(dir)
		if p.main.own == nil && !p.k.cg.contains(dir, p.main.stat.pid) { // moved out, or started without cgroups
			return errors.Join(err, p.killAdopted())
		}
		return errors.Join(err, signalFD(p.main.pidfd, unix.SIGKILL))
	}
	if p.main.own != nil {
		return p.k.launch.reaper.killGroup(p.main.own)
	}
	return p.killAdopted()
}

// killAdopted kills an adopted main process with its group. That is looked up first: if the leader lives after that, its
// number was not used again.
func (p *process) killAdopted() error {
	group, err := groupOf(p.main.stat.pid)
	if err == nil && !hasExited(p.main.pidfd) {
		for _, s := range group {
			err = errors.Join(err, signalProcess(s, unix.SIGKILL))
		}
	}
	return errors.Join(err, signalFD(p.main.pidfd, unix.SIGKILL))
}

// signalOne is Client.Signal.
func (k *Keeper) signalOne(member, process, name string) error {
	sig, err := parseSignal(name)
	if err != nil || name == "" {
		return invalid("%q is not a signal", name)
	}
	p, err := k.existing(member, process)
	if err != nil {
		return err
	}
	defer p.m.mu.Unlock()
	if p.main == nil {
		return fmt.Errorf("%w: %s does not run", ErrNotFound, p.key)
	}
	if err := signalFD(p.main.pidfd, sig); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", p.main.stat.pid, err)
	}
	return nil
}

// giveUp is Client.GiveUp.
func (k *Keeper) giveUp(name string, epoch uint64, locks []string) error {
	if err := (key{name, "main"}).check(); err != nil {
		return err
	}
	for _, path := range locks {
		if !filepath.IsAbs(path) {
			return invalid("the lock %q is not absolute", path)
		}
	}
	m := k.member(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.floorErr != nil {
		return fmt.Errorf("%w: the epochs given up of %s can't be read: %v", ErrInternal, name, m.floorErr)
	}
	if epoch <= m.floor {
		return nil
	}
	later := false // a higher epoch is here: what runs may be its
	for _, p := range m.procs {
		if err := p.mayGiveUp(epoch); err != nil {
			return err
		}
		later = later || p.bad == nil && p.start.Epoch > epoch
	}
	if err := m.runsLeft(); err != nil {
		return err
	}
	if k.cg != nil && !later {
		full, err := populated(k.cg.member(name))
		if err != nil {
			return err
		}
		if full { // without a record of it
			procs, err := procsBelow(k.cg.member(name))
			if err != nil {
				return err
			}
			if len(procs) > 0 {
				return fmt.Errorf("%w: %s: process %s is in its cgroup", ErrBusy, name, pidList(procs))
			}
			return fmt.Errorf("%w: the cgroup of %s is not empty", ErrBusy, name)
		}
	}
	if !later {
		own, err := k.files.locksOf(name)
		if err != nil {
			return err
		}
		for _, path := range append(own, locks...) {
			if err := mustBeFree(name, path); err != nil {
				return err
			}
		}
	}
	if err := k.mustBeMine(); err != nil {
		return err
	}
	if err := m.saveFloor(k, epoch); err != nil {
		return err
	}
	m.floor = epoch
	return nil
}

// mayGiveUp asks that nothing of the process is left in this epoch or a lower one, by both witnesses.
func (p *process) mayGiveUp(epoch uint64) error {
	if p.bad == nil && p.start.Epoch > epoch {
		return nil
	}
	if !p.status.Gone() {
		return fmt.Errorf("%w: %s is %s in epoch %d", ErrBusy, p.key, p.status.State, p.start.Epoch)
	}
	l, err := p.left()
	if err != nil {
		return err
	}
	if !l.none() {
		return fmt.Errorf("%w: %s: %s", ErrBusy, p.key, l)
	}
	if p.bad != nil && p.start.Lock == "" && p.k.cg == nil {
		return fmt.Errorf("%w: whether %s runs can't be told, its record can't be read: %v", ErrBusy, p.key, p.bad)
	}
	return mustBeFree(p.key.String(), p.lockPath())
}

// mustBeFree refuses while a lock of what is held.
func mustBeFree(what, path string) error {
	free, err := lockFree(path)
	if err == nil && !free {
		err = fmt.Errorf("%w: %s: the lock %s is held by %s", ErrBusy, what, path, holderText(path))
	}
	return err
}

// forget is Client.Forget. The lock file goes only if it is the keeper's own.
func (k *Keeper) forget(member, process string) error {
	p, err := k.existing(member, process)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.m.mu.Unlock()
	if err := p.mayGiveUp(^uint64(0)); err != nil {
		return err
	}
	p.quiet()
	p.unfence()
	for _, path := range []string{k.files.record(p.key), k.files.life(p.key)} {
		if err := removeSynced(path); err != nil {
			return err
		}
	}
	if err := os.Remove(k.files.defaultLock(p.key)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	delete(p.m.procs, process)
	k.table.remove(p.key)
	return nil
}
