package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hangUpGrace is what a session's processes get between SIGHUP and SIGKILL when their client has gone.
const hangUpGrace = time.Second

// session is a Session under way. All of them are in Keeper.sessions.
type session struct {
	k      *Keeper
	key    key
	dir    string // its cgroup, "" without
	child  *child
	stat   procStat
	exited chan unix.WaitStatus
	ended  chan struct{} // closed when the process it is beside has ended
	once   sync.Once     // closes it
}

// sessions are those under way.
type sessions struct {
	mu   sync.Mutex // guards open
	open map[*session]struct{}
}

func (ss *sessions) add(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.open == nil {
		ss.open = map[*session]struct{}{}
	}
	ss.open[s] = struct{}{}
}

func (ss *sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.open, s)
}

// busy names the sessions that an upgrade would cut off.
func (ss *sessions) busy() error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var of []string
	for s := range ss.open {
		of = append(of, fmt.Sprintf("process %d beside %s", s.child.pid, s.key))
	}
	if len(of) == 0 {
		return nil
	}
	slices.Sort(of)
	return fmt.Errorf("%w: exec sessions are open: %s: end them first", ErrBusy, strings.Join(of, ", "))
}

// end ends the sessions beside a process, and waits for none.
func (ss *sessions) end(k key) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for s := range ss.open {
		if s.key == k {
			s.once.Do(func() { close(s.ended) })
		}
	}
}

// serveSession is Client.Exec: it answers that the command runs, and returns how it has ended. files are closed.
func (k *Keeper) serveSession(ctx context.Context, q *Session, files []int, c *conn) (*SessionResult, error) {
	s, err := k.startSession(q, files)
	for _, fd := range files {
		unix.Close(fd)
	}
	if err != nil {
		return nil, err
	}
	k.log.Info("session begins", "member", q.Member, "process", q.Process, "pid", s.child.pid)
	b, err := json.Marshal(&response{Started: true})
	if err == nil {
		_, err = c.Write(append(b, '\n'))
	}
	here, leave := c.present(ctx)
	defer leave()
	if err != nil { // nobody is there
		var cancel context.CancelFunc
		here, cancel = context.WithCancel(here)
		cancel()
	}
	defer s.close()
	res, err := s.wait(here)
	k.log.Info("session ends", "member", q.Member, "process", q.Process, "pid", s.child.pid, "code", res.Code, "signal", res.Signal)
	return &res, err
}

// startSession forks the command. The member's lock is held over the fork only: a process that ends after it finds the
// session among those to be ended.
func (k *Keeper) startSession(q *Session, files []int) (*session, error) {
	stdio, tty, err := sessionFiles(files)
	if err != nil {
		return nil, err
	}
	p, err := k.existing(q.Member, q.Process)
	if err != nil {
		return nil, err
	}
	defer p.m.mu.Unlock()
	switch {
	case p.main == nil && p.status.State == Backoff:
		return nil, fmt.Errorf("%w: %s does not run just now: it is restarted at %s", ErrBusy, p.key, p.status.NextStart.Format(time.TimeOnly))
	case p.main == nil:
		return nil, fmt.Errorf("%w: %s does not run: it is %s", ErrBusy, p.key, p.status.State)
	case p.status.State != Running:
		return nil, fmt.Errorf("%w: %s is %s", ErrBusy, p.key, p.status.State)
	}
	whole := p.start.whole()
	e := inside(&whole.Exec, q)
	if err := checkExec(&e); err != nil {
		return nil, err
	}
	join, err := namespacesOf(p.main)
	if err != nil {
		return nil, &ErrExec{"namespace", err}
	}
	defer closeAll(join)
	if tty && e.SetUser { // as login does; who may only look may not
		if err := errors.Join(unix.Fchown(stdio[0], int(e.UID), -1), unix.Fchmod(stdio[0], 0o620)); err != nil {
			return nil, &ErrExec{"terminal", err}
		}
	}
	s := &session{k: k, key: p.key, exited: make(chan unix.WaitStatus, launchTries), ended: make(chan struct{})}
	s.child = &child{exited: func(ws unix.WaitStatus) { s.exited <- ws }}
	n := launch{exec: &e, stdio: &stdio, lock: -1, tty: tty, self: q.Self, join: join}
	if ex := k.launchBeside(&n, p.key, s.child); ex != nil {
		if n.cgroup != "" {
			k.tidyAuxLocked(p.key, n.cgroup)
		}
		return nil, ex
	}
	s.dir = n.cgroup
	if s.stat, err = readStat(s.child.pid); err != nil { // reaped already
		s.stat = procStat{pid: s.child.pid}
	}
	k.sessions.add(s)
	return s, nil
}

