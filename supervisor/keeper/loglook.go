package keeper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// logGone is what a status says while the log can't be found by its name.
const logGone = "its log was removed or moved by somebody: what it writes can't be shown until its next start"

// look sees what has become of the log: notes its length, bounds it, and finds out what others did to it.
func (o *output) look() {
	o.mu.Lock()
	if o.closed || o.file < 0 || !o.regular {
		o.mu.Unlock()
		return
	}
	o.timer = nil
	now := time.Now()
	grown := o.lookLocked(now)
	o.againLocked(now, grown)
	o.mu.Unlock()
	o.tell()
}

// lookLocked does one look and says how much was written since the last.
func (o *output) lookLocked(now time.Time) (grown int64) {
	var st unix.Stat_t
	if err := unix.Fstat(o.file, &st); err != nil {
		o.news = "its log can't be looked at: " + err.Error()
		return 0
	}
	if st.Size < o.size {
		o.cutShortLocked(st.Size)
	}
	o.size = st.Size
	grown, o.seen = o.size-o.seen, o.size
	if o.movedLocked() && o.pipe >= 0 {
		o.reopenLocked()
		return grown
	}
	if !o.gone && o.index.due(now, o.size, grown > 0) {
		if err := o.index.add(mark{now.UnixNano(), o.size}, o.head); err != nil && !isFull(err) {
			o.warn("its time index can't be written", err)
		}
	}
	o.news = o.boundLocked(&st)
	if !o.trimmed {
		o.trimmed = true
		if err := trimKept(o.path, o.most); err != nil {
			o.warn("its earlier logs can't be bounded", err)
		}
	}
	return grown
}

// movedLocked tells whether the log can no longer be found by its name.
func (o *output) movedLocked() bool {
	if at, err := fileIDOf(o.path); !o.gone && (errors.Is(err, os.ErrNotExist) || err == nil && at != o.fileID) {
		o.gone = true
		o.warn(logGone, nil)
	}
	return o.gone
}

// boundLocked gives the oldest blocks back if there are too many, and says what hinders it.
func (o *output) boundLocked(st *unix.Stat_t) string {
	if o.head == 0 && st.Blocks*512 < st.Size { // an earlier keeper has punched it
		if d, err := firstData(o.file, 0); err == nil {
			o.head = d / o.block * o.block
		}
	}
	to := punchTo(o.head, o.size, o.most, o.block)
	if to == o.head || o.noHoles {
		return o.emptyLocked()
	}
	err := punch(o.file, to)
	if err == nil { // some file systems only write zeros
		if d, derr := firstData(o.file, 0); derr != nil || d < to {
			err = errors.Join(errNoHoles, derr)
		}
	}
	switch {
	case errors.Is(err, errNoHoles):
		o.noHoles = true
		o.warn("its log is emptied when it is full", err)
		return o.emptyLocked()
	case err != nil:
		return "its log can't be bounded: " + err.Error()
	}
	o.head = to
	return ""
}

// emptyLocked is for a file system without holes: a log that is full is emptied, so that it doesn't fill the disk.
func (o *output) emptyLocked() string {
	if !o.noHoles {
		return ""
	}
	const news = "its log is emptied whenever it is full, for its file system can't punch holes"
	if o.size-o.head <= o.most {
		return news
	}
	if err := unix.Ftruncate(o.file, 0); err != nil {
		return "its log can't be emptied: " + err.Error()
	}
	o.size, o.seen, o.head = 0, 0, 0
	if err := o.index.reset(); err != nil {
		o.warn("the time index can't be removed", err)
	}
	return news
}

// cutShortLocked goes on after somebody has truncated the log.
func (o *output) cutShortLocked(size int64) {
	o.warn("its log was truncated by somebody", fmt.Errorf("from %d to %d bytes", o.size, size))
	o.size, o.seen, o.head = size, size, 0
	if err := o.index.reset(); err != nil {
		o.warn("the time index can't be removed", err)
	}
}

