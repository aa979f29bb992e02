package agent

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// container is a process whose probes are answered by its age and by what they ask.
type container struct {
	*world
	t *testing.T

	mu  sync.Mutex // guards what follows
	ran map[string][]time.Duration
}

// reply is what an exec probe gets of a process that is so old. A wait longer than the
// probe's timeout is a timeout.
type reply func(age time.Duration) (code int, wait time.Duration)

func after(d time.Duration, then, before int) reply {
	return func(age time.Duration) (int, time.Duration) {
		if age >= d {
			return then, 0
		}
		return before, 0
	}
}

func always(code int) reply { return func(time.Duration) (int, time.Duration) { return code, 0 } }

func slow(d time.Duration, code int) reply {
	return func(time.Duration) (int, time.Duration) { return code, d }
}

// starts brings up web-0, whose exec probes ask the commands named in says.
func (c *container) starts(p spec.Process, says map[string]reply) (end func()) {
	c.keeper.runs(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
		c.keeper.mu.Lock()
		age := time.Since(c.keeper.rows[row("default/web-0", "main")].StartedAt)
		c.keeper.mu.Unlock()
		c.mu.Lock()
		c.ran[r.Argv[0]] = append(c.ran[r.Argv[0]], age)
		c.mu.Unlock()
		code, wait := says[r.Argv[0]](age)
		if wait > r.Timeout {
			takes(r.Timeout)
			return keeper.RunResult{TimedOut: true}, nil
		}
		takes(wait)
		return keeper.RunResult{Code: code}, nil
	})
	c.put(nil, p)
	c.reserve(1)
	end = c.running(nil)
	c.start(0)
	settle(0)
	return end
}

// asked is how old the process was when the command was run.
func (c *container) asked(command string) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ran[command]
}

func (c *container) is(ready bool, restarts int) {
	c.t.Helper()
	if m := c.member(0); m.Seen.Ready != ready || m.Seen.Restarts != restarts {
		c.t.Errorf("ready %v, %d restarts (%s: %s); want %v, %d", m.Seen.Ready, m.Seen.Restarts, m.Seen.Reason, m.Seen.Message, ready, restarts)
	}
}

// execs is an exec probe: every second, thresholds of one.
func execs(command string, change func(*spec.Probe)) *spec.Probe {
	second := spec.Duration(time.Second)
	p := &spec.Probe{Exec: []string{command}, Period: &second, Timeout: &second, SuccessThreshold: 1, FailureThreshold: 1}
	if change != nil {
		change(p)
	}
	return p
}

func delayed(d time.Duration) func(*spec.Probe) {
	return func(p *spec.Probe) { p.InitialDelay = spec.Duration(d) }
}

