// Package supervisor puts a Daemon together: the raft store, gossip, control, the
// agent and its keeper, volumes, DNS and the API.
//
// Goroutines of Run, each ended before Run returns. The agent ends first, while
// the others can still tell the leader that this node leaves on purpose:
//
//	agent     the agent of this node
//	raft      the raft store
//	gossip    gossip
//	control   the leader's part
//	let-in    waits for a certificate, asks for one with a token; ends when there is one
//	join      then, fed by gossip and Views: forms or joins the cluster
//	left      fed by Views; ends the daemon when its node has left the cluster
//	seeds     fed by heartbeats' answers; gets the cluster's secret when this node is to vote
//	gossip-keys  a timer, fed by Views and gossip; keeps gossip's keys, on the leader has them changed
//	credentials  a timer, fed by Views too; renews this node's certificate
//	digests   fed by the raft store and a ticker; makes what heartbeats tell of this node's state
//	snapshots a timer; writes the scheduled snapshots of a node that votes
//	keeper    sees to it that a keeper answers
//	dns       answers DNS
//	server    the API's watch streams; with it one goroutine per listener
//	rest      a ticker; gives back the memory that a burst has needed
//	watchdog  a ticker, under systemd's watchdog; asks the API, tells systemd
package supervisor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"supd/configs"
	"supd/netid"
	"supd/netid/dns"
	"supd/netid/gossip"
	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/agent"
	"supd/supervisor/client"
	"supd/supervisor/control"
	"supd/supervisor/keeper"
	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/volumes"
)

// Options of a Daemon.
type Options struct {
	Config  configs.Daemon
	Version string
	Logger  *slog.Logger
	// Ready is called once the API answers. It may be nil.
	Ready func()
	// CertificateLifetime is for tests; 0: a node's certificate is good as long as it is.
	CertificateLifetime time.Duration
	// GossipKeyPause is for tests; 0: nodes have as long to take a new key as they have.
	GossipKeyPause time.Duration
	// SnapshotThreshold and TrailingLogs are for tests; see raftstore.Options.
	SnapshotThreshold, TrailingLogs uint64
	// CompareEvery and CompareRest are for tests; 0: nodes' states are compared each minute
	// of the log's time, and when the log has been at rest for 10 s.
	CompareEvery, CompareRest time.Duration
}

// Daemon is one supd.
type Daemon struct {
	o   Options
	log *slog.Logger
	id  *identity
	pki *pki.Store

	store store
	// opened is the store once it is open: handshakes, which know nothing of New's order, judge by it.
	opened    atomic.Pointer[raftstore.Store]
	gossip    *gossip.Gossip
	meta      gossip.Node
	cluster   *cluster
	snapshots *snapshots
	digests   *digests
	control   *control.Control
	leader    *leader
	keeper    *keeperWatch
	keepers   []*keeper.Client
	pool      *volumes.Pool
	dns       *dns.Server
	agent     *agent.Agent
	server    *server.Server

	socket, tcp net.Listener
	socketGroup uint32
	transport   *http.Transport
	memberDNS   string
	machine     string

	mu      sync.Mutex // guards what follows
	hold    *netid.Hold
	holdErr string
	closers []func() error
}

