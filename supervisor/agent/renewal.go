package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// renewal hands the node's lease on to the keeper, which ends what is fenced when
// supd no longer does. It has a goroutine of its own: a slow keeper must not delay
// heartbeats.
type renewal struct {
	keeper Keeper
	log    *slog.Logger
	box    *inbox
	wake   chan struct{} // holds one: there is a later deadline

	mu               sync.Mutex // guards what follows
	deadline, length time.Duration
	// kept is until when what is fenced may be started by the keeper's account.
	kept time.Duration
	// failed: the keeper did not take the newest one. Then a start tells why.
	failed bool
}

func newRenewal(o Options, box *inbox) *renewal {
	return &renewal{keeper: o.Keeper, log: o.Logger, box: box, wake: make(chan struct{}, 1)}
}

// put sets what the keeper is to know.
func (r *renewal) put(deadline, length time.Duration) {
	r.mu.Lock()
	if deadline > r.deadline {
		r.deadline, r.length = deadline, length
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// good tells whether the keeper would start what is fenced, or can tell why not.
func (r *renewal) good(now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed || now < r.kept
}

func (r *renewal) run(ctx context.Context) error {
	failures, said := 0, ""
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-again:
		}
		err := r.renew(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			if failures > 0 {
				r.log.Info("the keeper takes the lease")
			}
			failures, said, again = 0, "", nil
			continue
		}
		if err.Error() != said {
			said = err.Error()
			r.log.Warn("the keeper does not take the lease: what is fenced is not started, and ends with the one it knows", "err", err)
		}
		failures++
		again = time.After(backoff(failures, 100*time.Millisecond, 2*time.Second))
	}
}

// renew tells the keeper the newest deadline.
func (r *renewal) renew(ctx context.Context) error {
	r.mu.Lock()
	deadline, length := r.deadline, r.length
	r.mu.Unlock()
	cctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := r.keeper.Renew(cctx, deadline, length)
	r.mu.Lock()
	before := r.failed
	if err == nil {
		r.kept = keeper.StopAt(deadline, length)
	}
	r.failed = err != nil
	changed := r.failed != before
	r.mu.Unlock()
	if changed || err == nil {
		r.box.put(func() {}) // the loop looks whether more may be done now
	}
	return err
}

// fenced tells whether the member lives by the node's lease: the set wants it, or the
// epoch was promised or reported to. Nobody takes that back while the epoch lives, or a
// report on its way could tell the log of a fence that is no more.
func (p Part) fenced() bool {
	m := p.Member
	return p.Set != nil && p.Set.Spec.OnNodeLoss == spec.Fence || p.bound ||
		m != nil && (m.Fence || m.Seen.Epoch == m.Epoch && m.Seen.Fenced)
}

// bound tells whether the keeper has something of an epoch by the lease already.
func bound(m *state.Member, records []keeper.Status) bool {
	return m != nil && slices.ContainsFunc(records, func(s keeper.Status) bool { return s.Epoch == m.Epoch && s.Fence })
}

// allFenced tells whether all that runs of an epoch, or will, ends with the lease: the
// keeper says so of what it has of it, and what follows is like that. Before anything was
// started, the promise counts.
func allFenced(m *state.Member, records []keeper.Status) bool {
	return !slices.ContainsFunc(records, func(s keeper.Status) bool { return !s.Fence }) && (len(records) > 0 || m.Fence)
}
