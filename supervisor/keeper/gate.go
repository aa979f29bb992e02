package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// stillTimeout is how long calls and tasks under way may take to end before an upgrade is refused, or those who don't read
// their answer are cut off.
const stillTimeout = 1500 * time.Millisecond

// errStill ends the waits of calls that go over to the next keeper.
var errStill = errors.New("the keeper is being replaced")

// gate makes the keeper stand still while it is replaced by another binary: calls that have begun are carried out, those
// that have not stay unread, long ones go over, tasks wait.
type gate struct {
	mu      sync.Mutex // guards what follows
	ctx     context.Context
	period  context.Context // ends when the gate is shut, or with ctx
	end     context.CancelFunc
	opened  chan struct{} // closed when the gate opens again; nil while it is open
	changed chan struct{} // closed when a worker or task has changed, while somebody waits for stillness
	workers map[*worker]struct{}
	tasks   int
	put     []func() // tasks that came while the gate was shut
	closing bool
}

// worker is a goroutine that deals with the keeper's state: a connection's, or the one that accepts them. Its fields are
// guarded by the gate's lock.
type worker struct {
	conn   *conn
	doing  string // the call under way
	said   bool   // and it is being answered
	parked *handedConn
}

func newGate() *gate { return &gate{workers: map[*worker]struct{}{}} }

// start opens the gate until ctx ends.
func (g *gate) start(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctx = ctx
	g.period, g.end = context.WithCancel(ctx)
}

// life is a context that ends with the keeper.
func (g *gate) life() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ctx
}

// now is a context that ends when the gate is shut. A wait that it ends must park.
func (g *gate) now() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.period
}

func (g *gate) enter(c *conn) *worker {
	w := &worker{conn: c}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.workers[w] = struct{}{}
	return w
}

func (g *gate) leave(w *worker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.workers, w)
	g.tellLocked()
}

// begin tells whether a call may begin. If not it must be parked, unread.
func (g *gate) begin(w *worker, doing string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		return false
	}
	w.doing, w.said = doing, false
	return true
}

// answering says that a call is done but for its answer.
func (g *gate) answering(w *worker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.said = true
}

// park stands still, with what goes to the next keeper, until the gate opens again. False: the keeper ends.
func (g *gate) park(w *worker, h *handedConn) bool {
	g.mu.Lock()
	opened, ctx := g.opened, g.ctx
	if opened != nil {
		w.parked = h
		g.tellLocked()
	}
	g.mu.Unlock()
	if opened == nil {
		return ctx.Err() == nil
	}
	select {
	case <-opened:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w.parked = nil
	return ctx.Err() == nil
}

func (g *gate) tellLocked() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// task runs f in a goroutine that close waits for, or later while the gate is shut.
func (g *gate) task(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		g.put = append(g.put, f)
		return
	}
	g.runLocked(f)
}

// taskNow is task for what can't wait, for the next keeper could not learn of it.
func (g *gate) taskNow(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runLocked(f)
}

func (g *gate) runLocked(f func()) {
	if g.closing {
		return
	}
	g.tasks++
	go func() { // ends soon; close waits for it
		f()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.tasks--
		g.tellLocked()
	}()
}

// close lets no new task begin and returns when all have ended.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	for g.tasks > 0 {
		g.waitLocked(nil)
	}
}

// waitLocked waits for a change, false when late was first.
func (g *gate) waitLocked(late <-chan time.Time) bool {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	changed := g.changed
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-changed:
		return true
	case <-late:
		return false
	}
}

// shut makes the keeper stand still, but for the worker that asks. It opens again if that can't be had.
func (g *gate) shut(asking *worker) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
	g.end()
	for round := range 2 {
		late := time.NewTimer(stillTimeout)
		defer late.Stop()
		for g.ctx.Err() == nil {
			if g.stillLocked(asking) {
				return nil
			}
			if !g.waitLocked(late.C) {
				break
			}
		}
		if round == 0 {
			for w := range g.workers {
				if w.said { // somebody doesn't read
					_ = w.conn.SetWriteDeadline(time.Unix(1, 0)) // it fails on a closed one, which is as good
				}
			}
		}
	}
	err := g.busyLocked(asking)
	g.openLocked()
	return err
}

func (g *gate) stillLocked(asking *worker) bool {
	for w := range g.workers {
		if w.parked == nil && w != asking {
			return false
		}
	}
	return g.tasks == 0
}

func (g *gate) busyLocked(asking *worker) error {
	if g.ctx.Err() != nil {
		return fmt.Errorf("%w: the keeper is ending", ErrBusy)
	}
	var doing []string
	for w := range g.workers {
		if w.parked == nil && w != asking {
			doing = append(doing, w.doing)
		}
	}
	if g.tasks > 0 {
		doing = append(doing, fmt.Sprintf("%d ends or starts of processes", g.tasks))
	}
	slices.Sort(doing)
	return fmt.Errorf("%w: not done after %s: %s", ErrBusy, 2*stillTimeout, strings.Join(doing, ", "))
}

// open lets everything go on.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.openLocked()
}

func (g *gate) openLocked() {
	close(g.opened)
	g.opened = nil
	g.period, g.end = context.WithCancel(g.ctx)
	for _, f := range g.put {
		g.runLocked(f)
	}
	g.put = nil
}

// parked lists what the workers have handed over.
func (g *gate) parked() []*handedConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*handedConn
	for w := range g.workers {
		if w.parked != nil && w.conn != nil {
			all = append(all, w.parked)
		}
	}
	return all
}
