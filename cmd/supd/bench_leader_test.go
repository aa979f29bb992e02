package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
)

// BenchmarkLeaderEnds ends the leading supd 20 times, and measures the time to the next accepted write through another node;
// by turns with it the same with three etcd. It is killed (kill -9), or told to end (SIGTERM), as a restart does.
func BenchmarkLeaderEnds(b *testing.B) {
	const times = 20
	c, e := startCluster(b, 3), startEtcd(b)
	for how, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "restarted": syscall.SIGTERM} {
		b.Run(how, func(b *testing.B) {
			var ours, theirs []time.Duration
			for range times {
				ours = append(ours, c.leaderEnds(b, sig))
				if e != nil {
					theirs = append(theirs, e.leaderEnds(b, sig))
				}
				logRound(b, ours, theirs)
			}
			reportGaps(b, fmt.Sprintf("leader %s to the next accepted write through another node", how), ours, theirs)
		})
	}
}

// reportGaps reports the median and the longest time without writes.
func reportGaps(b *testing.B, what string, ours, theirs []time.Duration) {
	b.ReportMetric(0, "ns/op")
	line := fmt.Sprintf("%s, %d times:", what, len(ours))
	gaps := func(name string, took []time.Duration) float64 {
		slices.Sort(took)
		median, most := took[len(took)/2].Seconds(), took[len(took)-1].Seconds()
		b.ReportMetric(median, name+"-median-s")
		b.ReportMetric(most, name+"-max-s")
		line += fmt.Sprintf(" %s median %.3f s, max %.3f s;", name, median, most)
		return median
	}
	m := gaps("supd", ours)
	if theirs != nil {
		ratio := m / gaps("etcd", theirs)
		b.ReportMetric(ratio, "supd/etcd")
		line += fmt.Sprintf(" supd/etcd %.2f", ratio)
	}
	b.Log(line)
}

// logRound tells the last gaps: the benchmark takes minutes.
func logRound(b *testing.B, ours, theirs []time.Duration) {
	line := fmt.Sprintf("supd %.3f s", ours[len(ours)-1].Seconds())
	if theirs != nil {
		line += fmt.Sprintf(", etcd %.3f s", theirs[len(theirs)-1].Seconds())
	}
	b.Log(line)
}

// nextWrite tries to write until it is accepted, and tells how long that took.
func nextWrite(b *testing.B, began time.Time, write func(ctx context.Context, text string) error) time.Duration {
	b.Helper()
	for {
		// A short try: one that waits for a leader that is gone must not hide that there is another.
		ctx, cancel := context.WithTimeout(b.Context(), 300*time.Millisecond)
		err := write(ctx, strconv.FormatInt(time.Now().UnixNano(), 10))
		cancel()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > 30*time.Second {
			b.Fatal(err)
		}
		<-time.After(5 * time.Millisecond) // there are only so many CPUs
	}
}

// leaderEnds signals the leader and waits for a write through another node, then starts the ended one again.
func (c *cluster) leaderEnds(b *testing.B, sig syscall.Signal) time.Duration {
	b.Helper()
	lead := c.leader(b)
	pid := c.pid(b, lead+1, "supd.pid")
	if pid <= 1 {
		b.Fatalf("node-%d has no pid", lead+1)
	}
	other := c.apis[(lead+1)%3]
	began := time.Now()
	if err := syscall.Kill(pid, sig); err != nil {
		b.Fatal(err)
	}
	took := nextWrite(b, began, func(ctx context.Context, text string) error {
		_, _, err := other.PutProgram(ctx, program("p", text), client.WriteOptions{})
		return err
	})
	until(b, "the daemon has ended", func() error {
		if alive(pid) {
			return fmt.Errorf("%d has not", pid)
		}
		return nil
	})
	back := exec.Command(filepath.Join(c.bin, "supd"), "run", "--config", filepath.Join(c.dir, nodeName(lead+1), "supd.yaml"))
	if err := back.Start(); err != nil {
		b.Fatal(err)
	}
	go func() { _ = back.Wait() }() // ends when it is killed, or ended by supd dev
	c.wellAgain(b)
	return took
}

// leaderEnds does the same with etcd.
func (e *etcdCluster) leaderEnds(b *testing.B, sig syscall.Signal) time.Duration {
	b.Helper()
	lead := e.leader()
	write, done := e.client((lead+1)%3, "p")
	defer done()
	if err := write(b.Context(), "before"); err != nil { // connects
		b.Fatal(err)
	}
	began := time.Now()
	e.signal(lead, sig)
	took := nextWrite(b, began, write)
	_ = e.cmds[lead].Wait() // "signal: killed"
	e.start(lead)
	again, closed := e.client(lead, "p")
	defer closed()
	until(b, "the etcd that ended is back", func() error { return again(b.Context(), "after") })
	return took
}

// BenchmarkElectionsUnderLoad burns all CPUs, twice over, for twenty seconds beside three idle nodes and counts the
// elections in that time. None is needed.
func BenchmarkElectionsUnderLoad(b *testing.B) {
	const load = 20 * time.Second
	c := startCluster(b, 3)
	c.wellAgain(b)
	term := func() uint64 {
		st, err := c.apis[0].Cluster(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return st.Term
	}
	before := term()
	ctx, cancel := context.WithTimeout(b.Context(), load)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 * runtime.NumCPU() {
		wg.Go(func() { // a process of its own: the scheduler is to take it for a stranger
			_ = exec.CommandContext(ctx, "/bin/sh", "-c", "while :; do :; done").Run() // ends when it is killed
		})
	}
	wg.Wait()
	elections := term() - before
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(elections), "elections")
	b.Logf("%d elections in %s with %d burners on %d CPUs", elections, load, 4*runtime.NumCPU(), runtime.NumCPU())
}
