// Package servertest is for tests: a node of a pretended cluster whose log is a
// slice and whose agents obey at once, behind the interfaces that package server
// declares. Entries go through the real state.Apply and the real planner.
package servertest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/plan"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// Epoch is the time at which every pretended cluster begins.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Node is one node of the pretended cluster: the store, Raft, control and agent of
// one server. The zero value is not useful; make it with New.
type Node struct {
	Name     string
	Patience time.Duration // Settle of server.Options; nearly nothing by default

	mu      sync.Mutex
	view    *state.View   // guarded by mu, as all below
	changed chan struct{} // closed when view changes
	now     time.Time
	status  server.RaftStatus
	apis    map[string]string
	silent  map[string]bool
	err     error // what Propose answers instead
	uids    int
	asleep  map[string]bool // nodes whose agents do nothing

	keeperUpgrades int
}

var (
	_ server.Store   = (*Node)(nil)
	_ server.Cluster = (*Node)(nil)
	_ server.Control = (*Node)(nil)
	_ server.Agent   = (*Node)(nil)
)

// New makes a node that leads a cluster with no nodes yet.
func New(name string) *Node {
	n := &Node{
		Name: name, view: state.New(), changed: make(chan struct{}), now: Epoch,
		apis: map[string]string{}, silent: map[string]bool{}, asleep: map[string]bool{},
	}
	n.status = server.RaftStatus{Leader: name, Leading: true, Term: 3, Voters: []string{name}, DNS: "127.0.0.1:7953"}
	return n
}

// Options are the options of a server on this node.
func (n *Node) Options() server.Options {
	return server.Options{Node: n.Name, Store: n, Cluster: n, Control: n, Agent: n, Keeper: keeperOf{n}, Scheme: "http", Version: "test", Now: n.Now, Settle: max(n.Patience, 1)}
}

// Now is the pretended time.
func (n *Node) Now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// Advance lets time pass.
func (n *Node) Advance(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(d)
}

// View is the newest View.
func (n *Node) View() *state.View {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.view
}

// Changed is closed when a newer View is there.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// Propose applies an entry at once, or fails as FailWith says.
func (n *Node) Propose(_ context.Context, e state.Entry) (state.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return state.Result{}, n.err
	}
	return n.applyLocked(e)
}

// applyLocked sends the entry through the codec, as a real log does.
func (n *Node) applyLocked(e state.Entry) (state.Result, error) {
	b, err := state.Encode(e)
	if err != nil {
		return state.Result{}, err
	}
	if e, err = state.Decode(b); err != nil {
		return state.Result{}, err
	}
	v, res := n.view.Apply(n.view.Index+1, e)
	n.view = v
	close(n.changed)
	n.changed = make(chan struct{})
	return res, nil
}

// FailWith makes Propose fail; nil: not any more.
func (n *Node) FailWith(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// Do proposes a command at the pretended time, and panics when it is refused.
func (n *Node) Do(c state.Command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	res, err := n.applyLocked(state.Entry{At: n.now, Who: "unix:root", Cmd: c})
	if err != nil || res.Err != nil {
		panic(fmt.Sprintf("servertest: %T was refused: %v %v; the story is wrong", c, err, res.Err))
	}
}

// Barrier does nothing: all is applied.
func (n *Node) Barrier(context.Context) error { return nil }

// Verify fails when the node does not lead.
func (n *Node) Verify(context.Context) error {
	if !n.Status().Leading {
		return &spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "not the leader"}
	}
	return nil
}

// Status is what SetStatus said, with the View's index.
func (n *Node) Status() server.RaftStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := n.status
	st.Applied, st.Last, st.Commit = n.view.Index, n.view.Index, n.view.Index
	return st
}

// Lead is Status.
func (n *Node) Lead() server.RaftStatus { return n.Status() }

// SetStatus changes what Raft is pretended to know.
func (n *Node) SetStatus(change func(*server.RaftStatus)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.status)
}

