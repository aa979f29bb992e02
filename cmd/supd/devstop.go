package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// stop ends the cluster: members in order, then daemons, then keepers, whoever
// started them. With detach, or after a start that failed, members are left as they
// are. When hurry ends, waiting for members is over.
func (c *devCluster) stop(hurry context.Context, failed bool) error {
	var errs []error
	leave := c.detach || failed
	if !leave {
		if err := c.stopMembers(hurry); err != nil {
			fmt.Fprintf(c.app.stderr, "supd dev: members could not be stopped in order: %v\n", err)
		}
	}
	for _, n := range c.nodes {
		errs = append(errs, n.signal(unix.SIGTERM))
	}
	deadline := time.Now().Add(devDaemonStop)
	for _, n := range c.nodes {
		errs = append(errs, c.awaitDaemon(n, deadline))
	}
	c.wg.Wait()
	for _, n := range c.nodes {
		if !leave {
			errs = append(errs, c.stopKeeper(hurry, n))
		}
		errs = append(errs, n.keeper.Close())
		n.api.Close()
	}
	return errors.Join(errs...)
}

// signal signals the daemon that listens on the node's socket or, if none does yet or
// any more, the one that was started here; one that has ended is no error.
func (n *devNode) signal(sig unix.Signal) error {
	pid := n.daemonPID()
	if pid == 0 {
		if n.child == nil {
			return nil
		}
		if err := n.child.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("cannot stop %s: %w", n.name, err)
		}
		return nil
	}
	return signalHeld(pid, sig, func() bool { return n.daemonPID() == pid })
}

// signalHeld signals a process that is still the one meant after a descriptor holds
// it: its number may have passed to a stranger before.
func signalHeld(pid int, sig unix.Signal, still func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
		if !still() {
			return nil
		}
		err = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot stop process %d: %w", pid, err)
	}
	return nil
}

// stopMembers sets the mark that all members are to be stopped, and waits until
// those are whose daemons answer.
func (c *devCluster) stopMembers(hurry context.Context) error {
	api, err := c.mark(hurry)
	if err != nil {
		return err
	}
	var deadline time.Time
	said := ""
	for {
		members, _, err := client.List[spec.Member](hurry, api, client.Members, client.ReadOptions{})
		if err != nil {
			return err
		}
		left := c.running(members)
		if len(left) == 0 {
			return nil
		}
		if deadline.IsZero() {
			d, err := stopTime(hurry, api, left)
			if err != nil {
				return err
			}
			deadline = time.Now().Add(d)
		}
		if now := strings.Join(left, ", "); now != said {
			said = now
			fmt.Fprintf(c.app.stderr, "supd dev: stopping %s\n", now)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not stop in time", said)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-hurry.Done():
			return errors.New("interrupted")
		}
	}
}

// mark sets the mark through the first node that can.
func (c *devCluster) mark(ctx context.Context) (*client.Client, error) {
	err := errors.New("no daemon runs")
	for _, n := range c.nodes {
		if n.daemonPID() == 0 {
			continue
		}
		if err = n.api.Stopping(ctx, true); err == nil {
			return n.api, nil
		}
	}
	return nil, err
}

// running names the members that are not stopped and whose daemon answers.
func (c *devCluster) running(members []spec.Member) []string {
	answers := map[string]bool{}
	for _, n := range c.nodes {
		answers[n.name] = n.daemonPID() != 0
	}
	var out []string
	for _, m := range members {
		down := m.Status.Phase == spec.MemberStopped || m.Spec.Epoch == 0
		if !down && answers[m.Spec.Node] {
			out = append(out, m.Metadata.Namespace+"/"+m.Metadata.Name)
		}
	}
	return out
}

// stopTime is how long stopping may take: each set one member after the other,
// each of them its processes' stop timeouts.
func stopTime(ctx context.Context, api *client.Client, members []string) (time.Duration, error) {
	sets, _, err := client.List[spec.StatefulSet](ctx, api, client.StatefulSets, client.ReadOptions{})
	if err != nil {
		return 0, err
	}
	var most time.Duration
	for _, s := range sets {
		var one time.Duration
		for _, p := range s.Spec.Processes {
			one += stopTimeout(p)
		}
		count := 0
		for _, m := range members {
			if set, _, ok := spec.SplitMember(strings.TrimPrefix(m, s.Metadata.Namespace+"/")); ok && set == s.Metadata.Name {
				count++
			}
		}
		most = max(most, time.Duration(count)*one)
	}
	return most + devStopSlack, nil
}

