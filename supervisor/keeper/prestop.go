package keeper

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LeastGrace is what a process gets between its stop signal and the kill although its preStop hook has used its stop
// timeout up, if that is so long: of the keeper where it runs the hook itself, of its client else.
const LeastGrace = 2 * time.Second

// PreStop is a command that is run beside a process before its stop signal, where the keeper alone stops it for good: see
// Client.Halt; or a request. It is not tried again, keeps no output, and its failure delays nothing.
type PreStop struct {
	Argv    []string      `json:"argv,omitempty"`
	Get     *Get          `json:"get,omitempty"`     // instead of Argv
	Env     []string      `json:"env,omitempty"`     // K=V, set beside or in place of the process's own
	Timeout time.Duration `json:"timeout,omitempty"` // 0, or longer than the stop timeout: that
}

// Get is an HTTP request as it is written to a new connection to an address, HOST:PORT. A status of 200 to 399 is success.
type Get struct {
	To      string `json:"to"`
	Request []byte `json:"request"`
}

// Same tells whether two are the same; nil is none.
func (h *PreStop) Same(o *PreStop) bool {
	if h == nil || o == nil {
		return h == o
	}
	if (h.Get == nil) != (o.Get == nil) || h.Get != nil && (h.Get.To != o.Get.To || !bytes.Equal(h.Get.Request, o.Get.Request)) {
		return false
	}
	return h.Timeout == o.Timeout && slices.Equal(h.Argv, o.Argv) && slices.Equal(h.Env, o.Env)
}

func (h *PreStop) check() error {
	if h == nil {
		return nil
	}
	if h.Timeout < 0 {
		return invalid("the timeout of a preStop hook is negative")
	}
	if h.Get != nil {
		if len(h.Argv) > 0 {
			return invalid("a preStop hook is either a command or a request")
		}
		return nil
	}
	return checkExec(&Exec{Argv: h.Argv, Env: h.Env})
}

// haltHooked begins the stop of a process that runs with its preStop hook. It counts as being stopped from here on, so it is
// killed in time whatever becomes of the hook, and not started again if that ends it.
func (p *process) haltHooked() {
	h, timeout := p.start.PreStop, p.start.StopTimeout
	grace := min(LeastGrace, timeout)
	p.quiet()
	p.poll = 0
	p.status.State, p.status.NextStart = Stopping, time.Time{}
	p.why, p.trouble = "its preStop hook runs", ""
	now := time.Now()
	signalBy := now.Add(timeout)
	p.killAt, p.killMax = signalBy.Add(grace), now.Add(extendTimes*min(timeout, maxStopCounted))
	p.grace.set(p.stopSignal())
	x := p.start.whole().Exec
	x.Argv, x.Env = h.Argv, mergeEnv(x.Env, h.Env)
	run := Run{Member: p.key.member, Process: p.key.process, Exec: x, Timeout: timeout, MaxOutput: 1, Fence: p.start.Fence}
	if h.Timeout != 0 {
		run.Timeout = min(timeout, h.Timeout)
	}
	ctx, cancel := context.WithCancel(p.k.gate.life())
	p.endHook = cancel
	m := p.main
	p.k.task(func() { // as long as the hook: an upgrade is refused meanwhile
		defer cancel()
		p.k.runPreStop(ctx, run, h.Get)
		p.m.mu.Lock()
		defer p.m.mu.Unlock()
		p.endHook = nil
		if p.main != m || p.status.State != Stopping || !time.Now().Before(p.killAt) {
			return
		}
		if after := time.Now().Add(grace); after.After(signalBy) {
			signalBy = after
		}
		p.killAt, p.why = signalBy, ""
		if err := signalFD(m.pidfd, p.stopSignal()); err != nil {
			p.trouble = fmt.Sprintf("cannot signal process %d: %v", m.stat.pid, err)
		}
		p.later(time.Until(p.killAt), p.killDue)
		p.show()
		p.note()
	})
	p.later(time.Until(p.killAt), p.killDue)
	p.show()
	p.note()
}

// runPreStop runs a hook to its end, which is told in the keeper's log only.
func (k *Keeper) runPreStop(ctx context.Context, run Run, get *Get) {
	began := time.Now()
	var res RunResult
	var err error
	if get != nil {
		err = get.ask(ctx, run.Timeout)
	} else if r, rerr := k.runBeside(ctx, run, nil); rerr != nil {
		err = rerr
	} else {
		res = *r
	}
	switch {
	case err != nil:
	case res.TimedOut:
		err = fmt.Errorf("it did not end within %s", run.Timeout)
	case res.Signal != "":
		err = fmt.Errorf("it was ended by %s", res.Signal)
	case res.Code != 0:
		err = fmt.Errorf("it exited with %d", res.Code)
	}
	log := k.log.With("member", run.Member, "process", run.Process, "after", time.Since(began).Round(time.Millisecond))
	if err != nil {
		log.Warn("the preStop hook has failed", "err", err)
		return
	}
	log.Info("the preStop hook has run")
}

// ask makes the request and reads the first line of its answer.
func (g *Get) ask(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", g.To)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	if _, err := c.Write(g.Request); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(c, maxStatusLine)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer of %s: %w", g.To, err)
	}
	words := strings.Fields(line)
	if len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/") {
		return fmt.Errorf("what %s answered is no HTTP", g.To)
	}
	if code, err := strconv.Atoi(words[1]); err != nil || code < 200 || code > 399 {
		return fmt.Errorf("%s answered %s", g.To, words[1])
	}
	return nil
}

// maxStatusLine bounds the first line of an answer.
const maxStatusLine = 4 << 10
