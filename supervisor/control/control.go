// Package control is what only the leader does: it runs Plan and proposes what
// comes out, keeps the nodes' leases, says who is suspect or lost, and keeps the
// membership of Raft in step with the nodes found.
//
// Goroutines, all ended when Run returns:
//
//	Run       fed by changes of leadership; owns the term under way, at most one
//	pulse     fed by a ticker; owns the account of this process's pauses
//	and in each term that this node leads, ended with it:
//	verifier  fed by heartbeats; owns the rounds of verification
//	planner   fed by new Views, Plan.Next and answers; owns the refusals to back off from
//	asker     begun by planner, one for each member that is asked whether it may be stopped
//	judge     fed by time, heartbeats and gossip; proposes SetNode
//	members   fed by gossip and new Views; changes Raft's membership
//	compare   fed by a ticker and heartbeats; owns the account of the nodes' states
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// Store is the replicated state. Errors of Propose and ProposeAll are *spec.Error
// with CodeNoLeader; client.ReasonUnknown says that an entry's fate is not known.
type Store interface {
	View() *state.View
	Changed() <-chan struct{}
	// Now is the cluster's time, by which the View's times are to be judged.
	Now() time.Time
	Propose(ctx context.Context, e state.Entry) (state.Result, error)
	ProposeAll(ctx context.Context, e []state.Entry) ([]state.Result, error)
	Barrier(ctx context.Context) error
	Verify(ctx context.Context) error
	Leading() (term uint64, ok bool)
	LeaderChanged() <-chan struct{}
	Servers() []Server
	AddVoter(ctx context.Context, id, addr string) error
	AddNonvoter(ctx context.Context, id, addr string) error
	Demote(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Transfer(ctx context.Context) error
}

// Peer is a node as gossip knows it.
type Peer struct {
	ID, Name, Raft, Machine string
	// Store as in Server.
	Store int
	// ClusterID is "" while the node belongs to none, and begins with Forming
	// while it takes part in forming one.
	ClusterID string
	// Pin names the CA of the node's secret.
	Pin    string
	Expect int
	Alive  bool
}

// Peers are the nodes that gossip knows, this one included.
type Peers interface {
	Peers() []Peer
	Changed() <-chan struct{}
}

// Margin is what the leader adds to a lease before it calls a node lost, for
// clocks, scheduling, and the kill that ends a fenced member.
const Margin = 2 * time.Second

// SuspectAfter is the silence that makes a node suspect; with gossip's word of its
// death, HintAfter is enough.
const (
	SuspectAfter = 2 * time.Second
	HintAfter    = time.Second
)

// Options of a Control. Node, ID, Store and Peers are needed.
type Options struct {
	Node    string // this node's name
	ID      string // and its id in Raft
	Machine string
	Store   Store
	Peers   Peers
	// Init makes the first command of a new cluster.
	Init func(ctx context.Context) (*state.InitCluster, error)
	// Lease (10 s) is granted with every answer to a heartbeat; agents send one
	// every Heartbeat (500 ms).
	Lease, Heartbeat time.Duration
	// Staleness bounds how old what Verify counts may be.
	Staleness time.Duration
	// VoterSpread is the label of nodes that voters are spread over ("rack");
	// VoterReplaceAfter, how long a voter has been lost when its vote goes to another
	// node (1 min).
	VoterSpread       string
	VoterReplaceAfter time.Duration
	// UID makes unique ids for new members and volumes.
	UID func() string
	// MayStop asks a member, on its node, whether it may be stopped now. Nil: nobody can be
	// asked, so nobody who must be is stopped.
	MayStop func(ctx context.Context, q plan.Ask) (Answer, error)
	// Boottime is a clock that counts suspend; CLOCK_BOOTTIME when nil.
	Boottime func() time.Duration
	Logger   *slog.Logger
}

// Control is one node's part. Run does the work; the other methods may be called
// at any time from any goroutine.
type Control struct {
	o     Options
	log   *slog.Logger
	pulse *pulse

	mu   sync.Mutex // guards term
	term *term      // nil while this node doesn't lead, or before its barrier
}

// term is one term that this node leads, after its barrier.
type term struct {
	number uint64
	rounds rounds
	heard  chan struct{} // holds one: a heartbeat changed what judge would say
	asked  *consents

	mu     sync.Mutex // guards what follows
	leases leases
	states states
	chosen string // the id of the server that is to fetch the cluster's secret
}

// CheckLease tells whether a lease survives three lost heartbeats and a new
// leader's election.
func CheckLease(lease, heartbeat time.Duration) error {
	if heartbeat <= 0 {
		return fmt.Errorf("heartbeat must be more than 0, not %s", heartbeat)
	}
	if least := 3*heartbeat + 2*time.Second; lease < least {
		return fmt.Errorf("lease %s is too short: with heartbeat %s it must be at least %s (3 heartbeats and 2s)", lease, heartbeat, least)
	}
	return nil
}

// New makes a Control. It refuses a lease that CheckLease refuses.
func New(o Options) (*Control, error) {
	if o.Lease == 0 {
		o.Lease = 10 * time.Second
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 500 * time.Millisecond
	}
	if o.VoterReplaceAfter == 0 {
		o.VoterReplaceAfter = time.Minute
	}
	if err := CheckLease(o.Lease, o.Heartbeat); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Boottime == nil {
		o.Boottime = boottime
	}
	return &Control{o: o, log: o.Logger, pulse: newPulse(o.Boottime)}, nil
}

// Run leads while this node is the leader. It returns nil when ctx ends.
func (c *Control) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.pulse.run(ctx) })
	g.Go(func() error { return c.follow(ctx) })
	return g.Wait()
}