// TestKubernetesProbes are the cases of Kubernetes' test/e2e/common/node/container_probe.go,
// by their names there, as far as they are asked by exec; [C] are its conformance cases.
func TestKubernetesProbes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		proc func(p *spec.Process)
		says map[string]reply
		run  func(c *container)
	}{
		{
			"with readiness probe should not be ready before initial delay and never restart [C]",
			func(p *spec.Process) { p.Readiness = execs("ready", delayed(30*time.Second)) },
			map[string]reply{"ready": always(0)},
			func(c *container) {
				settle(29990 * time.Millisecond)
				c.is(false, 0)
				settle(20 * time.Millisecond)
				c.is(true, 0)
				settle(time.Minute)
				c.is(true, 0)
			},
		},
		{
			"with readiness probe that fails should never be ready and never restart [C]",
			func(p *spec.Process) { p.Readiness = execs("ready", nil) },
			map[string]reply{"ready": always(1)},
			func(c *container) {
				settle(10 * time.Minute)
				c.is(false, 0)
			},
		},
		{
			"should be restarted with an exec liveness probe [C]",
			func(p *spec.Process) { p.Liveness = execs("cat", delayed(15*time.Second)) },
			map[string]reply{"cat": after(20*time.Second, 1, 0)},
			func(c *container) {
				settle(19 * time.Second)
				c.is(true, 0)
				settle(2 * time.Second)
				if got := c.member(0).Seen.Restarts; got != 1 {
					c.t.Errorf("%d restarts, want 1", got)
				}
				told := false
				for e := range c.View().Events() {
					told = told || e.Reason == "Restarted" && strings.Contains(e.Message, "last ended by supd: liveness probe failed: the probe exited with 1")
				}
				if !told {
					c.t.Error("no event tells why it was restarted")
				}
			},
		},
		{
			"should *not* be restarted with an exec liveness probe [C]",
			func(p *spec.Process) { p.Liveness = execs("cat", nil) },
			map[string]reply{"cat": always(0)},
			func(c *container) {
				settle(10 * time.Minute)
				c.is(true, 0)
			},
		},
		{
			"should have monotonically increasing restart count [C]",
			func(p *spec.Process) { p.Liveness = execs("cat", delayed(5*time.Second)) },
			map[string]reply{"cat": always(1)},
			func(c *container) {
				last := 0
				for range 60 {
					settle(time.Second)
					n := c.member(0).Seen.Restarts
					if n < last || n > last+1 {
						c.t.Fatalf("restarts went from %d to %d", last, n)
					}
					last = n
				}
				if last < 5 {
					c.t.Errorf("%d restarts in a minute", last)
				}
			},
		},
		{
			"should be restarted with an exec liveness probe with timeout",
			func(p *spec.Process) { p.Liveness = execs("sleep", delayed(15*time.Second)) },
			map[string]reply{"sleep": slow(10*time.Second, 0)},
			func(c *container) {
				settle(15500 * time.Millisecond)
				c.is(true, 0)
				settle(time.Second)
				c.is(true, 1)
			},
		},
		{
			"should not be ready with an exec readiness probe timeout",
			func(p *spec.Process) { p.Readiness = execs("sleep", nil) },
			map[string]reply{"sleep": slow(10*time.Second, 0)},
			func(c *container) {
				settle(time.Minute)
				c.is(false, 0)
			},
		},
		{
			"should be restarted with a failing exec liveness probe that took longer than the timeout",
			func(p *spec.Process) { p.Liveness = execs("sleep", delayed(15*time.Second)) },
			map[string]reply{"sleep": slow(10*time.Second, 1)},
			func(c *container) {
				settle(16500 * time.Millisecond)
				c.is(true, 1)
			},
		},
		{
			"should be restarted startup probe fails",
			func(p *spec.Process) {
				p.Startup = execs("up", func(p *spec.Probe) { p.FailureThreshold = 3 })
				p.Liveness = execs("cat", nil)
			},
			map[string]reply{"up": always(1), "cat": always(0)},
			func(c *container) {
				settle(1900 * time.Millisecond)
				c.is(false, 0)
				settle(200 * time.Millisecond)
				c.is(false, 1)
			},
		},
		{
			"should *not* be restarted by liveness probe because startup probe delays it",
			func(p *spec.Process) {
				p.Startup = execs("up", func(p *spec.Probe) { p.FailureThreshold = 60 })
				p.Liveness = execs("cat", nil)
			},
			map[string]reply{"up": always(1), "cat": always(1)},
			func(c *container) {
				settle(55 * time.Second)
				c.is(false, 0)
				if got := c.asked("cat"); len(got) > 0 {
					c.t.Errorf("liveness was asked at %v", got)
				}
			},
		},
		{
			"should be restarted by liveness probe after startup probe enables it",
			func(p *spec.Process) {
				p.Startup = execs("up", func(p *spec.Probe) { p.FailureThreshold = 60 })
				p.Liveness = execs("cat", nil)
			},
			map[string]reply{"up": after(10*time.Second, 0, 1), "cat": always(1)},
			func(c *container) {
				settle(9900 * time.Millisecond)
				c.is(false, 0)
				settle(200 * time.Millisecond)
				c.is(false, 1)
			},
		},
		{
			"should be ready immediately after startupProbe succeeds",
			func(p *spec.Process) {
				p.Startup = execs("up", func(p *spec.Probe) { p.FailureThreshold = 60 })
				hour := spec.Duration(time.Hour)
				p.Readiness = execs("ready", func(p *spec.Probe) { p.Period = &hour })
			},
			map[string]reply{"up": after(10*time.Second, 0, 1), "ready": always(0)},
			func(c *container) {
				settle(9900 * time.Millisecond)
				c.is(false, 0)
				settle(200 * time.Millisecond)
				c.is(true, 0)
			},
		},
		{
			"should override timeoutGracePeriodSeconds when LivenessProbe field is set",
			func(p *spec.Process) {
				long, short := spec.Duration(500*time.Second), spec.Duration(5*time.Second)
				p.Stop.Timeout = &long
				p.Liveness = execs("cat", func(p *spec.Probe) { p.StopTimeout, p.InitialDelay = &short, spec.Duration(time.Second) })
			},
			map[string]reply{"cat": always(1)},
			func(c *container) { c.restartsWithin(5 * time.Second) },
		},
		{
			"should override timeoutGracePeriodSeconds when StartupProbe field is set",
			func(p *spec.Process) {
				long, short := spec.Duration(500*time.Second), spec.Duration(5*time.Second)
				p.Stop.Timeout = &long
				p.Startup = execs("up", func(p *spec.Probe) { p.StopTimeout, p.InitialDelay = &short, spec.Duration(time.Second) })
				p.Liveness = execs("cat", nil)
			},
			map[string]reply{"up": always(1), "cat": always(0)},
			func(c *container) { c.restartsWithin(5 * time.Second) },
		},
		{
			"a probe without a grace period of its own has the process's",
			func(p *spec.Process) {
				long := spec.Duration(500 * time.Second)
				p.Stop.Timeout = &long
				p.Liveness = execs("cat", delayed(time.Second))
			},
			map[string]reply{"cat": always(1)},
			func(c *container) { c.restartsWithin(500 * time.Second) },
		},
		{
			"should mark readiness on pods to false and disable liveness probes while pod is in progress of terminating",
			func(p *spec.Process) {
				p.Readiness, p.Liveness = execs("ready", nil), execs("cat", nil)
			},
			map[string]reply{"ready": always(0), "cat": after(10*time.Second, 1, 0)},
			func(c *container) {
				settle(9500 * time.Millisecond)
				c.is(true, 0)
				c.keeper.hangs()
				c.keeper.did()
				c.stop(0)
				if c.member(0).Ready() {
					c.t.Error("ready from the very entry that asks for the stop")
				}
				settle(20 * time.Second)
				if got := len(c.asked("cat")); got > 10 {
					c.t.Errorf("liveness was asked %d times, want no more than before the stop", got)
				}
				for _, call := range c.keeper.did() {
					if call == "restart default/web-0 main" {
						c.t.Error("it was restarted while it is being stopped")
					}
				}
				c.keeper.drop()
				settle(time.Second)
				c.want(0, spec.MemberStopped, false)
			},
		},
		{
			"thresholds and periods down to milliseconds",
			func(p *spec.Process) {
				five := spec.Duration(5 * time.Millisecond)
				p.Readiness = execs("ready", func(p *spec.Probe) {
					p.Period, p.SuccessThreshold, p.InitialDelay = &five, 3, 7*spec.Duration(time.Millisecond)
				})
			},
			map[string]reply{"ready": always(0)},
			func(c *container) {
				settle(16 * time.Millisecond)
				c.is(false, 0)
				settle(2 * time.Millisecond)
				c.is(true, 0)
				want := []time.Duration{7 * time.Millisecond, 12 * time.Millisecond, 17 * time.Millisecond}
				got := c.asked("ready")
				for i, at := range want {
					if i >= len(got) || got[i] != at {
						c.t.Fatalf("asked at %v, want %v", got, want)
					}
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, w *world) {
				x := &container{world: w, t: t, ran: map[string][]time.Duration{}}
				p := sleeper("main")
				c.proc(&p)
				defer x.starts(p, c.says)()
				c.run(x)
			})
		})
	}
}

