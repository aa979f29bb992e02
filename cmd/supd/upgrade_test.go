package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// longestSilence is how long writes may fail at a stretch: one change of leaders, on a machine with much else to do.
const longestSilence = 15 * time.Second

// TestRollingUpgrade replaces the programs of three nodes, one node after the other, by
// those of another build: keeper in place, then supd. Members keep their processes,
// writes go on. Then back again, as long as the log has nothing that the earlier build
// does not know; if it has, that is said, and nothing is lost.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an earlier version, starts daemons and members")
	}
	t.Parallel()
	from := buildEarlier(t)
	newer, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	u := &rolling{T: t, bin: openDir(t), dir: openDir(t)}
	u.install(from.bin)
	u.dev = startDevOf(t, u.bin, 0, u.dir, "--nodes", "3")
	t.Cleanup(u.end)
	for k := range 3 {
		u.apis = append(u.apis, dial(t, "unix://"+filepath.Join(u.dir, nodeName(k+1), "supd.sock")))
	}
	for _, s := range []*spec.StatefulSet{set(3), keptSet("plain", false)} {
		s.Spec.OnNodeLoss = spec.Keep // a machine with much to do may take longer than a lease to start a daemon
		if _, _, err := u.apis[0].PutStatefulSet(t.Context(), s, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	memberPids(t, u.apis[0], 5)
	u.before = u.members()
	u.writes = count(t, u.apis)

	began := time.Now()
	u.install(newer)
	for k := range 3 {
		if err := u.replace(k); err != nil {
			t.Fatalf("%s to the new build: %v", nodeName(k+1), err)
		}
	}
	u.same()
	t.Logf("up from %.7s in %s", from.commit, time.Since(began).Round(time.Millisecond))

	began = time.Now()
	u.install(from.bin)
	for k := range 3 {
		err := u.replace(k)
		if err != nil && (from.sameLog || !errors.Is(err, errTooOld)) {
			t.Fatalf("%s back to the earlier build: %v", nodeName(k+1), err)
		}
		if err != nil {
			t.Logf("not back to the earlier build, which knows less of the log: %v", err)
			u.install(newer)
			for k := range k + 1 {
				if err := u.replace(k); err != nil {
					t.Fatalf("%s to the new build again: %v", nodeName(k+1), err)
				}
			}
			break
		}
	}
	u.same()
	t.Logf("back in %s", time.Since(began).Round(time.Millisecond))
	n, longest := u.writes.end()
	t.Logf("%d conditional writes, none lost; for %s at most none was acknowledged", n, longest.Round(time.Millisecond))
	u.statesEqual()
	if longest > longestSilence {
		t.Errorf("no write was acknowledged for %s", longest)
	}
}

// rolling is a cluster whose programs are replaced. Nodes are numbered from 0.
type rolling struct {
	*testing.T
	bin, dir string // the installed programs; the cluster
	dev      *devProcess
	apis     []*client.Client
	daemons  []*daemon // those that the test started
	before   map[string]string
	writes   *counter
}

// daemon is one that the test started.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// install puts a build's programs where the nodes' are, as an installation does: the
// running ones are not written to.
func (u *rolling) install(from string) {
	u.Helper()
	for _, name := range []string{"supd", "supd-keeper"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(u.bin, name+".new"), b, 0o755)
		}
		if err == nil {
			err = os.Rename(filepath.Join(u.bin, name+".new"), filepath.Join(u.bin, name))
		}
		if err != nil {
			u.Fatal(err)
		}
	}
}

// errTooOld: a build is too old for what the cluster's log or the keeper's state has.
var errTooOld = errors.New("too old")

// replace has a node run what is installed: its keeper becomes it in place, its supd is
// ended and started.
func (u *rolling) replace(k int) error {
	u.Helper()
	keeper := u.dev.pid(u, k+1, "keeper.pid")
	var up client.KeeperUpgrade
	var refused error
	until(u, "the keeper is asked", func() (err error) {
		up, err = u.apis[(k+1)%3].UpgradeKeeper(u.Context(), nodeName(k+1)) // by way of another node
		if spec.CodeOf(err) == spec.CodeRefused {
			refused, err = err, nil
		}
		return err
	})
	if refused != nil {
		return fmt.Errorf("the keeper: %w: %w", errTooOld, refused)
	}
	if up.PID != keeper || u.dev.pid(u, k+1, "keeper.pid") != keeper {
		return fmt.Errorf("the keeper had pid %d and has %d", keeper, up.PID)
	}
	if err := u.restart(k); err != nil {
		return err
	}
	u.writes.moves(5)
	u.same()
	return nil
}

