package agent

import (
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// TestSameTellsWhyOnce: what a probe says is told when nothing was said of it yet, and not each time that it differs.
func TestSameTellsWhyOnce(t *testing.T) {
	t.Parallel()
	say := func(text string) state.Observation {
		return state.Observation{Epoch: 1, Phase: spec.MemberStarting, Reason: "StartupPending", Message: text}
	}
	for _, c := range []struct {
		was, now string
		same     bool
	}{
		{"it has not passed yet", "it has not passed yet: no answer", false},
		{"it has not passed yet: no answer", "it has not passed yet: exit 1", true},
		{"it has not passed yet: no answer", "it has not passed yet", true},
		{"", "it has not passed yet: no answer", true},
	} {
		if got := same(say(c.was), say(c.now)); got != c.same {
			t.Errorf("%q after %q: same=%v, want %v", c.now, c.was, got, c.same)
		}
	}
}
