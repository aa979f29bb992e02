package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handoverVersion is that of the state that a keeper hands the binary it is replaced by. It grows whenever one that does
// not know of a field would do harm by leaving it out; the next one reads all from 1 on.
const handoverVersion = 1

// handoverEnv names the descriptor of the state, in the environment of the new binary. It is taken out there at once.
const handoverEnv = "SUPD_KEEPER_HANDOVER"

// handover is all that a keeper knows and that its records don't hold as well. Numbers of descriptors stay the same over
// exec.
type handover struct {
	Version     int            `json:"version"`
	From        string         `json:"from"` // build
	Protocol    int            `json:"protocol"`
	Dir         string         `json:"dir"`
	Boot        string         `json:"boot"`
	Cgroup      string         `json:"cgroup,omitempty"` // directory
	Binary      string         `json:"binary,omitempty"`
	Table       uint64         `json:"table"`
	Aux         uint64         `json:"aux,omitempty"`
	NoCloneInto bool           `json:"noCloneInto,omitempty"`
	Upgrades    Upgrades       `json:"upgrades"`
	DirLock     int            `json:"dirLock"`
	Socket      int            `json:"socket"`
	Lease       *handedLease   `json:"lease,omitempty"`
	Members     []handedMember `json:"members,omitempty"`
	Conns       []handedConn   `json:"conns,omitempty"`
	Keep        []int          `json:"keep,omitempty"` // every descriptor above, and no other, is still open

	left map[int]struct{} // of Keep, those that nobody has taken yet
}

type handedMember struct {
	Name      string            `json:"name"`
	Runs      map[string]uint64 `json:"runs,omitempty"`
	Processes []handedProcess   `json:"processes,omitempty"`
}

// handedProcess is a process with what is in memory only. Pauses are told as what is left of them, for a clock may be set
// meanwhile.
type handedProcess struct {
	Start     Start          `json:"start"`
	Want      want           `json:"want"`
	Bad       string         `json:"bad,omitempty"` // why the record can't be read
	Status    Status         `json:"status"`
	Why       string         `json:"why,omitempty"`
	Trouble   string         `json:"trouble,omitempty"`
	Streak    int            `json:"streak,omitempty"`
	Pause     time.Duration  `json:"pause,omitempty"`
	Killed    bool           `json:"killed,omitempty"`
	Again     bool           `json:"again,omitempty"`
	KillIn    *time.Duration `json:"killIn,omitempty"`
	StartIn   *time.Duration `json:"startIn,omitempty"`
	KillMaxIn *time.Duration `json:"killMaxIn,omitempty"`
	Ear       *handedEar     `json:"ear,omitempty"`
	Output    *handedOutput  `json:"output,omitempty"`
	PID       int            `json:"pid,omitempty"` // the latest main process, alive or not
	Ticks     uint64         `json:"ticks,omitempty"`
	LastOwn   bool           `json:"lastOwn,omitempty"`
	Pidfd     int            `json:"pidfd,omitempty"` // the live main process
	Own       bool           `json:"own,omitempty"`   // which is the keeper's child
	Grace     int            `json:"grace,omitempty"`
	Fence     *handedFence   `json:"fence,omitempty"`
	Place     string         `json:"place,omitempty"`
}

// handedEar is the socket that a process tells what it does.
type handedEar struct {
	FD        int           `json:"fd"`
	Name      string        `json:"name"`
	Told      bool          `json:"told,omitempty"`
	Watching  bool          `json:"watching,omitempty"` // for pings
	PingedAgo time.Duration `json:"pingedAgo,omitempty"`
	Extend    time.Duration `json:"extend,omitempty"`
}

// handedOutput is where a process writes. The log is opened again; of the pipe, what is in it stays.
type handedOutput struct {
	outputNote
	Pipe     int    `json:"pipe,omitempty"`
	Dropped  int64  `json:"dropped,omitempty"` // bytes, of which the log does not tell yet
	Dropping string `json:"dropping,omitempty"`
}

// handedConn is a client's connection. Unread holds what was read from it and not answered.
type handedConn struct {
	FD      int        `json:"fd"`
	Unread  []byte     `json:"unread,omitempty"`
	Files   []int      `json:"files,omitempty"`   // descriptors that came with Unread
	Upgrade bool       `json:"upgrade,omitempty"` // it waits for this upgrade
	Run     *handedRun `json:"run,omitempty"`     // it waits for that

	conn *conn
	run  *beside
}

