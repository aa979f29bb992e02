package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The members of TestChaos are this test binary. Each process of one has in its arguments, for anybody to see, whose it is
// and of which life: chaosMark, the member's word (LAB/SET-ORDINAL), its role and the pid of the life's main process.
const chaosMark = "supd-chaos"

// lifeRecord is what a life of a member writes about itself, outside its host's disk, before anything else: a file
// LAB/lives/SET-ORDINAL/START-PID that begins with the time of its latest beat (beatLen digits and a line feed).
// Times are of the machine's own CLOCK_BOOTTIME, whatever clock its host has.
type lifeRecord struct {
	Member string `json:"member"`
	PID    int    `json:"pid"`
	Epoch  uint64 `json:"epoch"`
	Host   string `json:"host"`
	Start  int64  `json:"start"`
	// Volume is the container of its directory as the path shows it, NAME.UID8; "": it has none. Dir is what it found in
	// that, Fresh that it found nothing there and left its mark.
	Volume string `json:"volume,omitempty"`
	Dir    string `json:"dir,omitempty"`
	Fresh  bool   `json:"fresh,omitempty"`
	// Trouble is why it gave up: a lock that somebody else holds is a second live copy.
	Trouble string `json:"trouble,omitempty"`
	Twice   bool   `json:"twice,omitempty"`

	Last int64 `json:"-"` // the latest beat
}

const beatLen = 20

// How members of TestChaos stop.
const (
	stopsAtOnce = "prompt"
	stopsSlowly = "slow"
	stopsNever  = "stubborn" // SIGTERM is ignored
)

// chaosMember is the program: MARK WORD ROLE LIFE.
func chaosMember(args []string) int {
	word, role, life := args[0], args[1], args[2]
	switch role {
	case "worker": // in a session of its own, with the life's locks
		for {
			<-time.After(time.Hour)
		}
	case "fail":
		return 3
	case "start":
		// From here on all that it forks shows its life, also between fork and exec.
		err := syscall.Exec("/proc/self/exe", []string{os.Args[0], chaosMark, word, "live", strconv.Itoa(os.Getpid())}, os.Environ())
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l := &chaosLife{word: word, life: life}
	defer l.close()
	if err := l.begin(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return l.live()
}

// chaosLife is one life of a member, seen from inside.
type chaosLife struct {
	word, life string
	rec        lifeRecord
	beat       *os.File
	locks      []*os.File
}

// begin takes what only one copy may have, and says so. A copy that finds a lock taken says that and ends: it has seen the
// other one alive.
func (l *chaosLife) begin() error {
	epoch, err := strconv.ParseUint(os.Getenv("SUP_EPOCH"), 10, 64)
	if err != nil {
		return err
	}
	lab, member := os.Getenv("CHAOS_LAB"), filepath.Base(l.word)
	l.rec = lifeRecord{Member: member, PID: os.Getpid(), Epoch: epoch, Host: os.Getenv("SUP_NODE")}
	if l.rec.Start, err = bootNow(); err != nil {
		return err
	}
	trouble := l.lock(filepath.Join(lab, "locks", member), "the member")
	if dir := os.Getenv("SUP_VOLUME_DATA"); dir != "" && trouble == nil {
		l.rec.Volume = filepath.Base(filepath.Dir(dir))
		if trouble = l.lock(filepath.Join(lab, "locks", l.rec.Volume), "the directory"); trouble == nil {
			trouble = l.know(dir)
		}
	}
	if trouble != nil {
		l.rec.Trouble, l.rec.Twice = trouble.Error(), errors.Is(trouble, syscall.EWOULDBLOCK)
	}
	return errors.Join(l.write(filepath.Join(lab, "lives", member)), trouble)
}

// lock holds a file that is the same for every host, until the last process of this life has ended.
func (l *chaosLife) lock(path, what string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	l.locks = append(l.locks, f)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		by := make([]byte, 64)
		n, _ := f.ReadAt(by, 0) // who it is only serves the message
		return fmt.Errorf("%s is in use by %s: %w", what, strings.TrimSpace(string(by[:n])), err)
	}
	_, err = f.WriteAt([]byte(fmt.Sprintf("process %-8d epoch %-12d\n", l.rec.PID, l.rec.Epoch)), 0)
	return err
}

// know reads who the directory is, or gives it a name if it is new.
func (l *chaosLife) know(dir string) error {
	path := filepath.Join(dir, "identity")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		l.rec.Fresh = true
		b = []byte(fmt.Sprintf("%s %016x\n", l.rec.Member, rand.Uint64()))
		err = writeDurable(path, b)
	}
	if err == nil {
		l.rec.Dir = strings.TrimSpace(string(b))
	}
	return err
}

// writeDurable is what a database does that wants to keep something.
func writeDurable(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write makes the life's record, whole or not at all.
func (l *chaosLife) write(dir string) error {
	b, err := json.Marshal(l.rec)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%d-%d", l.rec.Start, l.rec.PID))
	if err = errors.Join(os.MkdirAll(dir, 0o755), err); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", []byte(fmt.Sprintf("%0*d\n%s\n", beatLen, l.rec.Start, b)), 0o600); err != nil {
		return err
	}
	if l.beat, err = os.OpenFile(name+".new", os.O_WRONLY, 0); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// live beats until it is asked to stop, in its own way.
func (l *chaosLife) live() int {
	stop := make(chan os.Signal, 1)
	kind := os.Getenv("CHAOS_KIND")
	if kind == stopsNever {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(stop, syscall.SIGTERM)
	}
	if os.Getenv("CHAOS_WORKER") != "" {
		c := exec.Command("/proc/self/exe", chaosMark, l.word, "worker", l.life)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		c.ExtraFiles = l.locks
		if err := c.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	var end <-chan time.Time
	for {
		now, err := bootNow()
		if err == nil {
			_, err = l.beat.WriteAt([]byte(fmt.Sprintf("%0*d", beatLen, now)), 0)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		select {
		case <-pace.C:
		case <-stop:
			if kind == stopsAtOnce {
				return 0
			}
			end = time.After(400 * time.Millisecond)
		case <-end:
			return 0
		}
	}
}

func (l *chaosLife) close() {
	for _, f := range append(l.locks, l.beat) {
		if f != nil {
			_ = f.Close() // the process ends
		}
	}
}

// bootNow is the machine's CLOCK_BOOTTIME, for processes in a time namespace too.
func bootNow() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, err
	}
	off, err := timeOffset()
	return ts.Nano() - off, err
}

// timeOffset is how much CLOCK_BOOTTIME is ahead in this process's time namespace.
func timeOffset() (int64, error) {
	b, err := os.ReadFile("/proc/self/timens_offsets")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var sec, nsec int64
		if n, err := fmt.Sscanf(line, "boottime %d %d", &sec, &nsec); err == nil && n == 2 {
			return sec*1e9 + nsec, nil
		}
	}
	return 0, nil
}
