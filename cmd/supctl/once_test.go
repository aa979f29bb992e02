package main

import (
	"strings"
	"testing"

	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// All that is wrong with a definition is told at once, templates too, in order and once.
func TestAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "bad.yaml", `apiVersion: supd/v1
kind: StatefulSet
metadata: {name: kv}
spec:
  replicsa: 3
  processes:
  - name: kv
    command: ["/bin/kv", "${member.nam}", "${unknown}"]
    env: [{name: A, value: "${env.B}"}, {name: C, value: "${nope}"}]
    ports: [{name: x, port: 99999}]
`)
	n := servertest.Story()
	addr := serve(t, n)
	for _, verb := range []string{"validate", "plan", "apply"} {
		got := call(t, t.Context(), n, "", "--addr", addr, verb, "-f", file)
		status, stderr := got.status, got.stderr
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		want := []string{":5:3: ", ":8:26: ", ":8:43: ", ":9:28: ", ":9:58: ", ":10:29: ", "wrong in 6 places"}
		if status != exitUsage || len(lines) != len(want) {
			t.Errorf("%s: exit status %d\n%s", verb, status, stderr)
			continue
		}
		for i, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("%s: line %d is %q, want %q in it", verb, i, lines[i], w)
			}
		}
	}
}

// When --wait returns nothing that follows by itself changes the set any more.
func TestSetReadyWaitsForTheLastNote(t *testing.T) {
	t.Parallel()
	one := 1
	set := &spec.StatefulSet{Spec: spec.StatefulSetSpec{Replicas: &one}, Status: &spec.StatefulSetStatus{
		Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "a",
		Conditions: []spec.Condition{{Type: spec.ConditionProgressing, Status: "False"}},
	}}
	st := set.Status
	for _, c := range []struct {
		formed             bool
		current            string
		updated, available int
		want               bool
	}{
		{false, "a", 1, 1, false},
		{true, "", 1, 1, false},
		{true, "a", 1, 1, true},
		{false, "", 1, 0, true}, // minReady: noted when it is available
	} {
		st.Formed, st.CurrentRevision, st.UpdatedReplicas, st.AvailableReplicas = c.formed, c.current, c.updated, c.available
		if got := setReady(set, 0); got.done != c.want {
			t.Errorf("%+v: ready is %v (%s)", c, got.done, got.note)
		}
	}
}
