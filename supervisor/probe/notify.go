package probe

import (
	"context"
	"fmt"
)

// Word is what a process has told of itself by sd_notify since its exec.
type Word struct {
	Ready, Reloading, Stopping bool
	Extending                  bool // it asked for more time to get ready
	Text                       string

	// Of the watchdog. Watched: READY=1 or a ping came. Missed: periods without one
	// since. Trigger: the process asks to be restarted.
	Watched bool
	Missed  int
	Trigger bool
}

// notifyCheck judges a process by its own word, which a Watch has.
type notifyCheck struct {
	kind     Kind
	failures int
	polled   bool // guarded by the Watch's lock
}

// Check knows of no word: a Watch asks judge and poll.
func (c *notifyCheck) Check(context.Context) Result { return c.judge(Word{}) }

// poll is judge once a period. The first ping has a period to come.
func (c *notifyCheck) poll(w Word) Result {
	res := c.judge(w)
	if c.kind == Liveness && !c.polled && !res.OK && !res.Sure {
		res.Wait = true
	}
	c.polled = true
	return res
}

func (c *notifyCheck) judge(w Word) Result {
	if c.kind == Liveness {
		return c.alive(w)
	}
	startup := c.kind == Startup
	switch {
	case !w.Ready:
		return Result{Message: said("it has not said READY=1", w), Wait: startup && w.Extending}
	case startup:
		return Result{OK: true, Sure: true}
	case w.Stopping:
		return Result{Message: said("it said STOPPING=1", w), Sure: true}
	case w.Reloading:
		return Result{Message: said("it said RELOADING=1", w), Sure: true}
	}
	return Result{OK: true, Sure: true}
}

func (c *notifyCheck) alive(w Word) Result {
	switch {
	case w.Trigger:
		return Result{Message: said("it said WATCHDOG=trigger", w), Sure: true}
	case !w.Watched:
		return Result{Message: said("it has not said WATCHDOG=1", w)}
	case w.Missed > 0:
		return Result{
			Message: said(fmt.Sprintf("it has not said WATCHDOG=1 for %d periods", w.Missed), w), Sure: w.Missed >= c.failures,
		}
	}
	return Result{OK: true}
}

func said(what string, w Word) string {
	if w.Text == "" {
		return what
	}
	return what + ": " + w.Text
}
