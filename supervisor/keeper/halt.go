package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What halt allows beside the members' own stop timeouts.
const (
	haltInOrder = 45 * time.Second       // for order; what is left then is told to stop at once
	haltMargin  = 15 * time.Second       // for killing what did not stop in time
	haltAnswer  = 5 * time.Second        // for one answer of a keeper
	haltRetry   = 200 * time.Millisecond // between two tries to reach or to replace a keeper
	haltTell    = 2 * time.Second        // between two words to systemd
)

// halt stops all processes on a keeper's directory: of a set from the highest ordinal down, each when the one above is
// gone; the processes of a member, and different sets, beside each other. preStop hooks are run.
type halt struct {
	o       Options
	inOrder time.Duration
	tell    func(string) error
	log     *slog.Logger

	client *Client
	began  time.Time
	asked  map[key]bool // of the keeper that answers now
	until  time.Time    // what is not gone by then never will be
}

// run returns when nothing is left, or with what is. A keeper that dies meanwhile is replaced.
func (h *halt) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.client, h.began = Dial(h.o.socket()), time.Now()
	h.until = h.began.Add(h.inOrder + haltMargin)
	defer h.client.Close()
	for {
		ended, err := h.reach(ctx)
		if err != nil {
			return err
		}
		h.asked = map[key]bool{}
		err = h.stopAll(ctx)
		if errors.Is(err, ErrDown) && ctx.Err() == nil && time.Now().Before(h.until) {
			continue
		}
		cancel()
		return errors.Join(err, ended())
	}
}

// reach makes sure that a keeper answers: the one that runs, or, if there is none, one in this process. ended waits for
// the latter's end.
func (h *halt) reach(ctx context.Context) (ended func() error, err error) {
	for {
		hello, cancel := context.WithTimeout(ctx, haltAnswer)
		_, err = h.client.Hello(hello)
		cancel()
		if err == nil {
			return func() error { return nil }, nil
		}
		if errors.Is(err, ErrDown) {
			if ended, err = h.standIn(ctx); err == nil {
				return ended, nil
			}
		}
		if ctx.Err() != nil || time.Now().After(h.until) {
			return nil, fmt.Errorf("no keeper answers, and none can take its place: %w", err)
		}
		if terr := h.tell(extend(haltAnswer + haltMargin)); terr != nil {
			h.log.Warn("systemd not told", "err", terr)
		}
		time.Sleep(haltRetry)
	}
}

// standIn runs a keeper in this process, which fails if another has the directory.
func (h *halt) standIn(ctx context.Context) (ended func() error, err error) {
	k, err := New(h.o)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }() // ends with ctx, and is waited for by ended
	select {
	case <-k.Ready():
		h.log.Info("no keeper runs: halt takes over what it has left")
		return func() error { return <-done }, nil
	case err := <-done:
		return nil, err
	}
}

func (h *halt) stopAll(ctx context.Context) error {
	var version uint64
	var left []Status
	for {
		t, err := h.list(ctx, version)
		switch {
		case errors.Is(err, context.DeadlineExceeded): // nothing has changed
		case err != nil:
			return err
		default:
			version, left = t.Version, slices.DeleteFunc(t.Processes, Status.Gone)
		}
		if len(left) == 0 {
			h.log.Info("all members have stopped", "after", time.Since(h.began).Round(time.Millisecond))
			return nil
		}
		if err := h.tell(extend(haltTell+haltMargin) + fmt.Sprintf("\nSTATUS=%d processes are still to stop", len(left))); err != nil {
			h.log.Warn("systemd not told", "err", err)
		}
		next := left
		if time.Since(h.began) < h.inOrder {
			next = stopNext(left)
		}
		if err := h.stop(ctx, next); err != nil {
			return err
		}
		for _, s := range left {
			if by := s.KillAt.Add(haltMargin); by.After(h.until) {
				h.until = by
			}
		}
		if time.Now().After(h.until) {
			return fmt.Errorf("%d processes have not stopped: %s", len(left), nameList(left))
		}
	}
}

// list waits for news, but not for long.
func (h *halt) list(ctx context.Context, after uint64) (Table, error) {
	ctx, cancel := context.WithTimeout(ctx, haltTell)
	defer cancel()
	return h.client.List(ctx, after)
}

func (h *halt) stop(ctx context.Context, next []Status) error {
	for _, s := range next {
		k := key{s.Member, s.Process}
		if h.asked[k] {
			continue
		}
		h.asked[k] = true
		h.log.Info("stopping", "member", s.Member, "process", s.Process, "epoch", s.Epoch, "pid", s.PID)
		call, cancel := context.WithTimeout(ctx, haltAnswer)
		err := h.client.Halt(call, s.Member, s.Process)
		cancel()
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// stopNext gives those of each set's highest member.
func stopNext(left []Status) []Status {
	highest := map[string]int{}
	for _, s := range left {
		set, ordinal := splitOrdinal(s.Member)
		highest[set] = max(highest[set], ordinal)
	}
	next := slices.DeleteFunc(slices.Clone(left), func(s Status) bool {
		set, ordinal := splitOrdinal(s.Member)
		return ordinal < highest[set]
	})
	slices.SortStableFunc(next, func(a, b Status) int { return cmp.Compare(b.Epoch, a.Epoch) })
	return next
}

// splitOrdinal takes a name such as default/web-2 apart. One without an ordinal is a set of its own.
func splitOrdinal(member string) (set string, ordinal int) {
	i := strings.LastIndexByte(member, '-')
	n, err := strconv.Atoi(member[i+1:])
	if i < 0 || err != nil {
		return member, 0
	}
	return member[:i], n
}

func nameList(left []Status) string {
	var names []string
	for _, s := range left {
		names = append(names, s.Member+" "+s.Process)
	}
	return strings.Join(names, ", ")
}

// extend asks systemd for more time to stop.
func extend(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}
