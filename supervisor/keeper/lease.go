package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lease is the node's lease: until Deadline nobody else starts what is fenced here. Deadline is on CLOCK_BOOTTIME, which
// counts suspend and which nobody sets, and means something in the same boot only.
type Lease struct {
	Version  int           `json:"version,omitempty"` // of the file
	Boot     string        `json:"boot"`
	Deadline time.Duration `json:"deadline"`
	Length   time.Duration `json:"length"`
}

// lease is what the keeper knows of the node's lease and of those who live by it. It knows them apart from the members'
// locks: a disk that hangs under one of those must not delay a kill.
type lease struct {
	path  string
	boot  string
	clock func() time.Duration
	log   *slog.Logger
	timer *os.File      // timerfd on CLOCK_BOOTTIME
	began time.Duration // when the keeper did

	writing sync.Mutex // held by who writes the file; others leave it at that

	mu     sync.Mutex // guards what follows. It may be taken under a member's lock; nothing is taken under it.
	term   term
	fences map[*process]*fence
	runs   map[*runFence]struct{}
}

// fence is a process that lives by the lease, until it is gone.
type fence struct {
	since  time.Duration // what the term's was when it was started
	stop   bool          // its stop is under way or done
	noted  bool          // and that would be known to the next keeper
	killed bool
	cgroup string // "" = none
	lock   string
	own    *child   // the live main process, if it is the keeper's child
	stat   procStat // the main process
}

// runFence is a Run that lives by the lease.
type runFence struct {
	since   time.Duration
	start   bool // part of a start: it ends when the lease lapses, others when all is killed
	stopped bool
	cancel  context.CancelCauseFunc // nil until somebody waits for its end
}

var errLapsed = fmt.Errorf("%w: it was not renewed in time", ErrNoLease)

// boottime is CLOCK_BOOTTIME.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("keeper: Linux has CLOCK_BOOTTIME since 2.6.39: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// openLease reads the deadline. One that can't be read, or is of another boot, is one that has passed.
func openLease(path, boot string, clock func() time.Duration, log *slog.Logger) (*lease, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	l := &lease{
		path: path, boot: boot, clock: clock, log: log, timer: os.NewFile(uintptr(fd), "timerfd"),
		fences: map[*process]*fence{}, runs: map[*runFence]struct{}{},
	}
	now := clock()
	l.began = now
	var w Lease
	switch err := readFirstLine(path, &w); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil || w.Version < 1 || w.Version > firstVersion:
		log.Error("the lease can't be read: all that is fenced ends", "err", err, "version", w.Version)
	case w.Boot == boot:
		if err := l.term.renew(now, w.Deadline, w.Length); err != nil {
			log.Error("the lease noted is none: all that is fenced ends", "err", err)
		}
	}
	// Only from here on it counts when it lapses: after what is found, or before anything of this keeper.
	l.term.since, l.term.dead, l.term.lapsed = now, 0, false
	l.term.look(now)
	return l, nil
}

func (l *lease) close() { _ = l.timer.Close() } // the loop may have, when it ended

// loop calls due whenever the lease lapses or ends, also when that was while the host slept, until ctx ends.
func (l *lease) loop(ctx context.Context, due func()) {
	defer context.AfterFunc(ctx, func() { _ = l.timer.Close() })() // a second time is no matter
	var b [8]byte
	for l.arm(); ctx.Err() == nil; l.arm() {
		if _, err := l.timer.Read(b[:]); err != nil && ctx.Err() == nil {
			l.log.Error("the lease's timer can't be read: looked at four times a second", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second / 4):
			}
		}
		due()
	}
}

// word is the lease as it is told and written.
func (l *lease) word() Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Lease{Version: firstVersion, Boot: l.boot, Deadline: l.term.deadline, Length: l.term.length}
}

// write notes the deadline for the next keeper. The page cache is enough: a boot ends what lives by it. Nor does anything
// wait for a disk that hangs, or stop for one that takes nothing: a deadline too low makes the next keeper act too early.
func (l *lease) write() {
	if !l.writing.TryLock() {
		return
	}
	defer l.writing.Unlock()
	w := l.word()
	if err := writeInPlace(l.path, &w); err != nil {
		l.log.Error("cannot note the lease", "err", err)
	}
}

// join makes a process live by the lease. decided is when its start was; 0 = now.
func (l *lease) join(p *process, decided time.Duration) error {
	l.mu.Lock()
	err := l.holdsLocked(decided)
	if err == nil {
		l.fences[p] = &fence{since: l.term.since, cgroup: p.cgroup(), lock: p.lockPath(), stat: p.last}
	}
	l.mu.Unlock()
	if err == nil {
		l.write()
	}
	return err
}

// found is join for what an earlier keeper has started, whether the lease holds or not.
func (l *lease) found(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences[p] = &fence{since: l.began, cgroup: p.cgroup(), lock: p.lockPath(), stat: p.last}
}

