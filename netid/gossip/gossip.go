// Package gossip finds the other nodes and notices early when one is gone. It
// proposes, it never decides: what it says wakes the leader, who asks the node.
//
// All is sealed with the cluster's keys (SetKeys). Without one nothing is sent or read,
// and what none of them sealed is dropped, counted and told of once a minute.
//
// Goroutines, all begun by Run:
//
//	rejoin    joins the nodes that should be here and are not; ends with ctx
//	update    tells the others of changed metadata; ends with ctx
//	packets   reads the UDP socket, drops what is not sealed or malformed; ends with the sockets
//	streams   accepts TCP connections; ends with the sockets
//	library   memberlist's own, fed by the two above and by its timers. They are
//	          told to stop when ctx ends, and Run waits for a probe's time; what they
//	          still say then is not heard
package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"
)

// Node is what a node tells of itself.
type Node struct {
	ID      string // NAME.8HEX, stable and unique
	Name    string
	API     string // host:port
	Raft    string
	DNS     string
	Machine string
	Expect  int
	// Store counts the raft stores that the node has given up.
	Store int
	// ClusterID is "" until the node knows. One with a colon is provisional. Nodes
	// of two clusters do not take each other in.
	ClusterID string
	// Pin names the CA of the node's secret; nodes of two do not take each other in.
	Pin string

	Gossip string // host:port; filled by this package
	Alive  bool   // filled by this package: false once it is held to be gone
}

// Options of a Gossip.
type Options struct {
	Bind      string // IP:port, port 0 allowed
	Advertise string // IP:port, "" means Bind
	Meta      Node
	Join      []string // host:port
	// Want names the gossip addresses of nodes that should be here (the Raft
	// members); those not alive are joined again and again. May be nil.
	Want   func() []string
	Logger *slog.Logger
}

// Gossip is this node's part.
type Gossip struct {
	o         Options
	log       *slog.Logger
	transport *transport
	advertise netip.AddrPort
	nodes     *table
	poke      chan struct{} // the metadata has changed

	running sync.RWMutex // held for reading by Leave, so that list is not shut down under it
	list    *memberlist.Memberlist
}

// New binds UDP and TCP; nothing is sent before Run. Without Run, Close.
func New(o Options) (*Gossip, error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t, err := bind(o.Bind, log)
	if err != nil {
		return nil, err
	}
	g := &Gossip{o: o, log: log, transport: t, advertise: t.addr, poke: make(chan struct{}, 1)}
	if err := g.setUp(); err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	return g, nil
}

func (g *Gossip) setUp() error {
	if a := g.o.Advertise; a != "" {
		addr, err := netip.ParseAddrPort(a)
		if err != nil {
			return fmt.Errorf("cannot advertise %q for gossip: want IP:port: %w", a, err)
		}
		if addr.Port() == 0 {
			addr = netip.AddrPortFrom(addr.Addr(), g.transport.addr.Port())
		}
		g.advertise = addr
	}
	if g.advertise.Addr().IsUnspecified() {
		return fmt.Errorf("cannot gossip as %v: others need an address to reach this node by", g.advertise)
	}
	self := g.o.Meta
	if self.ID == "" || len(self.ID) > maxName {
		return fmt.Errorf("cannot gossip: the node's id has %d characters, 1 to %d are allowed", len(self.ID), maxName)
	}
	self.Gossip = g.advertise.String()
	var err error
	g.nodes, err = newTable(self, g.log)
	return err
}

// Addr is the address bound.
func (g *Gossip) Addr() string { return g.transport.addr.String() }

// SetKeys replaces gossip's keys, of 32 bytes each: the first seals what is sent, all
// open what comes. Run begins with the first call.
func (g *Gossip) SetKeys(keys ...[]byte) error { return g.transport.keys.set(keys) }

// Dropped counts the packets and connections that none of the keys had sealed.
func (g *Gossip) Dropped() uint64 { return g.transport.strangers.total() }

// Close gives the address back when Run was never called.
func (g *Gossip) Close() error { return g.transport.Shutdown() }

// Nodes are the nodes known, by ID, this one included. Those that are gone stay,
// not alive, for as long as this process lives.
func (g *Gossip) Nodes() []Node { return g.nodes.all() }

// Node is one of Nodes.
func (g *Gossip) Node(id string) (n Node, ok bool) { return g.nodes.one(id) }

// Changed is closed when Nodes may answer otherwise than now.
func (g *Gossip) Changed() <-chan struct{} { return g.nodes.whenChanged() }

// UpdateMeta tells the others what has changed here (a ClusterID, say). It
// returns at once; an error means that nothing has changed.
func (g *Gossip) UpdateMeta(meta Node) error {
	if err := g.nodes.setSelf(meta); err != nil {
		return err
	}
	select {
	case g.poke <- struct{}{}:
	default:
	}
	return nil
}

// Leave tells the others that this node goes on purpose; call before ctx ends.
// Done when it is not running: nobody knows of it.
func (g *Gossip) Leave(ctx context.Context) error {
	g.running.RLock()
	defer g.running.RUnlock()
	if g.list == nil {
		return nil
	}
	timeout := time.Second
	if d, ok := ctx.Deadline(); ok {
		timeout = max(time.Millisecond, min(timeout, time.Until(d)))
	}
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("cannot tell the other nodes that this one leaves: %w", err)
	}
	return nil
}

