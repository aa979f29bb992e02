package plan_test

import (
	"strings"
	"testing"

	"supd/supervisor/spec"
)

// What Kubernetes' documentation says in words, each by name, as the sequence that it means.
// The script is compared with the model as well, so the model is held to the words too. Of
// what may happen next, the lowest ordinal's comes first. Batches that begin together are one
// line.
func TestKubernetesDocumentedExamples(t *testing.T) {
	t.Parallel()
	web := wish{replicas: 3, policy: spec.OrderedReady, strategy: spec.RollingUpdate, max: "1", template: "a"}
	for _, c := range []struct {
		name string
		with func(w *wish)
		do   []func(b *beside)
		want string // of the last step alone
	}{
		{
			name: "web-1 will not be deployed before web-0 is Running and Ready",
			want: "start 0 of a; start 1 of a; start 2 of a",
		},
		{
			name: "Parallel: to launch all Pods in parallel",
			with: parallel,
			want: "start 0 of a, start 1 of a, start 2 of a",
		},
		{
			name: "with replicas=1 web-2 is terminated first, web-1 not until web-2 is deleted",
			do:   does(func(w *wish) { w.replicas = 1 }),
			want: "stop 2; stop 1",
		},
		{
			name: "scaling up goes on from the highest",
			do:   does(func(w *wish) { w.replicas = 5 }),
			want: "start 3 of a; start 4 of a",
		},
		{
			name: "scaled to 0 and back",
			do:   does(func(w *wish) { w.replicas = 0 }, func(w *wish) { w.replicas = 2 }),
			want: "start 0 of a; start 1 of a",
		},
		{
			name: "a rolling update goes from the largest ordinal to the smallest, one at a time",
			do:   does(template("b")),
			want: "stop 2; start 2 of b; stop 1; start 1 of b; stop 0; start 0 of b",
		},
		{
			name: "Parallel does not change the order of updates",
			with: parallel,
			do:   does(template("b")),
			want: "stop 2; start 2 of b; stop 1; start 1 of b; stop 0; start 0 of b",
		},
		{
			name: "only Pods at or above the partition are updated",
			do:   does(partition(2), template("b")),
			want: "stop 2; start 2 of b",
		},
		{
			name: "a partition above all replicas: updates are not propagated",
			do:   does(partition(4), template("b")),
		},
		{
			name: "below the partition even deleted Pods are recreated at the previous version",
			do:   append(does(partition(2), template("b")), deletes(0)),
			want: "start 0 of a",
		},
		{
			name: "above the partition deleted Pods are recreated at the new version",
			do:   append(does(partition(2), template("b")), deletes(2)),
			want: "start 2 of b",
		},
		{
			name: "phased roll out",
			do:   does(partition(3), template("b"), partition(2), partition(0)),
			want: "stop 1; start 1 of b; stop 0; start 0 of b",
		},
		{
			name: "a raised partition leaves the updated as they are",
			do:   does(partition(1), template("b"), partition(3)),
		},
		{
			name: "and brings them back when they are deleted",
			do:   append(does(partition(1), template("b"), partition(3)), deletes(2)),
			want: "start 2 of a",
		},
		{
			name: "a rollback is a rolling update as well",
			do:   does(template("b"), template("a")),
			want: "stop 2; start 2 of a; stop 1; start 1 of a; stop 0; start 0 of a",
		},
		{
			name: "OnDelete: the controller will not automatically update",
			do:   does(onDelete, template("b")),
		},
		{
			name: "OnDelete: users delete Pods to have new ones made",
			do:   append(does(onDelete, template("b")), deletes(1)),
			want: "start 1 of b",
		},
		{
			name: "from OnDelete to RollingUpdate: the rest follows",
			do: append(does(onDelete, template("b")), deletes(1),
				puts(func(w *wish) { w.strategy, w.max = spec.RollingUpdate, "1" })),
			want: "stop 2; start 2 of b; stop 0; start 0 of b",
		},
		{
			name: "maxUnavailable 2 of 4, each place in the budget used at once (KEP-961, choice 2)",
			with: func(w *wish) { w.replicas, w.max = 4, "2"; parallel(w) },
			do:   does(template("b")),
			want: "stop 3, stop 2; start 2 of b; stop 1; start 1 of b; stop 0; start 0 of b; start 3 of b",
		},
		{
			name: "a percentage of maxUnavailable is rounded up",
			with: func(w *wish) { w.replicas, w.max = 5, "30%"; parallel(w) },
			do:   does(partition(3), template("b")),
			want: "stop 4, stop 3; start 3 of b; start 4 of b",
		},
		{
			name: "minReadySeconds: the next when the last is available",
			with: func(w *wish) { w.minReady = true },
			do:   does(template("b")),
			want: "stop 2; start 2 of b; stop 1; start 1 of b; stop 0; start 0 of b",
		},
		{
			name: "start ordinal 2 with 3 replicas: web-2, web-3 and web-4",
			with: func(w *wish) { w.start = 2 },
			want: "start 2 of a; start 3 of a; start 4 of a",
		},
		{
			name: "increasing the start ordinal",
			do:   does(func(w *wish) { w.start = 2 }),
			want: "start 3 of a; start 4 of a; stop 1; stop 0",
		},
		{
			name: "removing the start ordinal",
			with: func(w *wish) { w.start = 2 },
			do:   does(func(w *wish) { w.start = 0 }),
			want: "start 0 of a; start 1 of a; stop 4; stop 3",
		},
		{
			name: "scaling takes precedence over updates, upwards",
			do:   does(func(w *wish) { w.replicas, w.template = 5, "b" }),
			want: "start 3 of b; start 4 of b; stop 2; start 2 of b; stop 1; start 1 of b; stop 0; start 0 of b",
		},
		{
			name: "scaling takes precedence over updates, downwards",
			with: func(w *wish) { w.replicas = 4 },
			do:   does(func(w *wish) { w.replicas, w.template = 2, "b" }),
			want: "stop 3; stop 2; stop 1; start 1 of b; stop 0; start 0 of b",
		},
		// Where supd differs, and says so in the model.
		{
			name: "scale-down: one at a time under Parallel too",
			with: parallel,
			do:   does(func(w *wish) { w.replicas = 0 }),
			want: "stop 2; stop 1; stop 0",
		},
		{
			name: "repair: waits for nobody",
			do:   []func(b *beside){func(b *beside) { b.pick = last }, deletes(0, 2)},
			want: "start 2 of a; start 0 of a",
		},
		{
			name: "one budget: used at once under OrderedReady too",
			with: func(w *wish) { w.replicas, w.max = 4, "2" },
			do:   does(template("b")),
			want: "stop 3, stop 2; start 2 of b; stop 1; start 1 of b; stop 0; start 0 of b; start 3 of b",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := web
			if c.with != nil {
				c.with(&w)
			}
			b := newBeside(t, w, func(int) int { return 0 })
			for _, do := range c.do {
				b.did = nil
				do(b)
			}
			if got := strings.Join(b.did, "; "); got != c.want {
				b.fail("it did %q, want %q", got, c.want)
			}
		})
	}
}

func parallel(w *wish) { w.policy = spec.Parallel }

func onDelete(w *wish) { w.strategy, w.max = spec.OnDelete, "" }

func template(name string) func(*wish) { return func(w *wish) { w.template = name } }

func partition(p int) func(*wish) { return func(w *wish) { w.partition = p } }

// puts applies a changed definition.
func puts(change func(w *wish)) func(b *beside) {
	return func(b *beside) {
		w := b.k.want
		change(&w)
		b.put(w)
	}
}

func does(changes ...func(w *wish)) (out []func(b *beside)) {
	for _, c := range changes {
		out = append(out, puts(c))
	}
	return out
}

func deletes(ordinals ...int) func(b *beside) {
	return func(b *beside) { b.delete(ordinals...) }
}

// last lets the highest ordinal's come first.
func last(n int) int { return n - 1 }
