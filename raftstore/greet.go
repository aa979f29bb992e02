package raftstore

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Raft believes whoever sends it a higher term, and knows the others by their
// addresses alone. An address that passes from a node to one of another cluster (a
// port or a host used again) would make that one follow the first one's leader and
// overwrite its log. So every connection begins with a line that says which server
// is meant, by id, and in which cluster; one that means somebody else is not read.

const (
	greetWord = "supd-raft/1"
	greetMost = 512 // bytes of the line
	// greetWithin bounds the wait for it: a node greets at once, and whoever says nothing holds a connection.
	greetWithin = 10 * time.Second
)

// errNotMeant ends a connection that was made to another server than this one.
var errNotMeant = errors.New("another server is meant")

// greeter greets on each connection made, and asks for it on each accepted.
type greeter struct {
	raft.StreamLayer
	s *Store
}

// Dial connects to the server that has this address in the membership.
func (g greeter) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	select {
	case <-g.s.started: // raft may dial before NewRaft has returned
	case <-time.After(timeout):
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
	c, err := g.StreamLayer.Dial(addr, timeout)
	if err != nil {
		return nil, err
	}
	err = c.SetWriteDeadline(time.Now().Add(timeout))
	if err == nil {
		_, err = fmt.Fprintf(c, "%s %s %s %s\n", greetWord, id, g.s.View().Cluster.ID, g.s.View().Cluster.Recovered)
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot reach %s: %w", addr, err), c.Close())
	}
	return c, nil
}

// Accept returns the next connection, whose greeting is read with its first bytes.
func (g greeter) Accept() (net.Conn, error) {
	c, err := g.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return &greeted{Conn: c, s: g.s, in: bufio.NewReaderSize(c, greetMost)}, nil
}

// greeted is an accepted connection. One goroutine reads it.
type greeted struct {
	net.Conn
	s       *Store
	in      *bufio.Reader
	read    bool
	cluster string // "": the other side did not know it yet
	// recovered is the other side's Cluster.Recovered.
	recovered string
}

// Read reads what follows the greeting. A node that was in no cluster when it was
// greeted belongs, from then on, to one at most: so the cluster is compared anew.
func (g *greeted) Read(b []byte) (int, error) {
	if !g.read {
		err := g.SetReadDeadline(time.Now().Add(greetWithin))
		if err == nil {
			err = g.greeting()
		}
		if err == nil {
			err = g.SetReadDeadline(time.Time{})
		}
		if err != nil {
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

func (g *greeted) greeting() error {
	line, err := g.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	f := strings.Split(strings.TrimSuffix(string(line), "\n"), " ")
	if len(f) < 3 || len(f) > 4 || f[0] != greetWord {
		return fmt.Errorf("unknown greeting %.40q", line)
	}
	if f[1] != g.s.o.ID {
		g.s.log.Warn("raft's messages to another server come here; they are not read: "+
			"this address was another node's, or is used twice", "for", f[1], "cluster", f[2])
		return errNotMeant
	}
	g.cluster = f[2]
	if len(f) == 4 {
		g.recovered = f[3]
	}
	return nil
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
