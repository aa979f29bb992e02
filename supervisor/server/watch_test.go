package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// until reads events until one is what is wanted, and returns what came before it.
func until(t *testing.T, w *client.Watcher, want func(client.WatchEvent) bool) []client.WatchEvent {
	t.Helper()
	var seen []client.WatchEvent
	for {
		ev, err := w.Next()
		if err != nil {
			t.Fatalf("the stream ended after %d events: %v", len(seen), err)
		}
		if want(ev) {
			return append(seen, ev)
		}
		seen = append(seen, ev)
	}
}

func ofType(typ string) func(client.WatchEvent) bool {
	return func(ev client.WatchEvent) bool { return ev.Type == typ }
}

func memberIn(t *testing.T, ev client.WatchEvent) spec.Member {
	t.Helper()
	var m spec.Member
	if err := json.Unmarshal(ev.Object, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWatch(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := c.Watch(ctx, client.Members, "", 0, client.ReadOptions{Namespace: "default", Selector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	first := until(t, w, ofType(client.WatchBookmark))
	if len(first) != 3 || first[0].Type != client.WatchAdded || memberIn(t, first[1]).Metadata.Name != "web-1" {
		t.Fatalf("the stream begins with %+v, want both members and a bookmark", first)
	}
	n.Heal("default", "web-1")
	ev := until(t, w, ofType(client.WatchModified))
	if m := memberIn(t, ev[len(ev)-1]); m.Metadata.Name != "web-1" || !m.Status.Healthy {
		t.Errorf("the change is %+v, want web-1 healthy", m)
	}
	index := n.View().Index
	n.Sleep("node-1", false)
	n.Sleep("node-2", false)
	n.Do(&state.DeleteSet{Namespace: "default", Name: "web"})
	n.Settle()
	until(t, w, ofType(client.WatchDeleted))
	until(t, w, ofType(client.WatchDeleted))

	// A stream that begins after a remembered index tells the difference since then.
	w2, err := c.Watch(ctx, client.Members, "", index, client.ReadOptions{Namespace: "default", Selector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer w2.Close()
	since := until(t, w2, ofType(client.WatchBookmark))
	if len(since) != 3 || since[0].Type != client.WatchDeleted || since[1].Type != client.WatchDeleted {
		t.Errorf("after index %d the stream says %+v, want both members deleted", index, since)
	}
}

// TestWatchReset: who asks for what has been forgotten starts over.
func TestWatchReset(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	w, err := c.Watch(t.Context(), client.StatefulSets, "", 2, client.ReadOptions{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	first := until(t, w, ofType(client.WatchBookmark))
	if len(first) != 4 || first[0].Type != client.WatchReset || first[1].Type != client.WatchAdded {
		t.Errorf("the stream begins with %+v, want RESET and all objects", first)
	}
	if _, err := c.Watch(t.Context(), client.StatefulSets, "", n.View().Index+1000, client.ReadOptions{Namespace: "default"}); spec.CodeOf(err) != spec.CodeConflict {
		t.Errorf("watch after an index that is not there = %v, want a conflict", err)
	}
}

// TestWatchEnds: the server's end is the end of its streams.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	s := server.New(n.Options())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	hs := newHTTP(t, s)
	c, err := client.New(hs, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := c.Watch(t.Context(), client.Events, "", 0, client.ReadOptions{For: "member/web-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, w, ofType(client.WatchBookmark))
	logs, err := c.Logs(t.Context(), "default", "web-0", client.LogOptions{Follow: true, Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if _, err := bufio.NewReader(logs).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end Next = %v, want EOF", err)
	}
	if _, err := io.Copy(io.Discard, logs); err != nil {
		t.Errorf("after the end the log = %v, want its end", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// TestLogsOfAMemberThatGoes: whoever follows it is not left waiting.
func TestLogsOfAMemberThatGoes(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	logs, err := c.Logs(t.Context(), "default", "web-0", client.LogOptions{Follow: true, Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	r := bufio.NewReader(logs)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	n.Sleep("node-1", false)
	n.Sleep("node-2", false)
	n.Do(&state.DeleteSet{Namespace: "default", Name: "web"})
	n.Settle()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("after the member is gone its log = %v, want its end", err)
	}
}

func TestLogsOfAnInitStep(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	one := 1
	n.Do(&state.PutSet{
		Namespace: "default", Name: "pg", UID: "pg",
		Spec: spec.StatefulSetSpec{Replicas: &one, ServiceName: "pg", Network: spec.Network{Mode: spec.NetworkMember}},
		Template: spec.Template{
			Init:      []spec.InitStep{{Name: "create"}},
			Processes: []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"db"}}}},
		},
	})
	n.Settle()
	m := n.View().Member("default", "pg", 0)
	n.Name = m.Node
	c, _ := serve(t, n)
	body, err := c.Logs(t.Context(), "default", "pg-0", client.LogOptions{Tail: 1, Process: "init-create"})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if b, err := io.ReadAll(body); err != nil || string(b) != "default/pg-0 init-create three\n" {
		t.Errorf("the log of an init step is %q, %v", b, err)
	}
	_, err = c.Logs(t.Context(), "default", "pg-0", client.LogOptions{Process: "create"})
	if spec.CodeOf(err) != spec.CodeNotFound || !strings.Contains(err.Error(), "main, init-create") {
		t.Errorf("an unknown process: %v", err)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	owner := servertest.Story()
	owner.Name = "node-2"
	_, hs := serve(t, owner)
	n := servertest.Story()
	n.SetAPI("node-2", strings.TrimPrefix(hs.URL, "http://"))
	c, _ := serve(t, n)
	for _, x := range []struct {
		member string
		o      client.LogOptions
		want   string
	}{
		{"web-0", client.LogOptions{Tail: -1}, "default/web-0 main one\ndefault/web-0 main two\ndefault/web-0 main three\n"},
		{"web-1", client.LogOptions{Tail: 1}, "default/web-1 main three\n"}, // by way of its owner
		{"web-1", client.LogOptions{Tail: -1, Previous: true, Process: "main"}, "default/web-1 main earlier\n"},
		{"web-0", client.LogOptions{Tail: 0}, ""},
		{"web-0", client.LogOptions{Tail: -1, Since: 10 * time.Minute}, "default/web-0 main since 1970-01-01T00:50:00Z\n"},
		{"web-1", client.LogOptions{Tail: -1, Since: 10 * time.Minute}, "default/web-1 main since 1970-01-01T00:50:00Z\n"},
		{"web-1", client.LogOptions{Tail: -1, SinceTime: time.Unix(60, 0)}, "default/web-1 main since 1970-01-01T00:01:00Z\n"},
	} {
		body, err := c.Logs(t.Context(), "default", x.member, x.o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err != nil || string(b) != x.want {
			t.Errorf("logs of %s %+v = %q, %v, want %q", x.member, x.o, b, err, x.want)
		}
		_ = body.Close()
	}
	for _, x := range []struct {
		member, process string
		code            spec.Code
	}{
		{"web-9", "", spec.CodeNotFound}, {"web-0", "nope", spec.CodeNotFound},
	} {
		if _, err := c.Logs(t.Context(), "default", x.member, client.LogOptions{Process: x.process}); spec.CodeOf(err) != x.code {
			t.Errorf("logs of %s/%s = %v, want %s", x.member, x.process, err, x.code)
		}
	}
	n.SetAPI("node-2", "127.0.0.1:1")
	if _, err := c.Logs(t.Context(), "default", "web-1", client.LogOptions{}); spec.CodeOf(err) != spec.CodeNoLeader || !strings.Contains(err.Error(), "node-2") {
		t.Errorf("logs of a member whose node is away = %v", err)
	}
}
