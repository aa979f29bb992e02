package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// witness keeps every state of a set's members that a watch stream has shown: it misses nothing by looking too seldom, as
// one that asks once a second does.
type witness struct {
	set string

	mu     sync.Mutex      // guards what follows
	ready  map[string]bool // by member, as it is now
	states []string        // "ss-0=ready ss-1=not"; the newest last
	least  int             // how few were ready, at the worst
	err    error
}

// follow SET: from now on every state of its members is seen. What was judged before is forgotten.
func cmdFollow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: follow SET")
	}
	c, err := client.New(ts.Getenv("SUPCTL_ADDR"), client.Options{})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := c.Watch(ctx, client.Members, "", 0, client.ReadOptions{Namespace: spec.DefaultNS})
	if err != nil {
		cancel()
		c.Close()
		ts.Fatalf("cannot watch: %v", err)
	}
	w := &witness{set: args[0], ready: map[string]bool{}, least: -1}
	var done sync.WaitGroup
	done.Go(func() { w.see(stream) })
	ts.Defer(func() {
		cancel()
		stream.Close()
		done.Wait()
		c.Close()
	})
	worldOf(ts).witness = w
}

// see takes the stream's events in; those of one index are one state.
func (w *witness) see(stream *client.Watcher) {
	begun := false
	var index uint64
	for {
		ev, err := stream.Next()
		w.mu.Lock()
		if begun && (err != nil || ev.Index != index) {
			w.judge()
		}
		if err != nil {
			w.err = err
			w.mu.Unlock()
			return
		}
		index = ev.Index
		begun = begun || ev.Type == client.WatchBookmark
		w.take(ev)
		w.mu.Unlock()
	}
}

func (w *witness) take(ev client.WatchEvent) {
	var m spec.Member
	if len(ev.Object) == 0 || json.Unmarshal(ev.Object, &m) != nil || m.Spec.Set != w.set {
		return
	}
	if ev.Type == client.WatchDeleted {
		delete(w.ready, m.Metadata.Name)
		return
	}
	w.ready[m.Metadata.Name] = m.Status.Ready
}

// judge notes the state that is complete now.
func (w *witness) judge() {
	var names []string
	count := 0
	for name, ready := range w.ready {
		word := "=not"
		if ready {
			word = "=ready"
			count++
		}
		names = append(names, name+word)
	}
	slices.Sort(names)
	state := strings.Join(names, " ")
	if n := len(w.states); n == 0 || w.states[n-1] != state {
		w.states = append(w.states, state)
	}
	if w.least < 0 || count < w.least {
		w.least = count
	}
}

// least N: of the followed set never fewer than N members were ready, and at the worst N. The set is at rest now.
func cmdLeast(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	w := worldOf(ts).witness
	if neg || w == nil {
		ts.Fatalf("usage: follow SET, then least N")
	}
	ts.Check(until(eventually, func() error { // the stream has told all
		list, err := listMembers(ts)
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err != nil {
			return nil
		}
		for _, m := range list {
			if got, ok := w.ready[m.Metadata.Name]; m.Spec.Set == w.set && (!ok || got != m.Status.Ready) {
				return fmt.Errorf("the stream has not told of %s yet", m.Metadata.Name)
			}
		}
		return nil
	}))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge()
	ts.Logf("%d states were seen:\n%s", len(w.states), strings.Join(w.states, "\n"))
	if w.err != nil {
		ts.Fatalf("the stream ended: %v", w.err)
	}
	if w.least != want {
		ts.Fatalf("at the worst %d members were ready, want %d", w.least, want)
	}
}

// serves MEMBER PATH REGEXP: what the process itself answers there, on its port "http". HOST:PORT in place of the member: what
// is listening there.
func cmdServes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: serves MEMBER PATH REGEXP")
	}
	re, err := regexp.Compile(args[2])
	ts.Check(err)
	ts.Check(until(eventually, func() error {
		if strings.Contains(args[0], ":") {
			return answers(args[0], args[1], re)
		}
		list, err := listMembers(ts)
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.Metadata.Name == args[0] {
				return answers(net.JoinHostPort(m.Spec.IP, strconv.Itoa(m.Spec.Ports["http"])), args[1], re)
			}
		}
		return fmt.Errorf("there is no member %s", args[0])
	}))
}

func answers(addr, path string, re *regexp.Regexp) error {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + addr + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !re.Match(b) {
		return fmt.Errorf("%s%s answers %s %q, want a match for %s", addr, path, resp.Status, b, re)
	}
	return nil
}

// api METHOD PATH STATUS [FILE]: a request to the API as it is; its answer is stdout. FILE is the body.
func cmdAPI(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: api METHOD PATH STATUS [FILE]")
	}
	socket, ok := strings.CutPrefix(ts.Getenv("SUPCTL_ADDR"), "unix://")
	if !ok {
		ts.Fatalf("no socket in SUPCTL_ADDR")
	}
	var body []byte
	if len(args) > 3 {
		body = []byte(ts.ReadFile(args[3]))
	}
	status, answer, err := request(socket, args[0], args[1], body)
	ts.Check(err)
	_, err = ts.Stdout().Write(answer)
	ts.Check(err)
	if strconv.Itoa(status) != args[2] {
		ts.Fatalf("%s %s: status %d, want %s: %s", args[0], args[1], status, args[2], answer)
	}
}

func request(socket, method, path string, body []byte) (int, []byte, error) {
	short, done, err := client.ShortSocketPath(socket)
	if err != nil {
		return 0, nil, err
	}
	defer done()
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", short)
		},
	}}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://supd"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
