package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// leaveGrace is how long a living node that has left stays in Raft's membership, so that
// it gets to see the entry that says so.
const leaveGrace = 3 * time.Second

// MayLeave tells why a node can't be taken out of the cluster now. On the leader only.
func (c *Control) MayLeave(node string) error {
	t := c.current()
	v := c.o.Store.View()
	n := v.Node(node)
	if t == nil || n == nil {
		return notLeading("this node does not lead, or does not yet")
	}
	servers := c.standings(t, v, c.o.Store.Servers(), time.Now())
	if why := mayLeave(servers, n.ID); why != "" {
		return &spec.Error{Code: spec.CodeRefused, Reason: "QuorumLost", Message: fmt.Sprintf("node %s cannot leave: %s", node, why)}
	}
	return nil
}

// mayLeave says what would be lost without a server, or "".
func mayLeave(servers []Standing, id string) string {
	var rest []Standing
	var silent []string
	others := 0
	for _, s := range servers {
		if s.ID == id {
			continue
		}
		if !s.Gone {
			others++
		}
		if s.Voter {
			rest = append(rest, s)
			if !s.Alive {
				silent = append(silent, s.ID)
			}
		}
	}
	switch {
	case others == 0:
		return "it is the last one, and the cluster would be gone with it"
	case len(rest) > 0 && spare(rest) < 0:
		return fmt.Sprintf("of the %d voters left %d do not answer (%s), and without a majority everything freezes; bring them back first",
			len(rest), len(silent), strings.Join(silent, ", "))
	}
	return ""
}

// Yield hands leadership to another node, which gets a vote first if this is the only
// voter, and returns when it leads.
func (c *Control) Yield(ctx context.Context) error {
	t := c.current()
	if t == nil {
		return notLeading("this node does not lead, or does not yet")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e := newElectorate(c.standings(t, c.o.Store.View(), c.o.Store.Servers(), time.Now()))
	if len(e.voters) == 1 {
		if len(e.fit) == 0 {
			return &spec.Error{
				Code: spec.CodeRefused, Reason: "QuorumLost",
				Message: "cannot hand leadership over: no other node is ready to vote; see supctl cluster status",
			}
		}
		if err := c.change(ctx, promote(e.best())); err != nil {
			return err
		}
	}
	for {
		changed := c.o.Store.LeaderChanged()
		if !c.stillLeads(t.number) {
			return nil
		}
		if err := c.o.Store.Transfer(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("leadership not handed over yet", "err", err)
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(errors.New("cannot hand leadership over in time"), ctx.Err())
		}
	}
}

// gone tells whether a server is to be none any more: its node was forgotten or has left.
func gone(v *state.View, id string, alive bool, now time.Time) bool {
	f := v.Cluster.Forgot(id)
	return f != nil && (!alive || now.Sub(f.At) > leaveGrace)
}
