package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
)

// BenchmarkLeaderKilled kills the leading supd (kill -9) 20 times and measures the time to the next accepted write
// through another node.
func BenchmarkLeaderKilled(b *testing.B) {
	const kills = 20
	bin, err := binaries()
	if err != nil {
		b.Fatal(err)
	}
	c := startCluster(b, 3)
	var took []time.Duration
	for range kills {
		lead := c.leader(b)
		other := c.apis[(lead+1)%3]
		pid := c.pid(b, lead+1, "supd.pid")
		if pid <= 1 {
			b.Fatalf("node-%d has no pid", lead+1)
		}
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		for {
			if _, _, err = other.PutProgram(b.Context(), program("p", began.String()), client.WriteOptions{}); err == nil {
				break
			}
			if time.Since(began) > 30*time.Second {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(began))
		back := exec.Command(filepath.Join(bin, "supd"), "run", "--config", filepath.Join(c.dir, nodeName(lead+1), "supd.yaml"))
		if err := back.Start(); err != nil {
			b.Fatal(err)
		}
		go func() { _ = back.Wait() }() // ends when it is killed, or ended by supd dev
		c.wellAgain(b)
	}
	slices.Sort(took)
	median, most := took[len(took)/2], took[len(took)-1]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median.Seconds(), "median-s")
	b.ReportMetric(most.Seconds(), "max-s")
	b.Logf("leader killed to the next accepted write through another node, %d times: median %.2f s, max %.2f s",
		kills, median.Seconds(), most.Seconds())
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
