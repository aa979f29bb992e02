package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// member holds the processes of one member. All that is done to one of them is done under its lock, disk writes and forks
// included; other members don't wait.
type member struct {
	name string

	mu       sync.Mutex // guards what follows and all fields of procs
	floor    uint64     // highest epoch given up
	floorErr error      // it can't be read: nothing is started
	procs    map[string]*process
	runs     map[string]uint64 // Runs that are part of a start, by their locks, until those are seen to be free
}

// process is one process of a member: its record, and what the keeper knows of its present life. Its fields are guarded
// by the member's lock, its methods need it held, but for those that say otherwise.
type process struct {
	k   *Keeper
	m   *member
	key key

	start   asked
	want    want
	bad     error // the record can't be read
	status  Status
	why     string // why it isn't running: half of the status's message
	trouble string // what is wrong just now: the other half
	logNote string // what is wrong with its output

	main    *mainProc // the live main process, nil if there is none
	streak  backoff
	killed  bool      // the cgroup was killed as a whole, or may have been
	again   bool      // Stopping ends in a start in place
	killAt  time.Time // in Stopping: from then on everything is killed
	killMax time.Time // the latest that the program can put killAt off to
	last    procStat  // main process of the latest life; its pid is the process group's
	lastOwn bool      // it was watched when it died, so its group can't be a stranger's
	place   string    // the cgroup of the latest life, where it isn't the one that the keeper would make now
	grace   graceBox
	ear     *ear        // nil: it has no socket to tell anything
	output  *output     // where the latest life writes, nil = nowhere
	noted   *outputNote // what an earlier keeper has noted of it
	endHook func()      // ends the preStop hook under way; nil: there is none
	handed  int         // the pipe, if that was handed over, else 0

	// What is waited for. seq grows when that changes, so a late timer finds that it is not meant.
	seq    uint64
	timers []*time.Timer
	unhook func()
	poll   time.Duration
}

// mainProc is a live main process.
type mainProc struct {
	stat  procStat
	pidfd int
	own   *child // nil if it was adopted
}

// graceBox is read by the reaper, which can't wait for the member's lock.
type graceBox struct {
	mu  sync.Mutex
	sig unix.Signal // what the group gets when its leader has ended; 0 = SIGKILL
}

func (g *graceBox) set(s unix.Signal) {
	g.mu.Lock()
	g.sig = s
	g.mu.Unlock()
}

func (g *graceBox) get() unix.Signal {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sig
}

func (p *process) lockPath() string {
	if p.start.Lock != "" {
		return p.start.Lock
	}
	return p.k.files.defaultLock(p.key)
}

// cgroup is the directory of the process's cgroup, "" without cgroups.
func (p *process) cgroup() string {
	if p.k.cg == nil {
		return ""
	}
	if p.place != "" {
		return p.place
	}
	return p.k.cg.process(p.key)
}

// findPlace takes the cgroup that an earlier keeper has noted, which may have been told of another place for them all. It is
// believed only if it can be the process's.
func (p *process) findPlace(dir string) {
	if p.k.cg == nil || dir == "" || dir == p.cgroup() || filepath.Base(dir) != fileName(p.key.process) ||
		filepath.Base(filepath.Dir(dir)) != fileName(p.key.member) || !strings.HasPrefix(filepath.Clean(dir), p.k.cg.mount+"/") {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.events")); err == nil {
		p.place, p.killed = dir, true
	}
}

// leavePlace has the next life in the keeper's own place.
func (p *process) leavePlace() {
	if p.place != "" {
		p.dropCgroup()
		p.place = ""
	}
}

// show publishes the status.
func (p *process) show() {
	p.status.Message = p.message()
	p.status.KillAt, p.status.Fence, p.status.PreStop = time.Time{}, p.start.Fence, p.start.PreStop != nil
	if p.status.State == Stopping {
		p.status.KillAt = p.killAt
	}
	p.k.table.set(p.key, p.status)
}

func (p *process) message() string {
	return strings.Join(slices.DeleteFunc([]string{p.why, p.trouble, p.logNote}, func(s string) bool { return s == "" }), "; ")
}