// follow starts and ends terms as leadership comes and goes.
func (c *Control) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := c.o.Store.LeaderChanged()
		if number, ok := c.o.Store.Leading(); ok {
			err := c.lead(ctx, number)
			switch {
			case err == nil, ctx.Err() != nil:
			case c.stillLeads(number):
				c.log.Warn("leading is interrupted", "term", number, "err", err)
				select {
				case <-time.After(200 * time.Millisecond):
				case <-ctx.Done():
				}
			default:
				c.log.Info("leadership lost", "term", number)
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil
}

func (c *Control) stillLeads(number uint64) bool {
	n, ok := c.o.Store.Leading()
	return ok && n == number
}

// errDeposed ends a term.
var errDeposed = errors.New("this node does not lead any more")

// lead does a term's work until it is over.
func (c *Control) lead(ctx context.Context, number uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.untilDeposed(ctx, number) })
	g.Go(func() error {
		if err := c.o.Store.Barrier(ctx); err != nil {
			return fmt.Errorf("no barrier: %w", err)
		}
		if err := c.form(ctx); err != nil {
			return err
		}
		t := &term{number: number, rounds: newRounds(), heard: make(chan struct{}, 1), states: newStates(), asked: newConsents()}
		t.leases = newLeases(c.o.Lease, c.o.Staleness, time.Now())
		c.setTerm(t)
		c.log.Info("leading", "term", number, "index", c.o.Store.View().Index)
		g.Go(func() error { return t.rounds.run(ctx, c.o.Store.Verify) })
		g.Go(func() error { return c.plan(ctx, g, t.asked) })
		g.Go(func() error { return c.judge(ctx, t) })
		g.Go(func() error { return c.members(ctx, t) })
		g.Go(func() error { return c.compare(ctx, t) })
		return nil
	})
	err := g.Wait()
	c.setTerm(nil)
	if errors.Is(err, errDeposed) || errors.Is(err, context.Canceled) {
		if c.stillLeads(number) {
			return err
		}
		return errDeposed
	}
	return err
}

func (c *Control) setTerm(t *term) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term = t
}

func (c *Control) current() *term {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.term
}

// untilDeposed returns errDeposed when this node has ceased to lead the term.
func (c *Control) untilDeposed(ctx context.Context, number uint64) error {
	for {
		changed := c.o.Store.LeaderChanged()
		if !c.stillLeads(number) {
			return errDeposed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// form proposes the first command of a new cluster.
func (c *Control) form(ctx context.Context) error {
	if c.o.Store.View().Cluster.ID != "" {
		return nil
	}
	cmd, err := c.o.Init(ctx)
	if err != nil {
		return fmt.Errorf("cannot form the cluster: %w", err)
	}
	res, err := c.o.Store.Propose(ctx, state.Entry{At: time.Now(), Who: planner, Cmd: cmd})
	if err != nil {
		return fmt.Errorf("cannot form the cluster: %w", err)
	}
	if res.Err != nil && res.Err.Reason != "ClusterExists" {
		return fmt.Errorf("cannot form the cluster: %w", res.Err)
	}
	return nil
}

// planner is who planned commands are from.
const planner = "plan"

// fateUnknown tells whether an entry may still be committed after this error.
func fateUnknown(err error) bool {
	var e *spec.Error
	return !errors.As(err, &e) || e.Reason != client.ReasonNoLeader
}