// awaitDaemon waits for a daemon's end, and kills it when it takes too long: its
// members do not notice.
func (c *devCluster) awaitDaemon(n *devNode, deadline time.Time) error {
	for {
		pid := n.daemonPID()
		if n.child != nil {
			select {
			case <-n.exited:
				if pid == 0 {
					return nil
				}
			default:
				pid = n.child.Process.Pid
			}
		}
		if pid == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(c.app.stderr, "supd dev: %s does not end; killed\n", n.name)
			if err := n.signal(unix.SIGKILL); err != nil {
				return err
			}
			deadline = time.Now().Add(devDaemonStop)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// stopKeeper stops what a keeper still has (members whose daemon was away, or that
// could not be stopped in order), last started first, and then the keeper.
func (c *devCluster) stopKeeper(hurry context.Context, n *devNode) error {
	ctx, cancel := context.WithTimeout(context.Background(), devDaemonStop)
	defer cancel()
	info, err := n.greet(ctx)
	if errors.Is(err, keeper.ErrDown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keeper of %s: %w", n.name, err)
	}
	fd, err := unix.PidfdOpen(info.PID, 0)
	if err != nil {
		return fmt.Errorf("keeper of %s: %w", n.name, err)
	}
	defer unix.Close(fd)
	// That it answers still says that the descriptor is not of a later process.
	again, err := n.keeper.Hello(ctx)
	if err == nil && again.PID != info.PID {
		err = fmt.Errorf("it is another one now, pid %d", again.PID)
	}
	if err != nil {
		return fmt.Errorf("keeper of %s (pid %d): %w", n.name, info.PID, err)
	}
	if err := c.drainKeeper(hurry, n); err != nil {
		return fmt.Errorf("keeper of %s left running: %w", n.name, err)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("keeper of %s: %w", n.name, err)
	}
	if !endsWithin(fd, devDaemonStop) {
		return fmt.Errorf("keeper of %s (pid %d) does not end", n.name, info.PID)
	}
	if err := os.Remove(n.cfg.DataDir + "/keeper.pid"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// greet asks the node's keeper who it is. One that the daemon started just before its own end has its pid noted and does
// not answer yet: it is waited for, or it would be left running.
func (n *devNode) greet(ctx context.Context) (keeper.Info, error) {
	for {
		info, err := n.keeper.Hello(ctx)
		if !errors.Is(err, keeper.ErrDown) {
			return info, err
		}
		pid := n.noted()
		if pid == 0 {
			return info, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return info, fmt.Errorf("pid %d runs but does not answer: %v", pid, err) // not as one that is down
		}
	}
}

// noted is the pid of the keeper that the daemon started last; 0 if it has ended. Its number may have passed to a
// stranger, who does not name the keeper's directory.
func (n *devNode) noted() int {
	b, err := os.ReadFile(filepath.Join(n.cfg.DataDir, "keeper.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !slices.Contains(strings.Split(string(line), "\x00"), filepath.Dir(n.cfg.KeeperSocket())) {
		return 0
	}
	return pid
}

// endsWithin waits for the end of the process behind a pidfd.
func endsWithin(fd int, d time.Duration) bool {
	for deadline := time.Now().Add(d); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}

// drainKeeper stops every process that a keeper has and waits for them.
func (c *devCluster) drainKeeper(hurry context.Context, n *devNode) error {
	asked := map[string]bool{}
	var version uint64
	for {
		ctx, cancel := context.WithTimeout(hurry, 5*time.Second)
		t, err := n.keeper.List(ctx, version)
		cancel()
		if err != nil && hurry.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			continue // nothing changed; stop timeouts may be long
		}
		if err != nil {
			return err
		}
		version = t.Version
		left := 0
		for i := len(t.Processes) - 1; i >= 0; i-- {
			p := t.Processes[i]
			if p.Gone() {
				continue
			}
			left++
			if key := p.Member + " " + p.Process; !asked[key] {
				asked[key] = true
				fmt.Fprintf(c.app.stderr, "supd dev: stopping %s of %s\n", p.Process, p.Member)
				if err := n.keeper.Stop(hurry, p.Member, p.Process); err != nil {
					return err
				}
			}
		}
		if left == 0 {
			return nil
		}
	}
}
