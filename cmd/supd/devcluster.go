package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"supd/supervisor/spec"
)

// devCluster is the cluster under supd dev. Goroutines: one for each daemon started,
// fed by its end, which it notes; stop waits for them.
type devCluster struct {
	app    *app
	dir    string
	nodes  []*devNode
	detach bool
	wg     sync.WaitGroup
	ended  chan *devNode
}

// start starts the daemons that do not run yet and waits until the cluster takes a
// definition.
func (c *devCluster) start(ctx context.Context) error {
	c.ended = make(chan *devNode, len(c.nodes))
	for _, n := range c.nodes {
		if err := c.startNode(n); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, devReady)
	defer cancel()
	for {
		err := c.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case n := <-c.ended:
			return fmt.Errorf("node %s ended while it was starting (%s):\n%s", n.name, n.status, tail(n.log(), 5))
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("the cluster is not ready after %s: %w; see the supd.log files in %s", devReady, err, c.dir)
		}
	}
}

func (n *devNode) log() string { return filepath.Join(n.dir, "supd.log") }

// startNode starts a daemon in a session of its own: Ctrl-C is for supd dev alone,
// which has members to stop first. One left over by a supd dev that was killed is
// taken as it is.
func (c *devCluster) startNode(n *devNode) error {
	if n.daemonPID() != 0 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot start node %s: %w", n.name, err)
	}
	out, err := os.OpenFile(n.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("cannot start node %s: %w", n.name, err)
	}
	defer out.Close()
	cmd := exec.Command(self, "run", "--config", n.file())
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, out, out
	cmd.Env = withoutSupd(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start node %s: %w", n.name, err)
	}
	n.child, n.exited = cmd, make(chan struct{})
	c.wg.Go(func() {
		n.status = "exit status 0"
		if err := cmd.Wait(); err != nil {
			n.status = err.Error()
		}
		close(n.exited)
		c.ended <- n
	})
	return nil
}

// withoutSupd drops SUPD_ variables: a node is as its file says, also when it is
// brought back by hand.
func withoutSupd(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "SUPD_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			out = append(out, e)
		}
	}
	return out
}

// ready tells whether all nodes belong to the cluster and a write works: the one
// that takes off the mark of the last Ctrl-C.
func (c *devCluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	st, err := c.nodes[0].api.Cluster(ctx)
	if err != nil {
		return err
	}
	well := map[string]bool{}
	for _, n := range st.Nodes {
		well[n.Metadata.Name] = n.Status.State == spec.NodeReady
	}
	for _, n := range c.nodes {
		if !well[n.name] {
			return fmt.Errorf("node %s has not joined the cluster yet", n.name)
		}
		if err := n.api.Ready(ctx); err != nil {
			return fmt.Errorf("node %s: %w", n.name, err)
		}
		if _, err := n.keeper.Hello(ctx); err != nil {
			return fmt.Errorf("keeper of node %s: %w", n.name, err)
		}
	}
	if len(st.Voters) < voters(len(c.nodes)) {
		return fmt.Errorf("%d of %d voters are there", len(st.Voters), voters(len(c.nodes)))
	}
	return c.nodes[0].api.Stopping(ctx, false)
}

// voters is how many of n nodes vote.
func voters(n int) int {
	n = min(n, 5)
	return n - (n+1)%2
}

// attend stays until ctx ends and says which daemons ended.
func (c *devCluster) attend(ctx context.Context) {
	for {
		select {
		case n := <-c.ended:
			fmt.Fprintf(c.app.stderr, "supd dev: %s ended (%s); bring it back with: supd run --config %s\n", n.name, n.status, n.file())
		case <-ctx.Done():
			return
		}
	}
}

// tail is the end of a file, for a message.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