// SetAPI says where another node's API is.
func (n *Node) SetAPI(node, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apis[node] = addr
}

// NodeAPI is what SetAPI said.
func (n *Node) NodeAPI(node string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.apis[node]
	return addr, ok
}

// Transfer makes another voter the leader as this node knows it.
func (n *Node) Transfer(_ context.Context, node string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range n.status.Voters {
		if v != n.Name && (node == "" || node == v) {
			n.status.Leader, n.status.Leading = v, false
			return v, nil
		}
	}
	return "", spec.Errorf(spec.CodeRefused, "there is no other voter")
}

// Heartbeat answers with a fixed lease.
func (n *Node) Heartbeat(context.Context, client.Heartbeat) (client.HeartbeatAnswer, error) {
	return client.HeartbeatAnswer{Leader: n.Name, Term: 3, Index: n.View().Index, Lease: 10 * time.Second}, nil
}

// SetSilent makes a node silent, or not.
func (n *Node) SetSilent(node string, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[node] = silent
}

// Silent is what SetSilent said.
func (n *Node) Silent(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.silent[node]
}

// Leases last ten seconds from now for every node of the View.
func (n *Node) Leases() map[string]time.Time {
	out := map[string]time.Time{}
	for x := range n.View().Nodes() {
		out[x.Name] = n.Now().Add(10 * time.Second)
	}
	return out
}

// Logs are three lines; a follower's log then stays open until it is closed.
func (n *Node) Logs(_ context.Context, ns, member string, o client.LogOptions) (io.ReadCloser, error) {
	lines := []string{"one", "two", "three"}
	if o.Previous {
		lines = []string{"earlier"}
	}
	if o.Since > 0 || !o.SinceTime.IsZero() {
		lines = []string{"since " + o.From(time.Unix(3600, 0)).UTC().Format(time.RFC3339)}
	}
	if o.Tail >= 0 && o.Tail < len(lines) {
		lines = lines[len(lines)-o.Tail:]
	}
	var text strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&text, "%s/%s %s %s\n", ns, member, o.Process, l)
	}
	if !o.Follow {
		return io.NopCloser(strings.NewReader(text.String())), nil
	}
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, text.String()) }() // ends when the reader has it, or has closed
	return r, nil
}

// Usage is always one page.
func (n *Node) Usage(context.Context, string, string) (int64, error) { return 4096, nil }

// Probes is always one that passes.
func (n *Node) Probes(string, string) ([]spec.ProbeStatus, error) {
	at := time.Unix(3600, 0).UTC()
	return []spec.ProbeStatus{{
		Process: "main", Probe: spec.ProbeReadiness, Passing: true, Result: "pass", InARow: 3, At: &at,
		Took: spec.Duration(2 * time.Millisecond), Output: "fine",
	}}, nil
}

// MayStop is always yes.
func (n *Node) MayStop(context.Context, client.MayStopRequest) (client.MayStop, error) {
	return client.MayStop{MayStop: true}, nil
}

// Sleep stops the agent of a node from doing anything, or lets it go on.
func (n *Node) Sleep(node string, asleep bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asleep[node] = asleep
}

// Report sends a report of a node, numbered after its last.
func (n *Node) Report(node string, members []state.MemberReport, volumes []state.VolumeReport) {
	x := n.View().Node(node)
	n.Do(&state.Report{Node: node, Run: x.Run, Seq: x.Seq + 1, Members: members, Volumes: volumes})
}

// Settle runs the planner and the agents until nothing is left to be done now.
func (n *Node) Settle() {
	for range 10_000 {
		if !n.plan() && !n.agents() {
			return
		}
	}
	panic("servertest: the cluster does not come to rest; the story is wrong")
}