// sessionFiles lays out a session's descriptors: a terminal, or input, output and errors.
func sessionFiles(files []int) (stdio [3]int, tty bool, err error) {
	switch len(files) {
	case 1:
		if _, err := unix.IoctlGetTermios(files[0], unix.TCGETS); err != nil {
			return stdio, false, invalid("a session's one descriptor must be a terminal: %v", err)
		}
		return [3]int{files[0], files[0], files[0]}, true, nil
	case 3:
		return [3]int(files), false, nil
	}
	return stdio, false, invalid("a session has a terminal or three descriptors, not %d", len(files))
}

// inside is what a session is given: all that the process has, but for the view that it enters.
func inside(process *Exec, q *Session) Exec {
	e := *process
	e.Mounts, e.ReadOnlyPaths, e.Hostname = nil, nil, ""
	e.Argv = q.Argv
	if q.Self {
		e.Argv = append([]string{"supd-keeper"}, q.Argv...)
	}
	e.Env = mergeEnv(process.Env, q.Env)
	return e
}

// mergeEnv sets variables, in place of those of the same name.
func mergeEnv(env, set []string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	})
	return append(out, set...)
}

// wait returns when the command and all it has left behind have ended.
func (s *session) wait(ctx context.Context) (res SessionResult, err error) {
	var ws unix.WaitStatus
	select {
	case ws = <-s.exited:
	case <-s.ended:
		res.Message = "process " + s.key.process + " of " + s.key.member + " has ended"
		ws, err = s.killed()
	case <-ctx.Done():
		res.Message = "its client or the keeper has gone"
		ws, err = s.hangUp()
	}
	if err != nil {
		return res, err
	}
	e := exitOf(ws)
	res.Code, res.Signal = e.Code, e.Signal
	if err := s.kill(); err != nil { // what it has left behind
		return res, err
	}
	if s.dir != "" {
		err = waitEmpty(s.dir)
	}
	return res, err
}

// hangUp ends a session whose client has gone.
func (s *session) hangUp() (unix.WaitStatus, error) {
	procs, err := s.procs()
	for _, p := range procs {
		err = errors.Join(err, signalProcess(p, unix.SIGHUP), signalProcess(p, unix.SIGCONT))
	}
	if err != nil {
		s.k.log.Warn("cannot hang up a session", "member", s.key.member, "process", s.key.process, "err", err)
	}
	t := time.NewTimer(hangUpGrace)
	defer t.Stop()
	select {
	case ws := <-s.exited:
		return ws, nil
	case <-s.ended:
	case <-t.C:
	}
	return s.killed()
}

// killed kills the session and waits for the command's end.
func (s *session) killed() (unix.WaitStatus, error) {
	if err := s.kill(); err != nil {
		return 0, err
	}
	t := time.NewTimer(auxTimeout) // it can only be late if it hangs in the kernel
	defer t.Stop()
	select {
	case ws := <-s.exited:
		return ws, nil
	case <-t.C:
		return 0, fmt.Errorf("process %d cannot be killed", s.child.pid)
	}
}

// kill kills all of the session that still lives.
func (s *session) kill() error {
	if s.dir != "" {
		full, err := populated(s.dir)
		if err != nil || !full {
			return err
		}
		return killCgroup(s.dir)
	}
	procs, err := s.procs()
	for _, p := range procs {
		err = errors.Join(err, signalProcess(p, unix.SIGKILL))
	}
	return err
}

// procs are the session's live processes: those in its cgroup, or those of the kernel's session that the command leads.
func (s *session) procs() ([]procStat, error) {
	if s.dir != "" {
		return cgroupProcs(s.dir)
	}
	leader, err := readStat(s.stat.pid)
	if err == nil && leader.ticks != s.stat.ticks {
		return nil, nil // the number is used again, which the kernel does only after all of the session had gone
	}
	procs, gerr := groupOf(s.stat.pid)
	if err == nil && !leader.dead() {
		procs = append([]procStat{leader}, procs...) // first: a shell whose child dies would begin the next command
	}
	return procs, gerr
}

// close returns when nothing of the session is left in the keeper.
func (s *session) close() {
	s.k.sessions.remove(s)
	unix.Close(s.child.pidfd)
	if s.dir == "" {
		return
	}
	m := s.k.member(s.key.member)
	m.mu.Lock() // no start is between making the cgroup and using it
	defer m.mu.Unlock()
	s.k.tidyAuxLocked(s.key, s.dir)
}
