package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// TestCrashMatrix strikes members, supd and the keeper in every combination, in every way and at every moment of five
// kinds of members' lives. An outside observer judges: never two lives of one member at once, none lost, no line of a log
// lost or torn, and members that were not struck themselves don't notice.
func TestCrashMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many daemons")
	}
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SUPD_MATRIX_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (SUPD_MATRIX_SEED)", seed)
	exe := matrixBinary(t)
	room := make(chan struct{}, 4) // each is a daemon, a keeper and five members
	n := uint64(0)
	try := func(m matrix) {
		n++
		m.exe, m.rand = exe, rand.New(rand.NewPCG(seed, n))
		t.Run(strings.Join([]string{m.victim, m.blow, m.moment}, "/")+m.suffix(), func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			m.run(t)
		})
	}
	for _, victim := range []string{"member", "supd", "keeper", "both", "all"} {
		for _, blow := range []string{"kill", "freeze", "term"} {
			for _, moment := range []string{"start", "running", "stop"} {
				try(matrix{victim: victim, blow: blow, moment: moment})
				if blow == "kill" && os.Geteuid() == 0 {
					try(matrix{victim: victim, blow: blow, moment: moment, uid: 65534})
				}
			}
		}
	}
}

// matrixBinary is a copy of this binary that any user may run.
func matrixBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	path := filepath.Join(openDir(t), "member")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, self)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir is a temporary directory that other users can reach.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// matrix is one case: a cluster of one node, a set of each kind of members, one blow.
type matrix struct {
	victim, blow, moment string
	uid                  uint32 // whose daemon it is: without root there are no cgroups
	exe                  string
	rand                 *rand.Rand

	t       *testing.T
	dev     *devProcess
	api     *client.Client
	again   []*exec.Cmd // daemons brought back by hand
	before  map[string]string
	watcher *observer
}

func (m *matrix) suffix() string {
	if m.uid != 0 {
		return "/as-user"
	}
	return ""
}

func (m *matrix) word(kind string) string { return m.dev.dir + "/" + kind + "/" }

