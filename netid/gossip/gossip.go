// Package gossip finds the other nodes and notices early when one is gone. It
// proposes, it never decides.
package gossip

import (
	"context"
	"log/slog"
)

// Node is what a node tells of itself.
type Node struct {
	ID        string // NAME.8HEX, stable and unique
	Name      string
	API       string // host:port
	Raft      string
	DNS       string
	Machine   string
	Expect    int
	ClusterID string // "" until it knows

	Gossip string // host:port; filled by this package
	Alive  bool   // filled by this package: false once suspected or dead
}

// Options of a Gossip.
type Options struct {
	Bind      string // host:port, port 0 allowed
	Advertise string // host:port, "" means Bind
	Meta      Node
	Join      []string // host:port
	// Want names the gossip addresses of nodes that should be here (the Raft
	// members); those not alive are joined again and again. May be nil.
	Want   func() []string
	Logger *slog.Logger
}

// Gossip is this node's part.
type Gossip struct{}

// New binds UDP and TCP; nothing is sent before Run. Without Run, Close.
func New(o Options) (*Gossip, error) { panic("being written") }

// Addr is the address bound.
func (g *Gossip) Addr() string { panic("being written") }

// Run gossips until ctx ends, and returns when all it started has ended.
func (g *Gossip) Run(ctx context.Context) error { panic("being written") }

// Close gives the address back when Run was never called.
func (g *Gossip) Close() error { panic("being written") }

// Nodes are the nodes known, by ID, this one included.
func (g *Gossip) Nodes() []Node { panic("being written") }

// Changed is closed when Nodes may answer otherwise than now.
func (g *Gossip) Changed() <-chan struct{} { panic("being written") }

// UpdateMeta tells the others what has changed here (a ClusterID, say).
func (g *Gossip) UpdateMeta(meta Node) error { panic("being written") }

// Leave tells the others that this node goes on purpose; call before ctx ends.
func (g *Gossip) Leave(ctx context.Context) error { panic("being written") }
