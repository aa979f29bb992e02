package keeper

import (
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
	Previous bool      // the log of the start before this one; Follow is then ignored
	Tail     int       // only the last so many lines; 0 = all, negative = none of what is there
	Since    time.Time // only what was written from then on, also by earlier starts; zero = what this start has written
	Follow   bool      // go on with what is written later, also over restarts, until Close
}

// LogPath is the file that holds the current log of a process; earlier ones have .1 (the latest) to .5 appended.
func LogPath(dir, process string) string { return filepath.Join(dir, fileName(process)+".log") }

func keptLog(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// OpenLog reads the log of a process that a keeper writes under dir. It needs no keeper, and nobody waits for it. A log
// that isn't there is fs.ErrNotExist. Close may be called while Read waits, and ends it with io.EOF.
//
// It begins with a whole line, and where bytes are missing, because the log was truncated or its head given back before
// they were read, a line in brackets says so. Without Follow it ends where the log ended when it was opened. Since is as
// exact as the keeper's looks, and shows too much rather than too little.
func OpenLog(dir, process string, o LogOptions) (io.ReadCloser, error) {
	l := &logReader{path: LogPath(dir, process), follow: o.Follow && !o.Previous, closed: make(chan struct{})}
	newest := 0
	if o.Previous {
		newest = 1
	}
	st, err := os.Stat(keptLog(l.path, newest))
	if err != nil {
		return nil, err
	}
	l.chain = l.follow || !o.Since.IsZero() && !o.Previous
	if !l.follow {
		l.last, l.end = st, st.Size()
	}
	if err := l.begin(newest, &o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

type logReader struct {
	path   string
	follow bool
	chain  bool        // go on with the log of the next start
	last   os.FileInfo // without follow: where to end
	end    int64
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // guards what follows: held by Read but not while it waits
	f    *os.File
	at   int64
	skip bool  // the rest of a line whose head is not there any more
	lost int64 // bytes of a hole that was punched below the reader
	text []byte
	mid  bool // what was read last doesn't end a line
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
	if len(p) == 0 {
		return 0, nil
	}
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
	for {
		if l.f == nil {
			return 0, io.EOF
		}
		n, err := l.fileLocked(p)
		if n > 0 || !l.chain || !errors.Is(err, io.EOF) {
			return n, err
		}
		next, err := l.nextLocked()
		if err != nil {
			return 0, err
		}
		if next == nil && len(l.text) == 0 {
			return 0, io.EOF
		}
		// What was written between the read above and the rotation comes first.
		if n, err := l.fileLocked(p); n > 0 || next == nil {
			if next != nil {
				err = errors.Join(err, next.Close())
			}
			return n, err
		}
		if err := l.turnLocked(next); err != nil {
			return 0, err
		}
	}
}

// turnLocked goes on with the log of the next start.
func (l *logReader) turnLocked(next *os.File) error {
	old := l.f
	l.f, l.at, l.skip, l.lost = next, 0, false, 0
	if l.mid { // its last line was never ended
		l.text, l.mid = []byte("\n"), false
	}
	return errors.Join(old.Close(), l.startLocked())
}

// startLocked goes to the first whole line that is there, if what is before was given back.
func (l *logReader) startLocked() error {
	d, err := firstData(int(l.f.Fd()), l.at)
	if d > l.at {
		l.at, l.skip = d, true
	}
	return err
}

// nextLocked opens the file that came after the one at hand, nil if there is none yet.
func (l *logReader) nextLocked() (*os.File, error) {
	st, err := l.f.Stat()
	if err != nil {
		return nil, err
	}
	if l.last != nil && os.SameFile(st, l.last) {
		return nil, nil
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
				l.truncatedLocked(at)
				return nil, nil
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
func (l *logReader) truncatedLocked(st os.FileInfo) {
	if st.Size() < l.at {
		l.at, l.skip, l.lost = 0, false, 0
		l.sayLocked("[supd: the log was truncated here]\n")
	}
}

// sayLocked puts a line of our own between those of the log.
func (l *logReader) sayLocked(line string) {
	if l.mid {
		line = "\n" + line
	}
	l.text = append(l.text, line...)
	l.mid = false
}
