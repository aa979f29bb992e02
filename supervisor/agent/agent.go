// Package agent makes a host look like its part of the View: it starts and stops
// members through the keeper, makes their directories and files, probes them, and
// reports what it sees. It decides nothing that concerns more than this host.
//
// Decide and do are apart. Diff is a pure function from what the View wants of one
// member and what is known of it here to the next steps; Observe one to what is
// said of it. The rest carries steps out, one at a time for each member.
//
// Goroutines, all started and awaited by Agent.Run:
//
//	name      fed by                              owns                         ends
//	loop      Views.Changed, pokes, its timer     every member's runtime       with Run
//	step      the loop, at most one per member    the step it does             when done, or its context
//	watch     the loop, one per probed process    that process's probes        with the process or Run
//	table     the keeper's long poll              -                            with Run
//	leader    its ticker                          lease, registration          with Run
//	renewal   the leader goroutine, its timer     what the keeper knows of it  with Run
//	reporter  the loop, its timer                 what was said and accepted   with Run
//	trash     Views.Changed, its timer            volumes being released       with Run
package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/volumes"
)

// Views gives the newest View. Changed is closed when a newer one than the last
// published exists.
type Views interface {
	View() *state.View
	Changed() <-chan struct{}
}

// Leader is the way to whoever leads, this node or another. Register and Report
// return nil when their entry is committed; a *spec.Error of code Conflict or
// NotFound means that the log refused it.
type Leader interface {
	Heartbeat(context.Context, client.Heartbeat) (client.HeartbeatAnswer, error)
	Register(context.Context, state.Node) error
	Report(context.Context, state.Report) error
}

// Keeper is the parent of the members' processes; *keeper.Client is one.
type Keeper interface {
	Start(ctx context.Context, s keeper.Start) error
	Update(ctx context.Context, member, process string, s keeper.Settings) error
	Stop(ctx context.Context, member, process string) error
	Signal(ctx context.Context, member, process, sig string) error
	Restart(ctx context.Context, member, process string, timeout time.Duration, reason string) error
	GiveUp(ctx context.Context, member string, epoch uint64, locks ...string) error
	Forget(ctx context.Context, member, process string) error
	List(ctx context.Context, after uint64) (keeper.Table, error)
	Run(ctx context.Context, r keeper.Run) (keeper.RunResult, error)
	Exec(ctx context.Context, s keeper.Session, files ...*os.File) (*keeper.OpenSession, error)
	Renew(ctx context.Context, deadline, length time.Duration) error
}

var _ Keeper = (*keeper.Client)(nil)

// Options of an Agent. Node, Self, Views, Leader, Keeper, Pool and DataDir are needed.
type Options struct {
	// Node is this node's name.
	Node string
	// Self is what the node registers as: Name, ID, addresses, labels, Root. Run is
	// the agent's own. It is asked before every heartbeat; a change registers anew.
	Self func() state.Node

	Views  Views
	Leader Leader
	Keeper Keeper
	Pool   *volumes.Pool

	// DataDir holds run/, logs/ and made/ below it.
	DataDir string
	// MemberDNS is the address of this node's DNS server for members' resolv.conf;
	// "": members keep the host's.
	MemberDNS string
	// HostResolv is the host's own resolv.conf; "" means /etc/resolv.conf.
	HostResolv string
	// Root: members may be given users, mounts and host names.
	Root bool
	// Heartbeat is the time between two heartbeats; 0 means 500 ms.
	Heartbeat time.Duration
	// LogMax bounds the log of each start of a process, in bytes; 0 means the keeper's default.
	LogMax int64
	// Clock is a clock that counts suspend and is never set; nil means
	// CLOCK_BOOTTIME. Leases are measured with it.
	Clock  func() time.Duration
	Logger *slog.Logger
}

// Agent runs this node's members.
type Agent struct {
	o     Options
	log   *slog.Logger
	box   *inbox
	lease *lease
	said  *reporter
	table *table
	trash *trash
	// watches are those that run, for who asks from outside the loop.
	watches *watches

	// Of the loop.
	members   map[Key]*runtime
	lastIndex uint64
	lastFresh Fresh
	settled   bool          // the log has been told who of those that it has running has ended
	decided   time.Duration // on Options.Clock: when this pass began
	sets      map[setKey]setView
	cluster   *state.Cluster
	stale     map[Key]time.Time // what is to end before anything starts, since when
	steps     sync.WaitGroup
	turns     turns
}

// New makes an Agent. It starts nothing and touches nothing.
func New(o Options) (*Agent, error) {
	switch {
	case o.Node == "" || o.Self == nil:
		return nil, errors.New("cannot make an agent: it needs a node name and what to register")
	case o.Views == nil || o.Leader == nil || o.Keeper == nil || o.Pool == nil:
		return nil, errors.New("cannot make an agent: it needs views, a leader, a keeper and a pool of volumes")
	case !filepath.IsAbs(o.DataDir):
		return nil, fmt.Errorf("cannot make an agent: the data directory must be an absolute path, not %q", o.DataDir)
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 500 * time.Millisecond
	}
	if o.HostResolv == "" {
		o.HostResolv = "/etc/resolv.conf"
	}
	if o.Clock == nil {
		o.Clock = boottime
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{o: o, log: o.Logger, box: newInbox(), members: map[Key]*runtime{}, stale: map[Key]time.Time{}, turns: newTurns()}
	a.watches = newWatches()
	a.lease = newLease(o, a.box)
	a.table = &table{keeper: o.Keeper, log: o.Logger, box: a.box}
	a.said = newReporter(o, a.lease)
	a.trash = &trash{o: o, lease: a.lease, said: a.said, busyUntil: map[string]time.Time{}, failures: map[string]int{}, forget: a.forgetMade}
	return a, nil
}

// Run runs the agent until ctx ends. It stops no member. The error is nil but for
// a data directory that cannot be used at all.
func (a *Agent) Run(ctx context.Context) error {
	for _, d := range []string{"run", "logs"} {
		if err := os.MkdirAll(filepath.Join(a.o.DataDir, d), 0o711); err != nil {
			return fmt.Errorf("cannot use the data directory: %w", err)
		}
	}
	if !a.o.Root {
		a.log.Info("without root members see the host's own /etc/hosts and resolv.conf: use member.ip, or ask this node's DNS server")
	}
	a.lease.recall()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.loop(ctx) })
	g.Go(func() error { return a.table.run(ctx) })
	g.Go(func() error { return a.lease.serve(ctx) })
	g.Go(func() error { return a.lease.renewal.run(ctx) })
	g.Go(func() error { return a.said.run(ctx) })
	g.Go(func() error { return a.trash.run(ctx) })
	return g.Wait()
}

// boottime is CLOCK_BOOTTIME: time since the boot, suspend included.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("agent: Linux has CLOCK_BOOTTIME since 2.6.39: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// newRun names one run of the agent.
func newRun() string {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("agent: the kernel gives no randomness: " + err.Error())
	}
	return hex.EncodeToString(b[:])
}