// handedRun is a Run whose command had not ended, or whose end nobody had looked at.
type handedRun struct {
	Member    string           `json:"member"`
	Process   string           `json:"process"`
	Dir       string           `json:"dir,omitempty"`
	Lock      string           `json:"lock,omitempty"`
	Number    uint64           `json:"number,omitempty"`
	Left      time.Duration    `json:"left"`
	PID       int              `json:"pid"`
	Pidfd     int              `json:"pidfd"`
	Ended     *unix.WaitStatus `json:"ended,omitempty"`
	Output    int              `json:"output"`
	Got       []byte           `json:"got,omitempty"`
	Truncated bool             `json:"truncated,omitempty"`
	Most      int              `json:"most"`
	Fence     *handedFence     `json:"fence,omitempty"`
}

// handOver describes the keeper and what conns do. What is handed over for good must stand still.
func (k *Keeper) handOver(conns []*handedConn) (*handover, error) {
	h := &handover{
		Version: handoverVersion, From: k.opts.Version, Protocol: Protocol, Dir: k.opts.Dir, Boot: k.boot,
		Cgroup: k.info().Cgroup, Binary: k.opts.Binary, NoCloneInto: k.launch.noCloneInto.Load(), Lease: k.lease.handOver(),
	}
	k.mu.Lock()
	h.Aux, h.Upgrades = k.aux, k.upgrades
	names := make([]string, 0, len(k.members))
	for n := range k.members {
		names = append(names, n)
	}
	k.mu.Unlock()
	slices.Sort(names)
	for _, n := range names {
		if m := k.member(n).handOver(h); len(m.Processes) > 0 || len(m.Runs) > 0 {
			h.Members = append(h.Members, m)
		}
	}
	k.table.mu.Lock()
	h.Table = k.table.version
	k.table.mu.Unlock()
	h.DirLock = h.keep(k.home.lockFD())
	fd, err := rawFD(k.home.listener())
	if err != nil {
		return nil, err
	}
	h.Socket = h.keep(fd)
	for _, c := range conns {
		if err := c.handOver(h); err != nil {
			return nil, err
		}
		h.Conns = append(h.Conns, *c)
	}
	return h, nil
}

// keep notes a descriptor that goes over.
func (h *handover) keep(fd int) int {
	h.Keep = append(h.Keep, fd)
	return fd
}

func rawFD(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	n := -1
	err = raw.Control(func(fd uintptr) { n = int(fd) })
	return n, err
}

func (m *member) handOver(h *handover) handedMember {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := handedMember{Name: m.name, Runs: maps.Clone(m.runs)}
	for _, p := range m.procs {
		out.Processes = append(out.Processes, p.handOver(h))
	}
	return out
}

func (p *process) handOver(h *handover) handedProcess {
	out := handedProcess{
		Start: p.start.whole(), Want: p.want, Status: p.status, Why: p.why, Trouble: p.trouble,
		Streak: p.streak.streak, Pause: p.streak.pause, Killed: p.killed, Again: p.again,
		KillIn: untilTime(p.killAt), StartIn: untilTime(p.status.NextStart),
		PID: p.last.pid, Ticks: p.last.ticks, LastOwn: p.lastOwn, Grace: int(p.grace.get()), Place: p.place,
	}
	out.KillMaxIn, out.Fence = untilTime(p.killMax), p.k.lease.handProcess(p)
	if e := p.ear; e != nil {
		out.Ear = &handedEar{FD: h.keep(e.fd), Name: e.name, Told: e.told, Watching: e.dog != nil, PingedAgo: time.Since(e.pinged), Extend: e.extend}
	}
	if o := p.output; o != nil {
		out.Output = &handedOutput{outputNote: *o.note()}
		if fd := o.pipeFD(); fd >= 0 {
			out.Output.Pipe = h.keep(fd)
		}
		out.Output.Dropped, out.Output.Dropping = o.lost()
	}
	if p.bad != nil {
		out.Bad = p.bad.Error()
	}
	if p.main != nil {
		out.Pidfd, out.Own = h.keep(p.main.pidfd), p.main.own != nil
	}
	return out
}

func untilTime(t time.Time) *time.Duration {
	if t.IsZero() {
		return nil
	}
	d := time.Until(t)
	return &d
}

