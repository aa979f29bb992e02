package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/volumes"
)

// TestVolumeMadeUnknownToTheLog: the leader was lost before it could be told that the
// directory was made, the member went on writing, the host went down, and came back
// without the volumes' disk. Nothing is made in the directory's place.
func TestVolumeMadeUnknownToTheLog(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, sleeper("main"))
		w.reserve(1)
		w.setDeaf(true)
		end := w.running(nil)
		w.start(0)
		settle(2 * time.Second)
		if n := startsOf(w.keeper.did()); len(n) != 1 {
			t.Fatalf("started: %v", n)
		}
		if w.View().Volume("default", "data-web-0").Made {
			t.Fatal("the log knows of the directory")
		}
		end()
		found, err := filepath.Glob(filepath.Join(w.dir, "volumes", "default", "*"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		if err := os.Rename(filepath.Join(w.dir, "volumes"), filepath.Join(w.dir, "volumes.away")); err != nil {
			t.Fatal(err)
		}
		w.keeper.set(keeper.Status{Member: "default/web-0", Process: "main", Epoch: 1, State: keeper.Stopped})
		w.setDeaf(false)
		end = w.running(nil)
		settle(2 * time.Second)
		w.want(0, spec.MemberStopped, false)
		w.start(0)
		settle(2 * time.Second)
		w.wantReason(0, string(volumes.ErrMissing), "")
		if n := startsOf(w.keeper.did()); len(n) != 0 {
			t.Errorf("started: %v", n)
		}
		end()
		if err := os.RemoveAll(filepath.Join(w.dir, "volumes")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(w.dir, "volumes.away"), filepath.Join(w.dir, "volumes")); err != nil {
			t.Fatal(err)
		}
		defer w.running(nil)()
		settle(time.Minute)
		w.want(0, spec.MemberRunning, true)
		if vol := w.View().Volume("default", "data-web-0"); !vol.Made || vol.Reason != "" {
			t.Errorf("made %v, reason %q", vol.Made, vol.Reason)
		}
	})
}
