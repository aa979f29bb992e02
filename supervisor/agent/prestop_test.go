package agent

import (
	"slices"
	"testing"
	"time"

	"supd/supervisor/spec"
)

// TestKeeperIsToldOfPreStop: as it is rendered now, for it runs the hook at the host's shutdown, when no agent is there; and
// once more when it is replaced by one that knows what that is.
func TestKeeperIsToldOfPreStop(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		timeout := spec.Duration(7 * time.Second)
		main := hooked("main", "preStop")
		main.Hooks["preStop"] = spec.Hook{Command: []string{"/hook/preStop", "${member.name} of ${set.replicas}"}, Timeout: &timeout}
		w.put(nil, main, sleeper("side"))
		w.reserve(1)
		defer w.running(nil)()
		told := func(when, want string) {
			t.Helper()
			h := w.keeper.preStop("default/web-0", "main")
			if h == nil || !slices.Equal(h.Argv, []string{"/hook/preStop", want}) || h.Timeout != timeout.D() || !slices.Equal(h.Env, []string{"SUP_ATTEMPT=1"}) {
				t.Errorf("%s the keeper has %+v, want %q", when, h, want)
			}
		}
		w.start(0)
		settle(2 * time.Second)
		told("at its start", "web-0 of 3")
		if h := w.keeper.preStop("default/web-0", "side"); h != nil {
			t.Errorf("a process without the hook has %+v", h)
		}

		w.keeper.did()
		w.put(func(s *spec.StatefulSetSpec, _ *spec.Template) { *s.Replicas = 4 }, main, sleeper("side"))
		settle(5 * time.Second)
		told("after what it names has changed,", "web-0 of 4")
		if got := w.keeper.did(); runsOf(got, "update") != 1 {
			t.Errorf("it was told by %v, want one update", got)
		}

		w.keeper.upgrade()
		settle(5 * time.Second)
		if got := w.keeper.did(); runsOf(got, "update default/web-0 main") != 1 || len(got) != 1 {
			t.Errorf("a keeper that knows hooks now was told by %v, want one update", got)
		}
		told("after an upgrade", "web-0 of 4")
	})
}
