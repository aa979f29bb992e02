// Package raftstore is the Raft plumbing: it opens the log, proposes entries,
// keeps the members of the Raft cluster, writes and reads snapshots, and publishes
// the View. It knows nothing of what entries mean; that is package state.
//
// Goroutines, all ended when Run returns:
//
//	raft's own      fed by its transport; own the log and call the FSM
//	observe         fed by raft's observations; publishes changes of leadership
//	nudge           fed by the FSM; tells followers at once what is committed
//	nudge/FOLLOWER  one for each follower; fed by nudge
//	watchLeader     fed by the ends of connections; asks for an election when the leader's process is dead
//	remember        fed by the FSM; notes on disk how far the log was applied
//	await           one for each call that waits for raft; ends with raft's answer
package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"supd/raftstore/state"
)

// Options say where a Store lives and how it is tuned. Zero values get defaults.
type Options struct {
	// Dir holds the log and the snapshots. One Store may have it open.
	Dir string
	// ID is this server's stable name in Raft.
	ID string
	// Stream carries Raft between nodes. It listens already; the Store closes it.
	Stream raft.StreamLayer
	// Resolve tells the newest address known of a server, "" for the one in the
	// membership. So servers that come back elsewhere, all of them even, can elect a
	// leader, who then corrects the membership. May be nil.
	Resolve func(id string) string
	// TLS secures what goes through Stream.
	TLS TLS
	// Heartbeat is how long a follower hears nothing of the leader before it asks
	// for an election (300 ms).
	Heartbeat time.Duration
	// SnapshotThreshold entries beyond the last snapshot cause a new one (8192),
	// looked at every SnapshotInterval (30 s); TrailingLogs entries are kept behind
	// it (8192), so that a node that was away shortly needs no snapshot.
	SnapshotThreshold, TrailingLogs uint64
	SnapshotInterval                time.Duration
	// CheckpointEvery is the period of the entries' time at whose ends Views are kept to be
	// compared between nodes (1 min). It must be the same on all.
	CheckpointEvery time.Duration
	Logger          *slog.Logger
	// Now is this machine's time of day; time.Now when nil. See Store.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Heartbeat == 0 {
		o.Heartbeat = 300 * time.Millisecond
	}
	if o.SnapshotThreshold == 0 {
		o.SnapshotThreshold = 8192
	}
	if o.TrailingLogs == 0 {
		o.TrailingLogs = 8192
	}
	if o.SnapshotInterval == 0 {
		o.SnapshotInterval = 30 * time.Second
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// rpcTimeout bounds every RPC but the sending of snapshots. An answer to a
// heartbeat is never older than Staleness because of it.
const rpcTimeout = time.Second

// Staleness bounds how old the acknowledgements may be that Verify counts, as long
// as this process is not paused: an RPC in flight when the round began may count,
// and of two in a pipeline the second waits for the first. Whoever grants or
// awaits leases adds it to his margin.
const Staleness = 2 * rpcTimeout

// Store is one node's copy of the log and of the View. All methods may be called
// from any goroutine.
type Store struct {
	o       Options
	log     *slog.Logger
	bolt    sealed
	snaps   *snapshotStore
	stable  *patientStore
	disk    *diskTrouble
	hadRaft bool
	closed  bool // opened to be looked into, or recovered: nothing is written by Open

	started chan struct{} // closed when raft is set
	stopped chan struct{} // closed when Run begins to end
	raft    *raft.Raft    // after started
	trans   *raft.NetworkTransport

	view     atomic.Pointer[state.View]
	trouble  atomic.Pointer[string]
	troubled chan struct{} // holds one: trouble came or went
	nudges   chan struct{} // holds one: something was applied
	hangups  chan struct{} // holds one: a connection that was accepted has ended

	clock       clock
	checkpoints *checkpoints
	parted      onces // who was told that its log has parted from ours

	mu            sync.Mutex // guards what follows
	changed       chan struct{}
	leaderChanged chan struct{}
	applied       position // newest applied log entry
	closing       bool
	waits         sync.WaitGroup
	filesClosed   bool
}

// position names a log entry.
type position struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
}

// newStore is a Store whose files are not open yet; o has its defaults.
func newStore(o Options) *Store {
	return &Store{
		o: o, log: o.Logger,
		started: make(chan struct{}), stopped: make(chan struct{}),
		changed: make(chan struct{}), leaderChanged: make(chan struct{}),
		nudges: make(chan struct{}, 1), hangups: make(chan struct{}, 1), troubled: make(chan struct{}, 1),
		disk: &diskTrouble{dir: o.Dir}, checkpoints: newCheckpoints(o.CheckpointEvery),
	}
}

// Open opens the log and restores the View as far as this node knows that it was
// committed. It starts nothing. A damaged log or snapshot is ErrDamaged, a Dir
// that another process has open is ErrInUse, another server's is ErrForeign. On error the Stream stays open.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	if o.ID == "" || o.Dir == "" || o.Stream == nil || o.TLS.missing() {
		return nil, errors.New("cannot open the raft store: ID, Dir, Stream and TLS are needed")
	}
	s := newStore(o)
	if err := s.openFiles(); err != nil {
		return nil, fmt.Errorf("cannot open the raft store in %s: %w", o.Dir, err)
	}
	return s, nil
}

