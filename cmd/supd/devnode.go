package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/keeper"
)

// devNode is one daemon of the cluster and its keeper.
type devNode struct {
	name string
	dir  string // DIR/node-K
	cfg  configs.Daemon

	api    *client.Client
	keeper *keeper.Client
	child  *exec.Cmd     // the daemon, when it was started here
	exited chan struct{} // closed when child has ended
	status string        // how, after exited
}

func (n *devNode) file() string { return filepath.Join(n.dir, "supd.yaml") }

// devNodes reads the nodes that the directory holds, and makes those that are new.
func devNodes(dir, secret string, o devOptions) ([]*devNode, error) {
	have := 0
	for {
		_, err := os.Stat(filepath.Join(dir, nodeName(have+1), "supd.yaml"))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot use %s: %w", dir, err)
		}
		have++
	}
	want := o.nodes
	if want == 0 {
		want = max(have, 3)
		if have > 0 {
			want = have
		}
	}
	if want < have {
		return nil, usageError{fmt.Errorf("%s holds a cluster of %d nodes; start them all (leave --nodes out), or name another --dir", dir, have)}
	}
	var nodes []*devNode
	for k := 1; k <= have; k++ {
		n, err := readDevNode(dir, secret, k)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return newDevNodes(dir, secret, nodes, want, o)
}

func nodeName(k int) string { return "node-" + strconv.Itoa(k) }

// readDevNode reads the configuration of a node that is there. One that an older supd dev
// wrote gets the cluster's secret.
func readDevNode(dir, secret string, k int) (*devNode, error) {
	n := &devNode{name: nodeName(k), dir: filepath.Join(dir, nodeName(k))}
	var err error
	if n.cfg, err = configs.LoadDaemon(configs.DaemonSources{File: n.file()}); err != nil {
		return nil, err
	}
	if n.cfg.DataDir != n.dir {
		return nil, fmt.Errorf("cannot use %s: it was made as %s; a cluster's directory must not be moved", n.dir, n.cfg.DataDir)
	}
	if n.cfg.SecretFile == "" && n.cfg.BootstrapSecret == "" {
		if err := n.addSecret(secret); err != nil {
			return nil, err
		}
	}
	return n, n.connect()
}

// addSecret appends the secret's file to the node's configuration.
func (n *devNode) addSecret(secret string) error {
	text, err := os.ReadFile(n.file())
	if err != nil {
		return fmt.Errorf("cannot use node %s: %w", n.name, err)
	}
	var kept []string
	for l := range strings.Lines(string(text)) {
		if !strings.HasPrefix(l, "bootstrap_secret_file:") {
			kept = append(kept, strings.TrimSuffix(l, "\n")+"\n")
		}
	}
	n.cfg.SecretFile = secret
	return n.replaceFile(strings.Join(kept, "") + "bootstrap_secret_file: " + strconv.Quote(secret) + "\n")
}

func (n *devNode) connect() error {
	var err error
	n.api, err = client.New("unix://"+n.cfg.Socket, client.Options{RequestTimeout: 5 * time.Second})
	n.keeper = keeper.Dial(n.cfg.KeeperSocket())
	return err
}

// newDevNodes adds nodes up to want. All ports are chosen, and held, before any
// configuration is written: no two nodes get the same.
func newDevNodes(dir, secret string, nodes []*devNode, want int, o devOptions) ([]*devNode, error) {
	have := len(nodes)
	var ports portChoice
	defer ports.release()
	for k := have + 1; k <= want; k++ {
		n := &devNode{name: nodeName(k), dir: filepath.Join(dir, nodeName(k))}
		n.cfg = configs.DefaultDaemon()
		n.cfg.Name, n.cfg.DataDir = n.name, n.dir
		n.cfg.Socket, n.cfg.SocketGroup = filepath.Join(n.dir, "supd.sock"), ""
		n.cfg.AddressPlan = o.addressPlan
		n.cfg.SecretFile = secret
		if have == 0 {
			n.cfg.BootstrapExpect = want
		} // else the node is taken into the cluster that exists
		for _, at := range []*string{&n.cfg.API, &n.cfg.Raft, &n.cfg.Gossip, &n.cfg.DNS} {
			addr, err := ports.next()
			if err != nil {
				return nil, err
			}
			*at = addr
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes[have:] {
		n.cfg.Join = nil
		for _, other := range nodes {
			if other != n {
				n.cfg.Join = append(n.cfg.Join, other.cfg.Gossip)
			}
		}
		if err := n.write(); err != nil {
			return nil, err
		}
		if err := n.connect(); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// write makes the node's directory and its configuration, the latter last and whole.
func (n *devNode) write() error {
	if err := errors.Join(os.MkdirAll(n.dir, 0o711), os.Chmod(n.dir, 0o711)); err != nil {
		return fmt.Errorf("cannot make node %s: %w", n.name, err)
	}
	text, err := n.cfg.YAML()
	if err != nil {
		return err
	}
	return n.replaceFile(text)
}

func (n *devNode) replaceFile(text string) error {
	tmp := n.file() + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot make node %s: %w", n.name, err)
	}
	return os.Rename(tmp, n.file())
}

// portChoice draws loopback ports below the kernel's own range, so that no outgoing
// connection takes one while its daemon is away. They are held until release.
type portChoice struct{ held []interface{ Close() error } }

func (p *portChoice) next() (string, error) {
	const low, high = 12000, 32000
	for range 2000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(high-low)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			if cerr := l.Close(); cerr != nil {
				return "", cerr
			}
			continue
		}
		p.held = append(p.held, l, u)
		return addr, nil
	}
	return "", errors.New("cannot find a free port on 127.0.0.1")
}

func (p *portChoice) release() {
	for _, c := range p.held {
		_ = c.Close() // nothing was sent
	}
}

// daemonPID asks the kernel who listens on the node's socket; 0: nobody.
func (n *devNode) daemonPID() int { return listenerOf(n.cfg.Socket) }

func listenerOf(socket string) int {
	short, done, err := client.ShortSocketPath(socket)
	if err != nil {
		return 0
	}
	defer done()
	c, err := net.DialTimeout("unix", short, time.Second)
	if err != nil {
		return 0
	}
	defer c.Close()
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}