// note writes down the present life. A disk that takes nothing must not stop a process from being kept, so it is only told.
func (p *process) note() {
	l := life{
		Version: firstVersion, Boot: p.k.boot, Epoch: p.start.Epoch, Want: p.want, Lock: p.lockPath(), Cgroup: p.cgroup(), State: p.status.State, OOMKills: p.status.OOMKills,
		Fence: p.start.Fence, Fenced: p.status.Fenced,
		PID: p.last.pid, Ticks: p.last.ticks, Started: p.status.StartedAt, Restart: p.status.Restarts,
		Streak: p.streak.streak, Pause: int64(p.streak.pause), Exit: p.status.LastExit, Message: p.why,
		Notify: p.status.Notify,
	}
	if p.ear != nil {
		l.Socket, l.Extend = p.ear.name, int64(p.ear.extend)
	}
	if p.output != nil {
		l.Output = p.output.note()
	}
	if err := writeInPlace(p.k.files.life(p.key), &l); err != nil {
		p.k.log.Error("cannot write a process's life", "member", p.key.member, "process", p.key.process, "err", err)
	}
}

// save writes the record for good.
func (p *process) save() error {
	r := record{Boot: p.k.boot, Want: p.want, Fenced: p.status.Fenced, Start: p.start.whole()}
	r.Version = (&request{Start: &r.Start}).needs()
	if err := writeSynced(p.k.files.record(p.key), &r); err != nil {
		return fmt.Errorf("cannot write the record of %s: %w", p.key, err)
	}
	return nil
}

// saveWant writes the record; failing that it goes on in memory and says so.
func (p *process) saveWant(w want) {
	p.want = w
	if err := p.save(); err != nil {
		p.trouble = err.Error()
		p.k.log.Error("cannot write a record", "member", p.key.member, "process", p.key.process, "err", err)
	}
}

// quiet forgets all timers and hooks.
func (p *process) quiet() {
	p.seq++
	for _, t := range p.timers {
		t.Stop()
	}
	p.timers = p.timers[:0]
	if p.unhook != nil {
		p.unhook()
		p.unhook = nil
	}
	p.k.setDraining(p, false)
}

// later calls f under the member's lock after d, unless something else is waited for by then.
func (p *process) later(d time.Duration, f func()) {
	seq := p.seq
	p.timers = append(p.timers, time.AfterFunc(d, func() { p.k.task(func() { p.locked(seq, f) }) }))
}

// locked calls f if seq is still the one that counts. It takes the lock itself.
func (p *process) locked(seq uint64, f func()) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.seq == seq {
		f()
	}
}

// spawn starts the program; lock is held, and closed here. All is as before if it fails.
func (p *process) spawn(lock int) *ErrExec {
	defer unix.Close(lock)
	out, done := p.openOutput()
	defer done()
	p.grace.set(0)
	c := p.newChild()
	// From here until the note below, a keeper killed leaves a process that only the lock leads to.
	p.last, p.status.State = procStat{}, Starting
	env, deaf := p.openEar()
	p.note()
	x := p.start.whole().Exec
	x.Env = withNotify(x.Env, env)
	before := time.Now()
	may := func() error { return p.k.lease.may(p) }
	if ex := p.k.launch.start(launch{exec: &x, out: out, lock: lock, cgroup: p.cgroup(), may: may}, c); ex != nil {
		return ex
	}
	stat, err := readStat(c.pid)
	if err != nil { // reaped already: its end is about to be told
		stat = procStat{pid: c.pid}
	}
	p.main = &mainProc{stat: stat, pidfd: c.pidfd, own: c}
	p.last, p.lastOwn = stat, true
	p.quiet()
	p.again, p.killAt = false, time.Time{}
	p.status.State, p.status.PID, p.status.StartedAt = Running, c.pid, before
	p.status.NextStart, p.status.Adopted = time.Time{}, false
	p.why, p.trouble = "", ""
	if deaf != "" {
		p.trouble = deaf
	}
	p.show()
	p.note()
	if p.output != nil {
		p.output.begin()
	}
	p.k.started()
	if p.k.lease.lives(p) {
		p.k.leaseDue() // in no task, which an upgrade would put off
	}
	return nil
}

// newChild is a child that will be, or was, this process.
func (p *process) newChild() *child {
	c := &child{}
	c.exited = func(ws unix.WaitStatus) { p.childExited(c, ws) }
	if p.k.cg == nil {
		c.beforeReap = p.leaderDied
	}
	return c
}

// leaderDied runs while the dead main process still holds its pid, so what its group gets goes to no stranger. Called by
// the reaper, without the member's lock.
func (p *process) leaderDied(pid int) {
	sig := p.grace.get()
	if sig == 0 {
		sig = unix.SIGKILL
	}
	// ESRCH and EPERM mean that nobody is left whom it concerns: what is left is looked for afterwards.
	_ = unix.Kill(-pid, sig)
}

