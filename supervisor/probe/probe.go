// Package probe asks processes how they are: exec, HTTP, TCP and gRPC checks, and
// what they tell of themselves by sd_notify, run on Kubernetes' timing, and judged
// by thresholds. The same checks ask for a process's role, and whether its member
// may be stopped.
//
// Decide and do are apart: a Tracker is a pure state machine that says which
// probe is due and what the results mean; a Watch runs what is due.
//
// Goroutines: a Watch's Run has one for each of the process's probes (at most
// five, see Kind). Each is fed by its timer, runs one check at a time, tells the
// owner through Watch.OnChange, and ends with Run's context.
package probe

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"supd/supervisor/spec"
)

// Result of one check. Message says on one line why it failed.
type Result struct {
	OK      bool
	Message string
	// Output is what was answered, bounded; "" where it may hold a secret.
	Output string
	// Role is what a role probe that passed has found: a DNS label.
	Role string
	// Sure: one is enough, whatever the thresholds.
	Sure bool
	// Wait: not OK, but it counts for nothing: there is time yet.
	Wait bool
	// Void: the process could not be asked, which says nothing of it: as in Kubernetes
	// it counts for nothing.
	Void bool
}

// Check asks once. It ends with ctx, which carries the probe's timeout.
type Check interface {
	Check(ctx context.Context) Result
}

// Runner runs a command as the member's process would see it: its user, view and
// host name. The agent gives the keeper's.
type Runner interface {
	// RunProbe returns the exit status and the bounded output. timedOut: it was
	// killed at the deadline. signal is not empty when a signal ended it.
	RunProbe(ctx context.Context, argv []string, timeout time.Duration) (Exit, error)
}

// Exit is how a command ended.
type Exit struct {
	Code     int
	Signal   string
	Output   []byte
	TimedOut bool
}

// Resolve renders a probe's templates and finds its port and host.
type Resolve struct {
	Text func(string) (string, error)
	Port func(spec.IntOrString) (int, error)
	// Host is the member's address.
	Host   string
	Runner Runner
	Kind   Kind // of p
	// Secret: the process knows a secret, so what it answers is matched, never told.
	Secret bool
}

// New makes the check that p describes, its templates resolved.
func New(p *spec.Probe, r Resolve) (Check, error) {
	read := reading{kind: r.Kind, secret: r.Secret}
	if p.Expect != "" {
		var err error
		if read.expect, err = regexp.Compile(p.Expect); err != nil {
			return nil, fmt.Errorf("expect is no regular expression: %v", err)
		}
	}
	switch {
	case len(p.Exec) > 0:
		argv := make([]string, len(p.Exec))
		for i, a := range p.Exec {
			var err error
			if argv[i], err = r.Text(a); err != nil {
				return nil, fmt.Errorf("exec[%d]: %w", i, err)
			}
		}
		return &execCheck{argv: argv, timeout: TimingOf(p).Timeout, read: read, runner: r.Runner}, nil
	case p.HTTP != nil:
		c, err := newHTTP(p.HTTP, read, r)
		if err != nil {
			return nil, err
		}
		return c, nil
	case p.TCP != nil:
		port, host, err := target(p.TCP.Port, p.TCP.Host, r)
		if err != nil {
			return nil, err
		}
		return &tcpCheck{addr: hostPort(host, port)}, nil
	case p.GRPC != nil:
		return newGRPC(p.GRPC, r)
	case p.Notify:
		return &notifyCheck{kind: r.Kind, failures: TimingOf(p).Failure}, nil
	}
	return nil, fmt.Errorf("the probe has none of exec, http, tcp, grpc, notify")
}

// Unasked is a check that cannot be made, for the reason given.
func Unasked(err error) Check { return unasked{err} }

type unasked struct{ err error }

func (u unasked) Check(context.Context) Result {
	return Result{Message: "cannot be asked: " + brief([]byte(u.err.Error())), Void: true}
}

func target(port spec.IntOrString, host string, r Resolve) (int, string, error) {
	n, err := r.Port(port)
	if err != nil {
		return 0, "", err
	}
	h, err := r.Text(host)
	if err != nil {
		return 0, "", fmt.Errorf("host: %w", err)
	}
	if h == "" {
		h = r.Host
	}
	return n, h, nil
}