// Run gossips until ctx ends, once there is a key.
func (g *Gossip) Run(ctx context.Context) error {
	select {
	case <-g.transport.keys.have:
	case <-ctx.Done():
		g.nodes.end()
		return g.transport.Shutdown()
	}
	g.transport.start()
	lib := &lines{log: g.log}
	defer lib.end()
	defer g.nodes.end()
	list, err := memberlist.Create(g.config(lib))
	if err != nil {
		return errors.Join(fmt.Errorf("cannot gossip: %w", err), g.transport.Shutdown())
	}
	g.running.Lock()
	g.list = list
	g.running.Unlock()
	g.log.Info("gossip started", "address", g.Addr())

	grp, gctx := errgroup.WithContext(ctx)
	grp.Go(func() error { return g.rejoin(gctx, list) })
	grp.Go(func() error { return g.update(gctx, list) })
	grp.Go(func() error {
		<-gctx.Done()
		return g.shutdown(list)
	})
	return grp.Wait()
}

// shutdown ends memberlist. Closing the sockets ends a Join that is under way, but
// not a probe: that one waits for its time to be over, and nobody can wait for it.
func (g *Gossip) shutdown(list *memberlist.Memberlist) error {
	g.running.Lock()
	defer g.running.Unlock()
	g.list = nil
	probe := probeInterval * time.Duration(1+list.GetHealthScore())
	if err := list.Shutdown(); err != nil {
		return fmt.Errorf("cannot end gossip: %w", err)
	}
	if len(g.nodes.all()) > 1 {
		<-time.After(probe)
	}
	return nil
}

// probeInterval is how often one of the others is asked whether it lives.
const probeInterval = 200 * time.Millisecond

// config is tuned for tens of nodes in one place: a dead one is noticed within a
// second or so (memberlist's own profiles take five).
func (g *Gossip) config(log *lines) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.o.Meta.ID
	c.Transport = g.transport
	c.BindAddr, c.BindPort = g.transport.addr.Addr().String(), int(g.transport.addr.Port())
	c.AdvertiseAddr, c.AdvertisePort = g.advertise.Addr().String(), int(g.advertise.Port())
	c.TCPTimeout = streamTimeout
	c.ProbeInterval, c.ProbeTimeout = probeInterval, probeInterval/2
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 3
	c.AwarenessMaxMultiplier = 4
	c.GossipInterval = 100 * time.Millisecond
	c.PushPullInterval = 3 * time.Second
	// A node that was restarted elsewhere has its name again as soon as the others
	// have noticed that it went.
	c.DeadNodeReclaimTime = time.Millisecond
	// The filter of the transport relies on it; packets are small anyway.
	c.EnableCompression = false
	c.DelegateProtocolVersion, c.DelegateProtocolMin, c.DelegateProtocolMax = 1, 1, 1
	c.Keyring, c.GossipVerifyIncoming, c.GossipVerifyOutgoing = g.transport.keys.ring, true, true
	c.Delegate, c.Events, c.Alive = g.nodes, g.nodes, g.nodes
	c.Logger = adapt(log)
	return c
}

// update tells the others of every change of the metadata.
func (g *Gossip) update(ctx context.Context, list *memberlist.Memberlist) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.poke:
		}
		// It says whether anybody was told within the time; they all will be, by
		// the next exchange of the whole state at the latest.
		if err := list.UpdateNode(time.Second); err != nil {
			g.log.Debug("metadata not gossiped yet", "err", err)
		}
	}
}

// wire is Node in a node's metadata, which has 512 bytes.
type wire struct {
	Name    string `json:"n"`
	API     string `json:"a,omitempty"`
	Raft    string `json:"r,omitempty"`
	DNS     string `json:"d,omitempty"`
	Machine string `json:"m,omitempty"`
	Expect  int    `json:"e,omitempty"`
	Cluster string `json:"c,omitempty"`
	Store   int    `json:"s,omitempty"`
	Pin     string `json:"p,omitempty"`
}

// maxName bounds a node's id.
const maxName = 128

func encode(n Node) ([]byte, error) {
	b, err := json.Marshal(wire{n.Name, n.API, n.Raft, n.DNS, n.Machine, n.Expect, n.ClusterID, n.Store, n.Pin})
	if err != nil {
		return nil, fmt.Errorf("cannot gossip the node's metadata: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("cannot gossip the node's metadata: it has %d bytes, %d are allowed; use a shorter node name",
			len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

func decode(n *memberlist.Node) (Node, error) {
	var w wire
	if len(n.Meta) > memberlist.MetaMaxSize || len(n.Name) > maxName {
		return Node{}, errors.New("its name or metadata is too long")
	}
	if err := json.Unmarshal(n.Meta, &w); err != nil {
		return Node{}, fmt.Errorf("its metadata is not a supd node's: %w", err)
	}
	return Node{
		ID: n.Name, Name: w.Name, API: w.API, Raft: w.Raft, DNS: w.DNS, Machine: w.Machine,
		Expect: w.Expect, ClusterID: w.Cluster, Store: w.Store, Pin: w.Pin, Gossip: n.Address(),
	}, nil
}
