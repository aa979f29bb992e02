package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
	"supd/volumes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cluster of one log: what is proposed is applied at once.
type world struct {
	t      *testing.T
	dir    string
	keeper *fakeKeeper
	made   func(*Agent) // sees each agent that running makes

	mu      sync.Mutex // guards what follows
	fault   volumes.Fault
	view    *state.View
	changed chan struct{}
	reports []state.Report
	cut     bool   // the leader does not answer
	deaf    bool   // it takes no reports
	ahead   uint64 // the leader's index is so much higher than this node's
	beats   []client.Heartbeat
	known   []string // what the log had web-0 doing at each
}

var errCut = &spec.Error{Code: spec.CodeNoLeader, Message: "no leader"}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, keeper: newFakeKeeper(), view: state.New(), changed: make(chan struct{})}
	w.apply(&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "none", Zone: spec.ClusterZone})
	w.apply(&state.RegisterNode{Node: w.self("earlier")})
	return w
}

func (w *world) self(run string) state.Node {
	return state.Node{Name: "n1", ID: "n1.1", API: "127.0.0.1:1", HostIP: "127.0.0.1", Machine: "m", Root: true, Run: run}
}

func (w *world) View() *state.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view
}

func (w *world) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *world) propose(cmd state.Command) state.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, res := w.view.Apply(w.view.Index+1, state.Entry{At: time.Now(), Who: "test", Cmd: cmd})
	w.view = next
	close(w.changed)
	w.changed = make(chan struct{})
	return res
}

// apply proposes what must be accepted.
func (w *world) apply(cmd state.Command) {
	w.t.Helper()
	if res := w.propose(cmd); res.Err != nil {
		w.t.Fatalf("%T was refused: %v", cmd, res.Err)
	}
}

func (w *world) Heartbeat(_ context.Context, h client.Heartbeat) (client.HeartbeatAnswer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return client.HeartbeatAnswer{}, errCut
	}
	phase := ""
	if m := w.view.Member("default", "web", 0); m != nil {
		phase = m.Seen.Phase
	}
	w.beats, w.known = append(w.beats, h), append(w.known, phase)
	if n := w.view.Node(h.Node); n == nil || n.Run != h.Run {
		return client.HeartbeatAnswer{}, &spec.Error{Code: spec.CodeConflict, Reason: "RunUnknown", Message: "unknown run"}
	}
	return client.HeartbeatAnswer{Leader: "n1", Term: 1, Index: w.view.Index + w.ahead, Lease: 10 * time.Second}, nil
}

func (w *world) Register(_ context.Context, n state.Node) error {
	if w.isCut() {
		return errCut
	}
	if res := w.propose(&state.RegisterNode{Node: n}); res.Err != nil {
		return res.Err
	}
	return nil
}

func (w *world) Report(_ context.Context, r state.Report) error {
	w.mu.Lock()
	deaf := w.cut || w.deaf
	w.mu.Unlock()
	if deaf {
		return errCut
	}
	res := w.propose(&r)
	if res.Err != nil {
		return res.Err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, r)
	return nil
}

func (w *world) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

func (w *world) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

func (w *world) setDeaf(deaf bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = deaf
}

func (w *world) setAhead(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead = n
}

// said returns and forgets the reports so far.
func (w *world) said() []state.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.reports
	w.reports = nil
	return out
}

// put makes or changes the set "web" from processes and whatever f changes.
func (w *world) put(f func(*spec.StatefulSetSpec, *spec.Template), procs ...spec.Process) {
	w.t.Helper()
	n := 3
	s := &spec.StatefulSet{
		Metadata: spec.Meta{Namespace: "default", Name: "web"},
		Spec:     spec.StatefulSetSpec{Replicas: &n, Processes: procs},
	}
	spec.Default(s)
	tpl := spec.Template{Processes: s.Spec.Processes, Resolve: spec.ResolveHost}
	if f != nil {
		f(&s.Spec, &tpl)
	}
	w.apply(&state.PutSet{Namespace: "default", Name: "web", UID: "u1", Spec: s.Spec, Template: tpl})
}

