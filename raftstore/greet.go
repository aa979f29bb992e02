package raftstore

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Raft believes whoever sends it a higher term, and knows the others by their
// addresses alone. An address that passes from a node to one of another cluster (a
// port or a host used again) would make that one follow the first one's leader and
// overwrite its log. So the server that answers must show a certificate of the id that
// is meant, and every connection begins with a line that says which server that is, and
// in which cluster; one that means somebody else is not read.

const (
	greetWord = "supd-raft/1"
	greetMost = 512 // bytes of the line
)

// errNotMeant ends a connection that was made to another server than this one.
var errNotMeant = errors.New("another server is meant")

// greeter secures connections, greets on each made, and asks for it on each accepted.
type greeter struct {
	raft.StreamLayer
	s    *Store
	door *door
}

// Dial connects to the server that has this address in the membership.
func (g greeter) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	select {
	case <-g.s.started: // raft may dial before NewRaft has returned
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot reach %s: raft has not started", addr)
	}
	id := raft.ServerID("")
	for _, srv := range g.s.raft.GetConfiguration().Configuration().Servers {
		if srv.Address == addr {
			id = srv.ID
		}
	}
	if id == "" {
		return nil, fmt.Errorf("cannot reach %s: no server has this address now", addr)
	}
	if g.s.o.Resolve != nil {
		if now := g.s.o.Resolve(string(id)); now != "" {
			addr = raft.ServerAddress(now)
		}
	}
	c, err := g.greet(ctx, addr, id, timeout)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s at %s: %w", id, addr, err)
	}
	return c, nil
}

// greet connects, makes sure who answers, and greets, all within ctx.
func (g greeter) greet(ctx context.Context, addr raft.ServerAddress, id raft.ServerID, timeout time.Duration) (net.Conn, error) {
	raw, err := g.StreamLayer.Dial(addr, timeout)
	if err != nil {
		return nil, err
	}
	c, err := g.s.o.TLS.secure(ctx, raw, string(id))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	err = c.SetWriteDeadline(deadline)
	if err == nil {
		_, err = fmt.Fprintf(c, "%s %s %s %s\n", greetWord, id, g.s.View().Cluster.ID, g.s.View().Cluster.Recovered)
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Accept returns the next connection. Its handshake is made, and its greeting read, with
// its first bytes, by whoever reads it: nobody's handshake holds up another's.
func (g greeter) Accept() (net.Conn, error) {
	for {
		c, err := g.StreamLayer.Accept()
		if err != nil {
			return nil, err
		}
		leave, ok := g.door.enter(c.RemoteAddr())
		if !ok {
			g.door.refused(c.RemoteAddr(), errors.New("too many connections of this address have not said who they are"))
			_ = c.Close() // nothing was said on it
			continue
		}
		tc := tls.Server(c, g.s.o.TLS.Server)
		return &greeted{Conn: &secured{tc, c}, raw: c, handshake: tc.HandshakeContext, s: g.s, door: g.door, leave: leave, in: bufio.NewReaderSize(tc, greetMost)}, nil
	}
}

// greeted is an accepted connection. One goroutine reads it.
type greeted struct {
	net.Conn  // TLS
	raw       net.Conn
	handshake func(context.Context) error
	s         *Store
	door      *door
	leave     func()
	in        *bufio.Reader
	read      bool
	cluster   string // "": the other side did not know it yet
	recovered string // the other side's Cluster.Recovered
}

// Close closes the connection.
func (g *greeted) Close() error {
	g.leave()
	return g.Conn.Close()
}

// Read reads what follows the greeting. A node that was in no cluster when it was
// greeted belongs, from then on, to one at most: so the cluster is compared anew.
func (g *greeted) Read(b []byte) (int, error) {
	if !g.read {
		if err := g.enter(); err != nil {
			if !g.s.ending() && !errors.Is(err, io.EOF) { // one that said nothing only asked whether somebody listens
				g.door.refused(g.RemoteAddr(), err)
			}
			return 0, err
		}
		g.read = true
	}
	if own := g.s.View().Cluster.ID; own != "" && g.cluster != "" && own != g.cluster {
		g.s.log.Warn("a server of another cluster sends raft's messages here; they are not read", "cluster", g.cluster)
		return 0, errNotMeant
	}
	if own := g.s.View().Cluster; own.ID != "" && g.cluster == own.ID && g.recovered != own.Recovered {
		if g.s.parted.first(g.recovered) {
			g.s.log.Error("the cluster was recovered by hand on another node, or on this one: two nodes have logs that parted; the other's messages are not read. "+
				"On the node whose log is given up: stop supd, supd recover --rejoin, start supd", "own", own.Recovered, "other", g.recovered)
		}
		return 0, errNotMeant
	}
	return g.in.Read(b)
}

// enter makes the handshake and reads the greeting, within their time.
func (g *greeted) enter() error {
	defer g.leave()
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := g.raw.SetDeadline(deadline); err != nil {
		return err
	}
	if err := g.handshake(ctx); err != nil {
		return fmt.Errorf("no handshake: %w", err)
	}
	line, err := g.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("no greeting: %w", err)
	}
	f, err := parseGreeting(string(line))
	if err != nil {
		return err
	}
	if f.id != g.s.o.ID {
		return fmt.Errorf("raft's messages to server %s of cluster %q come here and are not read: "+
			"this address was another node's, or is used twice: %w", f.id, f.cluster, errNotMeant)
	}
	g.cluster, g.recovered = f.cluster, f.recovered
	return g.raw.SetDeadline(time.Time{})
}

// greeting is the first line of a connection.
type greeting struct{ id, cluster, recovered string }

// parseGreeting reads a line, its end included.
func parseGreeting(line string) (greeting, error) {
	f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(f) < 3 || len(f) > 4 || f[0] != greetWord || f[1] == "" {
		return greeting{}, fmt.Errorf("unknown greeting %.40q", line)
	}
	f = append(f, "")
	return greeting{f[1], f[2], f[3]}, nil
}

// onces says each thing once.
type onces struct {
	mu   sync.Mutex // guards said
	said map[string]bool
}

// first tells whether what was not asked before.
func (o *onces) first(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said == nil {
		o.said = map[string]bool{}
	}
	before := o.said[what]
	o.said[what] = true
	return !before
}