func (m *matrix) run(t *testing.T) {
	m.t, m.watcher = t, theObserver()
	dir := openDir(t)
	if m.uid != 0 {
		if err := os.Chown(dir, int(m.uid), int(m.uid)); err != nil {
			t.Fatal(err)
		}
	}
	m.dev = startDevAs(t, m.uid, dir, "--nodes", "1")
	t.Cleanup(func() { // after Ctrl-C has stopped all
		for _, kind := range matrixKinds {
			if l := m.watcher.of(m.word(kind)); len(l) != 0 {
				t.Errorf("%s: %v runs after the end", kind, l)
			}
		}
	})
	t.Cleanup(m.end)
	m.api = dial(t, m.dev.ready)
	for _, kind := range matrixKinds {
		if _, _, err := m.api.PutStatefulSet(t.Context(), m.set(kind), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if m.moment != "start" {
		m.allRun(nil)
	}
	if m.moment == "stop" {
		for _, kind := range matrixKinds {
			if _, err := m.api.Delete(t.Context(), client.StatefulSets, spec.DefaultNS, kind, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if m.moment != "running" {
		<-time.After(time.Duration(m.rand.IntN(150)) * time.Millisecond) // not to wait for anything: to hit any instant
	}
	m.strike()
	m.recover()
	if m.moment == "stop" {
		m.allGone()
	} else {
		m.allRun(m.mustLive())
	}
	for _, kind := range matrixKinds {
		for _, b := range m.watcher.breaches(m.word(kind)) {
			t.Error(b)
		}
		m.checkFiles(kind)
	}
}

// set is a set of one member.
func (m *matrix) set(kind string) *spec.StatefulSet {
	s := set(1)
	s.Metadata.Name = kind
	p := &s.Spec.Processes[0]
	// The life is not known yet: the program fills it in.
	p.Command = []string{m.exe, matrixMark, m.word(kind), "start", "0"}
	p.Env = spec.Env{{Name: "MATRIX_KIND", Value: kind}}
	if m.uid != 0 { // else it would not be seen: the documented limit
		p.Env = append(p.Env, spec.EnvVar{Name: "MATRIX_KEEP_LOCK", Value: "1"})
	}
	timeout := spec.Duration(500 * time.Millisecond)
	p.Stop.Timeout = &timeout
	return s
}

// strike gives the blow to all that it is meant for, in random order.
func (m *matrix) strike() {
	var pids []int
	if m.victim == "supd" || m.victim == "both" || m.victim == "all" {
		pids = append(pids, m.dev.pid(m.t, 1, "supd.pid"))
	}
	if m.victim == "keeper" || m.victim == "both" || m.victim == "all" {
		pids = append(pids, m.dev.pid(m.t, 1, "keeper.pid"))
	}
	m.before = map[string]string{}
	for _, kind := range matrixKinds {
		for _, life := range slices.Sorted(maps.Keys(m.watcher.of(m.word(kind)))) {
			m.before[kind] = life
			if m.victim == "member" || m.victim == "all" {
				pid, err := strconv.Atoi(life)
				if err != nil {
					m.t.Fatal(err)
				}
				pids = append(pids, pid)
			}
		}
	}
	m.rand.Shuffle(len(pids), func(i, j int) { pids[i], pids[j] = pids[j], pids[i] })
	switch m.blow {
	case "kill":
		m.signal(pids, syscall.SIGKILL)
	case "term":
		m.signal(pids, syscall.SIGTERM)
	case "freeze":
		m.signal(pids, syscall.SIGSTOP)
		<-time.After(300 * time.Millisecond) // long enough for all others to act
		m.signal(pids, syscall.SIGCONT)
	}
}

func (m *matrix) signal(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		// One that has just ended by itself is no victim any more.
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			m.t.Errorf("signal to %d: %v", pid, err)
		}
	}
}

// recover brings a daemon back that was killed; nobody else does in supd dev.
func (m *matrix) recover() {
	if m.victim == "member" || m.victim == "keeper" || m.blow == "freeze" {
		return
	}
	old := m.dev.pid(m.t, 1, "supd.pid")
	until(m.t, "the daemon has ended", func() error {
		if old != 0 && alive(old) {
			return fmt.Errorf("process %d lives", old)
		}
		return nil
	})
	bin, err := binaries()
	if err != nil {
		m.t.Fatal(err)
	}
	c := exec.Command(filepath.Join(bin, "supd"), "run", "--config", filepath.Join(m.dev.dir, nodeName(1), "supd.yaml"))
	if m.uid != 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: m.uid, Gid: m.uid}}
	}
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.again = append(m.again, c)
	until(m.t, "the daemon is back", func() error { return m.api.Ready(m.t.Context()) })
}

// end presses Ctrl-C, which ends the daemons brought back too.
func (m *matrix) end() {
	m.dev.end(m.t)
	for _, c := range m.again {
		if err := c.Wait(); err != nil {
			m.t.Errorf("the daemon brought back: %v", err)
		}
	}
}

// mustLive are the lives that the blow must not have ended.
func (m *matrix) mustLive() map[string]string {
	if m.blow != "freeze" && (m.victim == "member" || m.victim == "all") {
		return nil
	}
	return m.before
}

// allRun waits until each member has one life and is ready; those in same the very life named there.
func (m *matrix) allRun(same map[string]string) {
	m.t.Helper()
	until(m.t, "all members run", func() error {
		ms, _, err := client.List[spec.Member](m.t.Context(), m.api, client.Members, client.ReadOptions{})
		if err != nil {
			return err
		}
		if len(ms) != len(matrixKinds) {
			return fmt.Errorf("there are %d members; %w", len(ms), m.sets())
		}
		for _, o := range ms {
			l := m.watcher.of(m.word(o.Spec.Set))
			ps := o.Status.Processes
			if !o.Status.Ready || len(l) != 1 || len(ps) != 1 || len(l[strconv.Itoa(ps[0].PID)]) == 0 {
				return fmt.Errorf("%s is %s (%s), processes %+v, seen are %v", o.Metadata.Name, o.Status.Phase, o.Status.Message, ps, l)
			}
		}
		return nil
	})
	for _, kind := range matrixKinds {
		m.lockIs(kind, true)
	}
	for kind, life := range same {
		if l := m.watcher.of(m.word(kind)); len(l[life]) == 0 {
			m.t.Errorf("%s was in life %s before, which nobody struck, now %v", kind, life, l)
		}
	}
}