// reserve makes the records of n members.
func (w *world) reserve(n int) {
	w.t.Helper()
	s := w.View().Set("default", "web")
	c := &state.Reserve{Namespace: "default", Set: "web", IfGeneration: s.Meta.Generation}
	for i := range n {
		uids := map[string]string{}
		for _, v := range s.Spec.Volumes {
			uids[v.Name] = "aaaaaaaa-" + v.Name + string(rune('0'+i))
		}
		ports := map[string]int{}
		for _, p := range s.Spec.Processes {
			for _, port := range p.Ports {
				ports[port.Name] = port.Port
			}
		}
		c.Slots = append(c.Slots, state.Slot{
			Ordinal: i, UID: "m" + string(rune('0'+i)), Node: "n1",
			IP: "127.0.0." + string(rune('1'+i)), Ports: ports, VolumeUIDs: uids,
		})
	}
	w.apply(c)
}

func (w *world) member(i int) *state.Member { return w.View().Member("default", "web", i) }

// start lets a member be started and returns its epoch.
func (w *world) start(i int) uint64 {
	w.t.Helper()
	m := w.member(i)
	s := w.View().Set("default", "web")
	w.apply(&state.StartMember{Namespace: "default", Set: "web", Ordinal: i, Revision: s.Wanted(i), IfEpoch: m.Epoch, IfGeneration: m.Generation})
	return w.member(i).Epoch
}

// stop asks for a member's stop.
func (w *world) stop(i int) {
	w.t.Helper()
	w.apply(&state.DeleteMember{Namespace: "default", Set: "web", Ordinal: i})
}

// running runs an agent; the function returned ends it and waits.
func (w *world) running(change func(*Options)) (end func()) {
	w.t.Helper()
	pool, err := volumes.Open(volumes.Options{
		Dir:       filepath.Join(w.dir, "volumes"),
		ClusterID: func() string { return "c1" }, Fault: w.faulty,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	began := time.Now()
	o := Options{
		Node: "n1", Self: func() state.Node { return w.self("") }, Views: w, Leader: w, Keeper: w.keeper, Pool: pool,
		DataDir: w.dir, Root: true, Clock: func() time.Duration { return time.Since(began) },
		Logger: slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.made != nil {
		w.made(a)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the agent ended with %v", err)
		}
	}
}

func (w *world) faulty(op, path string) error {
	w.mu.Lock()
	f := w.fault
	w.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op, path)
}

func (w *world) setFault(f volumes.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

type testWriter struct{ t *testing.T }

func (tw testWriter) Write(p []byte) (int, error) {
	tw.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// settle lets everything happen that needs no more time than d.
func settle(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

// takes is how long something takes by the bubble's clock.
func takes(d time.Duration) { time.Sleep(d) }

// inBubble runs a test with a fake clock.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the keeper is a fake, but mounts and users are asked of root only")
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, dir)) })
}

func sleeper(name string) spec.Process {
	return spec.Process{Name: name, Exec: spec.Exec{Command: []string{"/bin/sleep", "inf"}}}
}

func withVolume(s *spec.StatefulSetSpec, _ *spec.Template) {
	s.Volumes = []spec.VolumeSpec{{Name: "data", Mode: "0700"}}
}

func (w *world) want(i int, phase string, ready bool) *state.Member {
	w.t.Helper()
	m := w.member(i)
	if m == nil {
		w.t.Fatalf("there is no member %d", i)
	}
	if m.Seen.Phase != phase || m.Seen.Ready != ready || m.Seen.Epoch != m.Epoch {
		w.t.Fatalf("web-%d is %s ready=%v epoch=%d (%s: %s), want %s ready=%v epoch=%d", i, m.Seen.Phase, m.Seen.Ready,
			m.Seen.Epoch, m.Seen.Reason, m.Seen.Message, phase, ready, m.Epoch)
	}
	return m
}

func (w *world) wantReason(i int, reason, message string) {
	w.t.Helper()
	m := w.member(i)
	if m.Seen.Reason != reason || !strings.Contains(m.Seen.Message, message) {
		w.t.Fatalf("web-%d says %q, %q; want %q and %q", i, m.Seen.Reason, m.Seen.Message, reason, message)
	}
}
