package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// following runs supctl beside the test; it is under way when its first line of progress is there.
func following(t *testing.T, n *servertest.Node, addr, args string) (done <-chan int, progress *lineWriter) {
	t.Helper()
	progress = &lineWriter{ch: make(chan string, 1000)}
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: progress, now: n.Now}
	status := make(chan int, 1)
	go func() { status <- a.run(t.Context(), append(strings.Fields(args), "--addr", addr)) }()
	return status, progress
}

// TestWaitEndsWhenStalled: what is followed to its end ends with 1 when nothing goes on by
// itself, but not for a stall that the change itself may have ended.
func TestWaitEndsWhenStalled(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(1)
	addr := serve(t, n)
	expect(t, n, addr, "apply -f "+write(t, "kv.yaml", definition), "statefulset/kv created\n")
	n.Settle()
	n.Sleep("node-1", true) // its agent does nothing
	changed := func(what string) string { return write(t, "kv.yaml", strings.Replace(definition, "infinity", what, 1)) }
	labelled := func(label string) string {
		return write(t, "kv.yaml", strings.NewReplacer("infinity", "2h", "name: kv", "name: kv\n  labels: {tier: "+label+"}").Replace(definition))
	}
	over := spec.DefaultProgressDeadline.D() + time.Second
	for _, c := range []struct {
		name, args string
		under      bool // not ended at once, though it may be stalled of old
		touch      string
		says       string
	}{
		{"a rollout stalls", "apply --wait -f " + changed("1h"), true, "", "the rollout of statefulset kv has stalled: no progress for 10m0s: "},
		{"a better definition ends the old stall", "apply --wait -f " + changed("2h"), true, "", "supctl rollout undo kv"},
		{"one that leaves it as it is", "apply --wait -f " + labelled("front"), true, labelled("back"), "has stalled"},
		{"nothing changed", "apply --wait -f " + labelled("back"), false, "", "has stalled"},
		{"followed later", "rollout status kv", false, "", "has stalled"},
		{"told as it is", "rollout status kv --wait=false", false, "", "has stalled"},
		{"a restart", "restart kv --wait", true, labelled("side"), "has stalled"},
		{"more members", "scale kv --replicas 3 --wait", true, "", "has stalled"},
	} {
		done, progress := following(t, n, addr, c.args)
		if c.under {
			line := <-progress.ch
			select {
			case status := <-done:
				t.Fatalf("%s: supctl %s = %d at once: %s", c.name, c.args, status, line)
			default:
			}
			n.Advance(over)
		}
		if c.touch != "" { // something of the set changes, so the stream tells it
			expect(t, n, addr, "apply -f "+c.touch, "statefulset/kv configured\n")
		}
		status := <-done
		var last string
		for len(progress.ch) > 0 {
			last = <-progress.ch
		}
		if status != exitFailed || !strings.Contains(last, c.says) {
			t.Errorf("%s: supctl %s = %d, want 1 and %q; it said %s", c.name, c.args, status, c.says, last)
		}
	}
}

// TestStall: which stall ends following, by what was before and what is to come.
func TestStall(t *testing.T) {
	t.Parallel()
	deadline := spec.Duration(time.Minute)
	at := servertest.Epoch
	set := func(since time.Duration, auto bool) *spec.StatefulSet {
		s := &spec.StatefulSet{
			Spec:   spec.StatefulSetSpec{ProgressDeadline: &deadline, AutoRollback: auto},
			Status: &spec.StatefulSetStatus{CurrentRevision: "a", UpdateRevision: "b"},
		}
		if since >= 0 {
			stalled := at.Add(since)
			s.Status.Conditions = []spec.Condition{{Type: spec.ConditionStalled, Status: "True", Since: &stalled}}
		}
		return s
	}
	type look struct {
		after time.Duration
		set   *spec.StatefulSet
		ends  bool
	}
	none, old, later := set(-1, false), set(0, false), set(2*time.Hour, false)
	for _, c := range []struct {
		name   string
		before *stall
		looks  []look
	}{
		{"new", stallBefore(none, true), []look{{0, none, false}, {1, old, true}}},
		{"of before", stallBefore(old, true), []look{{0, old, false}, {59 * time.Second, old, false}, {time.Minute, old, true}}},
		{"of before, and a new one", stallBefore(old, true), []look{{0, old, false}, {1, none, false}, {2, later, true}}},
		{"of before, seen as a new one", stallBefore(old, true), []look{{0, old, false}, {2, later, true}}},
		{"nothing was changed", stallBefore(old, false), []look{{0, old, true}}},
		{"what was before is not known", stallBefore(&spec.StatefulSet{}, true), []look{{0, old, false}, {time.Minute, old, true}}},
		{"not known, and none", stallBefore(&spec.StatefulSet{}, true), []look{{0, none, false}, {1, old, true}}},
		{"it goes back by itself", &stall{}, []look{{0, set(0, true), false}, {59 * time.Second, set(0, true), false}, {time.Minute, set(0, true), true}}},
	} {
		for i, l := range c.looks {
			if err := c.before.judge(l.set, at.Add(l.after)); (err != nil) != l.ends {
				t.Errorf("%s: look %d = %v, want the end: %v", c.name, i, err, l.ends)
			}
		}
	}
}
