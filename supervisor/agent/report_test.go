package agent

import (
	"os"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

func TestReportsAreRetried(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.setCut(true)
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Second)
		if n := w.member(0).Seen.Restarts; n != 0 {
			t.Fatalf("%d restarts known without a leader", n)
		}
		w.setCut(false)
		settle(3 * time.Second)
		if n := w.member(0).Seen.Restarts; n != 1 {
			t.Errorf("%d restarts known, want 1", n)
		}
	})
}

func TestRefusedReportRegistersAnew(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		run := w.View().Node("n1").Run
		// Somebody else took the node's name over for a moment, say a restored log.
		w.apply(&state.RegisterNode{Node: w.self("another")})
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(3 * time.Second)
		if got := w.View().Node("n1").Run; got == "another" {
			t.Errorf("the run is %q, the agent's was %q", got, run)
		}
		if n := w.member(0).Seen.Restarts; n != 1 {
			t.Errorf("%d restarts known, want 1", n)
		}
	})
}

// The daemon ends after a start and before it could tell: the next one tells.
func TestWhatWasNotSaidIsSaidByTheNextRun(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, sleeper("main"))
		w.reserve(1)
		w.setDeaf(true)
		end := w.running(nil)
		w.start(0)
		settle(2 * time.Second)
		end()
		if w.member(0).Seen.Phase != "" || w.View().Volume("default", "data-web-0").Made {
			t.Fatal("something was reported")
		}
		w.setDeaf(false)
		w.keeper.did()
		defer w.running(nil)()
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if vol := w.View().Volume("default", "data-web-0"); !vol.Made || vol.Phase != spec.VolumeBound {
			t.Errorf("the volume is %s, made %v", vol.Phase, vol.Made)
		}
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("the agent did %v", got)
		}
	})
}

func TestReleasedVolumes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withVolume, sleeper("main"))
		w.reserve(2)
		w.start(0)
		w.start(1)
		defer w.running(nil)()
		settle(2 * time.Second)
		w.apply(&state.DeleteSet{Namespace: "default", Name: "web"})
		for i := range 2 {
			m := w.member(i)
			w.apply(&state.StopMember{Namespace: "default", Set: "web", Ordinal: i, Gone: true, Why: "SetDeleted", IfEpoch: m.Epoch, IfGeneration: m.Generation})
			settle(time.Second)
			m = w.member(i)
			w.apply(&state.DropMember{Namespace: "default", Set: "web", Ordinal: i, IfEpoch: m.Epoch, IfGeneration: m.Generation})
		}
		vol := func(i int) *state.Volume { return w.View().Volume("default", spec.VolumeName("data", "web", i)) }
		path := []string{vol(0).Path, vol(1).Path}
		for i := range 2 {
			w.apply(&state.ReleaseVolume{Namespace: "default", Name: vol(i).Name(), At: time.Now().Add(time.Hour)})
		}
		settle(time.Second)
		for i := range 2 {
			if _, err := os.Stat(path[i]); !os.IsNotExist(err) || !vol(i).Trashed {
				t.Fatalf("volume %d: trashed %v, directory %v", i, vol(i).Trashed, err)
			}
		}
		w.apply(&state.UndoRelease{Namespace: "default", Name: vol(1).Name()})
		settle(2 * time.Hour)
		if _, err := os.Stat(path[1]); err != nil || vol(1).Phase != spec.VolumeRetained {
			t.Errorf("the one taken back is %s, %v", vol(1).Phase, err)
		}
		if !vol(0).Trashed || vol(0).Emptying {
			t.Errorf("emptied although the log has not said so: %+v", vol(0))
		}
		w.apply(&state.EmptyVolume{Namespace: "default", Name: vol(0).Name(), UID: vol(0).UID, IfGeneration: vol(0).Generation})
		settle(time.Second)
		if vol(0) != nil {
			t.Errorf("the record is still there: %+v", vol(0))
		}
	})
}
