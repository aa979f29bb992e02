package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The outputs of Start.
const (
	OutputFile = "file" // the process has the log file itself
	OutputPipe = "pipe" // the process has a pipe of its own user's, which the keeper empties into the file
)

const (
	pipeSize    = 256 << 10
	pipeRounds  = 16                   // splices before others get their turn
	finalRounds = 64                   // at its end: more than fits a pipe
	pipePause   = 2 * time.Millisecond // after it was emptied: so that small writes come together
)

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// makePipe makes a pipe that belongs to the process's user, so that it may open /dev/stdout again after it has given root
// up. The process gets it open for reading and writing: so a dead keeper costs it no SIGPIPE, and what it has written stays
// in the pipe for the next.
func (o *output) makePipe(e *Exec) (child int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(fds[1])
	fail := func(what string, err error) (int, error) {
		unix.Close(fds[0])
		return -1, os.NewSyscallError(what, err)
	}
	if e.SetUser {
		if err := unix.Fchown(fds[0], int(e.UID), int(e.GID)); err != nil {
			return fail("fchown", err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil {
		return fail("fstat", err)
	}
	if child, err = unix.Open("/proc/self/fd/"+strconv.Itoa(fds[1]), unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fail("open", err)
	}
	// An ordinary user may not have many so large: the pipe then stays as it is.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	o.pipe, o.pipeID = fds[0], idOf(&st)
	return child, nil
}

// findPipe opens the pipe that a living process writes to. The main process may have put something else in its place, so
// its other descriptors are looked at too, and those of the other processes of its session or cgroup.
func (p *process) findPipe(id fileID) (int, error) {
	if p.main == nil {
		return -1, nil
	}
	pids := []int{p.main.stat.pid}
	var others []procStat
	var err error
	if dir := p.cgroup(); dir != "" {
		others, err = cgroupProcs(dir)
	} else {
		others, err = groupOf(p.main.stat.pid)
	}
	for _, s := range others {
		pids = append(pids, s.pid)
	}
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		names, rerr := os.ReadDir(dir)
		if rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		for _, n := range names {
			path := filepath.Join(dir, n.Name())
			if at, serr := fileIDOf(path); serr != nil || at != id {
				continue
			}
			fd, oerr := openSame(path, id)
			if oerr == nil {
				return fd, nil
			}
			err = errors.Join(err, &os.PathError{Op: "open", Path: path, Err: oerr})
		}
	}
	return -1, err // nil: nobody has it any more
}

// openSame opens a file to read if it is the one meant. Who names it may put another there at any time, whose opening alone
// may do something.
func openSame(path string, id fileID) (int, error) {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return -1, err
	}
	if idOf(&st) != id {
		return -1, unix.ESTALE
	}
	return unix.Open(fdPath(at), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// hearLocked waits for something in the pipe.
func (o *output) hearLocked() {
	cancel, err := o.p.k.watch.add(o.pipe, unix.EPOLLIN, o.drain)
	if err != nil {
		o.warn("its pipe can't be watched and is looked at every 100 ms", err)
		o.waitLocked(100 * time.Millisecond)
		return
	}
	o.hear = cancel
}

// waitLocked empties the pipe after a pause.
func (o *output) waitLocked(d time.Duration) {
	o.waits = time.AfterFunc(d, func() { o.p.k.task(o.drain) })
}

// drain empties the pipe into the log.
func (o *output) drain() {
	o.mu.Lock()
	if o.closed || o.pipe < 0 {
		o.mu.Unlock()
		return
	}
	o.hear, o.waits = nil, nil
	moved, empty, end := o.drainLocked(pipeRounds)
	switch {
	case end:
		o.closePipeLocked()
	case moved == 0: // nothing came in the pause
		o.hearLocked()
	case empty && moved < pipeSize/2:
		o.waitLocked(pipePause)
	default:
		o.waitLocked(0)
	}
	if moved > 0 && o.file >= 0 && o.regular {
		o.scheduleLocked(lookFirst)
	}
	o.mu.Unlock()
	o.tell()
}

// drainLocked moves what is in the pipe, in a bounded number of rounds. end: nobody has the pipe any more.
func (o *output) drainLocked(rounds int) (moved int64, empty, end bool) {
	if o.file < 0 && time.Since(o.tried) > time.Second {
		o.reopenLocked()
	}
	if o.file >= 0 && o.regular {
		o.endOfLogLocked()
	}
	for range rounds {
		n, err := o.spliceLocked()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return moved, true, false
		case errors.Is(err, unix.EINTR):
		case err != nil: // of the pipe itself
			o.warn("its pipe can't be read", err)
			return moved, true, true
		case n == 0:
			return moved, true, true
		}
		moved += n
	}
	return moved, false, false
}

// endOfLogLocked finds the end of the log, which somebody may have cut short.
func (o *output) endOfLogLocked() {
	var st unix.Stat_t
	if err := unix.Fstat(o.file, &st); err != nil {
		return // the splice says the same
	}
	if st.Size < o.size {
		o.cutShortLocked(st.Size)
	}
	o.size = st.Size
	if st.Nlink == 0 && o.movedLocked() {
		o.reopenLocked()
	}
}

// spliceLocked moves some bytes into the log, or if that takes none, away. Its error is the pipe's.
func (o *output) spliceLocked() (int64, error) {
	if o.file < 0 {
		return o.dropLocked(o.dropping)
	}
	if o.dropped > 0 && !o.sayDroppedLocked() {
		return o.dropLocked(o.dropping)
	}
	var at *int64
	if o.regular {
		at = &o.size
	}
	n, err := unix.Splice(o.pipe, nil, o.file, at, pipeSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	switch {
	case err == nil:
		o.dropping = nil
		return n, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, err
	case isFull(err) && dropOldest(o.path):
		return 0, unix.EINTR // now there may be room
	}
	return o.dropLocked(err)
}

// dropLocked throws away what is in the pipe, so that the process never waits for a disk.
func (o *output) dropLocked(why error) (int64, error) {
	n, err := unix.Splice(o.pipe, nil, o.p.k.launch.null, nil, pipeSize, unix.SPLICE_F_NONBLOCK)
	if n > 0 {
		if o.dropped == 0 {
			o.warn("output is dropped", why)
		}
		o.dropped += n
		o.dropping = why
	}
	return n, err
}

// sayDroppedLocked leaves a line where bytes are missing. False: there is still no room, not even for that.
func (o *output) sayDroppedLocked() bool {
	line := fmt.Sprintf("\n[supd: %d bytes were dropped here: %v]\n", o.dropped, o.dropping)
	n, err := unix.Pwrite(o.file, []byte(line), o.size)
	if n < len(line) {
		if n > 0 {
			err = errors.Join(err, unix.Ftruncate(o.file, o.size))
		}
		if err != nil {
			o.dropping = err
		}
		return false
	}
	o.size += int64(n)
	o.warn("output is written again", fmt.Errorf("%d bytes were dropped", o.dropped))
	o.dropped, o.dropping = 0, nil
	return true
}

// reopenLocked begins a new log for a pipe whose log was removed, or could not be opened.
func (o *output) reopenLocked() {
	o.tried = time.Now()
	old := o.file
	fd, err := openLog(o.path, unix.O_CREAT)
	if err == nil {
		err = o.take(fd)
	}
	if err != nil {
		if old < 0 {
			o.dropping = err
		}
		return // what it writes goes on into the one at hand
	}
	if old >= 0 {
		unix.Close(old)
	}
	o.warn("it goes on in a new file", nil)
}

func (o *output) closePipeLocked() {
	if o.hear != nil {
		o.hear()
		o.hear = nil
	}
	if o.waits != nil {
		o.waits.Stop()
		o.waits = nil
	}
	unix.Close(o.pipe)
	o.pipe = -1
}

// lost is what was dropped and the log does not tell yet, with why.
func (o *output) lost() (bytes int64, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropping != nil {
		why = o.dropping.Error()
	}
	return o.dropped, why
}

// lose is what the keeper before this one had lost. o may be nil.
func (o *output) lose(bytes int64, why string) {
	if o == nil || bytes == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped, o.dropping = bytes, errors.New(why)
}
