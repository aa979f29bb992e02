package keeper

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How much is heard at once. A member that floods its socket fills the queue and waits, nobody else.
const (
	earBatch = 32
	earPause = 10 * time.Millisecond // after a full batch
)

// ear is the socket that a process started with Notify talks to, one for each exec: what was told before a restart can't
// be taken for the new program's word. Its fields are guarded by the member's lock.
type ear struct {
	fd     int
	name   string // as in NOTIFY_SOCKET: a path, or @ and an abstract name
	cancel func() // of the watcher
	told   bool   // of a stranger

	pinged time.Time     // the last sign of life; monotonic
	dog    *time.Timer   // nil: looks no more
	extend time.Duration // asked for last
	more   *time.Timer   // its end
}

// openEar makes the socket for the next exec, and says what the program is told of it. Without one the program is started
// all the same, and the note says why it can't be heard.
func (p *process) openEar() (env []string, note string) {
	p.closeEar()
	p.status.Notify = NotifyStatus{}
	if !p.start.Notify {
		return nil, ""
	}
	e, err := p.newEar(p.k.files.notify(p.key))
	if err != nil {
		name := "@supd-notify-" + rand.Text()
		var aerr error
		if e, aerr = p.newEar(name); aerr != nil {
			return nil, "sd_notify can't be heard: " + errors.Join(err, aerr).Error()
		}
	}
	p.ear = e
	env = []string{"NOTIFY_SOCKET=" + e.name}
	if p.start.Watchdog > 0 {
		env = append(env, "WATCHDOG_USEC="+strconv.FormatInt(p.start.Watchdog.Microseconds(), 10))
	}
	return env, ""
}

// withNotify is the program's environment with what openEar adds, which replaces its own.
func withNotify(env, more []string) []string {
	if len(more) == 0 {
		return env
	}
	out := slices.Clone(more)
	for _, kv := range env {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID":
		default:
			out = append(out, kv)
		}
	}
	return out
}

// reopenEar listens where an earlier keeper did, for a program that goes on. What it said in between is lost.
func (p *process) reopenEar(l life) {
	if !p.start.Notify {
		return
	}
	name := l.Socket
	if name == "" {
		name = p.k.files.notify(p.key)
	}
	e, err := p.newEar(name)
	if err != nil {
		p.trouble = "sd_notify can't be heard any more: " + err.Error()
		return
	}
	p.ear = e
	s := &p.status.Notify
	if s.Missed = 0; s.Watched {
		p.watchPings(e)
	}
	if s.Extending {
		p.extendStart(e, time.Duration(l.Extend))
	}
}

func (p *process) newEar(name string) (*ear, error) {
	if len(name) > maxSocketPath {
		return nil, fmt.Errorf("%s is too long for a socket", name)
	}
	abstract := strings.HasPrefix(name, "@")
	if !abstract {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	e := &ear{fd: fd, name: name}
	err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
			err = &os.PathError{Op: "bind", Path: name, Err: err}
		}
	}
	if err == nil && !abstract {
		err = p.allow(name)
	}
	if err == nil {
		err = p.listen(e)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return e, nil
}

// allow lets the member's user write to the socket: an ordinary one only that user, so that no other can fill its queue. One
// that starts as root may turn into anybody.
func (p *process) allow(path string) error {
	x := &p.start.Exec
	if os.Geteuid() != 0 {
		return os.Chmod(path, modePrivate)
	}
	if !x.SetUser || x.UID == 0 {
		return os.Chmod(path, 0o666)
	}
	return errors.Join(os.Chmod(path, modePrivate), os.Lchown(path, int(x.UID), int(x.GID)))
}

func (p *process) listen(e *ear) (err error) {
	e.cancel, err = p.k.watch.add(e.fd, unix.EPOLLIN, func() { p.withEar(e, p.heard) })
	return err
}

// withEar calls f under the member's lock if the socket is still the process's.
func (p *process) withEar(e *ear, f func(*ear)) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ear == e {
		f(e)
	}
}

func (p *process) after(e *ear, d time.Duration, f func(*ear)) *time.Timer {
	return time.AfterFunc(d, func() { p.k.task(func() { p.withEar(e, f) }) })
}

func (p *process) closeEar() {
	if p.start.Notify {
		// Also a dead keeper's. That it isn't there is right; one that can't be removed is met by the next bind.
		_ = os.Remove(p.k.files.notify(p.key))
	}
	e := p.ear
	if e == nil {
		return
	}
	p.ear = nil
	e.cancel()
	for _, t := range []*time.Timer{e.dog, e.more} {
		if t != nil {
			t.Stop()
		}
	}
	unix.Close(e.fd)
}

// heard takes what has come and listens on.
func (p *process) heard(e *ear) {
	if p.hear(e) {
		p.after(e, earPause, p.listenOn)
		return
	}
	p.listenOn(e)
}

func (p *process) listenOn(e *ear) {
	if err := p.listen(e); err != nil {
		p.trouble = "sd_notify can't be heard any more: " + err.Error()
		p.show()
	}
}

