package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// callTimeout bounds one call to the leader.
const callTimeout = 2 * time.Second

// lease keeps the node's lease and its registration.
type lease struct {
	o   Options
	log *slog.Logger
	box *inbox

	renewal *renewal
	boot    string // the host's boot id, "" if that can't be read

	mu sync.Mutex // guards what follows
	// until, on Options.Clock, is when the lease ends: counted from when the
	// heartbeat was sent.
	until time.Duration
	// index is the leader's in the newest answer; first, in the first one.
	index, first uint64
	heard        bool
	caught       bool
	// settled: it was told once in this life who has ended while no agent looked.
	settled    bool
	run        string
	seqRun     string
	seq        uint64
	registered *state.Node
	forgotten  string // why nothing runs here any more; "": it may
	// level is what all nodes understood when this one registered: what they did not
	// was left out.
	level   state.Level
	wake    chan struct{} // 1: register anew, or tell
	lastErr string
}

func newLease(o Options, box *inbox) *lease {
	return &lease{o: o, log: o.Logger, box: box, renewal: newRenewal(o, box), run: newRun(), wake: make(chan struct{}, 1), boot: bootID()}
}

// Fresh says what may be done with a View of an index now.
type Fresh struct {
	// Caught: the View has caught up with the leader once in this run.
	Caught bool
	// Start: members may be started.
	Start bool
	// Fence: those that live by the lease too, for the keeper knows it.
	Fence bool
	// Forgotten: the cluster has given this node up; all that runs here is to end, and
	// nothing is ever started again.
	Forgotten bool
}

// fresh judges a View at index.
func (l *lease) fresh(index uint64) Fresh {
	now := l.o.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forgotten != "" {
		return Fresh{Caught: true, Forgotten: true}
	}
	if l.heard && index >= l.first {
		l.caught = true
	}
	start := l.caught && now < l.until && index >= l.index
	return Fresh{Caught: l.caught, Start: start, Fence: start && l.renewal.good(now)}
}

// settle has the leader believe from now on what the log has of this node's members.
func (l *lease) settle() {
	l.mu.Lock()
	l.settled = true
	l.mu.Unlock()
	l.beatNow()
}

// beatNow has the next heartbeat sent at once.
func (l *lease) beatNow() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// current is the run that reports are to carry; ok is false until it is registered.
func (l *lease) current() (run string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.run, l.registered != nil
}

// refused begins a new run, since the log did not take a report of this one.
func (l *lease) refused(run string) {
	l.mu.Lock()
	if l.run == run {
		l.run, l.registered = newRun(), nil
	}
	l.mu.Unlock()
	l.beatNow()
}

// loop registers the node and sends heartbeats until ctx ends; then it says, once,
// that the daemon leaves on purpose.
func (l *lease) loop(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		if l.gone() != "" {
			<-ctx.Done() // it has no more to say
			break
		}
		sent := time.Now()
		err := l.beat(ctx)
		if ctx.Err() != nil {
			break
		}
		wait := time.Until(sent.Add(l.o.Heartbeat))
		if err != nil {
			failures++
			l.tell(err)
			wait = backoff(failures, l.o.Heartbeat/5, l.o.Heartbeat)
		} else if failures > 0 {
			failures = 0
			l.tell(nil)
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (l *lease) serve(ctx context.Context) error {
	l.loop(ctx)
	l.mu.Lock()
	known := l.registered != nil
	l.mu.Unlock()
	if !known {
		return nil
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout/4)
	defer cancel()
	h := l.heartbeat(l.o.Self())
	h.Leaving = true
	if _, err := l.o.Leader.Heartbeat(bye, h); err != nil {
		l.log.Debug("could not say that this node leaves", "err", err)
	}
	return nil
}

func (l *lease) beat(ctx context.Context) error {
	self := l.o.Self()
	self.Fences, self.Boot = true, l.boot
	if f := l.o.Views.View().Cluster.Forgot(self.ID); f != nil {
		return l.forget("its own copy of the log says that it was forgotten at " + f.At.Format(time.RFC3339))
	}
	if err := l.register(ctx, self); err != nil {
		return err
	}
	h := l.heartbeat(self)
	cctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sent := l.o.Clock()
	ans, err := l.o.Leader.Heartbeat(cctx, h)
	if err != nil {
		l.unknown(err, h.Run)
		return err
	}
	l.mu.Lock()
	l.until = max(l.until, sent+ans.Lease)
	if !l.heard {
		l.heard, l.first = true, ans.Index
	}
	l.index = ans.Index
	l.mu.Unlock()
	l.renewal.put(sent+ans.Lease, ans.Lease)
	l.box.put(func() {}) // the loop looks whether more may be done now
	return nil
}

func (l *lease) heartbeat(self state.Node) client.Heartbeat {
	l.mu.Lock()
	defer l.mu.Unlock()
	return client.Heartbeat{Node: self.Name, ID: self.ID, Run: l.run, Unsettled: !l.settled}
}

// unknown registers the run again when the leader says that the log lacks it.
func (l *lease) unknown(err error, run string) {
	refused, ok := errors.AsType[*spec.Error](err)
	if ok && refused.Reason == state.NodeForgotten {
		l.forget(refused.Message) //nolint:errcheck // the caller tells err
		return
	}
	if !ok || refused.Code != spec.CodeConflict && refused.Code != spec.CodeNotFound {
		return
	}
	l.mu.Lock()
	if l.run == run {
		l.registered = nil
	}
	l.mu.Unlock()
}

// register sends what this node is, if the log does not have it from this run, or may
// have it in part.
func (l *lease) register(ctx context.Context, self state.Node) error {
	level, _, _ := l.o.Views.View().Level()
	l.mu.Lock()
	self.Run = l.run
	known := l.registered
	whole := l.level.Fields >= level.Fields
	l.mu.Unlock()
	if known != nil && whole && sameNode(*known, self) {
		return nil
	}
	cctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := l.o.Leader.Register(cctx, self); err != nil {
		if refused, ok := errors.AsType[*spec.Error](err); ok && refused.Reason == state.NodeForgotten {
			return l.forget(refused.Message)
		}
		return err
	}
	l.mu.Lock()
	if l.run == self.Run {
		l.registered, l.level = &self, level
	}
	l.mu.Unlock()
	return nil
}

// tell logs a change of what goes wrong, not every failure.
func (l *lease) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == l.lastErr {
		return
	}
	l.lastErr = text
	var refused *spec.Error
	switch {
	case err == nil:
		l.log.Info("the leader answers")
	case errors.As(err, &refused) && refused.Code == spec.CodeRefused:
		l.log.Error("the cluster refuses this node", "err", err)
	default:
		l.log.Info("no leader answers; members run on as they are", "err", err)
	}
}

func sameNode(a, b state.Node) bool {
	if len(a.Labels) != len(b.Labels) {
		return false
	}
	for k, v := range a.Labels {
		if w, ok := b.Labels[k]; !ok || v != w {
			return false
		}
	}
	return a.Name == b.Name && a.ID == b.ID && a.API == b.API && a.Raft == b.Raft && a.Gossip == b.Gossip &&
		a.DNS == b.DNS && a.HostIP == b.HostIP && a.Machine == b.Machine && a.Root == b.Root &&
		a.Version == b.Version && a.Level == b.Level && a.Run == b.Run && a.Fences == b.Fences && a.Boot == b.Boot
}

// next numbers a report of run.
func (l *lease) next(run string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seqRun != run {
		l.seqRun, l.seq = run, 0
	}
	l.seq++
	return l.seq
}
