package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// expect runs supctl and wants success with these lines.
func expect(t *testing.T, n *servertest.Node, addr, args, want string) {
	t.Helper()
	r := call(t, t.Context(), n, "", append(strings.Fields(args), "--addr", addr)...)
	if r.status != exitOK || r.stdout != want {
		t.Errorf("supctl %s = %d\n%s%s\nwant:\n%s", args, r.status, r.stdout, r.stderr, want)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(3)
	addr := serve(t, n)
	f := write(t, "kv.yaml", definition)
	expect(t, n, addr, "apply -f "+f+" --dry-run", "statefulset/kv created (dry run)\n")
	expect(t, n, addr, "get sts -o name", "")
	expect(t, n, addr, "apply -f "+f+" --reason first", "statefulset/kv created\n")
	expect(t, n, addr, "apply -f "+f, "statefulset/kv unchanged\n")
	expect(t, n, addr, "diff -f "+f, "")
	n.Settle()
	expect(t, n, addr, "wait sts/kv --for=ready", "statefulset/kv is ready\n")
	more := write(t, "kv.yaml", strings.NewReplacer("replicas: 2", "replicas: 3", "infinity", "1h").Replace(definition))
	golden(t, "output/plan.txt", call(t, t.Context(), n, "", "plan", "-f", more, "--addr", addr).stdout)
	golden(t, "output/diff.txt", call(t, t.Context(), n, "", "diff", "-f", more, "--addr", addr).stdout)
	expect(t, n, addr, "apply -f "+more+" -o name", "statefulset/kv\n")

	// What get prints is taken back.
	r := call(t, t.Context(), n, "", "get", "sts", "kv", "-o", "yaml", "--addr", addr)
	back := call(t, t.Context(), n, r.stdout, "apply", "-f", "-", "--addr", addr)
	if back.status != exitOK || back.stdout != "statefulset/kv unchanged\n" {
		t.Errorf("apply of get -o yaml = %d %s%s", back.status, back.stdout, back.stderr)
	}
	n.Settle()
	expect(t, n, addr, "wait sts/kv --for=ready", "statefulset/kv is ready\n")
	expect(t, n, addr, "delete sts kv", "statefulset/kv is being deleted; its volumes are retained\n")
	n.Settle()
	expect(t, n, addr, "wait sts/kv --for=deleted", "statefulset/kv is deleted\n")
}

// TestApplyProgram: a Program goes first, and counts in dry runs before it is stored.
func TestApplyProgram(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(1)
	addr := serve(t, n)
	f := write(t, "db.yaml", `apiVersion: supd/v1
kind: StatefulSet
metadata: {name: db}
spec:
  processes:
  - {name: main, image: "sleeper:1"}
---
apiVersion: supd/v1
kind: Program
metadata: {name: "sleeper:1"}
spec: {command: [sleep, infinity]}
`)
	expect(t, n, addr, "apply --dry-run -f "+f, "program/sleeper:1 created (dry run)\nstatefulset/db created (dry run)\n")
	expect(t, n, addr, "plan -f "+f, "program/sleeper:1 would be created\nstatefulset/db would be created\n   1  reserve db-0 on node-1\n   2  start db-0 on node-1\n")
	expect(t, n, addr, "apply -f "+f, "program/sleeper:1 created\nstatefulset/db created\n")
	expect(t, n, addr, "delete prog sleeper:1", "program/sleeper:1 deleted\n")
}

func TestChanges(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	addr := serve(t, n)
	expect(t, n, addr, "node cordon node-2", "node/node-2 cordoned\n")
	expect(t, n, addr, "node cordon no/node-2", "node/node-2 unchanged\n")
	expect(t, n, addr, "node uncordon node-3", "node/node-3 uncordoned\n")
	expect(t, n, addr, "scale web --replicas 2", "statefulset/web unchanged\n")
	expect(t, n, addr, "scale sts/web --replicas 1 --accept-unhealthy web-1", "statefulset/web scaled to 1\n")
	expect(t, n, addr, "restart web", "statefulset/web is restarted, one member at a time\n")
	expect(t, n, addr, "restart web-0", "member/web-0 is restarted in its turn\n")
	expect(t, n, addr, "delete member web-0", "member/web-0 is being stopped; it comes back as itself\n")
	expect(t, n, addr, "volume release data-web-2", "volume/data-web-2 is released; it is deleted after 2026-01-03T03:18:05Z (supctl volume undo-release data-web-2 brings it back)\n")
	expect(t, n, addr, "volume undo-release data-web-2", "volume/data-web-2 comes back from the trash\n")
	n.Settle()
	expect(t, n, addr, "volume release data-web-2 --now --confirm data-web-2", "volume/data-web-2 is being deleted\n")
}

// lines hands a command's output over line by line.
type lineWriter struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
	ch  chan string
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	for {
		line, err := w.buf.ReadString('\n')
		if err != nil {
			w.buf.WriteString(line)
			return len(b), nil
		}
		w.ch <- line
	}
}

// TestFollow: --wait returns when the set is ready, not before.
func TestFollow(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(3)
	addr := serve(t, n)
	for _, step := range []struct{ args, done string }{
		{"apply -f " + write(t, "kv.yaml", definition) + " --wait --timeout 1m", "ready"},
		{"scale kv --replicas 1 --wait", "ready"},
		{"restart kv --wait", "ready"},
		{"restart kv-0 --wait", "ready"},
		{"delete member kv-0 --wait", "ready"},
		{"delete sts kv --wait", "deleted"},
	} {
		progress := &lineWriter{ch: make(chan string, 100)}
		a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: progress, now: n.Now}
		done := make(chan int, 1)
		go func() { done <- a.run(t.Context(), append(strings.Fields(step.args), "--addr", addr)) }()
		line := <-progress.ch // it is following: nothing has been done yet
		select {
		case status := <-done:
			t.Fatalf("supctl %s returned %d before anything was done: %s", step.args, status, line)
		default:
		}
		n.Settle()
		if status := <-done; status != exitOK {
			t.Errorf("supctl %s = %d", step.args, status)
		}
	}
}

// TestWatchOutput shows a change as one more row, or one JSON object a line.
func TestWatchOutput(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	addr := serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	out := &lineWriter{ch: make(chan string, 100)}
	a := &app{stdin: strings.NewReader(""), stdout: out, stderr: io.Discard, now: n.Now}
	done := make(chan int, 1)
	go func() { done <- a.run(ctx, []string{"get", "m", "-w", "-l", "app=web", "--addr", addr}) }()
	for _, want := range []string{"NAME", "web-0", "web-1"} {
		if line := <-out.ch; !strings.HasPrefix(line, want) {
			t.Errorf("got %q, want %s", line, want)
		}
	}
	n.Heal("default", "web-1")
	if line := <-out.ch; !strings.HasPrefix(line, "web-1   1/1     Running   yes") {
		t.Errorf("got %q, want web-1 healthy", line)
	}
	cancel()
	if status := <-done; status != exitOK {
		t.Errorf("after Ctrl-C = %d, want 0", status)
	}

	ctx, cancel = context.WithCancel(t.Context())
	a = &app{stdin: strings.NewReader(""), stdout: out, stderr: io.Discard, now: n.Now}
	go func() { done <- a.run(ctx, []string{"get", "m", "web-0", "-w", "-o", "json", "--addr", addr}) }()
	var m spec.Member
	if line := <-out.ch; json.Unmarshal([]byte(line), &m) != nil || m.Metadata.Name != "web-0" {
		t.Errorf("got %q, want web-0 as JSON", line)
	}
	cancel()
	<-done
}
