package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
)

// watches are the probes that run on this node, for who asks from outside the loop.
type watches struct {
	mu sync.Mutex // guards of
	of map[Key][]watched
}

type watched struct {
	process string
	epoch   uint64
	watch   *probe.Watch
}

func newWatches() *watches { return &watches{of: map[Key][]watched{}} }

func (w *watches) add(k Key, process string, epoch uint64, watch *probe.Watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of[k] = append(w.of[k], watched{process, epoch, watch})
}

func (w *watches) drop(k Key, watch *probe.Watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of[k] = slices.DeleteFunc(w.of[k], func(x watched) bool { return x.watch == watch })
	if len(w.of[k]) == 0 {
		delete(w.of, k)
	}
}

// all are a member's, the newest of each process, by the process's name.
func (w *watches) all(k Key) []watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []watched
	for _, x := range slices.Backward(w.of[k]) {
		if !slices.ContainsFunc(out, func(o watched) bool { return o.process == x.process }) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b watched) int { return strings.Compare(a.process, b.process) })
	return out
}

// Probes tells of the probes of a member on this node, with their newest results.
func (a *Agent) Probes(namespace, member string) ([]spec.ProbeStatus, error) {
	k, err := a.here(namespace, member)
	if err != nil {
		return nil, err
	}
	out := []spec.ProbeStatus{}
	for _, x := range a.watches.all(k) {
		for _, last := range x.watch.Results() {
			out = append(out, probeStatus(x.process, last))
		}
	}
	return out, nil
}

func probeStatus(process string, l probe.Last) spec.ProbeStatus {
	s := spec.ProbeStatus{
		Process: process, Probe: string(l.Kind), Passing: l.Passing, InARow: l.Run,
		Took: spec.Duration(l.Took.Round(time.Microsecond)), Message: l.Message, Output: l.Output,
	}
	switch {
	case l.At.IsZero():
		return s
	case l.OK:
		s.Result = "pass"
	case l.Void, l.Wait:
		s.Result = "void"
	default:
		s.Result = "fail"
	}
	at := l.At.UTC().Round(0)
	s.At = &at
	return s
}

// MayStop asks a member on this node now whether it may be stopped, in the epoch that is
// meant. An error means that it is not known, which counts as no. What it answers is
// reported as what the probe would have found.
func (a *Agent) MayStop(ctx context.Context, q client.MayStopRequest) (client.MayStop, error) {
	var none client.MayStop
	k, err := a.here(q.Namespace, q.Member)
	if err != nil {
		return none, err
	}
	began := time.Now()
	for _, x := range a.watches.all(k) {
		if x.epoch != q.Epoch || !x.watch.Has(probe.MayStop) {
			continue
		}
		st, err := x.watch.Ask(ctx)
		if err != nil {
			return none, spec.Errorf(spec.CodeRefused, "cannot ask member %s whether it may be stopped: %v", q.Member, err)
		}
		return client.MayStop{MayStop: st.MayStop, Took: spec.Duration(time.Since(began))}, nil
	}
	return none, spec.Errorf(spec.CodeRefused, "cannot ask member %s whether it may be stopped: it does not run here with epoch %d", q.Member, q.Epoch)
}

// here is the key of a member of this node.
func (a *Agent) here(namespace, member string) (Key, error) {
	set, ordinal, ok := spec.SplitMember(member)
	if !ok || spec.CheckLabel(namespace) != nil || spec.CheckLabel(member) != nil {
		return Key{}, spec.Errorf(spec.CodeInvalid, "%q in namespace %q is no member's name", member, namespace)
	}
	if m := a.o.Views.View().Member(namespace, set, ordinal); m != nil && m.Node != a.o.Node {
		return Key{}, spec.Errorf(spec.CodeNotFound, "member %s is on node %s, not on %s", member, m.Node, a.o.Node)
	}
	return Key{namespace, set, ordinal}, nil
}
