package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// verifyTimeout bounds one round of verification.
const verifyTimeout = time.Second

// Heartbeat takes an agent's heartbeat. The answer renews the node's lease, so it
// is given only by a leader that has passed its term's barrier and was verified by
// a quorum after the heartbeat came in, and to a node that is neither lost nor
// being declared so. Any error means: no lease.
func (c *Control) Heartbeat(ctx context.Context, h client.Heartbeat) (client.HeartbeatAnswer, error) {
	var none client.HeartbeatAnswer
	t := c.current()
	if t == nil {
		return none, notLeading("this node does not lead, or does not yet")
	}
	if err := c.known(h); err != nil {
		return none, err
	}
	t.mu.Lock()
	refusal := t.leases.hear(h, time.Now())
	t.states.hear(h.Node, h.Digests, time.Now())
	t.mu.Unlock()
	if refusal != "" {
		return none, noLease(h.Node, refusal)
	}
	if n := c.o.Store.View().Node(h.Node); n != nil && n.State != spec.NodeReady {
		select { // it is for judge to say that it is back
		case t.heard <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*verifyTimeout)
	defer cancel()
	if err := t.rounds.verify(ctx); err != nil {
		return none, notLeading(fmt.Sprintf("leadership could not be verified: %v", err))
	}
	if !c.pulse.steady(c.o.Staleness) {
		return none, notLeading("this node was paused a moment ago and cannot trust what it heard")
	}
	if !c.stillLeads(t.number) {
		return none, notLeading("leadership has been lost")
	}
	v := c.o.Store.View()
	if n := v.Node(h.Node); n == nil || n.State == spec.NodeLost {
		return none, noLease(h.Node, "it is lost in the log; it gets one again as soon as that is taken back")
	}
	t.mu.Lock()
	seed, check := t.chosen == h.ID, t.states.checks[h.Node]
	t.mu.Unlock()
	return client.HeartbeatAnswer{Leader: c.o.Node, Term: t.number, Index: v.Index, Lease: c.o.Lease, Seed: seed, State: check, Mute: t.asked.mutes(time.Now())}, nil
}

// known tells whether a heartbeat is from the node and the run that the log knows.
func (c *Control) known(h client.Heartbeat) error {
	v := c.o.Store.View()
	n := v.Node(h.Node)
	switch {
	case v.Cluster.Forgot(h.ID) != nil:
		return &spec.Error{
			Code: spec.CodeRefused, Reason: state.NodeForgotten,
			Message: fmt.Sprintf("node %s (id %s) was forgotten at %s", h.Node, h.ID, v.Cluster.Forgot(h.ID).At.Format(time.RFC3339)),
		}
	case n == nil:
		return &spec.Error{Code: spec.CodeNotFound, Reason: "NodeUnknown", Message: fmt.Sprintf("node %s has not registered", h.Node)}
	case n.ID != h.ID:
		return &spec.Error{Code: spec.CodeRefused, Reason: "NameTaken", Message: fmt.Sprintf("the name %s belongs to node id %s, not %s", h.Node, n.ID, h.ID)}
	case n.Run != h.Run:
		return &spec.Error{Code: spec.CodeConflict, Reason: "RunUnknown", Message: fmt.Sprintf("node %s has not registered its present run", h.Node)}
	}
	return nil
}

func notLeading(why string) error {
	return &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "no lease: " + why}
}

func noLease(node, why string) error {
	return &spec.Error{Code: spec.CodeRefused, Reason: "NoLease", Message: "no lease for node " + node + ": " + why}
}

// Silent tells whether a node has not been heard by this leader within the last
// second. While this node doesn't lead every node is silent.
func (c *Control) Silent(node string) bool {
	t := c.current()
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leases.silent(node, time.Now())
}

// Unsettled tells whether it is not known what runs on a node, whatever the log says: it is
// silent, or its agent has just begun.
func (c *Control) Unsettled(node string) bool {
	t := c.current()
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leases.unsettled(node, time.Now())
}

// Leases tells until when each node's lease lasts at most; nil while this node
// doesn't lead.
func (c *Control) Leases() map[string]time.Time {
	t := c.current()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]time.Time{}
	for name := range t.leases.nodes {
		if until, ok := t.leases.until(name); ok {
			out[name] = until
		}
	}
	return out
}

// rounds shares verifications: a caller joins the next round to begin, never one
// that had begun before it asked.
type rounds struct {
	wake chan struct{} // holds one: somebody waits

	mu   *sync.Mutex // guards next
	next **round
}

type round struct {
	done chan struct{}
	err  error // after done
}

func newRounds() rounds {
	return rounds{wake: make(chan struct{}, 1), mu: new(sync.Mutex), next: new(*round)}
}

// verify waits for a round that begins from now on.
func (r rounds) verify(ctx context.Context) error {
	r.mu.Lock()
	if *r.next == nil {
		*r.next = &round{done: make(chan struct{})}
	}
	mine := *r.next
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run does the rounds until ctx ends, then fails who still waits.
func (r rounds) run(ctx context.Context, verify func(context.Context) error) error {
	take := func() *round {
		r.mu.Lock()
		defer r.mu.Unlock()
		now := *r.next
		*r.next = nil
		return now
	}
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			// Who comes after this has a context of his own to end with.
			if now := take(); now != nil {
				now.err = ctx.Err()
				close(now.done)
			}
			return nil
		}
		if now := take(); now != nil {
			vctx, cancel := context.WithTimeout(ctx, verifyTimeout)
			now.err = verify(vctx)
			cancel()
			close(now.done)
		}
	}
}
