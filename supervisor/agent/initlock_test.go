package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// TestInitHoldsTheLock: an init step writes to the directory as the member does, so
// it is fenced as the member is; and once its epoch is given up it is not tried again.
func TestInitHoldsTheLock(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(func(s *spec.StatefulSetSpec, tpl *spec.Template) {
			withVolume(s, tpl)
			withInit(spec.InitStep{Name: "make", Retries: 3, Exec: spec.Exec{Command: []string{"make"}}})(s, tpl)
		}, sleeper("main"))
		w.reserve(1)
		var got []keeper.Run
		w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			got = append(got, r)
			return keeper.RunResult{}, fmt.Errorf("%w: it was", keeper.ErrGivenUp)
		})
		defer w.running(nil)()
		w.start(0)
		settle(5 * time.Second)
		w.want(0, spec.MemberStopped, false)
		if len(got) != 1 {
			t.Fatalf("the step was tried %d times", len(got))
		}
		if r := got[0]; r.Epoch != 1 || filepath.Base(r.Lock) != "lock.main" || !filepath.IsAbs(r.Lock) {
			t.Errorf("epoch %d, lock %q", r.Epoch, r.Lock)
		}
		if n := startsOf(w.keeper.did()); len(n) != 0 {
			t.Errorf("started: %v", n)
		}
	})
}
