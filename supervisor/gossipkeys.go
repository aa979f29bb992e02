package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
)

// RotateGossipAfter is the age at which the leader has gossip's key changed.
const RotateGossipAfter = 30 * 24 * time.Hour

// Pauses of the loop that keeps gossip's keys.
const (
	gossipKeysCheck = time.Minute
	gossipKeysAgain = time.Second
	// lonely is how long a node that hears nobody waits before it asks by TLS whether it
	// has missed a change of key.
	lonely = 10 * time.Second
)

// keepGossipKeys keeps the keys of gossip as the log's generation wants them, and, on the
// leader, has them changed in time. It ends with ctx.
func (d *Daemon) keepGossipKeys(ctx context.Context) error {
	k := gossipKeeper{d: d, heard: time.Now()}
	said := ""
	for {
		pkiChanged, viewChanged, gossipChanged := d.pki.Changed(), d.store.Changed(), d.gossip.Changed()
		wait, err := k.step(ctx, time.Now())
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			d.log.Warn("gossip's keys not kept", "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-pkiChanged:
		case <-viewChanged:
			calm(ctx)
		case <-gossipChanged:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// gossipKeeper is the loop's memory.
type gossipKeeper struct {
	d     *Daemon
	used  string    // the ring that gossip has
	of    string    // the keys it is made of
	seen  time.Time // when those were first seen here
	heard time.Time // when this node last knew another, or asked
	tried time.Time // when keys were last asked for
}

func (k *gossipKeeper) step(ctx context.Context, now time.Time) (wait time.Duration, err error) {
	d := k.d
	held, want := d.pki.GossipKeys(), d.store.View().Cluster
	wait = gossipKeysCheck
	switch {
	case !d.pki.Seed().IsZero():
		if held.IsZero() || held.Generation < want.GossipKey {
			err = d.pki.SaveGossipKeys(d.pki.Seed().GossipKeys(want.GossipKey, want.GossipKeyAt))
		}
	case d.pki.Certificate() == nil: // it is not let in yet
	case held.IsZero() || held.Generation < want.GossipKey:
		if rest := k.tried.Add(gossipKeysAgain).Sub(now); rest > 0 {
			wait = rest
			break
		}
		k.tried = now
		err = d.fetchGossipKeys(ctx)
		wait = gossipKeysAgain
	}
	alone := k.lonely(ctx, now)
	ring, err2 := k.use(now)
	return min(wait, alone, ring), errors.Join(err, err2, d.rotateInTime(ctx, now))
}

// use gives gossip the keys that are here, in the order of now.
func (k *gossipKeeper) use(now time.Time) (wait time.Duration, err error) {
	held := k.d.pki.GossipKeys()
	if held.IsZero() {
		return gossipKeysCheck, nil
	}
	if of := held.Text(); of != k.of {
		k.of, k.seen = of, now
	}
	ring, wait := held.Ring(k.seen, now, k.d.rotationPause())
	if wait == 0 {
		wait = gossipKeysCheck
	}
	if used := fmt.Sprintf("%x", ring); used != k.used {
		if err := k.d.gossip.SetKeys(ring...); err != nil {
			return gossipKeysAgain, err
		}
		if k.used != "" {
			k.d.log.Info("gossip's keys changed", "generation", held.Generation)
		}
		k.used = used
	}
	return wait, nil
}

// lonely asks other nodes for the keys, by TLS, when gossip has known none for a while
// though there are some: they may have changed keys while this node was away. It tells
// when to look again.
func (k *gossipKeeper) lonely(ctx context.Context, now time.Time) time.Duration {
	d := k.d
	known := d.pki.Certificate() == nil || len(d.otherAPIs()) == 0
	for _, n := range d.gossip.Nodes() {
		known = known || n.Alive && n.ID != d.id.ID
	}
	if known {
		k.heard = now
		return gossipKeysCheck
	}
	if rest := k.heard.Add(lonely).Sub(now); rest > 0 {
		return rest
	}
	k.heard = now
	if err := d.fetchGossipKeys(ctx); err != nil {
		d.log.Debug("gossip's keys not fetched", "err", err)
	}
	return lonely
}

// rotationPause is how long nodes have to take a new key.
func (d *Daemon) rotationPause() time.Duration {
	if d.o.GossipKeyPause > 0 {
		return d.o.GossipKeyPause
	}
	return pki.RotationPause
}

// fetchGossipKeys gets the keys from another node, the leader first.
func (d *Daemon) fetchGossipKeys(ctx context.Context) error {
	err := d.askNodes(ctx, func(ctx context.Context, c *client.Client) error {
		text, err := c.GossipKeys(ctx)
		if err != nil {
			return err
		}
		keys, err := pki.ParseGossipKeys(text)
		if err != nil {
			return err
		}
		if want := d.store.View().Cluster.GossipKey; keys.Generation < want {
			return fmt.Errorf("it has those of generation %d, and generation %d is wanted", keys.Generation, want)
		}
		return d.pki.SaveGossipKeys(keys)
	})
	if err != nil {
		return fmt.Errorf("cannot get gossip's keys: %w", err)
	}
	return nil
}

// rotateInTime changes gossip's key, on the leader, when it is old.
func (d *Daemon) rotateInTime(ctx context.Context, now time.Time) error {
	c := d.store.View().Cluster
	if _, leads := d.store.Leading(); !leads || !rotationDue(c, now) {
		return nil
	}
	res, err := d.store.Propose(ctx, state.Entry{At: now.UTC(), Who: "node:" + d.id.Name, Cmd: &state.RotateGossipKey{IfGeneration: c.GossipKey}})
	if err != nil {
		return err
	}
	if res.Err != nil {
		return res.Err
	}
	return nil
}

// rotationDue tells whether gossip's key has been in use for long enough.
func rotationDue(c state.Cluster, now time.Time) bool {
	since := c.GossipKeyAt
	if since.IsZero() {
		since = c.CreatedAt
	}
	return c.ID != "" && !since.IsZero() && now.Sub(since) >= RotateGossipAfter
}