// hear takes the messages that wait, up to a batch; full: there may be more.
func (p *process) hear(e *ear) (full bool) {
	before := p.status.Notify
	var b [maxNotice]byte
	for range earBatch {
		n, pid, err := receive(e.fd, b[:])
		if err != nil {
			p.toldOf(before)
			return false
		}
		if n < 0 || n > len(b) {
			continue
		}
		switch {
		case p.main == nil, pid == p.main.stat.pid && hasExited(p.main.pidfd): // last words, too late
		case p.mine(pid):
			p.take(e, parseNotice(b[:n]))
		default:
			p.stranger(e, pid)
		}
	}
	p.toldOf(before)
	return true
}

// receive reads one message and its sender's pid; n is -1 if it was longer than b or of nobody. There is room for the
// credentials only: the kernel drops descriptors sent along, whatever they are, so none is kept, and none has to be closed
// here, which could hang. To one that waits for that (BARRIER=1) all it said before has been heard then.
func receive(fd int, b []byte) (n, pid int, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		var oobn, flags int
		n, oobn, flags, _, err = unix.Recvmsg(fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(cmsgs) == 0 || flags&unix.MSG_TRUNC != 0 {
			return -1, 0, nil
		}
		cred, err := unix.ParseUnixCredentials(&cmsgs[0])
		if err != nil {
			return -1, 0, nil
		}
		return n, int(cred.Pid), nil
	}
}

// mine tells whether a live process is of this process: its main process, or in its cgroup, or holding its lock. Of one
// that has ended since nobody can tell.
func (p *process) mine(pid int) bool {
	switch {
	case pid <= 0:
		return false
	case pid == p.main.stat.pid:
		return true
	case p.k.cg != nil && p.k.cg.contains(p.cgroup(), pid):
		return true
	}
	lock, err := fileIDOf(p.lockPath())
	return err == nil && holds(pid, lock)
}

func (p *process) stranger(e *ear, pid int) {
	if e.told {
		return
	}
	e.told = true
	p.k.log.Warn("an sd_notify message that is not the member's, or of a process that ended at once, is passed over",
		"member", p.key.member, "process", p.key.process, "pid", pid)
}

// take does what a message asks for. Showing it is the caller's.
func (p *process) take(e *ear, n notice) {
	p.status.Notify = p.status.Notify.hear(n)
	s := &p.status.Notify
	if n.ping || n.ready {
		e.pinged = time.Now()
		if s.Watched && e.dog == nil {
			p.watchPings(e)
		}
	}
	if n.extend > 0 {
		switch {
		case p.status.State == Stopping:
			p.extendStop(n.extend)
		case p.status.State == Running && !s.Ready:
			s.Extending = true
			p.extendStart(e, n.extend)
		}
	}
}

// toldOf shows what has changed. A new text alone is no news: some programs count their requests in it.
func (p *process) toldOf(before NotifyStatus) {
	now := p.status.Notify
	if now == before {
		return
	}
	p.note() // before anybody can see it: what was seen outlives the keeper
	before.Text = now.Text
	if now == before {
		p.status.Message = p.message()
		p.k.table.replace(p.key, p.status)
	} else {
		p.show()
	}
}

// extendStart notes that the program needs more time to get ready.
func (p *process) extendStart(e *ear, d time.Duration) {
	if e.more != nil {
		e.more.Stop()
	}
	e.extend = d
	e.more = p.after(e, d, func(e *ear) {
		before := p.status.Notify
		p.status.Notify.Extending = false
		p.toldOf(before)
	})
}

// extendStop gives a stop under way more time, within its bounds.
func (p *process) extendStop(d time.Duration) {
	now := time.Now()
	if !now.Before(p.killAt) {
		return
	}
	if until := now.Add(d); until.After(p.killAt) {
		p.killAt = until
	}
	if p.killAt.After(p.killMax) {
		p.killAt = p.killMax
	}
	p.show()
}

// watchPings begins to count the periods without a ping.
func (p *process) watchPings(e *ear) {
	if p.start.Watchdog <= 0 {
		return
	}
	e.pinged = time.Now()
	e.dog = p.after(e, p.start.Watchdog, p.countPings)
}

// countPings looks how long ago the last ping was. Pings that wait in the socket count: the keeper may have been stopped.
func (p *process) countPings(e *ear) {
	e.dog = nil
	if p.status.State != Running {
		return
	}
	if p.hear(e) {
		e.dog = p.after(e, earPause, p.countPings)
		return
	}
	if e.dog != nil { // heard of a ping
		return
	}
	before := p.status.Notify
	n, again := missed(time.Since(e.pinged), p.start.Watchdog)
	p.status.Notify.Missed = n
	p.toldOf(before)
	if again > 0 {
		e.dog = p.after(e, again, p.countPings)
	}
}

// notify is the path of a process's socket: its name, if that fits, so that people find it.
func (f files) notify(k key) string {
	path := filepath.Join(f.notifies(), k.file())
	if len(path) > maxSocketPath {
		sum := sha256.Sum256([]byte(k.file()))
		path = filepath.Join(f.notifies(), hex.EncodeToString(sum[:12]))
	}
	return path
}