func (c *container) restartsWithin(grace time.Duration) {
	c.t.Helper()
	settle(1500 * time.Millisecond)
	c.keeper.mu.Lock()
	defer c.keeper.mu.Unlock()
	if len(c.keeper.graces) == 0 || c.keeper.graces[0] != grace {
		c.t.Errorf("restarted with stop timeouts %v, want %v", c.keeper.graces, grace)
	}
}

// network are servers that a probe may ask: they live outside of a bubble, where time
// is real, and do not change but by the test's word.
type network struct {
	http, grpc int
	health     *health.Server

	mu   sync.Mutex // guards sick
	sick bool
}

func (n *network) setSick(sick bool) {
	n.mu.Lock()
	n.sick = sick
	n.mu.Unlock()
	state := healthpb.HealthCheckResponse_SERVING
	if sick {
		state = healthpb.HealthCheckResponse_NOT_SERVING
	}
	n.health.SetServingStatus("", state)
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{health: health.NewServer()}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		switch {
		case r.URL.Path == "/local":
			http.Redirect(w, r, "/healthz", http.StatusFound)
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, "http://0.0.0.0/", http.StatusFound)
		case n.sick:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(s.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, n.health)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	n.http, n.grpc = s.Listener.Addr().(*net.TCPAddr).Port, l.Addr().(*net.TCPAddr).Port
	return n
}

