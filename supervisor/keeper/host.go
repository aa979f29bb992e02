package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// procStat is what identifies a process: its pid is used again, its pid and start time aren't.
type procStat struct {
	pid     int
	state   byte
	pgrp    int
	session int
	ticks   uint64 // start time since boot
}

// dead tells whether the process has ended, though somebody has yet to reap it.
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' }

// ticksPerSecond is what Linux tells start times in, on every architecture that Go knows.
const ticksPerSecond = 100

// age is how long ago the process was started, by a clock that nobody sets.
func (s procStat) age() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return max(time.Duration(now.Nano())-time.Duration(s.ticks)*(time.Second/ticksPerSecond), 0)
}

func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return procStat{}, fmt.Errorf("cannot read the state of process %d", pid)
	}
	s := procStat{pid: pid, state: f[0][0]}
	var errs [3]error
	s.pgrp, errs[0] = strconv.Atoi(f[2])
	s.session, errs[1] = strconv.Atoi(f[3])
	s.ticks, errs[2] = strconv.ParseUint(f[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

// cgroupOf is the path of a process's cgroup in the v2 hierarchy.
func cgroupOf(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup v2", pid)
}

// allPids lists the processes that this one can see.
func allPids() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// fileID tells one file from another.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

func fileIDOf(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return idOf(&st), nil
}

// holds tells whether a process has the lock file open under the lock's number. Nobody but the keeper hands that out, so
// such a process is the member's, whatever its parent, group or session.
func holds(pid int, lock fileID) bool {
	id, ok := lockOf(pid)
	return ok && id == lock
}

// lockOf is the file that a process has open under the lock's number.
func lockOf(pid int) (fileID, bool) {
	var st unix.Stat_t
	err := unix.Stat("/proc/"+strconv.Itoa(pid)+"/fd/"+strconv.Itoa(LockFD), &st)
	return idOf(&st), err == nil
}

// holdsDeleted tells whether a process has under the lock's number a file that was once at path: a lock is held by whoever
// has it open, also when somebody has removed its name.
func holdsDeleted(pid int, path string) bool {
	at, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/" + strconv.Itoa(LockFD))
	return err == nil && at == path+" (deleted)"
}

// lockHolders finds the live processes that inherited the lock. Processes of other users are seen by root only.
func lockHolders(path string) ([]procStat, error) {
	lock, err := fileIDOf(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	pids, err := allPids()
	if err != nil {
		return nil, err
	}
	var found []procStat
	for _, pid := range pids {
		if pid == os.Getpid() || !holds(pid, lock) && !holdsDeleted(pid, path) {
			continue
		}
		if s, err := readStat(pid); err == nil && !s.dead() {
			found = append(found, s)
		}
	}
	return found, nil
}

// groupOf finds the live processes of a group or session, but for its leader.
func groupOf(pgid int) ([]procStat, error) {
	pids, err := allPids()
	if err != nil {
		return nil, err
	}
	var found []procStat
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil && pid != pgid && (s.pgrp == pgid || s.session == pgid) && !s.dead() {
			found = append(found, s)
		}
	}
	return found, nil
}

// openProcess opens a pidfd and makes sure it is of the very process that s describes.
func openProcess(s procStat) (int, error) {
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		return -1, err
	}
	now, err := readStat(s.pid)
	if err == nil && (now.ticks != s.ticks || now.dead()) {
		err = unix.ESRCH
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// signalProcess signals the very process that s describes; one that has ended is no error.
func signalProcess(s procStat, sig unix.Signal) error {
	fd, err := openProcess(s)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer unix.Close(fd)
	return signalFD(fd, sig)
}

func signalFD(pidfd int, sig unix.Signal) error {
	err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// hasExited asks a pidfd whether its process has ended.
func hasExited(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 1
	}
}

// pidList prints the first few of some processes.
func pidList(procs []procStat) string {
	var b strings.Builder
	for i, p := range procs {
		if i == 5 {
			b.WriteString(", ...")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(p.pid))
	}
	return b.String()
}

// parseSignal reads SIGTERM, TERM, RTMIN+3 or 15. "" is SIGTERM.
func parseSignal(name string) (unix.Signal, error) {
	const rtmin, rtmax = 34, 64 // as the C library counts
	if name == "" {
		return unix.SIGTERM, nil
	}
	n := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if s := unix.SignalNum("SIG" + n); s != 0 {
		return s, nil
	}
	num, base := n, 0
	if rest, ok := strings.CutPrefix(n, "RTMIN"); ok {
		num, base = strings.TrimPrefix(rest, "+"), rtmin
		if num == "" {
			num = "0"
		}
	}
	i, err := strconv.Atoi(num)
	if err != nil || i < 0 || base+i < 1 || base+i > rtmax {
		return 0, invalid("%q is not a signal", name)
	}
	return unix.Signal(base + i), nil
}

// signalName is the reverse of parseSignal.
func signalName(s unix.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return strconv.Itoa(int(s))
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