func (l *lease) holdsLocked(decided time.Duration) error {
	l.term.look(l.clock())
	switch {
	case l.term.lapsed && l.term.deadline == 0:
		return fmt.Errorf("%w: supd has told this keeper of none yet", ErrNoLease)
	case l.term.lapsed:
		return errLapsed
	case decided != 0 && decided < l.term.since:
		return fmt.Errorf("%w: it was decided before the lease lapsed", ErrNoLease)
	}
	return nil
}

// leave ends join. killed: all of it was, without the member's lock.
func (l *lease) leave(p *process) (killed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fences[p]
	delete(l.fences, p)
	return f != nil && f.killed
}

// killed tells whether all of a process was killed, which its member's lock need not know yet.
func (l *lease) killed(p *process) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fences[p]
	return f != nil && f.killed
}

// may refuses a fork for what the lease has lapsed on since it joined.
func (l *lease) may(p *process) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fences[p]
	if f == nil {
		return nil
	}
	l.term.look(l.clock())
	if f.since < l.term.since {
		return errLapsed
	}
	return nil
}

// lives notes a process's main process. late: the kill of everything came before the note.
func (l *lease) lives(p *process) (late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fences[p]
	if f == nil || p.main == nil {
		return false
	}
	f.own, f.stat = p.main.own, p.main.stat
	l.term.look(l.clock())
	if f.since >= l.term.dead {
		return false
	}
	f.killed = false
	return true
}

// doomed tells what is to become of a process: nothing, the graceful stop, or kill.
func (l *lease) doomed(p *process) (stop, kill bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fences[p]
	if f == nil {
		return false, false
	}
	l.term.look(l.clock())
	return f.since < l.term.since, f.since < l.term.dead
}

// noted says that the next keeper would know of a process's stop.
func (l *lease) noted(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.fences[p]; f != nil {
		f.stop, f.noted = true, true
	}
}

// renew takes a new deadline. It is refused while what the old one's end has killed might still be started again.
func (l *lease) renew(w Lease) error {
	if w.Boot != l.boot {
		return invalid("the lease is of another boot of this host")
	}
	l.mu.Lock()
	l.term.look(l.clock())
	for p, f := range l.fences {
		if f.since < l.term.dead && !(f.killed && f.noted) {
			l.mu.Unlock()
			return fmt.Errorf("%w: the lease has ended, %s is being killed", ErrBusy, p.key)
		}
	}
	err := l.term.renew(l.clock(), w.Deadline, w.Length)
	fenced := len(l.fences) > 0
	l.mu.Unlock()
	if err == nil && fenced {
		l.write()
	}
	return err
}

// ruling is what a lapse asks for now.
type ruling struct {
	kill []victim
	stop []*process
	runs []context.CancelCauseFunc
}

// victim is a process to kill, as it is known without its member's lock.
type victim struct {
	p *process
	fence
}

// judge says what is to be done, each thing once.
func (l *lease) judge() (v ruling) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term.look(l.clock())
	for p, f := range l.fences {
		if f.since < l.term.dead && !f.killed {
			f.killed, f.stop = true, false
			v.kill = append(v.kill, victim{p, *f})
		}
		if f.since < l.term.since && !f.stop {
			f.stop = true
			v.stop = append(v.stop, p)
		}
	}
	for r := range l.runs {
		if !r.stopped && l.endsLocked(r) {
			r.stopped = true
			if r.cancel != nil {
				v.runs = append(v.runs, r.cancel)
			}
		}
	}
	return v
}

// arm sets the timer to when there is something to judge.
func (l *lease) arm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(l.term.next()))} // 0 disarms it
	raw, err := l.timer.SyscallConn()
	if err != nil {
		return // closed
	}
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &at, nil) })
	if err == nil && serr != nil {
		panic("keeper: the lease's timer can't be set: " + serr.Error())
	}
}

// joinRun makes a Run live by the lease until leaveRun.
func (l *lease) joinRun(run *Run) (*runFence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.holdsLocked(run.Decided); err != nil {
		return nil, err
	}
	r := &runFence{since: l.term.since, start: run.Epoch != 0}
	l.runs[r] = struct{}{}
	return r, nil
}

// mayRun refuses a fork for what the lease has lapsed on since it joined. r may be nil.
func (l *lease) mayRun(r *runFence) error {
	if r == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term.look(l.clock())
	if l.endsLocked(r) {
		return errLapsed
	}
	return nil
}

func (l *lease) endsLocked(r *runFence) bool {
	return r.since < l.term.dead || r.start && r.since < l.term.since
}

// bindRun has cancel called when the lease ends the Run. r may be nil.
func (l *lease) bindRun(r *runFence, cancel context.CancelCauseFunc) {
	if r == nil {
		return
	}
	l.mu.Lock()
	r.cancel = cancel
	stopped := r.stopped
	l.mu.Unlock()
	if stopped {
		cancel(errLapsed)
	}
}

func (l *lease) leaveRun(r *runFence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.runs, r)
}
