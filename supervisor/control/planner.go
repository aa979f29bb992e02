package control

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"supd/raftstore/state"
	"supd/supervisor/plan"
)

// silencePoll is how often the planner looks again when heartbeats alone have
// changed what it may do.
const silencePoll = 250 * time.Millisecond

// plan makes plans and proposes what is in them until ctx ends. Members that are to be
// asked are asked by goroutines of g.
func (c *Control) plan(ctx context.Context, g *errgroup.Group, asked *consents) error {
	held := holds{}
	since := c.o.Store.Now()
	for {
		changed, answered := c.o.Store.Changed(), asked.changed()
		silent := c.silentNodes() // before the plan, which may rest on it: one that answers after that changes it
		now, v := c.o.Store.Now(), c.o.Store.View()
		if v.Cluster.Frozen != nil {
			since = now
		}
		p := plan.Make(v, now, plan.Facts{
			Silent: c.Silent, Unsettled: c.Unsettled, UID: c.o.UID, Since: since, MayStop: asked.word, Mute: asked.mute,
		})
		for _, q := range asked.due(p.Asks) {
			g.Go(func() error { c.ask(ctx, asked, q); return nil })
		}
		cmds, next := held.free(p.Commands, now)
		if len(cmds) > 0 {
			if err := c.propose(ctx, cmds, held); err != nil {
				return err
			}
			continue
		}
		if !p.Next.IsZero() && (next.IsZero() || p.Next.Before(next)) {
			next = p.Next
		}
		if d := asked.next(); d > 0 && (next.IsZero() || now.Add(d).Before(next)) {
			next = now.Add(d)
		}
		if err := c.planAgain(ctx, changed, answered, next, silent); err != nil {
			return err
		}
	}
}

// planAgain waits for a reason to plan again: a new View, an answer, the time next, or
// another set of silent nodes than the plan was made with.
func (c *Control) planAgain(ctx context.Context, changed, answered <-chan struct{}, next time.Time, silent string) error {
	tick := time.NewTicker(silencePoll)
	defer tick.Stop()
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(time.Millisecond, next.Sub(c.o.Store.Now())))
		defer timer.Stop()
		due = timer.C
	}
	for {
		select {
		case <-changed:
			return nil
		case <-answered:
			return nil
		case <-due:
			return nil
		case <-tick.C:
			if c.silentNodes() != silent {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Control) silentNodes() string {
	var out string
	for n := range c.o.Store.View().Nodes() {
		switch {
		case c.Silent(n.Name):
			out += n.Name + " "
		case c.Unsettled(n.Name):
			out += n.Name + "? "
		}
	}
	return out
}

// propose proposes planned commands in order and notes which were in vain.
func (c *Control) propose(ctx context.Context, cmds []state.Command, held holds) error {
	now := c.o.Store.Now()
	entries := make([]state.Entry, len(cmds))
	for i, cmd := range cmds {
		entries[i] = state.Entry{At: now, Who: planner, Cmd: cmd}
	}
	results, err := c.o.Store.ProposeAll(ctx, entries)
	for i, res := range results {
		if res.Err == nil && res.Changed {
			held.done(cmds[i])
			continue
		}
		held.vain(cmds[i], now)
		if res.Err != nil {
			c.log.Debug("planned command refused", "command", fmt.Sprintf("%T", cmds[i]), "index", res.Index, "err", res.Err)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot propose what was planned: %w", err)
	}
	return nil
}

// holds keeps the planner from filling the log with what is refused every time:
// the same kind of command for the same subject is held back after its second
// failure in a row, for longer each time.
type holds map[string]hold

type hold struct {
	times int
	until time.Time
}

const (
	holdFirst = 50 * time.Millisecond
	holdMost  = 5 * time.Second
)

// free returns the commands that may be proposed now, and when the next of the
// others may.
func (h holds) free(cmds []state.Command, now time.Time) (out []state.Command, next time.Time) {
	wanted := map[string]bool{}
	for _, cmd := range cmds {
		k := subject(cmd)
		wanted[k] = true
		if until := h[k].until; until.After(now) {
			if next.IsZero() || until.Before(next) {
				next = until
			}
			continue
		}
		out = append(out, cmd)
	}
	for k := range h {
		if !wanted[k] {
			delete(h, k)
		}
	}
	return out, next
}

func (h holds) done(cmd state.Command) { delete(h, subject(cmd)) }

func (h holds) vain(cmd state.Command, now time.Time) {
	k := subject(cmd)
	x := h[k]
	x.times++
	if x.times > 1 {
		x.until = now.Add(min(holdMost, holdFirst<<min(x.times-2, 10)))
	}
	h[k] = x
}

// subject is a command's kind and what it is about, without what it was computed from.
func subject(cmd state.Command) string {
	var about struct {
		Namespace, Set, Name string
		Ordinal              int
		Slot                 struct{ Ordinal int }
	}
	b, err := json.Marshal(cmd)
	if err == nil {
		err = json.Unmarshal(b, &about)
	}
	if err != nil {
		return fmt.Sprintf("%T", cmd)
	}
	return fmt.Sprintf("%T %s/%s%s/%d/%d", cmd, about.Namespace, about.Set, about.Name, about.Ordinal, about.Slot.Ordinal)
}