// childExited takes the end of a child of the keeper's own. It takes the member's lock itself.
func (p *process) childExited(c *child, ws unix.WaitStatus) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.main != nil && p.main.own == c {
		p.ended(exitOf(ws))
		return
	}
	unix.Close(c.pidfd) // of a start that failed after its fork
}

func exitOf(ws unix.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Code: -1, Signal: signalName(ws.Signal()), At: time.Now()}
	}
	return Exit{Code: ws.ExitStatus(), At: time.Now()}
}

// ended judges the end of the main process.
func (p *process) ended(e Exit) {
	lived := e.At.Sub(p.status.StartedAt)
	adopted := p.main.own == nil
	if adopted { // what was noted is by a clock that may have been set since
		lived = p.main.stat.age()
	}
	unix.Close(p.main.pidfd)
	p.main = nil
	p.k.sessions.end(p.key)
	if p.endHook != nil {
		p.endHook()
	}
	why := p.account(&e)
	if p.again {
		e.Why = p.why
	}
	p.status.LastExit, p.status.PID = e, 0
	p.status.Notify = NotifyStatus{Text: p.status.Notify.Text, Errno: p.status.Notify.Errno} // its last words
	switch {
	case p.status.State == Stopping:
		p.signalLeft(adopted)
	case !e.Unknown && e.Signal == "" && slices.Contains(p.start.NeverOn, e.Code):
		p.quiet()
		p.saveWant(wantFail)
		p.status.State = Stopping
		p.why = fmt.Sprintf("exited with %d, which it is not restarted on", e.Code)
		p.killAt = time.Now()
	default:
		p.dead(lived, why)
	}
	p.drain()
}

// account completes what is known of an end: whether it was for want of memory, and what else should be said of it.
func (p *process) account(e *Exit) (why string) {
	if dir := p.cgroup(); dir != "" {
		weKilled := p.status.State == Stopping && !time.Now().Before(p.killAt)
		if e.OOMKilled, why = readMemoryEvents(dir).endedBy(*e, p.start.Limits, weKilled); e.OOMKilled {
			p.status.OOMKills++
			p.k.log.Warn("out of memory", "member", p.key.member, "process", p.key.process, "epoch", p.start.Epoch, "why", why)
		}
	}
	if why != "" || e.Code != 0 || p.status.State == Stopping {
		return why
	}
	if l, err := p.left(); err == nil && len(l.procs) > 0 { // if it can't be seen now, drain tells
		return fmt.Sprintf("it ended well and left process %s, which ends with it: a program that goes to the background is "+
			"to be told to stay in the foreground", pidList(l.procs))
	}
	return ""
}

// dead begins the pause before a restart in place.
func (p *process) dead(lived time.Duration, why string) {
	p.quiet()
	p.streak = p.streak.next(lived, p.start.BackoffFirst, p.start.BackoffMax, jitter())
	p.status.State, p.status.Backoff = Backoff, p.streak.pause
	p.status.NextStart = time.Now().Add(p.streak.pause)
	p.why = why
}

// signalLeft passes the stop signal on to those that the main process has left behind.
func (p *process) signalLeft(adopted bool) {
	if !time.Now().Before(p.killAt) {
		return
	}
	sig := p.stopSignal()
	var procs []procStat
	var err error
	switch {
	case p.k.cg != nil:
		procs, err = cgroupProcs(p.cgroup())
	case adopted: // the group of the keeper's own child got it in leaderDied
		var l leftBehind
		l, err = p.left()
		procs = l.procs
	}
	for _, s := range procs {
		err = errors.Join(err, signalProcess(s, sig))
	}
	if err != nil {
		p.trouble = err.Error()
	}
}

func (p *process) stopSignal() unix.Signal {
	sig, err := parseSignal(p.start.StopSignal)
	if err != nil { // checked when it came in; a record may be older
		return unix.SIGTERM
	}
	return sig
}

// finish ends a life for good: nothing is left.
func (p *process) finish(s State) {
	p.quiet()
	p.closeEar()
	p.unfence()
	p.status.State, p.status.PID, p.status.NextStart = s, 0, time.Time{}
	p.again = false
	p.closeOutput()
	p.logNote = ""
	p.dropCgroup()
	p.place = ""
	p.note()
	p.show()
}

// dropCgroup removes the process's empty cgroup, if it has one.
func (p *process) dropCgroup() {
	dir := p.cgroup()
	if dir == "" {
		return
	}
	if err := removeCgroup(dir); err != nil {
		p.k.log.Warn("cannot remove a cgroup", "member", p.key.member, "process", p.key.process, "err", err)
	}
	_ = os.Remove(filepath.Dir(dir)) // the member's: stays while it holds others
}