// restart ends a node's supd, and starts the one that is installed.
func (u *rolling) restart(k int) error {
	u.Helper()
	pid := u.dev.pid(u, k+1, "supd.pid")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		u.Fatal(err)
	}
	until(u, "supd ends", func() error {
		if alive(pid) {
			return fmt.Errorf("pid %d is there", pid)
		}
		return nil
	})
	logged, err := os.OpenFile(filepath.Join(u.dir, nodeName(k+1), "supd.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		u.Fatal(err)
	}
	defer logged.Close()
	info, err := logged.Stat()
	if err != nil {
		u.Fatal(err)
	}
	c := exec.Command(filepath.Join(u.bin, "supd"), "run", "--config", filepath.Join(u.dir, nodeName(k+1), "supd.yaml"))
	c.Stdout, c.Stderr = logged, logged
	if err := c.Start(); err != nil {
		u.Fatal(err)
	}
	d := &daemon{cmd: c, done: make(chan struct{})}
	go func() { _ = c.Wait(); close(d.done) }() // how it ended is seen in what it did
	u.daemons = append(u.daemons, d)
	var old error
	until(u, nodeName(k+1)+" is back", func() error {
		select {
		case <-d.done:
			u.Fatalf("%s ended: %s", nodeName(k+1), u.log(k))
		default:
		}
		said, err := os.ReadFile(logged.Name())
		if err != nil {
			return err
		}
		if err = u.apis[k].Ready(u.Context()); err == nil {
			err = u.ready(k, d)
		}
		if err != nil && (strings.Contains(err.Error(), "too old") || bytes.Contains(said[info.Size():], []byte("too old"))) {
			old = fmt.Errorf("%w: %w", errTooOld, err)
			return nil
		}
		return err
	})
	return old
}

// ready tells whether a node takes part, by another's word, in the run that was started last.
func (u *rolling) ready(k int, d *daemon) error {
	if pid := u.dev.pid(u, k+1, "supd.pid"); pid != d.cmd.Process.Pid {
		return fmt.Errorf("supd.pid says %d", pid)
	}
	st, err := u.apis[(k+1)%3].Cluster(u.Context())
	if err != nil {
		return err
	}
	for _, n := range st.Nodes {
		if !n.Status.Alive || n.Status.Trouble == nil || *n.Status.Trouble != "" {
			trouble := n.Status.TroubleReason
			if n.Status.Trouble != nil {
				trouble = *n.Status.Trouble
			}
			return fmt.Errorf("%s is %s, trouble: %q", n.Metadata.Name, n.Status.State, trouble)
		}
	}
	if len(st.Voters) != 3 || st.CanLose != 1 {
		return fmt.Errorf("voters %v, can lose %d", st.Voters, st.CanLose)
	}
	return nil
}

// members are the processes of all members, with their epochs and restarts.
func (u *rolling) members() map[string]string {
	u.Helper()
	out := map[string]string{}
	ms, _, err := client.List[spec.Member](u.Context(), u.apis[0], client.Members, client.ReadOptions{})
	if err != nil {
		u.Fatal(err)
	}
	for _, m := range ms {
		for _, p := range m.Status.Processes {
			out[m.Metadata.Name] = fmt.Sprintf("pid %d, epoch %d, %d restarts", p.PID, m.Spec.Epoch, m.Status.Restarts)
		}
	}
	return out
}

// same: the members' processes are those of the beginning, and all are healthy.
func (u *rolling) same() {
	u.Helper()
	memberPids(u.T, u.apis[0], len(u.before))
	if now := u.members(); !maps.Equal(now, u.before) {
		u.Fatalf("the members were %v, and are %v", u.before, now)
	}
	for _, s := range u.before {
		var pid int
		if _, err := fmt.Sscanf(s, "pid %d,", &pid); err != nil || !alive(pid) {
			u.Errorf("%s: its process is gone (%v)", s, err)
		}
	}
}

// statesEqual: all nodes, which run one build now, have the same state.
func (u *rolling) statesEqual() {
	u.Helper()
	until(u, "the states are the same", func() error {
		var first *spec.ClusterStatus
		for _, api := range u.apis {
			st, err := api.Cluster(u.Context())
			if err != nil {
				return err
			}
			if first == nil {
				first = st
			}
			if st.Index != first.Index || st.Hash != first.Hash {
				return fmt.Errorf("index %d with hash %s, and %d with %s", first.Index, first.Hash, st.Index, st.Hash)
			}
		}
		return nil
	})
}

func (u *rolling) log(k int) string {
	b, err := os.ReadFile(filepath.Join(u.dir, nodeName(k+1), "supd.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// end ends the cluster, and waits for the daemons that the test started.
func (u *rolling) end() {
	if u.Failed() {
		for k := range 3 {
			u.Logf("%s:\n%s", nodeName(k+1), u.log(k))
		}
	}
	u.dev.end(u)
	for _, d := range slices.Backward(u.daemons) {
		select {
		case <-d.done:
		case <-time.After(20 * time.Second):
			u.Errorf("daemon %d is still there", d.cmd.Process.Pid)
			_ = d.cmd.Process.Kill()
			<-d.done
		}
	}
}
