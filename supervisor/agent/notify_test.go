package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// notifier is a process with notify probes.
func notifier() spec.Process {
	p := sleeper("main")
	period := spec.Duration(10 * time.Second)
	probe := func() *spec.Probe {
		return &spec.Probe{Notify: true, Period: &period, SuccessThreshold: 1, FailureThreshold: 3}
	}
	p.Startup, p.Readiness, p.Liveness = probe(), probe(), probe()
	return p
}

// tells has the keeper hear something of web-0.
func (w *world) tells(change func(*keeper.NotifyStatus)) {
	w.keeper.mu.Lock()
	defer w.keeper.mu.Unlock()
	change(&w.keeper.rows[row("default/web-0", "main")].Notify)
	w.keeper.bumpLocked()
}

func TestNotify(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, notifier())
		w.reserve(1)
		end := w.running(nil)
		defer func() { end() }()
		w.start(0)
		settle(time.Second)
		w.want(0, spec.MemberStarting, false)
		if s := w.keeper.startOf("default/web-0", "main"); !s.Notify || s.Watchdog != 10*time.Second {
			t.Errorf("started with notify %v, watchdog %s", s.Notify, s.Watchdog)
		}

		w.said()
		w.tells(func(n *keeper.NotifyStatus) { n.Ready, n.Watched, n.Text = true, true, "ready for you" })
		settle(100 * time.Millisecond) // no period has gone by
		m := w.want(0, spec.MemberRunning, true)
		if got := m.Seen.Processes[0].Message; got != "ready for you" {
			t.Errorf("the process's message is %q", got)
		}
		w.tells(func(n *keeper.NotifyStatus) { n.Reloading = true })
		settle(100 * time.Millisecond)
		if m := w.want(0, spec.MemberRunning, false); m.Seen.Reason != "NotReady" || !strings.Contains(m.Seen.Message, "RELOADING=1") {
			t.Errorf("reloading: %s %s", m.Seen.Reason, m.Seen.Message)
		}
		w.tells(func(n *keeper.NotifyStatus) { n.Reloading = false })
		settle(time.Minute)
		w.want(0, spec.MemberRunning, true)

		// Another agent on the same keeper finds it as it is.
		end()
		w.keeper.did()
		end = w.running(nil)
		settle(5 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if got := w.keeper.did(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "restart") }) {
			t.Errorf("the next agent did %v", got)
		}

		// Silence of three periods.
		w.tells(func(n *keeper.NotifyStatus) { n.Missed = 1 })
		settle(time.Second)
		w.want(0, spec.MemberRunning, true)
		w.tells(func(n *keeper.NotifyStatus) { n.Missed = 3 })
		settle(time.Second)
		if got := w.keeper.did(); !slices.Contains(got, "restart default/web-0 main") {
			t.Errorf("of a silent one the keeper was asked %v", got)
		}
		if m := w.member(0); m.Seen.Ready {
			t.Error("ready before the second has said so")
		}
		w.tells(func(n *keeper.NotifyStatus) { n.Ready, n.Watched = true, true })
		settle(100 * time.Millisecond)
		if m := w.member(0); !m.Seen.Ready {
			t.Error("the second is not ready")
		}
	})
}