func (o *output) warn(what string, err error) {
	o.p.k.log.Warn("trouble with a log", "member", o.p.key.member, "process", o.p.key.process, "log", o.path, "what", what, "err", err)
}

// againLocked decides when the next look is: by timer while the log grows, else when the kernel says that it does again.
func (o *output) againLocked(now time.Time, grown int64) {
	if o.closed {
		return
	}
	took := max(now.Sub(o.looked), time.Millisecond)
	o.looked = now
	if grown == 0 && o.pause >= time.Second/2 {
		if o.pipe >= 0 { // what comes through it wakes this
			o.pause = lookFirst
			return
		}
		if !o.watchLocked() {
			o.scheduleLocked(lookBlind)
		}
		return
	}
	o.pause = nextLook(took, grown, o.most)
	o.scheduleLocked(o.pause)
}

func (o *output) scheduleLocked(d time.Duration) {
	if o.timer == nil && !o.closed {
		o.timer = time.AfterFunc(d, func() { o.p.k.task(o.look) })
	}
}

// watchLocked has the next write, truncation or removal told. False if that can't be had.
func (o *output) watchLocked() bool {
	if !o.p.k.logs.add(o) {
		return false
	}
	// It may have come just before.
	var st unix.Stat_t
	if err := unix.Fstat(o.file, &st); err != nil || st.Size != o.size || st.Nlink == 0 && !o.gone {
		o.unwatchLocked()
		o.pause = lookFirst
		o.scheduleLocked(lookFirst)
	}
	return true
}

func (o *output) unwatchLocked() {
	if o.watched != 0 {
		o.p.k.logs.remove(o.watched)
		o.watched = 0
	}
}

// woken is called when a quiet log has changed.
func (o *output) woken(wd int32) {
	o.mu.Lock()
	if o.watched != wd || o.closed {
		o.mu.Unlock()
		return
	}
	o.watched, o.pause, o.looked = 0, lookFirst, time.Now().Add(-lookFirst)
	o.mu.Unlock()
	o.look()
}

// logWatch tells of the first change to each quiet log, by inotify: those that grow cost nothing there.
type logWatch struct {
	fd int

	mu sync.Mutex // guards by
	by map[int32]*output
}

func newLogWatch() (*logWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &logWatch{fd: fd, by: map[int32]*output{}}, nil
}

// add watches a log whose lock is held. It fails where the host's limit of watches is reached.
func (w *logWatch) add(o *output) bool {
	const events = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_ONESHOT
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := unix.InotifyAddWatch(w.fd, "/proc/self/fd/"+strconv.Itoa(o.file), events)
	if err != nil {
		return false
	}
	w.by[int32(wd)], o.watched = o, int32(wd)
	return true
}

func (w *logWatch) remove(wd int32) {
	w.mu.Lock()
	delete(w.by, wd)
	w.mu.Unlock()
	_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // it has fired just now
}

// hear waits for events; it is called again after each.
func (w *logWatch) hear(k *Keeper) error {
	_, err := k.watch.add(w.fd, unix.EPOLLIN, func() {
		for _, wd := range w.read() {
			w.mu.Lock()
			o := w.by[wd]
			delete(w.by, wd)
			w.mu.Unlock()
			if o != nil {
				o.woken(wd)
			}
		}
		if err := w.hear(k); err != nil {
			k.log.Error("quiet logs can't be watched any more", "err", err)
		}
	})
	return err
}

// read gives the watches that have events.
func (w *logWatch) read() (wds []int32) {
	buf := make([]byte, 64*unix.SizeofInotifyEvent)
	for {
		n, err := unix.Read(w.fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return wds
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wds = append(wds, int32(nativeUint32(b)))
			b = b[min(len(b), unix.SizeofInotifyEvent+int(nativeUint32(b[12:]))):]
		}
	}
}
