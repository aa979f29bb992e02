package keeper

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// output is where one life of a process writes: the log file itself, or a pipe that the keeper empties into it. It has a
// lock of its own, taken after the member's if both are needed; no goroutine, and while nobody writes no timer.
type output struct {
	p    *process
	path string // of the log

	mu     sync.Mutex // guards what follows
	closed bool
	most   int64

	file    int // the log, -1 = there is none
	fileID  fileID
	regular bool
	block   int64
	size    int64 // its end, as last seen
	seen    int64 // that of the last look
	head    int64 // what is before it was punched
	noHoles bool
	gone    bool // removed or moved by somebody
	trimmed bool // the earlier logs were
	index   index

	timer   *time.Timer // nil: nobody looks until it is woken
	pause   time.Duration
	looked  time.Time
	watched int32 // its inotify watch, 0 = none

	pipe     int // the end that is read, -1 = the process has the file itself
	pipeID   fileID
	hear     func() // forgets the pipe's watch
	waits    *time.Timer
	dropped  int64 // bytes since the last that the log took
	dropping error
	tried    time.Time // to open a log where there is none

	news string // what the latest look found wrong
	told string // what the status says
}

// outputNote tells the next keeper where a process writes.
type outputNote struct {
	LogDev  uint64 `json:"logDev,omitempty"`
	LogIno  uint64 `json:"logIno,omitempty"`
	PipeDev uint64 `json:"pipeDev,omitempty"`
	PipeIno uint64 `json:"pipeIno,omitempty"`
}

func (p *process) newOutput() *output {
	return &output{
		p: p, path: LogPath(p.start.LogDir, p.key.process), most: p.start.logMax(),
		file: -1, pipe: -1, pause: lookFirst,
	}
}

// openOutput gives the next life a log, or a pipe into one. A disk that takes none costs the log, not the member: the
// process's logNote says so. done closes what only the child needs.
func (p *process) openOutput() (fd int, done func()) {
	p.closeOutput()
	p.logNote = ""
	if p.start.LogDir == "" {
		return p.k.launch.null, func() {}
	}
	o := p.newOutput()
	piped := p.start.Output == OutputPipe
	flags := unix.O_APPEND
	if piped {
		flags = 0 // splice wants it so, and nobody else writes
	}
	log, err := newLog(p.start.LogDir, p.key.process, flags)
	if err == nil {
		err = o.take(log)
	}
	if piped {
		if o.dropping = err; err != nil {
			o.tried = time.Now()
		}
		if fd, err = o.makePipe(&p.start.Exec); err != nil {
			err = fmt.Errorf("cannot make a pipe: %w", err)
		}
	} else {
		fd = o.file
	}
	if err != nil {
		p.logNote = "no log is written: " + err.Error()
		o.close()
		return p.k.launch.null, func() {}
	}
	p.output, o.told = o, o.troubleLocked()
	p.logNote = o.told
	if piped {
		return fd, func() { unix.Close(fd) }
	}
	return fd, func() {}
}

// take makes an open file the log.
func (o *output) take(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fstat", err)
	}
	o.file, o.fileID, o.size, o.seen, o.head = fd, idOf(&st), st.Size, st.Size, 0
	o.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	o.block = blockOf(&st)
	o.index = newIndex(o.path, st.Ino)
	o.gone = false
	return nil
}

// begin has the output looked after, once its process runs or was adopted.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.looked = time.Now()
	o.scheduleLocked(lookFirst)
	if o.pipe >= 0 {
		o.hearLocked()
	}
}

// closeOutput takes what is left in the pipe and gives the descriptors back.
func (p *process) closeOutput() {
	if p.output != nil {
		p.output.close()
		p.output = nil
	}
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if o.pipe >= 0 {
		o.drainLocked(finalRounds)
		o.closePipeLocked()
	}
	o.closed = true
	o.unwatchLocked()
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if o.file >= 0 {
		unix.Close(o.file)
		o.file = -1
	}
}

// setMost changes the bound from the next look on.
func (o *output) setMost(n int64) {
	o.mu.Lock()
	o.most = n
	o.mu.Unlock()
}

// pipeFD is the end of the pipe that is read, -1 if there is none.
func (o *output) pipeFD() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pipe
}

func (o *output) note() *outputNote {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &outputNote{LogDev: o.fileID.dev, LogIno: o.fileID.ino, PipeDev: o.pipeID.dev, PipeIno: o.pipeID.ino}
}

// tell puts what is wrong with the output into the process's status. It takes both locks.
func (o *output) tell() {
	if !o.untold() {
		return
	}
	o.p.m.mu.Lock()
	defer o.p.m.mu.Unlock()
	if o.p.output != o {
		return
	}
	o.mu.Lock()
	o.told = o.troubleLocked()
	o.p.logNote = o.told
	o.mu.Unlock()
	o.p.show()
}

func (o *output) untold() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.told != o.troubleLocked()
}

func (o *output) troubleLocked() string {
	switch {
	case o.dropping != nil:
		return "its log takes nothing, output is dropped: " + o.dropping.Error()
	case o.gone:
		return logGone
	}
	return o.news
}

// adoptOutput goes on with the output of a process that an earlier keeper has started.
func (p *process) adoptOutput(n *outputNote) {
	if p.start.LogDir == "" {
		return
	}
	o := p.newOutput()
	flags := unix.O_APPEND
	if n != nil && n.PipeIno != 0 {
		flags = 0
	}
	fd, err := openLog(o.path, flags)
	if err == nil {
		err = o.take(fd)
	}
	switch {
	case flags != 0 && (errors.Is(err, os.ErrNotExist) || err == nil && n != nil && o.fileID != (fileID{n.LogDev, n.LogIno})):
		o.gone = true
		if o.file >= 0 {
			unix.Close(o.file)
			o.file = -1
		}
	case err != nil:
		o.news = "its log can't be opened: " + err.Error()
	}
	if flags == 0 {
		o.pipeID = fileID{n.PipeDev, n.PipeIno}
		if o.pipe, p.handed = p.handed, 0; o.pipe == 0 {
			o.pipe, err = p.findPipe(o.pipeID)
		} else {
			err = nil
		}
		if err != nil {
			o.news = fmt.Sprintf("what it writes can't be read any more and may block it: %v", err)
		}
	}
	p.output, o.told = o, o.troubleLocked()
	p.logNote = o.told
	o.begin()
}

// closeOutputs ends what the keeper does for outputs; the processes go on writing.
func (k *Keeper) closeOutputs() {
	k.mu.Lock()
	members := make([]*member, 0, len(k.members))
	for _, m := range k.members {
		members = append(members, m)
	}
	k.mu.Unlock()
	for _, m := range members {
		m.mu.Lock()
		for _, p := range m.procs {
			p.closeOutput()
		}
		m.mu.Unlock()
	}
}
