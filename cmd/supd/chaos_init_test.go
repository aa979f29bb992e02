package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initMark is the first argument of the first process of a pretended host.
const initMark = "supd-chaos-init"

// chaosMachine is what the first process of a pretended host is told.
type chaosMachine struct {
	Name      string   `json:"name"`
	BootID    string   `json:"bootID"`    // file that takes the place of the kernel's
	MachineID string   `json:"machineID"` // of /etc/machine-id
	Disk      string   `json:"disk"`      // image of the host's disk
	Data      string   `json:"data"`      // where that is mounted
	Supd      []string `json:"supd"`      // the daemon's command
	Keeper    []string `json:"keeper"`    // a keeper that is held here, as systemd would; empty: supd starts it
	Log       string   `json:"log"`       // takes what they say
	Clock     string   `json:"clock"`     // file with what CLOCK_REALTIME is wrong by
}

// chaosInit is what init is on a real host: it mounts the disk, starts the daemons again when they end, and buries what
// has nobody else. It is told "start WHAT" and "leave WHAT" on its standard input, and tells "run WHAT PID", "end WHAT
// STATUS" on its standard output. When its input ends, which is when the test does however that comes, the host loses its
// power.
func chaosInit(told string) int {
	var m chaosMachine
	err := json.Unmarshal([]byte(told), &m)
	if err == nil {
		err = m.mount()
	}
	if err == nil {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err != nil {
		fmt.Println("failed", strings.ReplaceAll(err.Error(), "\n", "; "))
		return 1
	}
	i := &initProcess{machine: m, wanted: map[string]bool{}, pids: map[string]int{}}
	fmt.Println("ready", os.Getpid())
	go i.reap()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, what, _ := strings.Cut(in.Text(), " ")
		i.want(what, verb == "start")
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.kill", []byte("1"), 0); err != nil { // this process too
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// mount makes what this host sees its own: disk, /run, cgroups, boot id, machine id.
func (m *chaosMachine) mount() error {
	steps := []struct {
		source, target, kind, data string
		flags                      uintptr
	}{
		{"tmpfs", "/run", "tmpfs", "mode=0755", 0},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", "", 0},
		{m.BootID, "/proc/sys/kernel/random/boot_id", "", "", unix.MS_BIND},
		{m.MachineID, "/etc/machine-id", "", "", unix.MS_BIND},
	}
	// The tree of version 1, if there is one, has the other mounts in it.
	for unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH) == nil {
	}
	for _, s := range steps {
		if s.target == "/etc/machine-id" {
			if _, err := os.Stat(s.target); err != nil {
				continue // this machine has none
			}
		}
		if err := unix.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("cannot mount %s on %s: %w", s.source, s.target, err)
		}
	}
	out, err := exec.Command("mount", "-o", "loop,errors=remount-ro", m.Disk, m.Data).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot mount the disk: %w: %s", err, out)
	}
	if err := os.Mkdir("/run/supd", 0o755); err != nil {
		return err
	}
	return unix.Sethostname([]byte(m.Name))
}

// initProcess starts what is wanted and buries what has ended. Goroutines: reap, which ends with the process, and one for
// each daemon that waits a moment before it is started again.
type initProcess struct {
	machine chaosMachine

	mu     sync.Mutex // guards what follows
	wanted map[string]bool
	pids   map[string]int
}

// initPause is how long the daemon is away at least; a keeper is started again at once, as by systemd.
const initPause = 300 * time.Millisecond

func (i *initProcess) want(what string, yes bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wanted[what] = yes
	i.startLocked(what)
}

func (i *initProcess) startLocked(what string) {
	if !i.wanted[what] || i.pids[what] != 0 {
		return
	}
	command := i.machine.Supd
	if what == "keeper" {
		command = i.machine.Keeper
	}
	if len(command) == 0 {
		return
	}
	log, err := os.OpenFile(i.machine.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	defer null.Close()
	p, err := os.StartProcess(command[0], append([]string{filepath.Base(command[0])}, command[1:]...), &os.ProcAttr{
		Dir: "/", Env: append(withoutSupd(os.Environ()), clockVariable+"="+i.machine.Clock), Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	i.pids[what] = p.Pid
	fmt.Println("run", what, p.Pid)
}

// reap collects all children, own and adopted.
func (i *initProcess) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			<-time.After(20 * time.Millisecond)
			continue
		}
		if err != nil {
			continue // interrupted
		}
		i.mu.Lock()
		for what, p := range i.pids {
			if p != pid {
				continue
			}
			i.pids[what] = 0
			how := "exit status " + fmt.Sprint(status.ExitStatus())
			if status.Signaled() {
				how = status.Signal().String()
			}
			fmt.Println("end", what, how)
			pause := initPause
			if what == "keeper" {
				pause = 0
			}
			time.AfterFunc(pause, func() {
				i.mu.Lock()
				defer i.mu.Unlock()
				i.startLocked(what)
			})
		}
		i.mu.Unlock()
	}
}
