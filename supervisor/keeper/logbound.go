package keeper

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultLogMax bounds the log of one start where Settings say nothing; the kept logs of earlier starts have as much again
// between them.
const DefaultLogMax = 32 << 20

// MinLogMax is the lowest bound: below it too little is left between two looks.
const MinLogMax = 64 << 10

// How often a log that grows is looked at.
const (
	lookFirst = 20 * time.Millisecond
	lookLast  = 2 * time.Second
	lookBlind = 10 * time.Second // a quiet one, where the kernel doesn't tell of its next write
)

// nextLook says when to look again: twice as late as the last time, but soon enough that at the rate seen no more than an
// eighth of the bound is written meanwhile. was is the pause before this look, grown what was written in it.
func nextLook(was time.Duration, grown, most int64) time.Duration {
	d := min(max(2*was, lookFirst), lookLast)
	if grown > 0 {
		d = min(d, time.Duration(float64(was)*float64(most/8)/float64(grown)))
	}
	return max(d, lookFirst)
}

// punchTo says where the log is to begin, at a multiple of block: an eighth of the bound goes at a time.
func punchTo(head, size, most, block int64) int64 {
	if size-head <= most {
		return head
	}
	return max(head, (size-most*7/8)/block*block)
}

// errNoHoles means that a file system gives no blocks back from a file's middle.
var errNoHoles = errors.New("the file system can't punch holes")

// punch gives the blocks below a new head back. The file's size and the offsets in it stay.
func punch(fd int, head int64) error {
	err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, head)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return errNoHoles
	case err != nil:
		return os.NewSyscallError("fallocate", err)
	}
	return nil
}

// firstData is where the data at or behind an offset begins; the hole below it was punched.
func firstData(fd int, at int64) (int64, error) {
	d, err := unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.EINVAL): // it knows no holes, so there are none
		return at, nil
	case errors.Is(err, unix.ENXIO): // nothing but a hole up to the end
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return at, os.NewSyscallError("fstat", err)
		}
		return max(at, st.Size), nil
	case err != nil:
		return at, os.NewSyscallError("lseek", err)
	}
	return d, nil
}

// trimKept bounds the logs of earlier starts, the oldest first. What can't be bounded stays.
func trimKept(path string, most int64) error {
	var sum int64
	for n := 1; n <= KeptLogs; n++ {
		var st unix.Stat_t
		err := unix.Lstat(keptLog(path, n), &st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: keptLog(path, n), Err: err}
		}
		sum += min(st.Size, st.Blocks*512)
		switch {
		case sum <= most:
			continue
		case n == 1: // it grew faster than it was looked at
			err = punchKept(keptLog(path, n), &st, most)
			sum = most
		default:
			err = removeLog(keptLog(path, n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func punchKept(path string, st *unix.Stat_t, most int64) error {
	fd, err := openLog(path, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err = punch(fd, punchTo(0, st.Size, most, blockOf(st))); errors.Is(err, errNoHoles) {
		return nil // it is the one that --previous shows: better too long than not there
	}
	return err
}

func blockOf(st *unix.Stat_t) int64 { return max(int64(st.Blksize), 4096) }

// dropOldest removes the oldest log of an earlier start to make room, and tells whether there was one.
func dropOldest(path string) bool {
	for n := KeptLogs; n >= 1; n-- {
		if _, err := os.Lstat(keptLog(path, n)); err == nil {
			return removeLog(keptLog(path, n)) == nil
		}
	}
	return false
}

func removeLog(path string) error {
	err := os.Remove(path)
	if ierr := os.Remove(indexPath(path)); !errors.Is(ierr, os.ErrNotExist) {
		err = errors.Join(err, ierr)
	}
	return err
}
