// Package server is supd's HTTP API: one table of routes with access rules, reads
// from the node's own View, writes forwarded once to the leader, watch streams,
// logs from any node, metrics.
//
// Objects as users see them, explanations and previews are computed by pure
// functions of a View; handlers only decode, propose and encode.
//
// Goroutines: Run (one per Server; fed by Store.Changed; owns the history of recent
// Views that watch streams begin from; ends with its context). Every request has
// net/http's own goroutine, which ends with the request or with Run's context; one that stays open for an account (a log,
// a watch, a command) has another beside it (fed by Store.Changed), which ends it when the account is revoked. A command
// in a member has besides: hang-up (looks whether the client has gone), input, output and
// errors of the owner's, or a copier each way of a node between; they end with the session,
// which ends with the command, its client or Run, and Run waits for it.
package server

import (
	"context"
	"crypto"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Store is the replicated state. Errors of Propose and Barrier carry a code:
// *spec.Error with CodeNoLeader and client.ReasonNoLeader when nothing was done,
// client.ReasonUnknown when the outcome is not known.
type Store interface {
	View() *state.View
	// Changed is closed when a View newer than the last published exists.
	Changed() <-chan struct{}
	// Propose returns when the entry was applied here.
	Propose(ctx context.Context, e state.Entry) (state.Result, error)
	// Barrier returns when all that was committed before is applied here; on the
	// leader only.
	Barrier(ctx context.Context) error
	// Verify makes sure, by asking a majority, that this node still leads.
	Verify(ctx context.Context) error
}

// RaftStatus is what this node's Raft knows beside the View.
type RaftStatus struct {
	Leader    string // node name; "": none known
	LeaderAPI string // host:port of the leader's API
	Leading   bool   // this node leads
	Term      uint64
	Applied   uint64
	Last      uint64 // index of the last entry in this node's log
	Commit    uint64
	Voters    []string // node names
	DNS       string   // host:port that this node's DNS answers on
	Trouble   string   // what keeps this node from its part; "": nothing
	NoVote    bool     // and from voting, if it is a voter
	// Warning is what an operator should see to, though the node does its part; "": nothing.
	Warning string
	// NoSnapshot: the scheduled snapshot can't be written. Snapshot is when the newest one
	// was written; zero: there is none.
	NoSnapshot bool
	Snapshot   time.Time
	// State is how this node's state compares with others', as the leader last told.
	State spec.StateCheck
	// Mute are the members that the leader, as it told a moment ago, could not ask whether they may be stopped.
	Mute  []client.Mute
	Waits string // for what, while this node is part of no cluster
	// GossipDropped counts what came to gossip's port that no key of the cluster had sealed.
	GossipDropped uint64
}

// Cluster tells what is not in the View.
type Cluster interface {
	Status() RaftStatus
	// Lead is Status with Leader, LeaderAPI and Leading alone: every write asks for them.
	Lead() RaftStatus
	// NodeAPI is where a node's API is reached.
	NodeAPI(node string) (addr string, ok bool)
	// Transfer hands leadership from this node, which leads, to a voter, to any when
	// node is "", and returns who leads then.
	Transfer(ctx context.Context, node string) (leader string, err error)
}

// Control is the leader's part; called only while this node leads.
type Control interface {
	Heartbeat(ctx context.Context, h client.Heartbeat) (client.HeartbeatAnswer, error)
	// Silent tells whether a node has not answered within the last second.
	Silent(node string) bool
	Leases() map[string]time.Time
}

// Agent is this node's agent.
type Agent interface {
	Logs(ctx context.Context, namespace, member string, o client.LogOptions) (io.ReadCloser, error)
	Usage(ctx context.Context, namespace, volume string) (int64, error)
	// Probes tells of the probes of a member of this node.
	Probes(namespace, member string) ([]spec.ProbeStatus, error)
	// MayStop asks a member of this node now whether it may be stopped.
	MayStop(ctx context.Context, q client.MayStopRequest) (client.MayStop, error)
	// Exec runs a command beside a live process of a member of this node.
	Exec(ctx context.Context, namespace, member string, o client.ExecOptions) (Session, error)
}

// Keeper is this node's keeper.
type Keeper interface {
	Status(ctx context.Context) (spec.KeeperStatus, error)
	// Upgrade has it become the binary on disk.
	Upgrade(ctx context.Context) (client.KeeperUpgrade, error)
}

// Options of a Server. Node, Store, Cluster, Control, Agent and Keeper are needed.
type Options struct {
	Node    string
	Store   Store
	Cluster Cluster
	Control Control
	Agent   Agent
	Keeper  Keeper
	// Membership lets nodes in and out.
	Membership Membership
	// Transport between nodes, which makes sure that nodes answer; nil: one without TLS.
	Transport http.RoundTripper
	// Scheme of the other nodes' APIs. Default https; tests have http.
	Scheme string
	// TrashKeep is how long a released directory can be taken back. Default 24 h.
	TrashKeep time.Duration
	// Settle is how long a write that makes a set smaller waits for members that have
	// only just started. Default 2 s.
	Settle  time.Duration
	Version string
	// Certificates tells who is at the other end of a TLS connection; nil: nobody is known by a certificate.
	Certificates Certificates
	// Issue signs a new certificate for a node of the View, if this node can; nil: it can't.
	Issue func(nodeID string, pub crypto.PublicKey) (certificate []byte, err error)
	// Authority makes accounts' credentials; nil: accounts can't be made here.
	Authority Authority
	// SocketGroup is the group of the unix socket, whose members operate. SocketRead lets all other local users that can
	// open it read.
	SocketGroup uint32
	SocketRead  bool
	// Limits of what callers may ask; the zero value is good.
	Limits Limits
	// Hosts are accepted as Host on TCP beside addresses, localhost and the node's name.
	Hosts []string
	// Now is the cluster's time, by which the View's times are to be judged.
	Now    func() time.Time
	Logger *slog.Logger
}

// Server answers the API. Make it with New; it answers at once, and watch streams
// can resume from recent indexes while Run runs.
type Server struct {
	o       Options
	log     *slog.Logger
	handler http.Handler
	history history
	ending  chan struct{} // closed when Run ends: streams end
	counts  counters
	hash    viewHash

	sessions sessions

	rates, failures, said *buckets
	open                  streams
}

// sessions are the connections that were taken over from HTTP, which http.Server does not wait for.
type sessions struct {
	mu     sync.Mutex // guards closed, and adding to open
	closed bool
	open   sync.WaitGroup
}

// enter announces one; leave must be called when nothing of it is left.
func (ss *sessions) enter() (leave func(), err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, spec.Errorf(spec.CodeNoLeader, "this daemon is ending")
	}
	ss.open.Add(1)
	return ss.open.Done, nil
}

