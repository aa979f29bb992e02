package keeper

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// KeptLogs is how many logs of earlier starts are kept beside the current one.
const KeptLogs = 5

// followEvery is how often a follower looks for more at the end of a log.
const followEvery = 100 * time.Millisecond

// LogOptions choose what OpenLog reads.
type LogOptions struct {
	Previous bool // the log of the start before this one; Follow is then ignored
	Tail     int  // only the last so many lines; 0 = all, negative = none of what is there
	Follow   bool // go on with what is written later, also over restarts, until Close
}

// LogPath is the file that holds the current log of a process; earlier ones have .1 (the latest) to .5 appended.
func LogPath(dir, process string) string { return filepath.Join(dir, fileName(process)+".log") }

func keptLog(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// OpenLog reads the log of a process that a keeper writes under dir. It needs no keeper. A log that isn't there is
// fs.ErrNotExist. Close may be called while Read waits, and ends it with io.EOF.
func OpenLog(dir, process string, o LogOptions) (io.ReadCloser, error) {
	path := LogPath(dir, process)
	if o.Previous {
		path, o.Follow = keptLog(path, 1), false
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if o.Tail != 0 {
		if err := seekTail(f, o.Tail); err != nil {
			f.Close()
			return nil, err
		}
	}
	return &logReader{path: path, f: f, follow: o.Follow, closed: make(chan struct{})}, nil
}

type logReader struct {
	path   string
	follow bool
	closed chan struct{}
	once   sync.Once

	mu sync.Mutex // guards f: held by Read but not while it waits
	f  *os.File
}

func (l *logReader) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// Read implements io.Reader.
func (l *logReader) Read(p []byte) (int, error) {
	for {
		n, err := l.read(p)
		if n > 0 || !l.follow || !errors.Is(err, io.EOF) {
			return n, err
		}
		t := time.NewTimer(followEvery)
		select {
		case <-l.closed:
			t.Stop()
			return 0, io.EOF
		case <-t.C:
		}
	}
}

// read reads what there is, in this file or, if that has ended, in the next.
func (l *logReader) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, io.EOF
	}
	n, err := l.f.Read(p)
	if n > 0 || !l.follow || !errors.Is(err, io.EOF) {
		return n, err
	}
	next, err := l.nextLocked()
	if err != nil || next == nil {
		return 0, errors.Join(err, io.EOF)
	}
	// What was written between the read above and the rotation comes first.
	if n, err := l.f.Read(p); n > 0 {
		return n, errors.Join(err, next.Close())
	}
	old := l.f
	l.f = next
	if err := old.Close(); err != nil {
		return 0, err
	}
	return l.f.Read(p)
}

// nextLocked opens the file that came after the one at hand, nil if there is none yet.
func (l *logReader) nextLocked() (*os.File, error) {
	st, err := l.f.Stat()
	if err != nil {
		return nil, err
	}
	oldest := -1
	for i := 0; i <= KeptLogs; i++ {
		at, err := os.Stat(keptLog(l.path, i))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if os.SameFile(st, at) {
			if i == 0 {
				return nil, l.truncatedLocked(at)
			}
			return l.followerLocked(st, i)
		}
		oldest = i
	}
	if oldest < 0 {
		return nil, nil
	}
	return openIfThere(keptLog(l.path, oldest)) // ours has been dropped: go on with what is kept
}

// followerLocked opens the file after ours, which is at i, unless a rotation is under way.
func (l *logReader) followerLocked(ours os.FileInfo, i int) (*os.File, error) {
	f, err := openIfThere(keptLog(l.path, i-1))
	if f == nil || err != nil {
		return nil, err
	}
	if at, err := os.Stat(keptLog(l.path, i)); err != nil || !os.SameFile(ours, at) {
		return nil, f.Close() // it moved meanwhile, so f may not be the next
	}
	return f, nil
}

// openIfThere opens a file that a rotation may just be moving away; nil says look again.
func openIfThere(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// truncatedLocked starts over in a file that somebody cut short.
func (l *logReader) truncatedLocked(st os.FileInfo) error {
	at, err := l.f.Seek(0, io.SeekCurrent)
	if err != nil || st.Size() >= at {
		return err
	}
	_, err = l.f.Seek(0, io.SeekStart)
	return err
}

// seekTail moves to the start of the last n lines. A last line without a newline counts.
func seekTail(f *os.File, n int) error {
	const block = 32 << 10
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n < 0 {
		return err
	}
	buf := make([]byte, block)
	for at := end; at > 0; {
		size := min(at, block)
		at -= size
		b := buf[:size]
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if at+size == end && b[size-1] == '\n' {
			b = b[:size-1]
		}
		for {
			i := bytes.LastIndexByte(b, '\n')
			if i < 0 {
				break
			}
			if n--; n == 0 {
				_, err := f.Seek(at+int64(i)+1, io.SeekStart)
				return err
			}
			b = b[:i]
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
