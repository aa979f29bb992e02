package agent

import (
	"context"
	"time"

	"supd/supervisor/spec"
)

// peersMark is what a process knows of its peers: what the epoch was started with, and what the
// present exec was told since. Both are prints of the list.
type peersMark struct {
	Epoch uint64 `json:"epoch"`
	Start uint64 `json:"start"`
	Exec  execID `json:"exec,omitzero"`
	Told  uint64 `json:"told,omitempty"`
}

func (p peersMark) told(c call) peersMark {
	p.Exec, p.Told = c.exec, c.peers
	return p
}

// known is the list that an exec knows: a restart in place has the command line of the start.
func (p peersMark) known(exec execID) uint64 {
	if p.Exec.is(exec) {
		return p.Told
	}
	return p.Start
}

// peersCall is the onPeersChanged hook that is due, if any: the process runs and has started, it
// does not know the members as they are, and its files were rendered from these.
func (r *runtime) peersCall(t *spec.Template, now time.Time) (call, bool) {
	if r.prepared.print != r.print {
		return call{}, false
	}
	for _, proc := range t.Processes {
		p := r.procs[proc.Name]
		if _, hooked := proc.Hooks[spec.HookPeersChanged]; !hooked || p == nil || p.pid == 0 || !p.looked || p.pending || now.Before(p.peersRetry) {
			continue
		}
		mark, ok := r.peers[proc.Name]
		if !ok || mark.Epoch != p.epoch { // what it was started with is not known any more
			r.peers[proc.Name] = peersMark{Epoch: p.epoch, Start: r.part.peers}
			continue
		}
		if mark.known(p.exec) != r.part.peers {
			return call{hook: spec.HookPeersChanged, process: proc.Name, exec: p.exec, peers: r.part.peers}, true
		}
	}
	return call{}, false
}

// peersTold notes how onPeersChanged went; a failure is tried again with growing pauses.
func (r *runtime) peersTold(p *procRuntime, c *called, now time.Time) {
	if c.status.State != spec.HookSucceeded {
		p.peersFailures++
		p.peersRetry = now.Add(backoff(p.peersFailures, time.Second, time.Minute))
		return
	}
	p.peersFailures, p.peersRetry = 0, time.Time{}
	r.peers[c.process] = r.peers[c.process].told(c.call)
}

// sendSignal is the hook of a process that is told by a signal.
func (j job) sendSignal(ctx context.Context, c call, sig string) (spec.HookStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	if err := j.a.o.Keeper.Signal(ctx, j.key.String(), c.process, sig); err != nil {
		return spec.HookStatus{}, err
	}
	return hookEnd(c, 1, nil), j.remember(func(m *memory) { m.Peers[c.process] = m.Peers[c.process].told(c) })
}