func timeIn(d *time.Duration) time.Time {
	if d == nil {
		return time.Time{}
	}
	return time.Now().Add(*d)
}

func (c *handedConn) handOver(h *handover) error {
	fd, err := rawFD(c.conn)
	if err != nil {
		return err
	}
	c.FD, c.Files = h.keep(fd), c.conn.in.files
	for _, fd := range c.Files {
		h.keep(fd)
	}
	b := c.run
	if b == nil {
		return nil
	}
	out, err := rawFD(b.output)
	if err != nil {
		return err
	}
	c.Run = &handedRun{
		Member: b.key.member, Process: b.key.process, Dir: b.dir, Lock: b.lock, Number: b.number,
		Left: time.Until(b.until), PID: b.child.pid, Pidfd: h.keep(b.child.pidfd), Output: h.keep(out),
		Got: b.have.data, Truncated: b.have.truncated, Most: b.most, Fence: b.k.lease.handRun(b.fence),
	}
	select {
	case ws := <-b.exited:
		b.exited <- ws
		c.Run.Ended = &ws
	default:
	}
	return nil
}

// takeHandover reads what this process was before it became this binary; nil if it is newly started.
func takeHandover() (*handover, error) {
	s := os.Getenv(handoverEnv)
	if s == "" {
		return nil, nil
	}
	if err := os.Unsetenv(handoverEnv); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(s)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q names no descriptor", handoverEnv, s)
	}
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	h, err := readHandover(f)
	if err != nil {
		return nil, err
	}
	h.left = map[int]struct{}{}
	for _, fd := range h.Keep {
		h.left[fd] = struct{}{}
	}
	return h, nil
}

func readHandover(r io.ReaderAt) (*handover, error) {
	b, err := io.ReadAll(io.NewSectionReader(r, 0, 1<<40))
	if err != nil {
		return nil, err
	}
	var v struct{ Version int }
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("the state is damaged: %w", err)
	}
	if v.Version < 1 || v.Version > handoverVersion {
		return nil, fmt.Errorf("the state has version %d, this supd-keeper (%s) knows up to %d", v.Version, BuildVersion(), handoverVersion)
	}
	h := new(handover)
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("the state can't be read: %w", err)
	}
	return h, nil
}

// check tells why this binary could not go on with the state, nil if it can.
func (h *handover) check() error {
	f := files{h.Dir}
	errs := []error{f.checkVersions(f.records()), f.checkVersions(f.epochs())}
	if h.Cgroup != "" {
		errs = append(errs, unix.Access(filepath.Join(h.Cgroup, "cgroup.procs"), unix.W_OK))
	}
	return errors.Join(errs...)
}

// checkVersions refuses what a newer keeper has written. What is damaged is so for every keeper.
func (f files) checkVersions(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var v struct{ Version int }
		if readFirstLine(path, &v) == nil && v.Version > recordVersion {
			return checkVersion(path, v.Version, recordVersion)
		}
	}
	return nil
}

// take gives a descriptor to who goes on with it.
func (h *handover) take(fd int) int {
	delete(h.left, fd)
	return fd
}

// done closes what nobody has taken.
func (h *handover) done() {
	if h == nil {
		return
	}
	for fd := range h.left {
		unix.Close(fd)
	}
	h.left = nil
}

func (h *handover) conns() []handedConn {
	if h == nil {
		return nil
	}
	return h.Conns
}

// takeFile is a descriptor as what the net package makes of it.
func (h *handover) takeFile(fd int, use func(*os.File) error) error {
	f := os.NewFile(uintptr(h.take(fd)), "handed over")
	if f == nil {
		return fmt.Errorf("descriptor %d is none", fd)
	}
	return errors.Join(use(f), f.Close())
}

// listener is the socket handed over, where clients queue meanwhile; nil if none was.
func (k *Keeper) listener() (*net.UnixListener, error) {
	if k.given == nil {
		return nil, nil
	}
	var l *net.UnixListener
	err := k.given.takeFile(k.given.Socket, func(f *os.File) error {
		any, err := net.FileListener(f)
		if err != nil {
			return err
		}
		l, _ = any.(*net.UnixListener)
		if l == nil {
			return errors.Join(errors.New("the socket handed over is of another kind"), any.Close())
		}
		l.SetUnlinkOnClose(false)
		return nil
	})
	return l, err
}
