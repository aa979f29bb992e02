package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// strike does all strokes of a schedule at their times and undoes them. Each stroke is a goroutine of its own, which has
// ended when strike returns.
func (l *lab) strike(ctx context.Context, t *testing.T, strokes []stroke, seed uint64) {
	var wg sync.WaitGroup
	defer wg.Wait()
	began := time.Now()
	for i, s := range strokes {
		if !pause(ctx, s.at-time.Since(began)) {
			return
		}
		h := l.victim(ctx, s.host)
		t.Logf("%6.2fs %v (%s)", time.Since(began).Seconds(), s, h.name)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1000+uint64(i)))
			if err := l.one(ctx, s, h, r); err != nil {
				t.Errorf("%v: %v", s, err)
			}
		})
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err() == nil
}

// victim is the host of that number; 0: of the leader as far as anybody knows, else of any.
func (l *lab) victim(ctx context.Context, n int) *host {
	if n > 0 {
		return l.hosts[n-1]
	}
	var newest *spec.ClusterStatus
	for _, h := range l.hosts {
		api := h.api()
		if api == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		st, err := api.Cluster(ctx)
		cancel()
		if err == nil && st.Leader != "" && (newest == nil || st.Term > newest.Term) {
			newest = st
		}
	}
	for _, h := range l.hosts {
		if newest != nil && h.name == newest.Leader {
			return h
		}
	}
	return l.hosts[0]
}

// one does one stroke and undoes it.
func (l *lab) one(ctx context.Context, s stroke, h *host, r *rand.Rand) error {
	for_ := func(begin, end func() error) error {
		err := begin()
		pause(ctx, s.last)
		return errors.Join(err, end())
	}
	switch s.do {
	case doIsolate:
		s.ways = between([]int{h.n}, []int{1, 2, 3, 4, 5}, true)
		fallthrough
	case doCut:
		return for_(func() error { return l.cut(dropped, s.ways...) }, l.heal)
	case doRefuse:
		return for_(func() error { return l.cut(refused, s.ways...) }, l.heal)
	case doUnplug:
		return for_(func() error { return l.plug(false, s.ports...) }, l.heal)
	case doFlap:
		return l.flap(ctx, s, r)
	case doKillSupd:
		return hit(syscall.SIGKILL, h.supd())
	case doTermSupd:
		return hit(syscall.SIGTERM, h.supd())
	case doStopSupd:
		pid := h.supd()
		return for_(func() error { return hit(syscall.SIGSTOP, pid) }, func() error { return hit(syscall.SIGCONT, pid) })
	case doLeaveSupd:
		return for_(func() error { return errors.Join(h.order("leave supd"), hit(syscall.SIGKILL, h.supd())) },
			func() error { return h.order("start supd") })
	case doKillKeeper:
		return hit(syscall.SIGKILL, h.keeper())
	case doNewKeeper:
		return hit(syscall.SIGHUP, h.keeper())
	case doStopKeeper:
		pid := h.keeper()
		return for_(func() error { return hit(syscall.SIGSTOP, pid) }, func() error { return hit(syscall.SIGCONT, pid) })
	case doKillBoth:
		return hit(syscall.SIGKILL, h.supd(), h.keeper())
	case doKillMember:
		return l.killMembers(h, r)
	case doFreeze:
		return for_(func() error { return h.freeze(true) }, func() error { return h.freeze(false) })
	case doPower:
		return for_(h.powerOff, func() error { return h.boot(uptime(r)) })
	case doBlackout:
		return for_(func() error { return l.each((*host).powerOff) }, func() error {
			return l.each(func(h *host) error { return h.boot(20 * time.Second) })
		})
	case doKillAll:
		return l.each(func(h *host) error { return hit(syscall.SIGKILL, h.supd()) })
	case doFill:
		return for_(func() error { return h.fill(true) }, func() error { return h.fill(false) })
	case doBreak:
		return for_(h.breakDisk, func() error {
			err := h.powerOff()
			return errors.Join(err, h.boot(uptime(r)))
		})
	case doClock:
		return for_(func() error { return h.setClock(s.step) }, func() error { return h.setClock(0) })
	}
	return fmt.Errorf("nobody knows how to %s", s.do)
}

// uptime is what a host's clock shows when it boots: mostly little, sometimes much more than before.
func uptime(r *rand.Rand) time.Duration {
	if r.IntN(4) == 0 {
		return time.Duration(r.IntN(400*24)) * time.Hour
	}
	return time.Duration(5+r.IntN(60)) * time.Second
}

// each does something to all hosts at once.
func (l *lab) each(f func(*host) error) error {
	errs := make([]error, len(l.hosts))
	var wg sync.WaitGroup
	for i, h := range l.hosts {
		wg.Go(func() { errs[i] = f(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l *lab) flap(ctx context.Context, s stroke, r *rand.Rand) error {
	var errs []error
	end := time.Now().Add(s.last)
	for up := false; time.Now().Before(end) && ctx.Err() == nil; up = !up {
		for _, p := range s.ports {
			if r.IntN(2) == 0 {
				errs = append(errs, l.plug(up, p))
			}
		}
		pause(ctx, s.pace)
	}
	return errors.Join(append(errs, l.heal())...)
}

// killMembers ends some of a host's members from outside.
func (l *lab) killMembers(h *host, r *rand.Rand) error {
	var errs []error
	for _, lives := range l.watch.now() {
		for _, ps := range lives {
			for _, p := range ps {
				if p.role == "live" && l.onHost(p.pid, h) && r.IntN(2) == 0 {
					errs = append(errs, hit(syscall.SIGKILL, p.pid))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// calm ends all faults, whatever of them is on.
func (l *lab) calm() error {
	err := l.heal()
	return errors.Join(err, l.each(func(h *host) error {
		err := errors.Join(h.freeze(false), h.fill(false), hit(syscall.SIGCONT, h.supd(), h.keeper()), h.setClock(0))
		if h.broken() {
			err = errors.Join(err, h.powerOff())
		}
		return errors.Join(err, h.boot(uptime(rand.New(rand.NewPCG(1, uint64(h.n))))), h.order("start supd"))
	}))
}

// anyAPI is a client of any host with power.
func (l *lab) anyAPI(r *rand.Rand) *client.Client {
	for _, i := range r.Perm(len(l.hosts)) {
		if api := l.hosts[i].api(); api != nil {
			return api
		}
	}
	return nil
}
