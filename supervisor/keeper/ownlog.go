package keeper

import (
	"errors"
	"os"
	"sync"
)

// ownLogMax bounds the keeper's own log; one as large is kept beside it, with .1 appended.
const ownLogMax = 8 << 20

// ownLog is the file that the keeper's own log goes to. What can't be written is lost: the members come first.
type ownLog struct {
	path string
	most int64

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
}

func openOwnLog(path string, most int64) (*ownLog, error) {
	l := &ownLog{path: path, most: most}
	return l, l.openLocked()
}

func (l *ownLog) openLocked() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, modeLog)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, st.Size()
	return nil
}

// Write implements io.Writer; one call is one line.
func (l *ownLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.most {
		l.turnLocked()
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// turnLocked begins a new file. Where that can't be had, the old one goes on.
func (l *ownLog) turnLocked() {
	if os.Rename(l.path, l.path+".1") != nil {
		return
	}
	old := l.file
	if l.openLocked() == nil {
		_ = old.Close() // it was only appended to
	}
}

func (l *ownLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