// TestKubernetesNetworkProbes are those cases that are asked over the network.
func TestKubernetesNetworkProbes(t *testing.T) {
	t.Parallel()
	get := func(path string) func(*spec.Probe, *network) {
		return func(p *spec.Probe, n *network) {
			p.HTTP = &spec.HTTPGet{Path: path, Port: spec.IntOrString(strconv.Itoa(n.http))}
		}
	}
	call := func(p *spec.Probe, n *network) { p.GRPC = &spec.GRPCCall{Port: spec.IntOrString(strconv.Itoa(n.grpc))} }
	dial := func(p *spec.Probe, n *network) { p.TCP = &spec.TCPDial{Port: spec.IntOrString(strconv.Itoa(n.http))} }
	for _, c := range []struct {
		name    string
		probe   func(*spec.Probe, *network)
		sick    bool
		restart bool
	}{
		{"should be restarted with a /healthz http liveness probe [C]", get("/healthz"), true, true},
		{"should *not* be restarted with a /healthz http liveness probe [C]", get("/healthz"), false, false},
		{"should *not* be restarted with a tcp:8080 liveness probe [C]", dial, true, false},
		{"should be restarted with a GRPC liveness probe [C]", call, true, true},
		{"should *not* be restarted with a GRPC liveness probe [C]", call, false, false},
		{"should be restarted with a local redirect http liveness probe", get("/local"), true, true},
		{"should *not* be restarted with a non-local redirect http liveness probe", get("/elsewhere"), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			inBubble(t, func(t *testing.T, w *world) {
				x := &container{world: w, t: t, ran: map[string][]time.Duration{}}
				p := sleeper("main")
				p.Liveness = execs("", func(p *spec.Probe) { p.Exec, p.FailureThreshold = nil, 3 })
				c.probe(p.Liveness, n)
				minute := spec.Duration(time.Minute) // the servers' time is another than the bubble's
				p.Liveness.Timeout = &minute
				defer x.starts(p, nil)()
				settle(10 * time.Second)
				x.is(true, 0)
				n.setSick(c.sick)
				settle(2500 * time.Millisecond)
				x.is(true, 0) // twice is not three times
				settle(time.Second)
				if m := x.member(0); m.Seen.Restarts > 0 != c.restart {
					t.Errorf("%d restarts, want some: %v", m.Seen.Restarts, c.restart)
				}
			})
		})
	}
}
