package state

import (
	"fmt"
	"slices"

	"supd/supervisor/spec"
)

// tellHooks tells of hooks that have run since the last report.
func (t *tx) tellHooks(old, m *Member) {
	for _, h := range m.Seen.Hooks {
		known := old.Seen.Epoch == m.Epoch && slices.ContainsFunc(old.Seen.Hooks, func(o spec.HookStatus) bool {
			return o.Name == h.Name && o.Process == h.Process && o.At.Equal(h.At)
		})
		if !known {
			t.tellHook(m, h)
		}
	}
}

func (t *tx) tellHook(m *Member, h spec.HookStatus) {
	what := fmt.Sprintf("%s of process %s", h.Name, h.Process)
	if h.State == spec.HookFailed {
		t.warn(m.Namespace, "member/"+m.Name(), "HookFailed", "%s has failed (attempt %d): %s", what, h.Attempts, h.Message)
		return
	}
	t.event(m.Namespace, "member/"+m.Name(), "HookSucceeded", "%s has run (attempt %d)", what, h.Attempts)
}
