package control

import (
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// A plan made while a node was silent places nothing there. When the node answers
// before the planner has looked at who is silent once more, the plan must still be
// made anew: or a scale-up is accepted and nothing is placed, for as long as nothing
// else changes. Each case ends with a wish that is planned in the silence and a
// heartbeat within silencePoll of it, so no look falls between the two.
func TestPlanOfASilentMomentIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]func(t *testing.T, l *lab){
		// The new leader has not heard of the node in its term.
		"new leader": func(*testing.T, *lab) {},
		// The node's heartbeat is late by less than the planner's next look.
		"late heartbeat": func(t *testing.T, l *lab) {
			l.mustBeat(t)
			time.Sleep(time.Second) // a look of the planner's, and the node still counts
			synctest.Wait()
			if l.Silent("a") {
				t.Fatal("the node is silent too early for this test")
			}
			time.Sleep(silencePoll / 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.begin(t)
				silence(t, l)
				if !l.Silent("a") {
					t.Fatal("the node is not silent")
				}
				l.put(t, 1)
				if l.f.View().Member("default", "web", 0) != nil {
					t.Fatal("web-0 was placed on a silent node")
				}
				time.Sleep(silencePoll / 4)
				l.mustBeat(t)
				time.Sleep(silencePoll)
				synctest.Wait()
				if m := l.f.View().Member("default", "web", 0); m == nil || m.Epoch == 0 {
					t.Errorf("web-0 is %+v %s after its node has answered, want it started", m, silencePoll)
				}
			})
		})
	}
}

func (l *lab) mustBeat(t *testing.T) {
	t.Helper()
	if _, err := l.beat(t); err != nil {
		t.Fatal(err)
	}
}

// put wishes for a set web, and returns when the planner has seen it.
func (l *lab) put(t *testing.T, replicas int) {
	t.Helper()
	p := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"a"}}}}
	res, err := l.f.Propose(t.Context(), state.Entry{At: time.Now(), Cmd: &state.PutSet{
		Namespace: "default", Name: "web", UID: "w", Rules: state.RulesNow, Template: spec.Template{Processes: p},
		Spec: spec.StatefulSetSpec{Replicas: &replicas, ServiceName: "web", Network: spec.Network{Mode: spec.NetworkNode}, Processes: p},
	}})
	if err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	synctest.Wait()
}
