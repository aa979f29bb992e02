package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// BenchmarkLeaderIsolated cuts the leader's link, so that packets to and from it vanish and nobody is told, 10 times; and
// measures the time to the next accepted write through one of the other two nodes. By turns with it the same with three
// etcd on the same pretended hosts. What the isolated leader answers meanwhile is watched too: when it first refuses
// a write, and that none is accepted.
func BenchmarkLeaderIsolated(b *testing.B) {
	const times = 10
	l := startRoom(b)
	e := l.startEtcd(b)
	var ours, theirs, refused, refusedByEtcd []time.Duration
	for range times {
		lead := l.leader(b)
		b.Logf("host %d leads supd", lead)
		took, refusal := l.isolated(b, lead, l.writer(lead%3+1), l.writer(lead))
		ours, refused = append(ours, took), append(refused, refusal)
		l.wellAgain(b)
		if e == nil {
			continue
		}
		lead = e.leader()
		at, done := e.client(lead, "isolated")
		other, doneToo := e.client((lead+1)%3, "other")
		took, refusal = l.isolated(b, lead+1, other, at)
		theirs, refusedByEtcd = append(theirs, took), append(refusedByEtcd, refusal)
		until(b, "etcd is whole", func() error { return at(b.Context(), "after") })
		done()
		doneToo()
		l.wellAgain(b)
		logRound(b, ours, theirs)
	}
	reportGaps(b, "leader isolated to the next accepted write through another node", ours, theirs)
	reportGaps(b, "leader isolated to its first refusal of a write, none accepted", refused, refusedByEtcd)
}

// BenchmarkNodeLost takes a host's power and measures when the others call it Suspect and Lost, 5 times. The lease is
// that of the room, see chaosLease.
func BenchmarkNodeLost(b *testing.B) {
	const times = 5
	l := startRoom(b)
	var suspect, lost []time.Duration
	for range times {
		gone := l.leader(b)%3 + 1 // not the leader
		watcher := l.hosts[gone%3]
		until(b, "the host is well to all", func() error { return l.nodeIs(b, watcher, gone, spec.NodeReady) })
		began := time.Now()
		if err := l.hosts[gone-1].powerOff(); err != nil {
			b.Fatal(err)
		}
		seen := func(phase string) time.Duration {
			until(b, phase, func() error { return l.nodeIs(b, watcher, gone, phase) })
			return time.Since(began)
		}
		suspect = append(suspect, seen(spec.NodeSuspect))
		lost = append(lost, seen(spec.NodeLost))
		if err := l.hosts[gone-1].boot(time.Minute); err != nil {
			b.Fatal(err)
		}
		l.wellAgain(b)
	}
	b.ReportMetric(0, "ns/op")
	for _, x := range []struct {
		name string
		took []time.Duration
	}{{"suspect", suspect}, {"lost", lost}} {
		slices.Sort(x.took)
		median, most := x.took[times/2].Seconds(), x.took[times-1].Seconds()
		b.ReportMetric(median, x.name+"-median-s")
		b.ReportMetric(most, x.name+"-max-s")
		b.Logf("a host's power cut to %s, lease %s: median %.2f s, max %.2f s", x.name, chaosLease, median, most)
	}
}

// startRoom gives three hosts power and waits for their cluster.
func startRoom(b *testing.B) *lab {
	b.Helper()
	if why := chaosSkip(); why != "" {
		b.Skip("NOT measured: " + why)
	}
	bin, err := binaries()
	if err != nil {
		b.Fatal(err)
	}
	l := newLabOf(b, bin, 3)
	for _, h := range l.hosts {
		if err := h.boot(time.Minute); err != nil {
			b.Fatal(err)
		}
	}
	l.wellAgain(b)
	return l
}

// wellAgain waits until all nodes are ready and voters.
func (l *lab) wellAgain(b *testing.B) {
	b.Helper()
	until(b, "all well again", func() error {
		for n, h := range l.hosts {
			api := h.api()
			if err := api.Ready(b.Context()); err != nil {
				return err
			}
			st, err := api.Cluster(b.Context())
			if err != nil {
				return err
			}
			if len(st.Voters) != l.size || st.Leader == "" {
				return fmt.Errorf("of %d voters, leader %q", len(st.Voters), st.Leader)
			}
			if err := l.nodeIs(b, h, n+1, spec.NodeReady); err != nil {
				return err
			}
		}
		return nil
	})
}

// nodeIs tells whether host n has this phase, as seen on another.
func (l *lab) nodeIs(b *testing.B, seenBy *host, n int, phase string) error {
	nodes, _, err := client.List[spec.Node](b.Context(), seenBy.api(), client.Nodes, client.ReadOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes {
		past := phase == spec.NodeSuspect && node.Status.State == spec.NodeLost // too busy to see it in between
		if node.Metadata.Name == l.hosts[n-1].name && node.Status.State != phase && !past {
			return fmt.Errorf("%s is %s", node.Metadata.Name, node.Status.State)
		}
	}
	return nil
}

// leader is the number of the host that leads.
func (l *lab) leader(b *testing.B) (lead int) {
	b.Helper()
	until(b, "a leader", func() error {
		for _, h := range l.hosts {
			st, err := h.api().Cluster(b.Context())
			if err == nil && st.Leader == h.name {
				lead = h.n
				return nil
			}
		}
		return errors.New("none leads")
	})
	return lead
}

// writer writes through the socket of host n.
func (l *lab) writer(n int) func(context.Context, string) error {
	api, name := l.hosts[n-1].api(), fmt.Sprintf("p%d", n)
	return func(ctx context.Context, text string) error {
		_, _, err := api.PutProgram(ctx, program(name, text), client.WriteOptions{})
		return err
	}
}

// startEtcd starts an etcd in each host's network; nil without etcd.
func (l *lab) startEtcd(b *testing.B) *etcdCluster {
	b.Helper()
	exe := etcdBinary(b)
	if exe == "" {
		return nil
	}
	e := &etcdCluster{b: b, exe: exe, dir: filepath.Join(l.dir, "lives")}
	for _, h := range l.hosts {
		e.clients, e.peers, e.netns = append(e.clients, h.ip+":2379"), append(e.peers, h.ip+":2380"), append(e.netns, h.pid)
	}
	e.startAll()
	return e
}

// isolated cuts host n off, waits until the other accepts a write and the isolated one has refused one, and heals.
func (l *lab) isolated(b *testing.B, n int, other, at func(context.Context, string) error) (took, refusal time.Duration) {
	b.Helper()
	ways := between([]int{n}, []int{n%3 + 1, (n+1)%3 + 1}, true)
	began := time.Now()
	if err := l.cut(dropped, ways...); err != nil {
		b.Fatal(err)
	}
	cutOff := make(chan time.Duration, 1)
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	go func() {
		defer close(cutOff)
		for ctx.Err() == nil {
			if err := at(ctx, strconv.FormatInt(time.Now().UnixNano(), 10)); err != nil {
				cutOff <- time.Since(began)
				return
			}
			b.Error("an isolated leader accepted a write")
		}
	}()
	took = nextWrite(b, began, other)
	refusal = <-cutOff
	if err := l.cut(whole, ways...); err != nil {
		b.Fatal(err)
	}
	return took, refusal
}
