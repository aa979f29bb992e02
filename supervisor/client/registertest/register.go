// Package registertest writes objects by several clients, each only if they are as last read, and judges whether what the
// clients saw is as if one object had taken their requests one after the other. For tests only.
package registertest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// input is a conditional write (of a value never used before) or a read, of one register.
type input struct {
	register string
	read     bool
	old, new string
}

type output struct {
	value   string // of a read
	done    bool   // the write took effect
	unknown bool   // nobody knows whether it did
}

// model is one register; each has a history of its own. A write of unknown outcome may have taken effect or not.
var model = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string]int{}
		var out [][]porcupine.Operation
		for _, o := range history {
			i, ok := by[o.Input.(input).register]
			if !ok {
				i = len(out)
				by[o.Input.(input).register] = i
				out = append(out, nil)
			}
			out[i] = append(out[i], o)
		}
		return out
	},
	Init: func() []any { return []any{""} },
	Step: func(state, in, out any) []any {
		s, i, o := state.(string), in.(input), out.(output)
		switch {
		case i.read && o.value == s:
			return []any{s}
		case i.read:
			return nil
		case o.unknown && s == i.old:
			return []any{s, i.new}
		case o.unknown:
			return []any{s}
		case o.done == (s == i.old):
			if o.done {
				return []any{i.new}
			}
			return []any{s}
		}
		return nil
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// History collects what all clients did and saw. Clients may use it at once.
type History struct {
	t0                   time.Time
	done, stale, unknown atomic.Int64
	writes               atomic.Int64

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

// NewHistory makes an empty one.
func NewHistory() *History { return &History{t0: time.Now()} }

// Done is how many writes took effect.
func (h *History) Done() int64 { return h.done.Load() }

func (h *History) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d operations, %d writes done, %d refused as stale, %d of unknown outcome", len(h.ops), h.done.Load(), h.stale.Load(), h.unknown.Load())
}

func (h *History) now() int64 { return time.Since(h.t0).Nanoseconds() }

func (h *History) add(client int, in input, out output, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: ret})
}

func (h *History) object(register string) (*spec.Service, string) {
	v := fmt.Sprintf("v%d", h.writes.Add(1))
	return &spec.Service{
		APIVersion: spec.APIVersion, Kind: spec.KindService,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: register, Labels: map[string]string{"value": v}},
	}, v
}

// Create makes a register, a service of that name, with its first value. It is tried until it is known to be there.
func (h *History) Create(ctx context.Context, c *client.Client, register string) error {
	s, v := h.object(register)
	call := h.now()
	if _, _, err := c.PutService(ctx, s, client.WriteOptions{}); err != nil {
		return err
	}
	h.add(0, input{register: register, new: v}, output{done: true}, call, h.now())
	return nil
}

// Pick gives a client of any node, nil while there is none.
type Pick func(r *rand.Rand) *client.Client

// Client reads through one node and writes what it read through another, over and over until ctx ends. Which register it
// is at the time, register says. Clients made for it must not try again what may have been done (Options.RetryUnknown).
func (h *History) Client(ctx context.Context, id int, r *rand.Rand, pick Pick, register func() string) {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		// A request is never cut short: its outcome would be unknown for no reason.
		h.once(context.WithoutCancel(ctx), pick(r), pick(r), id, register())
		for range 1 + r.IntN(5) {
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
}

func (h *History) once(ctx context.Context, reader, writer *client.Client, id int, register string) {
	if reader == nil || writer == nil {
		return
	}
	call := h.now()
	got, _, err := client.Get[spec.Service](ctx, reader, client.Services, spec.DefaultNS, register, client.ReadOptions{Consistent: true})
	if err != nil {
		return // a read that failed says nothing
	}
	old := got.Metadata.Labels["value"]
	h.add(id, input{register: register, read: true}, output{value: old}, call, h.now())

	s, v := h.object(register)
	in := input{register: register, old: old, new: v}
	call = h.now()
	_, _, err = writer.PutService(ctx, s, client.WriteOptions{IfVersion: got.Metadata.ResourceVersion})
	ret := h.now()
	var e *spec.Error
	switch {
	case err == nil:
		h.done.Add(1)
		h.add(id, in, output{done: true}, call, ret)
	case errors.As(err, &e) && e.Code == spec.CodeConflict:
		h.stale.Add(1)
		h.add(id, in, output{}, call, ret)
	case errors.As(err, &e) && e.Code == spec.CodeNoLeader && e.Reason != client.ReasonUnknown:
		// Nothing was done, it says.
	default:
		h.unknown.Add(1)
		h.add(id, in, output{unknown: true}, call, math.MaxInt64)
	}
}

// Check tells whether the history is linearizable; if it isn't, or that can't be told within so long, a picture of it goes
// into the file that picture names.
func (h *History) Check(within time.Duration, picture func() string) error {
	m := model.ToModel()
	result, info := porcupine.CheckOperationsVerbose(m, h.ops, within)
	if result == porcupine.Ok {
		return nil
	}
	file := picture()
	err := fmt.Errorf("not linearizable: %s; the history is in %s", result, file)
	return errors.Join(err, porcupine.VisualizePath(m, info, file))
}