// New opens the data directory, restores the state and binds all addresses. It
// starts nothing; after an error nothing stays open.
func New(o Options) (*Daemon, error) {
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Daemon{o: o, log: o.Logger.With("node", o.Config.Name)}
	for _, step := range []func() error{
		d.openDir, d.openPKI, d.openStore, d.openCredentials, d.openListeners, d.openDNS, d.openGossip, d.openControl, d.openAgent, d.openServer,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// onClose notes what Close undoes as long as Run has not begun.
func (d *Daemon) onClose(f func() error) { d.closers = append(d.closers, f) }

func (d *Daemon) openDir() (err error) {
	dir := d.o.Config.DataDir
	// Members' users reach their directories through it.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("cannot use the data directory: %w", err)
	}
	if err := anchor(dir); err != nil {
		return fmt.Errorf("cannot use the data directory: %w", err)
	}
	if d.id, err = openIdentity(dir, d.o.Config.Name); err != nil {
		return err
	}
	if d.id.Left {
		if err := d.startAnew(); err != nil {
			return err
		}
	}
	d.machine, err = netid.MachineID()
	return err
}

func (d *Daemon) openStore() error {
	advertise, err := d.o.Config.AdvertiseFor(d.o.Config.Raft)
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	stream, err := patiently(func() (*raftstore.TCP, error) { return raftstore.Listen(d.o.Config.Raft, advertise) })
	if err != nil {
		return err
	}
	s, err := raftstore.Open(raftstore.Options{
		Dir: filepath.Join(d.o.Config.DataDir, "raft"), ID: d.id.server(), Stream: stream, TLS: d.raftTLS(), Resolve: d.raftOf,
		SnapshotThreshold: d.o.SnapshotThreshold, TrailingLogs: d.o.TrailingLogs, CheckpointEvery: d.o.CompareEvery, Logger: d.log,
	})
	if errors.Is(err, raftstore.ErrDamaged) || errors.Is(err, raftstore.ErrForeign) {
		err = fmt.Errorf("%w; %s", err, howToRejoin)
	}
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	d.store = store{s}
	d.opened.Store(s)
	d.onClose(s.Close)
	d.meta.Raft = stream.Addr().String()
	if d.id.Member && !s.HasState() {
		return fmt.Errorf("cannot start: node %s has been part of a cluster, but its raft store is empty: "+
			"it has forgotten what it voted for and acknowledged; bring %s back as it was when supd ended "+
			"(an older copy has forgotten too), or: %s",
			d.id.ID, filepath.Join(d.o.Config.DataDir, "raft"), howToRejoin)
	}
	return nil
}

// howToRejoin is what to do on a node that can't use its raft store.
const howToRejoin = "if a majority of the cluster's other voters is there, this node can join again with an empty store, its members and directories as they are: " +
	"supd recover --rejoin; if no voter has a whole store any more: supd recover --from-snapshot FILE"

func (d *Daemon) openListeners() error {
	tcp, err := patiently(func() (net.Listener, error) { return net.Listen("tcp", d.o.Config.API) })
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	d.tcp = tcp
	d.onClose(tcp.Close)
	if d.meta.API, err = d.advertised(tcp.Addr()); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	socket, err := d.listenSocket(d.o.Config.Socket, d.o.Config.SocketGroup)
	if err != nil {
		return err
	}
	d.socket = socket
	d.onClose(socket.Close)
	if d.socketGroup, err = groupOf(d.o.Config.Socket); err != nil {
		return err
	}
	return nil
}

// advertised is how others reach an address bound here.
func (d *Daemon) advertised(bound net.Addr) (string, error) {
	ip, err := d.o.Config.AdvertiseFor(bound.String())
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(bound.String())
	return net.JoinHostPort(ip, port), err
}

// openDNS binds the DNS server: at its configured address for everybody, and at an
// address of the members' own, port 53, where this process may.
func (d *Daemon) openDNS() error {
	listen := []string{d.o.Config.DNS}
	if os.Geteuid() == 0 {
		addr, err := netid.MemberDNS(netid.MemberDNSOptions{File: filepath.Join(d.o.Config.DataDir, "member-dns")})
		if err != nil {
			d.log.Warn("members get no name server of their own; they keep the host's", "err", err)
		} else {
			d.memberDNS = addr.String()
			listen = append(listen, net.JoinHostPort(d.memberDNS, "53"))
		}
	}
	var upstreams []string
	if host, err := netid.HostResolver("/etc/resolv.conf"); err != nil {
		d.log.Warn("host's name servers not known; other names are not answered", "err", err)
	} else {
		upstreams = host.Upstreams()
	}
	open := func() (*dns.Server, error) {
		return dns.New(dns.Options{Listen: listen, Views: d.store, Upstreams: upstreams, Logger: d.log})
	}
	s, err := patiently(open)
	if err != nil && d.memberDNS != "" {
		d.log.Warn("members get no name server of their own; they keep the host's", "err", err)
		d.memberDNS = ""
		listen = listen[:1]
		s, err = patiently(open)
	}
	if err != nil {
		return err
	}
	d.dns = s
	d.onClose(s.Close)
	d.meta.DNS = s.Addr()
	return nil
}

func (d *Daemon) openGossip() error {
	c := d.o.Config
	d.meta.ID, d.meta.Name, d.meta.Machine, d.meta.Expect, d.meta.Store = d.id.ID, d.id.Name, d.machine, c.BootstrapExpect, d.id.Store
	advertise, err := c.AdvertiseFor(c.Gossip)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	g, err := patiently(func() (*gossip.Gossip, error) {
		return gossip.New(gossip.Options{Bind: c.Gossip, Advertise: net.JoinHostPort(advertise, "0"), Meta: d.metaNow(), Join: d.gossipJoin(), Want: d.wanted, Logger: d.log})
	})
	if err != nil {
		return err
	}
	d.gossip = g
	d.onClose(g.Close)
	d.snapshots = &snapshots{
		dir: c.SnapshotsDir(), every: c.SnapshotEvery.D(), keep: c.SnapshotKeep, node: d.id.Name, view: d.toSnapshot, log: d.log,
	}
	d.digests = &digests{store: d.store, rest: cmp.Or(d.o.CompareRest, compareRest), log: d.log}
	d.cluster = &cluster{
		store: d.store, gossip: g, dns: d.meta.DNS, snapshots: d.snapshots, digests: d.digests,
		forgotten: func() string { return d.agent.Forgotten() },
	}
	return nil
}

// compareRest is how long the log must be at rest for its end to be compared.
const compareRest = 10 * time.Second

// metaNow is what this node tells of itself now.
func (d *Daemon) metaNow() gossip.Node {
	meta := d.meta
	meta.ClusterID = d.store.View().Cluster.ID
	if meta.ClusterID == "" {
		meta.ClusterID = d.id.Ballot
	}
	meta.Pin = d.pki.Pin()
	return meta
}

// wanted are the gossip addresses of the nodes that should be here.
func (d *Daemon) wanted() []string {
	var out []string
	for n := range d.store.View().Nodes() {
		if n.ID != d.id.ID && n.Gossip != "" {
			out = append(out, n.Gossip)
		}
	}
	return append(out, d.id.Peers...)
}

// gossipJoin are the configured addresses where others gossip. With a token they are
// those of their API.
func (d *Daemon) gossipJoin() []string {
	if d.o.Config.Token != "" || d.o.Config.TokenFile != "" {
		return nil
	}
	var out []string
	for _, addr := range d.o.Config.Join {
		out = append(out, withPort(addr, gossipPort))
	}
	return out
}

func (d *Daemon) openControl() (err error) {
	c := d.o.Config
	d.control, err = control.New(control.Options{
		Node: d.id.Name, ID: d.id.ID, Machine: d.machine, Store: d.store, Peers: peers{d.gossip},
		Init: d.initCluster, Lease: c.Lease.D(), Heartbeat: c.Heartbeat.D(), Staleness: raftstore.Staleness,
		VoterSpread: c.VoterSpread, VoterReplaceAfter: c.VoterReplaceAfter.D(),
		UID: newID, MayStop: d.mayStop, Logger: d.log,
	})
	d.leader = &leader{
		node:    d.id.Name,
		cluster: d.cluster, control: d.control, only: d.tlsWith, clients: map[string]*client.Client{},
		holdsSeed: func() bool { return !d.pki.Seed().IsZero() }, seedWanted: make(chan struct{}, 1),
	}
	return err
}

func (d *Daemon) openAgent() (err error) {
	c := d.o.Config
	if d.pool, err = volumes.Open(volumes.Options{
		Dir:       filepath.Join(c.DataDir, "volumes"),
		ClusterID: func() string { return d.store.View().Cluster.ID },
		Logger:    d.log,
	}); err != nil {
		return err
	}
	kc := keeper.Dial(c.KeeperSocket())
	d.keepers = append(d.keepers, kc)
	d.keeper = &keeperWatch{
		node: d.id.Name, client: keeper.Dial(c.KeeperSocket()), dir: filepath.Join(c.DataDir, "keeper"), binary: c.KeeperBinary, cgroup: d.id.ID,
		pidFile: filepath.Join(c.DataDir, "keeper.pid"), managed: managedBySystemd(c), log: d.log,
	}
	d.keepers = append(d.keepers, d.keeper.client)
	logMax, err := c.LogMaxBytes()
	if err != nil {
		return err
	}
	d.agent, err = agent.New(agent.Options{
		Node: d.id.Name, Self: d.self, Views: d.store, Leader: d.leader, Keeper: kc, Pool: d.pool,
		DataDir: c.DataDir, MemberDNS: d.memberDNS, Root: os.Geteuid() == 0,
		Heartbeat: c.Heartbeat.D(), LogMax: logMax, Logger: d.log,
	})
	return err
}

// self is what this node registers as.
func (d *Daemon) self() state.Node {
	return state.Node{
		Name: d.id.Name, ID: d.id.ID, API: d.meta.API, Raft: d.meta.Raft, Gossip: d.gossip.Addr(), DNS: d.meta.DNS,
		HostIP: d.o.Config.HostIP, Machine: d.machine, Root: os.Geteuid() == 0, Version: d.o.Version,
		Level: state.OwnLevel(), Labels: d.o.Config.LabelMap(),
	}
}

// sessionAgent is the agent as the server knows it.
type sessionAgent struct{ *agent.Agent }

func (a sessionAgent) Exec(ctx context.Context, namespace, member string, o client.ExecOptions) (server.Session, error) {
	s, err := a.Agent.Exec(ctx, namespace, member, o)
	if err != nil {
		return nil, err // not a nil *agent.Session, which is no nil Session
	}
	return s, nil
}

func (d *Daemon) openServer() error {
	d.server = server.New(server.Options{
		Membership: membership{d},
		Node:       d.id.Name, Store: d.store, Cluster: d.cluster, Control: d.control, Agent: sessionAgent{d.agent}, Keeper: d.keeper,
		SocketGroup: d.socketGroup, SocketRead: d.o.Config.SocketRead, Limits: d.limits(), Hosts: d.o.Config.APIHosts,
		Certificates: credentials{d}, Issue: credentials{d}.Issue, Authority: credentials{d},
		Transport: d.transport, TrashKeep: d.o.Config.TrashKeep.D(), Version: d.o.Version, Now: d.store.Now, Logger: d.log,
	})
	return nil
}

// Close gives back what New took, when Run was never called.
func (d *Daemon) Close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.closers = nil
	errs = append(errs, d.closeShared())
	return errors.Join(errs...)
}

