package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"supd/supervisor/keeper"
)

// fakeKeeper behaves like a keeper whose processes are only entries in a table.
type fakeKeeper struct {
	mu      sync.Mutex // guards what follows
	rows    map[string]*keeper.Status
	starts  map[string]keeper.Start
	given   map[string]uint64
	asked   map[string][]string // locks, by the latest GiveUp
	version uint64
	changed chan struct{}
	pid     int
	calls   []string
	graces  []time.Duration // stop timeouts of restarts
	// hang keeps processes in Stopping until drop is called.
	hang bool
	// onStart and onRun answer instead, when set.
	onStart func(keeper.Start) error
	onRun   func(context.Context, keeper.Run) (keeper.RunResult, error)
	down    bool
	hooks   bool // it knows preStop hooks
	// unstored: what was started is not remembered.
	unstored bool
	// renews are the deadlines told; onRenew answers, when set.
	renews  []time.Duration
	onRenew func(context.Context) error
}

func newFakeKeeper() *fakeKeeper {
	return &fakeKeeper{
		rows: map[string]*keeper.Status{}, starts: map[string]keeper.Start{}, given: map[string]uint64{},
		asked:   map[string][]string{},
		version: 1, changed: make(chan struct{}), pid: 100,
	}
}

var _ Keeper = (*fakeKeeper)(nil)

func row(member, process string) string { return member + " " + process }

func (k *fakeKeeper) bumpLocked() {
	k.version++
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *fakeKeeper) call(format string, args ...any) error {
	k.calls = append(k.calls, fmt.Sprintf(format, args...))
	if k.down {
		return keeper.ErrDown
	}
	return nil
}

// did returns and forgets the calls so far, but for List.
func (k *fakeKeeper) did() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.calls
	k.calls = nil
	return out
}

func (k *fakeKeeper) Start(_ context.Context, s keeper.Start) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.call("start %s %s %d", s.Member, s.Process, s.Epoch); err != nil {
		return err
	}
	if k.onStart != nil {
		if err := k.onStart(s); err != nil {
			if _, ok := errors.AsType[*keeper.ErrExec](err); ok { // it was written down before it was tried
				k.rows[row(s.Member, s.Process)] = &keeper.Status{Member: s.Member, Process: s.Process, Epoch: s.Epoch, State: keeper.Stopped}
				k.bumpLocked()
			}
			return err
		}
	}
	id := row(s.Member, s.Process)
	old := k.rows[id]
	switch {
	case s.Epoch <= k.given[s.Member]:
		return keeper.ErrGivenUp
	case old != nil && !old.Gone() && old.Epoch != s.Epoch:
		return keeper.ErrBusy
	case old != nil && !old.Gone():
		return nil
	}
	k.pid++
	if !k.unstored {
		k.starts[id] = s
	}
	k.rows[id] = &keeper.Status{Member: s.Member, Process: s.Process, Epoch: s.Epoch, PID: k.pid, State: keeper.Running, StartedAt: time.Now()}
	k.rows[id].PreStop = k.hooks && s.PreStop != nil
	k.bumpLocked()
	return nil
}

func (k *fakeKeeper) Update(_ context.Context, member, process string, s keeper.Settings) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.call("update %s %s %s", member, process, s.StopTimeout); err != nil {
		return err
	}
	id := row(member, process)
	if k.rows[id] == nil {
		return keeper.ErrNotFound
	}
	start := k.starts[id]
	start.Settings = s
	k.starts[id] = start
	if hooked := k.hooks && s.PreStop != nil; hooked != k.rows[id].PreStop {
		k.rows[id].PreStop = hooked
		k.bumpLocked()
	}
	return nil
}

// preStop is the hook that was told last.
func (k *fakeKeeper) preStop(member, process string) *keeper.PreStop {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.starts[row(member, process)].PreStop
}

// upgrade makes it one that knows preStop hooks.
func (k *fakeKeeper) upgrade() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hooks = true
	k.bumpLocked()
}

func (k *fakeKeeper) Stop(_ context.Context, member, process string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.call("stop %s %s", member, process); err != nil {
		return err
	}
	r := k.rows[row(member, process)]
	switch {
	case r == nil:
		return keeper.ErrNotFound
	case r.Gone():
		return nil
	}
	r.State = keeper.Stopping
	if !k.hang {
		k.endLocked(r)
	}
	k.bumpLocked()
	return nil
}

func (k *fakeKeeper) endLocked(r *keeper.Status) {
	r.State, r.PID, r.LastExit = keeper.Stopped, 0, keeper.Exit{Code: -1, Signal: "SIGTERM", At: time.Now()}
}

// drop ends all stops that hang.
func (k *fakeKeeper) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.rows {
		if r.State == keeper.Stopping {
			k.endLocked(r)
		}
	}
	k.bumpLocked()
}

func (k *fakeKeeper) Restart(_ context.Context, member, process string, grace time.Duration, why string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.graces = append(k.graces, grace)
	if err := k.call("restart %s %s", member, process); err != nil {
		return err
	}
	return k.exitLocked(member, process, keeper.Exit{Code: 1, Why: why}, 0)
}

// Signal is noted only.
func (k *fakeKeeper) Signal(_ context.Context, member, process, sig string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.call("signal %s %s %s", member, process, sig)
}

