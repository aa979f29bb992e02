package keeper

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// restore takes what was handed over. Nothing is reaped before it returns, so no child's end is missed.
func (k *Keeper) restore() {
	h := k.given
	if h == nil {
		return
	}
	k.aux, k.upgrades = h.Aux, h.Upgrades
	k.lease.inherit(h.Lease)
	for _, hm := range h.Members {
		m := k.member(hm.Name)
		m.mu.Lock()
		m.runs = hm.Runs
		for _, hp := range hm.Processes {
			p := k.newProcess(m, hp.Start.Process)
			p.inherit(h, hp)
			if o := hp.Output; o != nil {
				if p.handed = o.Pipe; p.handed != 0 {
					h.take(p.handed)
				}
				p.adoptOutput(&o.outputNote)
				p.output.lose(o.Dropped, o.Dropping)
			}
		}
		m.mu.Unlock()
	}
	for i := range h.Conns {
		if r := h.Conns[i].Run; r != nil {
			h.Conns[i].run = k.takeRun(h, r)
		}
	}
}

func (p *process) inherit(h *handover, hp handedProcess) {
	p.start, p.want, p.status, p.why, p.trouble = ask(hp.Start), hp.Want, hp.Status, hp.Why, hp.Trouble
	if hp.Bad != "" {
		p.bad = errors.New(hp.Bad)
	}
	p.streak = backoff{streak: hp.Streak, pause: hp.Pause}
	p.killed, p.again, p.killAt, p.status.NextStart = hp.Killed, hp.Again, timeIn(hp.KillIn), timeIn(hp.StartIn)
	p.last, p.lastOwn = procStat{pid: hp.PID, ticks: hp.Ticks}, hp.LastOwn
	p.place = hp.Place
	p.killMax = timeIn(hp.KillMaxIn)
	p.grace.set(unix.Signal(hp.Grace))
	if hp.Ear != nil {
		p.inheritEar(h, hp.Ear)
	}
	defer p.k.lease.inheritProcess(p, hp.Fence)
	if hp.Pidfd == 0 {
		return
	}
	p.main = &mainProc{stat: p.last, pidfd: h.take(hp.Pidfd)}
	if hp.Own {
		p.main.own = p.newChild()
		p.main.own.pid, p.main.own.pidfd = hp.PID, hp.Pidfd
		p.k.launch.reaper.know(p.main.own)
	}
}

// inheritEar listens on where the program tells what it does; what it has said meanwhile waits there.
func (p *process) inheritEar(h *handover, he *handedEar) {
	e := &ear{fd: h.take(he.FD), name: he.Name, told: he.Told, extend: he.Extend, pinged: time.Now().Add(-he.PingedAgo), cancel: func() {}}
	p.ear = e
	if err := p.listen(e); err != nil {
		e.cancel = func() {}
		p.trouble = "sd_notify can't be heard any more: " + err.Error()
		return
	}
	if he.Watching {
		e.dog = p.after(e, 0, p.countPings)
	}
	if p.status.Notify.Extending {
		p.extendStart(e, e.extend)
	}
}

// know registers a child that was forked before this keeper was.
func (r *reaper) know(c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kids[c.pid] = c
}

func (k *Keeper) takeRun(h *handover, r *handedRun) *beside {
	b := k.newBeside(key{r.Member, r.Process}, r.Most)
	b.dir, b.lock, b.number, b.until = r.Dir, r.Lock, r.Number, time.Now().Add(r.Left)
	b.have, b.fence = capture{data: r.Got, truncated: r.Truncated}, k.lease.inheritRun(r.Fence)
	b.output = os.NewFile(uintptr(h.take(r.Output)), "output")
	b.child.pid, b.child.pidfd = r.PID, h.take(r.Pidfd)
	if r.Ended != nil {
		b.exited <- *r.Ended
	} else {
		k.launch.reaper.know(b.child)
	}
	return b
}

// resume goes on with what was under way. What has happened to a process since restore has gone on by itself.
func (k *Keeper) resume() {
	n := 0
	for _, hm := range k.given.Members {
		m := k.member(hm.Name)
		m.mu.Lock()
		for _, p := range m.procs {
			n++
			switch {
			case p.seq == 0:
				p.carryOn()
			case p.main != nil && p.main.own == nil: // the lease has begun its stop
				p.watchAdopted()
			}
		}
		m.mu.Unlock()
	}
	u := k.given.Upgrades
	if u.Refused != "" {
		k.log.Error("not upgraded, the keeper goes on as it was", "err", u.Refused)
		return
	}
	k.log.Info("upgraded", "from", u.From, "version", k.opts.Version, "binary", k.opts.Binary, "processes", n, "calls", len(k.given.Conns))
}

// carryOn waits again for what the keeper before this one has waited for.
func (p *process) carryOn() {
	p.show()
	switch {
	case p.bad != nil || p.status.Gone():
		return
	case p.main == nil:
		p.drain()
		return
	case p.main.own == nil:
		p.watchAdopted()
	}
	if p.status.State == Stopping {
		p.later(time.Until(p.killAt), p.killAll)
	}
}

// takeConn goes on with a client's connection; nil if that can't be.
func (k *Keeper) takeConn(h handedConn) *conn {
	var c *conn
	err := k.given.takeFile(h.FD, func(f *os.File) error {
		any, err := net.FileConn(f)
		if err != nil {
			return err
		}
		u, _ := any.(*net.UnixConn)
		if u == nil {
			return errors.Join(errors.New("it is no socket of the keeper's"), any.Close())
		}
		c = k.newConn(u, h.Unread)
		for _, fd := range h.Files {
			c.in.files = append(c.in.files, k.given.take(fd))
		}
		return nil
	})
	if err != nil {
		k.log.Error("a client's connection is lost", "err", err)
	}
	return c
}

// goOn does what a connection waits for.
func (k *Keeper) goOn(ctx context.Context, c *conn, h *handedConn) error {
	var resp response
	switch {
	case h == nil:
		return nil
	case h.Upgrade && k.upgrades.Refused != "":
		resp.Error = toWire(&remote{k.upgrades.Refused, ErrNotUpgraded})
	case h.Upgrade:
		i := k.info()
		resp.Info = &i
	case h.run != nil:
		for !k.gate.begin(c.w, "run "+h.run.key.String()) {
			if !k.stand(c, handedConn{Unread: c.unread(nil), run: h.run}) {
				break // it is killed below, as the keeper ends
			}
		}
		h.run.read()
		res, err := k.finishBeside(ctx, h.run, c)
		resp.Result, resp.Error = res, toWire(err)
	}
	if k.given.Protocol > Protocol {
		// What comes next may ask for what this keeper would leave out without a word: the client connects anew.
		defer func() { _ = c.CloseRead() }() // it fails on a closed one, which is as good
	}
	if h.Upgrade || h.run != nil {
		return k.say(c, &resp)
	}
	return nil
}
