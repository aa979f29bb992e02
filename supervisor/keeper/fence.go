package keeper

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// whyLapsed is a fenced process's message after the lease has ended it.
const whyLapsed = "lease ended"

// fencers bounds how many members are told at once that the lease has lapsed: each costs a write.
const fencers = 32

// renew is Client.Renew.
func (k *Keeper) renew(w Lease) error {
	err := k.lease.renew(w)
	k.leaseDue() // what had lapsed is ended all the same
	k.lease.arm()
	return err
}

// leaseDue does what the lease asks for now, kills first. Nothing here waits for a member's lock.
func (k *Keeper) leaseDue() {
	v := k.lease.judge()
	if len(v.kill) > 0 {
		k.log.Warn("the lease ends: killing what is fenced", "processes", len(v.kill))
		if err := k.killFenced(v.kill); err != nil {
			k.log.Error("cannot kill all that is fenced", "err", err)
		}
	}
	for _, cancel := range v.runs {
		cancel(errLapsed)
	}
	if len(v.stop) > 0 {
		k.log.Warn("the lease was not renewed: stopping what is fenced", "processes", len(v.stop))
		for _, p := range v.stop {
			k.task(func() {
				k.fencers <- struct{}{}
				defer func() { <-k.fencers }()
				p.m.mu.Lock()
				defer p.m.mu.Unlock()
				p.lapse()
			})
		}
	}
}

// lapse stops a process because its lease does. That it is a stop is noted before the signal, so no crash of the keeper
// turns it into a restart; the record, which survives the host too, follows.
func (p *process) lapse() {
	stop, kill := p.k.lease.doomed(p)
	if !stop || p.bad != nil {
		p.k.lease.noted(p)
		return
	}
	if p.status.Gone() {
		p.unfence()
		return
	}
	ours := p.want == wantRun
	if ours {
		p.want, p.again, p.status.Fenced = wantStop, false, true
		p.note()
	}
	p.k.lease.noted(p)
	switch {
	case kill:
		p.killed = true
		p.halt(0, whyLapsed)
	case p.status.State != Stopping:
		p.k.log.Info("stopping", "member", p.key.member, "process", p.key.process, "epoch", p.start.Epoch,
			"pid", p.status.PID, "reason", whyLapsed)
		p.halt(p.start.StopTimeout, whyLapsed)
	case ours: // a restart's stop was under way
		p.why = whyLapsed
		p.show()
	}
	if ours {
		p.saveWant(wantStop)
	}
}

// unfence ends that the process lives by the lease.
func (p *process) unfence() {
	if p.k.lease.leave(p) {
		p.killed = true
	}
}

// foundFenced makes a process that was found live by the lease again. One whose lease has lapsed meanwhile is not to be
// restarted.
func (p *process) foundFenced() {
	if !p.start.Fence {
		return
	}
	p.k.lease.found(p)
	stop, kill := p.k.lease.doomed(p)
	if kill {
		p.k.leaseDue()
	}
	if stop && p.want == wantRun {
		p.want, p.status.Fenced = wantStop, true
		p.note()
		p.saveWant(wantStop)
	}
	if stop {
		p.k.lease.noted(p)
	}
	if p.status.Fenced {
		p.why = whyLapsed
	}
}

// haltFound goes on with the stop of a process that was found.
func (p *process) haltFound() {
	timeout, why := p.start.StopTimeout, ""
	if _, kill := p.k.lease.doomed(p); kill {
		timeout = 0
	}
	if p.status.Fenced {
		why = whyLapsed
	}
	p.halt(timeout, why)
}

// lapsed ends a restart in place that the lease forbids: nothing is left of the process.
func (p *process) lapsed() {
	p.want, p.status.Fenced, p.why = wantStop, true, whyLapsed
	p.note()
	p.saveWant(wantStop)
	p.finish(Stopped)
}

// killFenced kills all of some processes. It takes no member's lock and touches no disk but, without cgroups, to look up
// the lock files.
func (k *Keeper) killFenced(victims []victim) error {
	var errs []error
	for _, v := range victims {
		v.p.grace.set(0)
		if v.cgroup != "" {
			errs = append(errs, killCgroup(v.cgroup))
		}
	}
	var group map[*process][]procStat
	if k.cg == nil {
		var err error
		group, err = groupsOf(victims)
		errs = append(errs, err)
	}
	for _, v := range victims {
		if v.own != nil && v.cgroup == "" {
			errs = append(errs, k.launch.reaper.killGroup(v.own))
		}
		for _, s := range group[v.p] {
			errs = append(errs, signalProcess(s, unix.SIGKILL))
		}
		if v.stat.pid != 0 { // wherever somebody has moved it
			errs = append(errs, signalProcess(v.stat, unix.SIGKILL))
		}
	}
	return errors.Join(errs...)
}

// groupsOf finds, in one look at all processes, those that belong to some where there are no cgroups: who holds the lock,
// and the group of a main process that lives, so that its number isn't used again.
func groupsOf(victims []victim) (map[*process][]procStat, error) {
	byLock, byGroup := map[fileID]*process{}, map[int]victim{}
	var errs []error
	for _, v := range victims {
		id, err := fileIDOf(v.lock)
		if err == nil {
			byLock[id] = v.p
		} else if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		if v.stat.pid != 0 {
			byGroup[v.stat.pid] = v
		}
	}
	pids, err := allPids()
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	held, grouped := map[*process][]procStat{}, map[*process][]procStat{}
	for _, pid := range pids {
		s, err := readStat(pid)
		if err != nil || s.dead() || pid == os.Getpid() {
			continue
		}
		if p := lockedBy(pid, byLock); p != nil {
			held[p] = append(held[p], s)
		} else if v, ok := byGroup[s.pgrp]; ok && s.pid != s.pgrp {
			grouped[v.p] = append(grouped[v.p], s)
		} else if v, ok := byGroup[s.session]; ok && s.pid != s.session {
			grouped[v.p] = append(grouped[v.p], s)
		}
	}
	for _, v := range victims {
		if s, err := readStat(v.stat.pid); err == nil && s.ticks == v.stat.ticks {
			held[v.p] = append(held[v.p], grouped[v.p]...)
		}
	}
	return held, errors.Join(errs...)
}

// lockedBy tells whose lock a process has inherited.
func lockedBy(pid int, locks map[fileID]*process) *process {
	id, ok := lockOf(pid)
	if !ok {
		return nil
	}
	return locks[id]
}
