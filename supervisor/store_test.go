package supervisor

import (
	"fmt"
	"testing"

	"supd/raftstore"
	"supd/supervisor/spec"
)

func TestCoded(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		err  error
		code spec.Code
	}{
		{raftstore.ErrNotLeader, spec.CodeNoLeader},
		{raftstore.ErrFateUnknown, spec.CodeNoLeader},
		{raftstore.ErrTooLarge, spec.CodeInvalid},
	} {
		if got := spec.CodeOf(coded(fmt.Errorf("%w: so and so", x.err))); got != x.code {
			t.Errorf("%v has the code %s, want %s", x.err, got, x.code)
		}
	}
}
