package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// digests are what this node's state came to at the places where all nodes compare
// theirs: the store's checkpoints, and wherever the log has come to rest. Heartbeats take
// them to the leader, whose answers tell how they compare.
type digests struct {
	store checkpointed
	// rest is how long a View must have been the newest to be compared too: the last
	// entries before a silence are at no checkpoint yet.
	rest time.Duration
	log  *slog.Logger

	mu    sync.Mutex // guards what follows
	made  []spec.Digest
	check spec.StateCheck
}

// checkpointed is a store as digests need it.
type checkpointed interface {
	View() *state.View
	Checkpoints() <-chan struct{}
	TakeCheckpoints() []*state.View
}

// keptDigests is how many are told, the newest.
const keptDigests = 4

// run makes digests until ctx ends.
func (d *digests) run(ctx context.Context) error {
	tick := time.NewTicker(max(d.rest/10, time.Millisecond))
	defer tick.Stop()
	at, since := d.store.View().Index, time.Now()
	for {
		select {
		case <-d.store.Checkpoints():
			for _, v := range d.store.TakeCheckpoints() {
				d.add(v)
			}
		case <-tick.C:
			switch v := d.store.View(); {
			case v.Index != at:
				at, since = v.Index, time.Now()
			case time.Since(since) >= d.rest:
				d.add(v)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// add makes a View's digest, unless it is there or older than those that are.
func (d *digests) add(v *state.View) {
	if made := d.told(); v.Cluster.ID == "" || len(made) > 0 && v.Index <= made[len(made)-1].Index {
		return
	}
	began := time.Now()
	x := v.Digest()
	d.log.Debug("state digested", "index", x.Index, "took", time.Since(began))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = append(slices.Clone(d.made[max(0, len(d.made)+1-keptDigests):]), x)
}

// told is what the next heartbeat says.
func (d *digests) told() []spec.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made
}

// heard takes the leader's answer. A leader that has not compared yet says nothing.
func (d *digests) heard(c spec.StateCheck) {
	if c.Index == 0 {
		return
	}
	d.mu.Lock()
	was := d.check
	d.check = c
	d.mu.Unlock()
	switch {
	case c.Differs.Same(was.Differs):
	case c.Differs != nil:
		d.log.Error("state differs from other nodes'", "nodes", c.Differs.Nodes, "majority", c.Differs.Majority, "index", c.Differs.Index, "parts", c.Differs.Parts)
	default:
		d.log.Info("state is the same as other nodes' again", "index", c.Index)
	}
}

// compared is how this node's state compares with others', as it last heard.
func (d *digests) compared() spec.StateCheck {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.check
}

// trouble says that this node's state is another than the majority's, or "".
func (d *digests) trouble() string {
	x := d.compared().Differs
	if x == nil || len(x.Majority) == 0 {
		return ""
	}
	return fmt.Sprintf("its state differs from that of %s (%s; seen at log index %d): don't trust what it says; stop its supd (members run on), "+
		"have it join again with an empty store (supd recover --rejoin), and start it again",
		strings.Join(x.Majority, ", "), strings.Join(x.Parts, ", "), x.Index)
}

// warning says that nodes' states differ and nobody knows which is right, or "".
func (d *digests) warning() string {
	x := d.compared().Differs
	if x == nil || len(x.Majority) > 0 {
		return ""
	}
	return fmt.Sprintf("the states of %s differ (%s; seen at log index %d), and no majority tells which is right: compare what each says by itself "+
		"(supctl --addr), and have those that are wrong join again with an empty store (supd recover --rejoin)",
		strings.Join(x.Nodes, ", "), strings.Join(x.Parts, ", "), x.Index)
}
