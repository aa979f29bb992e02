package agent

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// reshape changes the volumes of web.
func (w *world) reshape(names ...string) {
	w.t.Helper()
	s := w.View().Set("default", "web")
	tpl := w.View().Revision("default", "web", s.Revision).Template
	tpl.Shape = nil
	sp := s.Spec.Clone()
	sp.Volumes = nil
	for _, n := range names {
		sp.Volumes = append(sp.Volumes, spec.VolumeSpec{Name: n, Mode: "0700"})
	}
	w.apply(&state.PutSet{Namespace: "default", Name: "web", UID: "again", Spec: sp, Template: tpl, Rules: state.RulesNow})
}

// What was done once for a member's data is not done again for a volume that is added
// (initialising a database would be the end of it); a dropped directory stays where it is,
// and comes back with all that is in it.
func TestAddedAndDroppedVolumes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withInit(spec.InitStep{Name: "create", Once: true, Exec: spec.Exec{Command: []string{"create", "${volume.data}"}}}), sleeper("main"))
		w.reserve(1)
		var mu sync.Mutex // guards ran
		ran := 0
		w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			mu.Lock()
			defer mu.Unlock()
			ran++
			return keeper.RunResult{}, nil
		})
		end := w.running(nil)
		again := func() {
			t.Helper()
			w.stop(0)
			settle(time.Second)
			w.start(0)
			settle(2 * time.Second)
			w.want(0, spec.MemberRunning, true)
		}
		w.start(0)
		settle(2 * time.Second)

		w.reshape("logs", "data")
		settle(time.Second)
		if v := w.View().Volume("default", "logs-web-0"); v == nil || v.Made {
			t.Fatalf("before the next start the added volume is %+v", v)
		}
		end()
		end = w.running(nil) // a daemon that comes back learns how it runs, without the new one
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if got := w.keeper.did(); slices.ContainsFunc(got, func(s string) bool { return s == "stop default/web-0 main" }) {
			t.Fatalf("the agent did %v", got)
		}
		lock := w.keeper.startOf("default/web-0", "main").Lock

		again()
		logs := w.View().Volume("default", "logs-web-0")
		if !logs.Made || logs.Phase != spec.VolumeBound {
			t.Fatalf("after it the volume is %+v", logs)
		}
		if ran != 1 {
			t.Errorf("the once step ran %d times", ran)
		}
		if got := w.keeper.startOf("default/web-0", "main").Lock; got != lock {
			t.Errorf("the lock moved from %s to %s", lock, got)
		}
		if err := os.WriteFile(logs.Path+"/kept", nil, 0o600); err != nil {
			t.Fatal(err)
		}

		w.reshape("data")
		settle(time.Second)
		again()
		if v := w.View().Volume("default", "logs-web-0"); v.Phase != spec.VolumeRetained {
			t.Fatalf("dropped, it is %s", v.Phase)
		}
		w.reshape("data", "logs")
		again()
		if _, err := os.Stat(logs.Path + "/kept"); err != nil || w.View().Volume("default", "logs-web-0").UID != logs.UID {
			t.Errorf("the directory is another: %v", err)
		}
		if ran != 1 {
			t.Errorf("the once step ran %d times", ran)
		}
		end()
	})
}
