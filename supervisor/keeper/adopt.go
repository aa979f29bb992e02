package keeper

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adopt takes over what the records tell of, before anybody can ask for anything.
func (k *Keeper) adopt() error {
	keys, err := k.files.recorded()
	if err != nil {
		if keys == nil {
			return err
		}
		k.log.Error("cannot tidy the records", "err", err)
	}
	// The lease knows all that is fenced before anything is done: adopting one may hang with its disk, and must not keep the
	// others from being killed. Until its own turn a member is nobody else's, so that no lapse takes it for gone.
	found := map[*member][]recorded{}
	for _, key := range keys {
		m := k.member(key.member)
		if found[m] == nil {
			m.mu.Lock()
		}
		found[m] = append(found[m], k.newProcess(m, key.process).remember())
	}
	for m, all := range found {
		for i := range all {
			all[i].p.adopt(&all[i])
		}
		m.mu.Unlock()
	}
	// Not before: it may take long, and the lease may have ended.
	if err := k.endAux(); err != nil { // a start finds it again
		k.log.Error("something of an earlier keeper still runs", "err", err)
	}
	return nil
}

// recorded is what an earlier keeper has written of a process.
type recorded struct {
	p          *process
	record     record
	life       life
	rerr, lerr error
}

// remember reads what is recorded and has the process live by the lease, if it is fenced. adopt follows.
func (p *process) remember() recorded {
	w := recorded{p: p}
	w.record, w.rerr = p.k.files.readRecord(p.key)
	if w.life, w.lerr = p.k.files.readLife(p.key); w.lerr != nil {
		w.life = life{}
	}
	if w.rerr != nil {
		p.start = ask(damagedStart(p.key, &w))
	} else if w.record.Boot == p.k.boot {
		p.start = ask(w.record.Start)
	}
	if p.start.Fence {
		if w.lerr == nil && w.life.Boot == p.k.boot && (w.rerr != nil || w.life.Epoch == p.start.Epoch) {
			p.last = procStat{pid: w.life.PID, ticks: w.life.Ticks}
			p.findPlace(w.life.Cgroup)
		}
		p.k.lease.found(p)
		p.last = procStat{} // it is adopt's to say
	}
	return w
}

// damagedStart is what can be said of a start whose record is damaged.
func damagedStart(k key, w *recorded) Start {
	s := Start{Member: k.member, Process: k.process, Lock: w.life.Lock}
	// Whether it is fenced is not known where the life can't be read either. Then it is: that costs a member when the
	// node's lease ends, the other would be two of it.
	s.Fence = w.lerr != nil || w.life.Fence
	return s
}

// adopt finds out what has become of a recorded process.
func (p *process) adopt(w *recorded) {
	r, l, lerr := w.record, w.life, w.lerr
	if w.rerr != nil {
		p.damaged(w)
		return
	}
	p.start, p.want = ask(r.Start), r.Want
	p.status.Epoch, p.status.Fenced = r.Start.Epoch, r.Fenced
	if r.Boot != p.k.boot {
		p.status.LastExit = Exit{Code: -1, Unknown: true}
		p.status.State, p.why = Stopped, "host rebooted"
		if r.Want == wantFail {
			p.status.State = Failed
		}
		p.want = wantStop
		p.show()
		return
	}
	if lerr == nil && l.Boot == p.k.boot && l.Epoch == r.Start.Epoch {
		p.recall(l)
	} else if lerr != nil && !errors.Is(lerr, os.ErrNotExist) {
		p.k.log.Warn("the life of a process can't be read", "member", p.key.member, "process", p.key.process, "err", lerr)
	}
	found, err := p.findMain()
	if err != nil {
		p.trouble = err.Error()
	}
	if found != nil {
		p.last = found.stat
	}
	p.foundFenced()
	if found != nil {
		p.reopenEar(l)
		p.takeOver(found)
	} else {
		p.orphaned()
	}
}

