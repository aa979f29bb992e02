package keeper

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The index of a log lies beside it: a header with the log's inode, so that no other's is taken for it, and entries that
// say how long the log was at a time. It is a help only: what of it is torn, missing or nonsense is left out.
const (
	indexMagic   = "supdidx1"
	indexEntry   = 16
	indexMost    = 64 << 10
	indexEvery   = time.Second // between two entries, at least
	indexEntries = indexMost/indexEntry - 1
)

func indexPath(log string) string { return log + ".idx" }

// mark says that all before offset was written at or before a time, in nanoseconds since 1970.
type mark struct {
	at     int64
	offset int64
}

func appendMark(b []byte, m mark) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(m.at))
	return binary.LittleEndian.AppendUint64(b, uint64(m.offset))
}

func encodeIndex(ino uint64, marks []mark) []byte {
	b := append(make([]byte, 0, indexEntry*(len(marks)+1)), indexMagic...)
	b = binary.LittleEndian.AppendUint64(b, ino)
	for _, m := range marks {
		b = appendMark(b, m)
	}
	return b
}

// decodeIndex reads the index of a log of that inode and size. Offsets grow in what it returns; times may jump. A step back
// is a log that was cut short: what was before it means nothing any more.
func decodeIndex(b []byte, ino uint64, size int64) []mark {
	if len(b) < indexEntry || string(b[:8]) != indexMagic || binary.LittleEndian.Uint64(b[8:]) != ino {
		return nil
	}
	var marks []mark
	for b = b[indexEntry:]; len(b) >= indexEntry && len(marks) <= 2*indexEntries; b = b[indexEntry:] {
		m := mark{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))}
		n := len(marks)
		if m.offset <= 0 || n > 0 && m.offset == marks[n-1].offset {
			continue
		}
		if n > 0 && m.offset < marks[n-1].offset {
			marks = marks[:0]
		}
		marks = append(marks, m)
	}
	for len(marks) > 0 && marks[len(marks)-1].offset > size {
		marks = marks[:len(marks)-1]
	}
	return marks
}

// thin keeps every second entry of what is still there, and the last.
func thin(marks []mark, head int64) []mark {
	var out []mark
	for i, m := range marks {
		if m.offset >= head && (i%2 == 0 || i == len(marks)-1) {
			out = append(out, m)
		}
	}
	return out
}

// since is the offset from which on a log may hold what was written at or after a time: rather too much than too little,
// also if the clock was set back. Everything after the last entry counts.
func since(marks []mark, at int64) int64 {
	var before int64
	for _, m := range marks {
		if m.at >= at {
			break
		}
		before = m.offset
	}
	return before
}

func readIndex(log string, ino uint64, size int64) ([]mark, error) {
	b, err := os.ReadFile(indexPath(log))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return decodeIndex(b, ino, size), err
}

// index writes the index of one log. Not for use by several at once.
type index struct {
	log  string
	ino  uint64
	have int // entries, -1: not yet looked
	last mark
}

func newIndex(log string, ino uint64) index { return index{log: log, ino: ino, have: -1} }

// due tells whether an entry is worth its write.
func (x *index) due(now time.Time, size int64, grows bool) bool {
	if size == x.last.offset {
		return false
	}
	return !grows || now.Sub(time.Unix(0, x.last.at)).Abs() >= indexEvery
}

// add appends an entry. A keeper killed meanwhile leaves part of one, which the next overwrites.
func (x *index) add(m mark, head int64) error {
	if x.have < 0 || x.have >= indexEntries {
		if err := x.renew(m, head); err != nil {
			return err
		}
	}
	fd, err := unix.Open(indexPath(x.log), unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == nil {
		_, err = unix.Pwrite(fd, appendMark(nil, m), int64(x.have+1)*indexEntry)
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		x.have = -1
		return &os.PathError{Op: "write", Path: indexPath(x.log), Err: err}
	}
	x.have++
	x.last = m
	return nil
}

// renew takes over the index that is there, thinned if it is full, or begins one.
func (x *index) renew(m mark, head int64) error {
	marks, err := readIndex(x.log, x.ino, m.offset)
	if err != nil {
		return err
	}
	for len(marks) > indexEntries/2 {
		was := len(marks)
		if marks = thin(marks, head); len(marks) == was {
			break
		}
	}
	tmp := indexPath(x.log) + ".new"
	err = os.WriteFile(tmp, encodeIndex(x.ino, marks), modeLog)
	if err == nil {
		err = os.Rename(tmp, indexPath(x.log))
	}
	if err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	x.have = len(marks)
	return nil
}

// reset forgets all entries, for the log was cut short.
func (x *index) reset() error {
	x.have, x.last = -1, mark{}
	return removeIfThere(indexPath(x.log))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