// HasState tells whether this node has ever been part of a cluster: it has a
// term, a log or a snapshot. Only a node without may be bootstrapped.
func (s *Store) HasState() bool {
	if !s.running() {
		return s.hadRaft
	}
	ok, err := raft.HasExistingState(s.bolt, s.bolt, s.snaps)
	return ok || err != nil
}

// Run takes part in Raft until ctx ends, then leaves the files closed. It returns
// nil after an orderly end.
func (s *Store) Run(ctx context.Context) error {
	defer s.closeFiles()
	cache, err := raft.NewLogCache(1024, watchedLog{s.bolt, s.disk})
	if err != nil {
		return fmt.Errorf("cannot start raft: %w", err)
	}
	conns := &tracked{StreamLayer: greeter{s.o.Stream, s, newDoor(s.log)}, open: map[net.Conn]bool{}, hungUp: s.hungUp}
	s.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: conns, MaxPool: 3, Timeout: rpcTimeout, Logger: adaptLogger(s.log),
	})
	g, runCtx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.patience(runCtx) })
	r, err := raft.NewRaft(s.config(), &fsm{s}, cache, s.stable, s.snaps, transport{s.trans, 3 * rpcTimeout})
	if err != nil {
		s.stable.giveUp()
		return errors.Join(fmt.Errorf("cannot start raft: %w", err), s.closeTransport(conns))
	}
	s.raft = r
	seen := make(chan raft.Observation, 64)
	obs := raft.NewObserver(seen, false, isLeadership)
	r.RegisterObserver(obs)
	close(s.started)
	g.Go(func() error { return s.observe(runCtx, seen) })
	g.Go(func() error { return s.nudge(runCtx) })
	g.Go(func() error { return s.remember(runCtx) })
	g.Go(func() error { return s.watchLeader(runCtx) })
	<-runCtx.Done()
	r.DeregisterObserver(obs)
	return errors.Join(s.stop(r), s.closeTransport(conns), g.Wait())
}

// patience ends the patient retries of the stable store with ctx.
func (s *Store) patience(ctx context.Context) error {
	<-ctx.Done()
	s.stable.giveUp()
	return nil
}

// stop ends raft. Calls that wait for it are answered first: raft forgets what
// stands in its queue when it ends.
func (s *Store) stop(r *raft.Raft) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	answered := make(chan struct{})
	go func() { s.waits.Wait(); close(answered) }() // ends with the last answer
	select {
	case <-answered:
	case <-time.After(3 * s.o.Heartbeat):
	}
	close(s.stopped)
	err := r.Shutdown().Error()
	return errors.Join(err, s.writeApplied())
}

// closeTransport closes the listener and every connection, and waits until raft
// has let go of them: it would leave those of others open until they close them.
func (s *Store) closeTransport(conns *tracked) error {
	s.trans.CloseStreams()
	err := s.trans.Close()
	conns.end(time.Second)
	return err
}

// Close closes the files of a Store that never ran, and its Stream.
func (s *Store) Close() error {
	if s.running() {
		return nil // Run closes what it used
	}
	s.closeFiles()
	return s.o.Stream.Close()
}

func (s *Store) running() bool {
	select {
	case <-s.started:
		return true
	default:
		return false
	}
}

// ending tells whether Run has begun to end.
func (s *Store) ending() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

func (s *Store) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(s.o.ID)
	c.HeartbeatTimeout, c.ElectionTimeout = s.o.Heartbeat, s.o.Heartbeat
	c.LeaderLeaseTimeout = s.o.Heartbeat
	c.MaxAppendEntries = 512
	c.BatchApplyCh = true
	c.SnapshotThreshold, c.TrailingLogs = s.o.SnapshotThreshold, s.o.TrailingLogs
	c.SnapshotInterval = s.o.SnapshotInterval
	c.NoSnapshotRestoreOnStart = true // Open has restored it
	c.NoLegacyTelemetry = true
	c.Logger = adaptLogger(s.log)
	return c
}

func (s *Store) path(name string) string { return filepath.Join(s.o.Dir, name) }

// View returns the newest View this node has applied.
func (s *Store) View() *state.View { return s.view.Load() }

// Changed returns a channel that is closed when a View newer than the present one
// is published. Take it before View.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// publish makes v the newest View.
func (s *Store) publish(v *state.View, at position) {
	s.mu.Lock()
	s.view.Store(v)
	if at.Index > s.applied.Index {
		s.applied = at
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	select {
	case s.nudges <- struct{}{}:
	default:
	}
}

// Trouble says why this node's View stays behind, or "": it met a log entry that it
// does not understand, written by a newer version. Such a node does not lead.
func (s *Store) Trouble() string {
	if t := s.trouble.Load(); t != nil {
		return *t
	}
	return ""
}