// closeShared closes what belongs to no one goroutine.
func (d *Daemon) closeShared() error {
	var errs []error
	for _, k := range d.keepers {
		errs = append(errs, k.Close())
	}
	d.keepHold(nil)
	if d.leader != nil {
		d.leader.close()
	}
	if d.transport != nil {
		d.transport.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

// Run runs until ctx ends. It stops no member: it hands leadership over, says that
// this node leaves on purpose, and ends. The keeper and all members run on.
func (d *Daemon) Run(ctx context.Context) error {
	d.closers = nil // what was opened now belongs to those who run
	pid := filepath.Join(d.o.Config.DataDir, "supd.pid")
	if err := writeDurably(pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		d.log.Warn("pid not noted", "err", err)
	}
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, base := errgroup.WithContext(base)
	agentCtx, stopAgent := context.WithCancel(base)
	defer stopAgent()
	agentDone := make(chan struct{})
	g.Go(func() error { defer close(agentDone); return d.agent.Run(agentCtx) })
	g.Go(func() error { return d.store.Run(base) })
	entered := make(chan struct{})
	g.Go(func() error {
		err := d.letIn(base)
		if err == nil {
			close(entered)
			return nil
		}
		if base.Err() != nil {
			return nil
		}
		return err
	})
	g.Go(func() error {
		select {
		case <-entered:
			return d.gossip.Run(base)
		case <-base.Done():
			return d.gossip.Close()
		}
	})
	g.Go(func() error { return d.keepGossipKeys(base) })
	g.Go(func() error { return d.untilLeft(base) })
	g.Go(func() error { return d.fetchSeeds(base) })
	g.Go(func() error { return d.control.Run(base) })
	g.Go(func() error {
		select {
		case <-entered:
			return d.join(base)
		case <-base.Done():
			return nil
		}
	})
	g.Go(func() error { return d.keepCredentials(base) })
	g.Go(func() error { return d.digests.run(base) })
	g.Go(func() error { return d.snapshots.run(base) })
	g.Go(func() error { return d.keeper.run(base) })
	g.Go(func() error { return d.dns.Run(base) })
	g.Go(func() error { return d.server.Run(base) })
	g.Go(func() error { return d.rest(base) })
	g.Go(func() error { return d.watchdog(base) })
	d.serve(g, base, d.socket)
	d.serve(g, base, tls.NewListener(d.tcp, d.pki.APIServer()))
	d.log.Info("supd runs", "version", d.o.Version, "api", d.meta.API, "socket", d.o.Config.Socket)
	if d.o.Ready != nil {
		d.o.Ready()
	}
	g.Go(func() error {
		select {
		case <-base.Done(): // something failed
			return nil
		case <-ctx.Done():
		}
		d.handOver(base)
		stopAgent()
		<-agentDone
		d.leaveGossip(base)
		stop()
		return nil
	})
	err := g.Wait()
	if cerr := d.closeShared(); cerr != nil {
		d.log.Debug("not all was closed cleanly", "err", cerr)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil {
		if rerr := os.Remove(pid); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			d.log.Debug("pid file not removed", "err", rerr)
		}
		if rerr := os.Remove(d.o.Config.Socket); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			d.log.Debug("socket not removed", "err", rerr)
		}
		d.log.Info("supd ends; members run on")
	}
	return err
}

// handOver gives leadership to another node and waits until one leads, so that
// this node can tell it that it leaves. A cluster that cannot is left as it is.
func (d *Daemon) handOver(ctx context.Context) {
	if _, leads := d.store.Leading(); !leads || len(d.cluster.Status().Voters) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := d.store.Transfer(ctx); err != nil {
		d.log.Warn("leadership not handed over", "err", err)
		return
	}
	for {
		changed := d.store.LeaderChanged()
		if rs := d.cluster.Status(); !rs.Leading && rs.Leader != "" {
			d.log.Info("leadership handed over", "leader", rs.Leader)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// leaveGossip tells the other nodes that this one goes on purpose.
func (d *Daemon) leaveGossip(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := d.gossip.Leave(ctx); err != nil {
		d.log.Debug("gossip not left cleanly", "err", err)
	}
}

// serve answers the API on a listener until ctx ends.
func (d *Daemon) serve(g *errgroup.Group, ctx context.Context, l net.Listener) {
	hs := server.NewHTTPServer(d.server.Handler())
	d.server.Watch(hs)
	hs.BaseContext = func(net.Listener) context.Context { return ctx }
	hs.ErrorLog = log.New(&refusals{log: d.log, said: map[string]time.Time{}}, "", 0)
	g.Go(func() error {
		if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("the API ended: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if hs.Shutdown(end) != nil {
			return hs.Close() // streams that did not end
		}
		return nil
	})
}
