package agent

import (
	"testing"

	"supd/raftstore/state"
	"supd/volumes"
)

// TestMissingIsOneWord: the log knows a missing directory by the word of the package that misses it.
func TestMissingIsOneWord(t *testing.T) {
	t.Parallel()
	if string(volumes.ErrMissing) != state.VolumeMissing {
		t.Errorf("volumes say %s, state expects %s", volumes.ErrMissing, state.VolumeMissing)
	}
}