// sets tells how the sets are, for who asks why a member is not there.
func (m *matrix) sets() error {
	sets, _, err := client.List[spec.StatefulSet](m.t.Context(), m.api, client.StatefulSets, client.ReadOptions{})
	if err != nil {
		return err
	}
	st, err := m.api.Cluster(m.t.Context())
	if err != nil {
		return err
	}
	var out []error
	for _, n := range st.Nodes {
		out = append(out, fmt.Errorf("%s is %s", n.Metadata.Name, n.Status.State))
	}
	for _, s := range sets {
		out = append(out, fmt.Errorf("%s: %+v", s.Metadata.Name, s.Status))
	}
	return errors.Join(out...)
}

// allGone waits until nothing of any member is left.
func (m *matrix) allGone() {
	m.t.Helper()
	until(m.t, "all members are gone", func() error {
		ms, _, err := client.List[spec.Member](m.t.Context(), m.api, client.Members, client.ReadOptions{})
		if err != nil {
			return err
		}
		for _, o := range ms {
			return fmt.Errorf("%s is %s (%s)", o.Metadata.Name, o.Status.Phase, o.Status.Message)
		}
		return nil
	})
	for _, kind := range matrixKinds {
		if l := m.watcher.of(m.word(kind)); len(l) != 0 {
			m.t.Errorf("%s is gone by supd's word, but %v runs", kind, l)
		}
		m.lockIs(kind, false)
	}
}

// lockIs checks the lock beside the member's volume, by the kernel's list of locks.
func (m *matrix) lockIs(kind string, want bool) {
	m.t.Helper()
	locks, err := filepath.Glob(filepath.Join(m.dev.dir, nodeName(1), "volumes", "*", "data-"+kind+"-0.*", "lock.main"))
	if err != nil || len(locks) > 1 || len(locks) == 0 && want {
		m.t.Errorf("%s has %d lock files: %v", kind, len(locks), err)
		return
	}
	for _, path := range locks {
		if !want {
			if got, err := locked(path); err != nil || got {
				m.t.Errorf("%s: lock held is %t (%v), want false", kind, got, err)
			}
			continue
		}
		until(m.t, kind+" holds its lock", func() error { // the kernel's list passes some over while others end
			if got, err := locked(path); err != nil || !got {
				return fmt.Errorf("lock held is %t (%v)", got, err)
			}
			return nil
		})
	}
}

// checkFiles judges what a member has written.
func (m *matrix) checkFiles(kind string) {
	node := filepath.Join(m.dev.dir, nodeName(1))
	var journals []string
	until(m.t, "the journal of "+kind, func() (err error) { // a member is ready before its first word
		journals, err = filepath.Glob(filepath.Join(node, "volumes", "*", "data-"+kind+"-0.*", "data", "journal"))
		if err == nil && len(journals) != 1 && (m.moment != "stop" || len(journals) > 1) {
			err = fmt.Errorf("there are %d", len(journals))
		}
		return err
	})
	if len(journals) == 0 {
		return // stopped before its first word
	}
	checkJournal(m.t, journals[0])
	if kind != kindChatty {
		return
	}
	logs, err := filepath.Glob(filepath.Join(node, "logs", "*", kind+"-0", "main.log*"))
	if err != nil || len(logs) == 0 {
		m.t.Errorf("%s has no logs: %v", kind, err)
	}
	checkLog(m.t, logs, journals[0])
}