func (n *Node) plan() (moved bool) {
	p := plan.Make(n.View(), n.Now(), plan.Facts{Silent: n.Silent, UID: n.uid})
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range p.Commands {
		res, err := n.applyLocked(state.Entry{At: n.now, Who: "plan", Cmd: c})
		if err != nil {
			panic(fmt.Sprintf("servertest: cannot encode %T: %v", c, err))
		}
		moved = moved || res.Err == nil && res.Changed
	}
	return moved
}

func (n *Node) uid() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uids++
	return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n.uids)
}

// agents do what every awake node would, and tell whether that was anything.
func (n *Node) agents() (moved bool) {
	v := n.View()
	for m := range v.Members("") {
		n.mu.Lock()
		asleep := n.asleep[m.Node]
		n.mu.Unlock()
		switch {
		case asleep || m.Epoch == 0:
		case m.Stopping() && !m.Down():
			n.See(m, state.Observation{Phase: spec.MemberStopped})
			moved = true
		case m.Wish == state.WishRun && m.Seen.Epoch != m.Epoch:
			n.See(m, n.running(m))
			moved = true
		}
	}
	for vol := range n.View().Volumes("") {
		if event := volumeEvent(vol); event != "" {
			path := fmt.Sprintf("/var/lib/supd/volumes/%s/%s.%s/data", vol.Namespace, vol.Name(), vol.UID[:8])
			n.Report(vol.Node, nil, []state.VolumeReport{{Namespace: vol.Namespace, Name: vol.Name(), UID: vol.UID, Event: event, Path: path}})
			moved = true
		}
	}
	return moved
}

func volumeEvent(vol *state.Volume) string {
	switch {
	case vol.Phase == spec.VolumePending && !vol.Made:
		return state.VolumeMade
	case vol.Phase == spec.VolumeReleasing && vol.Undo:
		return state.VolumeRestored
	case vol.Phase == spec.VolumeReleasing && vol.Emptying:
		return state.VolumeEmptied
	case vol.Phase == spec.VolumeReleasing && !vol.Trashed:
		return state.VolumeTrashed
	}
	return ""
}

// running is what the agent reports of a member that came up well.
func (n *Node) running(m *state.Member) state.Observation {
	at := n.Now()
	o := state.Observation{Phase: spec.MemberRunning, Started: true, Ready: true, Steady: true, StartedAt: at, StartedOK: at}
	rev := n.View().Revision(m.Namespace, m.Set, m.Revision)
	for i, p := range rev.Template.Processes {
		o.Processes = append(o.Processes, spec.ProcessStatus{
			Name: p.Name, PID: 1000 + int(m.Epoch)*10 + i, State: spec.ProcessRunning, Started: true, Ready: true, StartedAt: &at,
		})
	}
	return o
}

// See reports an observation of a member in its present epoch.
func (n *Node) See(m *state.Member, seen state.Observation) {
	seen.Epoch = m.Epoch
	n.Report(m.Node, []state.MemberReport{{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Seen: seen}}, nil)
}

// Sicken makes a member's readiness fail with a message.
func (n *Node) Sicken(ns, member, message string) {
	m := n.View().MemberNamed(ns, member)
	seen := m.Seen
	seen.Ready, seen.Steady, seen.Reason, seen.Message = false, false, "NotReady", message
	seen.Processes = slices.Clone(seen.Processes)
	for i := range seen.Processes {
		seen.Processes[i].Ready, seen.Processes[i].Message = false, message
	}
	n.See(m, seen)
}

// Heal makes it pass again.
func (n *Node) Heal(ns, member string) {
	m := n.View().MemberNamed(ns, member)
	n.See(m, n.running(m))
}

// Trusting serves h for callers on TCP that may all, as a test's own client and as nodes that forward to each other.
func Trusting(h http.Handler) http.Handler {
	return As(server.Caller{Who: "tcp:127.0.0.1", Role: spec.RoleAdmin, Node: "test"}, h)
}

// As serves h as if c always asked.
func As(c server.Caller, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(server.WithCaller(r.Context(), c)))
	})
}
