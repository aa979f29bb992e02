package keeper

import "time"

// handedLease is the lease as it stood.
type handedLease struct {
	Deadline time.Duration `json:"deadline"`
	Length   time.Duration `json:"length"`
	Since    time.Duration `json:"since"`
	Dead     time.Duration `json:"dead,omitempty"`
	Lapsed   bool          `json:"lapsed,omitempty"`
}

// handedFence is what lives by it. What the lease's end has begun is done again by who goes on, and noted for a process
// that is Fenced.
type handedFence struct {
	Since time.Duration `json:"since"`
	Start bool          `json:"start,omitempty"` // of a Run: it is part of a start
}

func (l *lease) handOver() *handedLease {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.term
	return &handedLease{Deadline: t.deadline, Length: t.length, Since: t.since, Dead: t.dead, Lapsed: t.lapsed}
}

// inherit goes on with the lease of the keeper before; nil: that knew of none, and nothing lives by it.
func (l *lease) inherit(h *handedLease) {
	if h == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = term{deadline: h.Deadline, length: h.Length, since: h.Since, dead: h.Dead, lapsed: h.Lapsed}
}

func (l *lease) handProcess(p *process) *handedFence {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fences[p]
	if f == nil {
		return nil
	}
	return &handedFence{Since: f.since}
}

func (l *lease) inheritProcess(p *process, h *handedFence) {
	if h == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &fence{
		since: h.Since, stop: p.status.Fenced, noted: p.status.Fenced, cgroup: p.cgroup(), lock: p.lockPath(), stat: p.last,
	}
	if p.main != nil {
		f.own = p.main.own
	}
	l.fences[p] = f
}

func (l *lease) handRun(r *runFence) *handedFence {
	if r == nil {
		return nil
	}
	return &handedFence{Since: r.since, Start: r.start}
}

func (l *lease) inheritRun(h *handedFence) *runFence {
	if h == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &runFence{since: h.Since, start: h.Start}
	l.runs[r] = struct{}{}
	return r
}