// recall takes what was noted of the present life.
func (p *process) recall(l life) {
	p.status.State, p.status.StartedAt, p.status.Restarts = l.State, l.Started, l.Restart
	p.status.LastExit, p.status.OOMKills, p.why = l.Exit, l.OOMKills, l.Message
	if l.Fenced && p.want == wantRun { // the record was still to follow
		p.want, p.status.Fenced = wantStop, true
	}
	if l.Want == wantStop || l.Want == wantFail {
		p.want = l.Want // the record of it could not be written: a start writes its own first
	}
	p.streak = backoff{streak: max(l.Streak, 0), pause: min(max(time.Duration(l.Pause), 0), longestPause(p.start.BackoffMax))}
	p.last = procStat{pid: l.PID, ticks: l.Ticks}
	p.status.Notify = l.Notify
	p.noted = l.Output
	p.findPlace(l.Cgroup)
}

// damaged shows a process whose record can't be read. Nothing is done with it; a new Start asks both witnesses.
func (p *process) damaged(w *recorded) {
	err, l := w.rerr, w.life
	p.bad = err
	p.start = ask(damagedStart(p.key, w))
	p.status.State, p.why = Failed, "its record can't be read: "+err.Error()
	p.status.Epoch = l.Epoch
	if l.Boot == p.k.boot {
		p.last = procStat{pid: l.PID, ticks: l.Ticks}
		p.findPlace(l.Cgroup)
	}
	p.k.log.Error("a record can't be read", "member", p.key.member, "process", p.key.process, "err", err)
	p.show()
	p.foundFenced()
}

// findMain finds the live main process: the one noted, or, if the last keeper died before it could note it, the first
// session leader among those that hold the lock: they are all of one life, as the lock was free before. Nil if there is none.
func (p *process) findMain() (*mainProc, error) {
	if p.last.pid != 0 {
		procs, err := p.lastAlive()
		if err != nil || len(procs) == 0 {
			return nil, err
		}
		fd, err := openProcess(procs[0])
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if p.k.cg != nil && !p.k.cg.contains(p.cgroup(), procs[0].pid) {
			p.k.log.Warn("a process was moved out of its cgroup", "member", p.key.member, "process", p.key.process, "pid", procs[0].pid)
		}
		return &mainProc{stat: procs[0], pidfd: fd}, nil
	}
	if free, err := lockFree(p.lockPath()); err != nil || free {
		return nil, err
	}
	holders, err := lockHolders(p.lockPath())
	if err != nil {
		return nil, err
	}
	var first *procStat
	for _, s := range holders {
		if first == nil || s.ticks < first.ticks || (s.ticks == first.ticks && s.pid < first.pid) {
			first = &s
		}
	}
	if first == nil {
		return nil, nil
	}
	return p.openMain(*first), nil // others that lead a session have daemonized from it
}

// lastAlive is the noted main process, if it still lives: boot, pid and start time say for certain that it is it,
// wherever somebody has moved it.
func (p *process) lastAlive() ([]procStat, error) {
	if p.last.pid == 0 || p.last.ticks == 0 {
		return nil, nil
	}
	s, err := readStat(p.last.pid)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH):
		return nil, nil
	case err != nil:
		return nil, err
	case s.ticks != p.last.ticks || s.dead():
		return nil, nil
	}
	return []procStat{s}, nil
}

// openMain opens a live process if it leads its session, as each does that a keeper has started, and is in the right
// cgroup too.
func (p *process) openMain(s procStat) *mainProc {
	if s.dead() || s.session != s.pid || (p.k.cg != nil && !p.k.cg.contains(p.cgroup(), s.pid)) {
		return nil
	}
	fd, err := openProcess(s)
	if err != nil {
		return nil
	}
	return &mainProc{stat: s, pidfd: fd}
}

