package control

import (
	"context"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// judge proposes changes of nodes' states as time and heartbeats bring them.
func (c *Control) judge(ctx context.Context, t *term) error {
	for {
		viewChanged, gossipChanged := c.o.Store.Changed(), c.o.Peers.Changed()
		dead := c.deadPeers()
		t.mu.Lock()
		verdicts, next := t.leases.judge(c.o.Store.View(), time.Now(), dead)
		for _, d := range verdicts {
			if d.State == spec.NodeLost {
				t.leases.node(d.Node).losing = true
			}
		}
		t.mu.Unlock()
		for _, d := range verdicts {
			if err := c.pronounce(ctx, t, d); err != nil {
				return err
			}
		}
		wait := time.NewTimer(time.Hour)
		if !next.IsZero() {
			wait.Reset(time.Until(next))
		}
		if len(verdicts) > 0 {
			wait.Reset(50 * time.Millisecond) // what was refused is judged anew
		}
		select {
		case <-viewChanged:
		case <-gossipChanged:
		case <-t.heard:
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
		wait.Stop()
	}
}

// pronounce proposes one change. A node whose loss was proposed gets its
// heartbeats answered again only when that entry's fate is known.
func (c *Control) pronounce(ctx context.Context, t *term, d verdict) error {
	cmd := &state.SetNode{Name: d.Node, State: d.State, Reason: d.Reason, IfGeneration: d.Generation}
	res, err := c.o.Store.Propose(ctx, state.Entry{At: time.Now(), Who: planner, Cmd: cmd})
	if err != nil && fateUnknown(err) {
		// A barrier in this term tells: what was to be committed is applied then.
		if berr := c.o.Store.Barrier(ctx); berr != nil {
			return berr
		}
	}
	t.mu.Lock()
	t.leases.node(d.Node).losing = false
	t.mu.Unlock()
	switch {
	case err != nil:
		return err
	case res.Err != nil:
		c.log.Debug("change of a node's state refused", "node", d.Node, "state", d.State, "err", res.Err)
	case d.State == spec.NodeReady:
		c.log.Info("node is ready", "node", d.Node, "reason", d.Reason)
	default:
		c.log.Warn("node is not ready", "node", d.Node, "state", d.State, "reason", d.Reason)
	}
	return nil
}

// deadPeers asks gossip which nodes it calls dead, by name.
func (c *Control) deadPeers() func(name string) bool {
	alive, known := map[string]bool{}, map[string]bool{}
	for _, p := range c.o.Peers.Peers() {
		known[p.Name] = true
		alive[p.Name] = alive[p.Name] || p.Alive
	}
	return func(name string) bool { return known[name] && !alive[name] }
}
