package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

const logBlock = 32 << 10

// fileLocked reads on in the file at hand: what we have to say ourselves first, then whole lines from where there are any.
func (l *logReader) fileLocked(p []byte) (int, error) {
	for {
		if len(l.text) > 0 {
			n := copy(p, l.text)
			l.text = l.text[n:]
			return n, nil
		}
		n, err := l.blockLocked(p)
		if n == 0 {
			return 0, err
		}
		full, from := n == len(p), 0
		if l.skip {
			from = bytes.IndexByte(p[:n], '\n') + 1
			if from == 0 {
				from = n
			}
			if l.lost > 0 {
				l.lost += int64(from)
			}
			l.at += int64(from)
			if p[from-1] != '\n' {
				continue
			}
			l.skip = false
			if l.lost > 0 { // what follows is read again, behind this
				l.sayLocked(fmt.Sprintf("[supd: %d bytes were given back here before they were read]\n", l.lost))
				l.lost = 0
				continue
			}
			if n = copy(p, p[from:n]); n == 0 {
				continue
			}
		}
		// What may still be given back before the rest of it is read, a line that is longer than p apart.
		if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 && full {
			n = i + 1
		}
		l.at += int64(n)
		l.mid = p[n-1] != '\n'
		return n, nil
	}
}

// blockLocked reads at the present place, which a hole may have reached: then it goes behind that. Holes grow from the head
// only, so if there is none at its beginning after the read, all of it was read as it was written.
func (l *logReader) blockLocked(p []byte) (int, error) {
	for {
		if l.last != nil {
			st, err := l.f.Stat()
			if err != nil {
				return 0, err
			}
			if os.SameFile(st, l.last) {
				if l.at >= l.end {
					return 0, io.EOF
				}
				p = p[:min(int64(len(p)), l.end-l.at)]
			}
		}
		n, err := l.f.ReadAt(p, l.at)
		if n == 0 {
			return 0, err
		}
		d, err := firstData(int(l.f.Fd()), l.at)
		if err != nil || d <= l.at {
			return n, err
		}
		l.lost += d - l.at
		l.at, l.skip = d, true
	}
}

// begin opens the file to start in, newest or for Since one before, and finds the place in it.
func (l *logReader) begin(newest int, o *LogOptions) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := newest
	if !o.Since.IsZero() && !o.Previous {
		for n := newest + 1; n <= KeptLogs; n++ {
			st, err := os.Stat(keptLog(l.path, n))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if st.ModTime().Before(o.Since) {
				break // and so were those before it
			}
			first = n
		}
	}
	want := o.Tail
	for n := newest; ; n++ {
		f, err := os.Open(keptLog(l.path, n))
		if errors.Is(err, os.ErrNotExist) && n > newest && n < first {
			continue
		}
		if err != nil {
			return err
		}
		if l.f != nil {
			if err := l.f.Close(); err != nil {
				return err
			}
		}
		l.f, l.at, l.skip = f, 0, false
		if err := l.placeLocked(keptLog(l.path, n), o, &want); err != nil {
			return err
		}
		if n >= first || o.Tail < 0 || o.Tail > 0 && want <= 0 {
			return nil
		}
	}
}

// placeLocked goes to the first line that is wanted of the file at hand, and takes the lines behind it from tail.
func (l *logReader) placeLocked(path string, o *LogOptions, tail *int) error {
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	if !o.Since.IsZero() {
		var ino uint64
		if s, ok := st.Sys().(*syscall.Stat_t); ok {
			ino = s.Ino
		}
		marks, err := readIndex(path, ino, st.Size())
		if err != nil {
			return err
		}
		// The kernel's own note of the last write is an entry too.
		if n := len(marks); n == 0 || marks[n-1].offset < st.Size() {
			marks = append(marks, mark{st.ModTime().UnixNano(), st.Size()})
		}
		if l.at = since(marks, o.Since.UnixNano()); l.at < st.Size() {
			if l.at, err = lineStart(l.f, l.at); err != nil {
				return err
			}
		}
	}
	if err := l.startLocked(); err != nil {
		return err
	}
	switch {
	case o.Tail < 0:
		l.at, l.skip = st.Size(), false
	case o.Tail > 0:
		at, left, err := tailStart(l.f, l.at, st.Size(), *tail)
		if err != nil {
			return err
		}
		*tail = left
		if at > l.at {
			l.at, l.skip = at, false
		}
	}
	return nil
}

// lineStart is the start of the line that an offset is in.
func lineStart(f io.ReaderAt, at int64) (int64, error) {
	buf := make([]byte, logBlock)
	for at > 0 {
		b := buf[:min(at, logBlock)]
		if _, err := f.ReadAt(b, at-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
			return at, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return at - int64(len(b)-i-1), nil
		}
		if bytes.IndexByte(b, 0) >= 0 { // a hole
			return at, nil
		}
		at -= int64(len(b))
	}
	return at, nil
}

// tailStart finds the start of the last n lines between two offsets, and how many lines are missing to n. A last line
// without a newline counts.
func tailStart(f io.ReaderAt, from, end int64, n int) (at int64, missing int, err error) {
	buf := make([]byte, logBlock)
	for at = end; at > from; {
		size := min(at-from, logBlock)
		at -= size
		b := buf[:size]
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return at, n, err
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
				return at + int64(i) + 1, 0, nil
			}
			b = b[:i]
		}
	}
	if end > from {
		n--
	}
	return from, max(n, 0), nil
}