// takeOver keeps a process that an earlier keeper has started.
func (p *process) takeOver(m *mainProc) {
	p.main, p.last, p.lastOwn = m, m.stat, true
	p.status.State, p.status.PID, p.status.Adopted = Running, m.stat.pid, true
	p.status.NextStart, p.why = time.Time{}, ""
	if at := p.status.StartedAt; at.IsZero() || at.After(time.Now()) { // the clock was set back
		p.status.StartedAt = time.Now().Add(-m.stat.age())
	}
	p.watchAdopted()
	p.adoptOutput(p.noted)
	p.k.log.Info("adopted", "member", p.key.member, "process", p.key.process, "epoch", p.start.Epoch, "pid", m.stat.pid)
	p.show()
	p.note()
	if p.want != wantRun { // its stop was under way
		p.haltFound()
	}
}

// watchAdopted has the end of an adopted process told, which wait does for the keeper's own children only.
func (p *process) watchAdopted() {
	m := p.main
	if _, err := p.k.watch.add(m.pidfd, unix.EPOLLIN, func() { p.adoptedExited(m) }); err != nil {
		p.trouble = "its end is looked for every second: " + err.Error()
		p.pollAdopted(m)
	}
}

func (p *process) pollAdopted(m *mainProc) {
	time.AfterFunc(drainTold, func() {
		p.k.task(func() {
			if hasExited(m.pidfd) {
				p.adoptedExited(m)
				return
			}
			p.pollAdopted(m)
		})
	})
}

// adoptedExited takes the end of an adopted process. It takes the member's lock itself.
func (p *process) adoptedExited(m *mainProc) {
	code, known := awaitExitCode(m.pidfd)
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.main != m {
		return
	}
	e := Exit{Code: -1, Unknown: true, At: time.Now()}
	if known {
		e = exitOf(code)
	}
	p.ended(e)
}

// orphaned goes on with a process whose main process is dead: one that was to run is started again as after any death,
// in the same boot and epoch.
func (p *process) orphaned() {
	p.status.PID, p.status.Notify = 0, NotifyStatus{}
	switch was := p.status.State; {
	case p.want != wantRun:
		p.status.State, p.killAt = Stopping, time.Now()
	case was == Running || was == Stopping:
		e := Exit{Code: -1, Unknown: true, At: time.Now()}
		why := p.account(&e)
		p.status.LastExit = e
		p.dead(max(time.Since(p.status.StartedAt), 0), orText(why, "ended while no keeper ran"))
	case was == Backoff || was == Starting && !p.status.LastExit.At.IsZero():
		p.status.State, p.status.NextStart = Backoff, time.Now().Add(p.streak.pause)
	default: // the last keeper died before it had started it; whoever asked for it asks again
		p.want, p.status.State, p.killAt = wantStop, Stopping, time.Now()
		p.why = "was not started: the keeper ended first"
	}
	p.drain()
}

// pidfdInfo is the kernel's struct pidfd_info, as long as it was at first.
type pidfdInfo struct {
	mask, cgroup uint64
	ids          [11]uint32
	exit         int32
}

const (
	pidfdGetInfo  = 0xC040FF0B // _IOWR(0xFF, 11, 64 bytes)
	pidfdInfoExit = 1 << 3
	exitWait      = 100 // milliseconds
)

// awaitExitCode asks a pidfd how its process has ended. Linux tells one who isn't the parent from 6.15 on, once the parent
// has reaped it, which is waited for a moment.
func awaitExitCode(pidfd int) (unix.WaitStatus, bool) {
	for range 2 {
		info := pidfdInfo{mask: pidfdInfoExit}
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
		if e != 0 && e != unix.ESRCH {
			return 0, false
		}
		if e == 0 && info.mask&pidfdInfoExit != 0 {
			return unix.WaitStatus(info.exit), true
		}
		// Interrupted or in time, the second look decides. Only the hang-up is waited for: it says reaped.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(pidfd)}}, exitWait)
	}
	return 0, false
}