// crash ends a process and starts it again in place after back-off.
func (k *fakeKeeper) crash(member, process string, pause time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exitLocked(member, process, keeper.Exit{Code: 1}, pause)
}

// exitLocked is an end of a life, and what comes after it.
func (k *fakeKeeper) exitLocked(member, process string, e keeper.Exit, pause time.Duration) error {
	r := k.rows[row(member, process)]
	if r == nil || r.State != keeper.Running {
		return fmt.Errorf("%s %s does not run", member, process)
	}
	e.At = time.Now()
	r.LastExit, r.Backoff = e, pause
	if pause > 0 {
		r.State, r.PID = keeper.Backoff, 0
		k.bumpLocked()
		return nil
	}
	k.againLocked(r)
	return nil
}

func (k *fakeKeeper) againLocked(r *keeper.Status) {
	k.pid++
	r.State, r.PID, r.StartedAt = keeper.Running, k.pid, time.Now()
	r.Restarts++
	r.Notify = keeper.NotifyStatus{}
	k.bumpLocked()
}

// again ends a back-off.
func (k *fakeKeeper) again(member, process string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.againLocked(k.rows[row(member, process)])
}

// set changes a row at will.
func (k *fakeKeeper) set(s keeper.Status) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rows[row(s.Member, s.Process)] = &s
	k.bumpLocked()
}

// reboot is what a keeper shows after its host went down: all is stopped.
func (k *fakeKeeper) reboot(forget bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, r := range k.rows {
		r.State, r.PID = keeper.Stopped, 0
		if forget {
			delete(k.rows, id)
		}
	}
	k.bumpLocked()
}

func (k *fakeKeeper) GiveUp(_ context.Context, member string, epoch uint64, locks ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[member] = locks
	if err := k.call("giveup %s %d", member, epoch); err != nil {
		return err
	}
	for _, r := range k.rows {
		if r.Member == member && r.Epoch <= epoch && !r.Gone() {
			return keeper.ErrBusy
		}
	}
	k.given[member] = max(k.given[member], epoch)
	return nil
}

func (k *fakeKeeper) Forget(_ context.Context, member, process string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.call("forget %s %s", member, process); err != nil {
		return err
	}
	r := k.rows[row(member, process)]
	if r == nil || !r.Gone() {
		return keeper.ErrNotFound
	}
	delete(k.rows, row(member, process))
	k.bumpLocked()
	return nil
}

func (k *fakeKeeper) List(ctx context.Context, after uint64) (keeper.Table, error) {
	for {
		k.mu.Lock()
		if k.down {
			k.mu.Unlock()
			return keeper.Table{}, keeper.ErrDown
		}
		changed := k.changed
		if k.version != after {
			t := keeper.Table{Version: k.version, Hooks: k.hooks}
			for _, r := range k.rows {
				t.Processes = append(t.Processes, *r)
			}
			k.mu.Unlock()
			slices.SortFunc(t.Processes, func(a, b keeper.Status) int {
				return slices.Compare([]string{a.Member, a.Process}, []string{b.Member, b.Process})
			})
			return t, nil
		}
		k.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return keeper.Table{}, ctx.Err()
		}
	}
}

func (k *fakeKeeper) Run(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
	k.mu.Lock()
	if err := k.call("run %s %s", r.Member, r.Argv); err != nil {
		k.mu.Unlock()
		return keeper.RunResult{}, err
	}
	f := k.onRun
	k.mu.Unlock()
	if f != nil {
		return f(ctx, r)
	}
	return keeper.RunResult{}, nil
}

// Exec runs nothing.
func (k *fakeKeeper) Exec(context.Context, keeper.Session, ...*os.File) (*keeper.OpenSession, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return nil, k.call("exec")
}

func (k *fakeKeeper) Renew(ctx context.Context, deadline, _ time.Duration) error {
	k.mu.Lock()
	f := k.onRenew
	k.renews = append(k.renews, deadline)
	down := k.down
	k.mu.Unlock()
	switch {
	case down:
		return keeper.ErrDown
	case f != nil:
		return f(ctx)
	}
	return nil
}

// renewsWith sets what answers Renew; nil: all is well.
func (k *fakeKeeper) renewsWith(f func(context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onRenew = f
}

// renewed returns and forgets the deadlines told.
func (k *fakeKeeper) renewed() []time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.renews
	k.renews = nil
	return out
}

// forgetsStarts makes it remember nothing of what is started, but for the table.
func (k *fakeKeeper) forgetsStarts() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unstored = true
}

func (k *fakeKeeper) startOf(member, process string) keeper.Start {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.starts[row(member, process)]
}

func (k *fakeKeeper) pidOf(member, process string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rows[row(member, process)].PID
}

// runs sets what answers Run.
func (k *fakeKeeper) runs(f func(context.Context, keeper.Run) (keeper.RunResult, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onRun = f
}

// startsWith sets what every Start fails with; nil: none does.
func (k *fakeKeeper) startsWith(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onStart = func(keeper.Start) error { return err }
}

// hangs makes stops wait for drop.
func (k *fakeKeeper) hangs() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hang = true
}

// gaveUp is the highest epoch given up of a member.
func (k *fakeKeeper) gaveUp(member string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.given[member]
}
