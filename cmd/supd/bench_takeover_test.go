package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// BenchmarkTakeOver takes the power of the host that runs a fenced member without volumes, 5 times, and measures when the others
// call the host Lost, when the member's first instruction runs elsewhere, and when it is ready there. The lease is that
// of the room, see chaosLease.
func BenchmarkTakeOver(b *testing.B) {
	const times = 5
	l := startRoom(b)
	set := newLabour(l).define(&chaosSet{name: "fence", policy: spec.Parallel, loss: spec.Fence, stops: stopsAtOnce}, 1)
	if _, _, err := l.hosts[0].api().PutStatefulSet(b.Context(), set, client.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	var lost, runs, ready, after []time.Duration
	for range times {
		from := l.ranBy(b)
		watcher := l.hosts[from%3]
		until(b, "the host is well to all", func() error { return l.nodeIs(b, watcher, from, spec.NodeReady) })
		boot, err := bootNow()
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := l.hosts[from-1].powerOff(); err != nil {
			b.Fatal(err)
		}
		until(b, "the host is lost", func() error { return l.nodeIs(b, watcher, from, spec.NodeLost) })
		lost = append(lost, time.Since(began))
		until(b, "the member is ready elsewhere", func() error {
			m, err := l.fenced(b, watcher)
			if err == nil && (!m.Status.Ready || m.Spec.Node == l.hosts[from-1].name) {
				err = fmt.Errorf("it is %s on %s: %s", m.Status.Phase, m.Spec.Node, m.Status.Message)
			}
			return err
		})
		ready = append(ready, time.Since(began))
		runs = append(runs, l.lastLife(b, boot))
		after = append(after, max(0, runs[len(runs)-1]-lost[len(lost)-1]))
		if err := l.hosts[from-1].boot(time.Minute); err != nil {
			b.Fatal(err)
		}
		l.wellAgain(b)
	}
	b.ReportMetric(0, "ns/op")
	for _, x := range []struct {
		name, what string
		took       []time.Duration
	}{
		{"lost", "a host's power cut to Lost", lost},
		{"runs", "a host's power cut to its fenced member's first instruction elsewhere", runs},
		{"ready", "a host's power cut to its fenced member ready elsewhere", ready},
		{"taken-over", "Lost to the member's first instruction elsewhere", after},
	} {
		slices.Sort(x.took)
		median, most := x.took[times/2].Seconds(), x.took[times-1].Seconds()
		b.ReportMetric(median, x.name+"-median-s")
		b.ReportMetric(most, x.name+"-max-s")
		b.Logf("%s, lease %s: median %.2f s, max %.2f s", x.what, chaosLease, median, most)
	}
}

// fenced is the fenced member, as a host sees it.
func (l *lab) fenced(b *testing.B, seenBy *host) (*spec.Member, error) {
	m, _, err := client.Get[spec.Member](b.Context(), seenBy.api(), client.Members, spec.DefaultNS, "fence-0", client.ReadOptions{})
	return m, err
}

// ranBy is the number of the host where the fenced member is ready. If that leads, it hands over first: an election is not
// what is to be measured.
func (l *lab) ranBy(b *testing.B) (n int) {
	b.Helper()
	until(b, "the member is ready on a host that does not lead", func() error {
		lead := l.leader(b)
		m, err := l.fenced(b, l.hosts[lead-1])
		if err != nil {
			return err
		}
		for _, h := range l.hosts {
			if h.name == m.Spec.Node {
				n = h.n
			}
		}
		switch {
		case !m.Status.Ready || n == 0:
			return fmt.Errorf("it is %s on %q: %s", m.Status.Phase, m.Spec.Node, m.Status.Message)
		case n == lead:
			_, err := l.hosts[lead-1].api().TransferLeader(b.Context(), l.hosts[lead%3].name, client.WriteOptions{})
			return errors.Join(fmt.Errorf("host %d leads and has it", lead), err)
		}
		return nil
	})
	return n
}

// lastLife is how long after a time of the machine's CLOCK_BOOTTIME the fenced member's latest life began.
func (l *lab) lastLife(b *testing.B, since int64) time.Duration {
	b.Helper()
	var began int64
	until(b, "the member has written down its life", func() error {
		lives, err := readLives(filepath.Join(l.dir, "lives"))
		if err != nil {
			return err
		}
		for _, life := range lives["fence-0"] {
			began = life.Start
		}
		if began <= since {
			return errors.New("it has none after the power cut")
		}
		return nil
	})
	return time.Duration(began - since)
}