// close lets none in any more and waits for those that are.
func (ss *sessions) close() {
	ss.mu.Lock()
	ss.closed = true
	ss.mu.Unlock()
	ss.open.Wait()
}

type counters struct {
	requests, errors, forwarded, refusedHosts, proposals, refusals, streams     atomic.Int64
	refusedConns, refusedForbidden, refusedRate, refusedStreams, refusedUnknown atomic.Int64
}

// New makes a Server.
func New(o Options) *Server {
	if o.Transport == nil {
		o.Transport = client.NewTransport(nil)
	}
	if o.Scheme == "" {
		o.Scheme = "https"
	}
	if o.TrashKeep <= 0 {
		o.TrashKeep = 24 * time.Hour
	}
	if o.Settle <= 0 {
		o.Settle = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits.setDefaults()
	s := &Server{
		o: o, log: o.Logger, ending: make(chan struct{}),
		rates:    newBuckets(float64(o.Limits.Rate), 5*float64(o.Limits.Rate)),
		failures: newBuckets(failureRate, failureBurst),
		said:     newBuckets(1./60, 1),
		open:     streams{each: o.Limits.Streams, all: 10 * o.Limits.Streams, by: map[string]int{}},
	}
	s.handler = s.wrap(s.mux())
	return s
}

// Handler answers every route.
func (s *Server) Handler() http.Handler { return s.handler }

// Run follows the store so that watch streams can begin at a recent index, and
// ends all streams when ctx ends. Call it once.
func (s *Server) Run(ctx context.Context) error {
	defer s.sessions.close()
	defer close(s.ending)
	for {
		ch := s.o.Store.Changed()
		s.history.add(s.o.Store.View())
		select {
		case <-ctx.Done():
			return nil
		case <-ch:
		}
	}
}

// refused makes an error of a rule that forbids something.
func refused(reason, format string, args ...any) *spec.Error {
	e := spec.Errorf(spec.CodeRefused, format, args...)
	e.Reason = reason
	return e
}
