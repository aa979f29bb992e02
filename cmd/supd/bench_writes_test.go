package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/supervisor/client"
)

// BenchmarkWrites puts small objects (256 bytes of content) through the API of three nodes, with 1, 16 and 64 clients, each
// with a connection of its own and writing one after the other: all to the leader, then all to the others, which forward.
// By turns with it, the same through the supd of SUPD_BENCH_BESIDE, if set, and through three etcd on this machine.
func BenchmarkWrites(b *testing.B) {
	const rounds, round = 3, 1500 * time.Millisecond
	stores := []store{startSupdStore(b, "supd", "")}
	if dir := beside(); dir != "" {
		stores = append(stores, startSupdStore(b, "beside", dir))
	}
	if e := startEtcd(b); e != nil {
		stores = append(stores, e.store())
	}
	for _, to := range []string{"leader", "others"} {
		for _, clients := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("to=%s/clients=%d", to, clients), func(b *testing.B) {
				took, cpu := make([][]time.Duration, len(stores)), make([]time.Duration, len(stores))
				for range rounds {
					for i, s := range stores {
						before := cpuOf(b, s.pids)
						took[i] = append(took[i], writeFor(b, s, clients, to == "leader", round)...)
						cpu[i] += cpuOf(b, s.pids) - before
					}
				}
				b.ReportMetric(0, "ns/op")
				line := fmt.Sprintf("writes with %d clients to the %s of 3 nodes", clients, to)
				var first float64
				for i, s := range stores {
					rate := float64(len(took[i])) / (rounds * round).Seconds()
					p50, p99 := quantile(took[i], 50), quantile(took[i], 99)
					each := (cpu[i] / time.Duration(len(took[i]))).Microseconds()
					b.ReportMetric(rate, s.name+"-writes/s")
					b.ReportMetric(p50, s.name+"-p50-ms")
					b.ReportMetric(p99, s.name+"-p99-ms")
					b.ReportMetric(float64(each), s.name+"-cpu-µs/write")
					line += fmt.Sprintf("; %s %.0f/s, p50 %.1f ms, p99 %.1f ms, %d µs of CPU each", s.name, rate, p50, p99, each)
					if i == 0 {
						first = rate
					} else {
						b.ReportMetric(first/rate, "supd/"+s.name)
						line += fmt.Sprintf(" (supd/%s %.2f)", s.name, first/rate)
					}
				}
				b.Log(line)
			})
		}
	}
}

// quantile is in ms.
func quantile(took []time.Duration, percent int) float64 {
	slices.Sort(took)
	return float64(took[len(took)*percent/100].Microseconds()) / 1000
}

// store is what is written to. connect makes the write of one client, number n, over a connection of its own to a node: for n
// divisible by three it is the leader, else another.
type store struct {
	name    string
	pids    []int // of the three servers
	connect func(n int) (write func(ctx context.Context, text string) error, done func())
}

// writeFor writes with so many clients for d and tells how long each write took.
func writeFor(b *testing.B, s store, clients int, leader bool, d time.Duration) []time.Duration {
	b.Helper()
	var mu sync.Mutex // guards all
	var all []time.Duration
	var wg sync.WaitGroup
	begin, ctx := make(chan struct{}), b.Context()
	var until time.Time
	for n := range clients {
		at := 3 * n
		if !leader {
			at += 1 + n%2
		}
		write, done := s.connect(at)
		defer done()
		filler := strings.Repeat("x", 240)
		if err := write(ctx, filler); err != nil { // connects
			b.Fatal(err)
		}
		wg.Go(func() {
			<-begin
			var took []time.Duration
			for i := 0; ; i++ {
				began := time.Now()
				if began.After(until) {
					break
				}
				if err := write(ctx, fmt.Sprintf("%s%016d", filler, began.UnixNano())); err != nil && !errors.Is(err, context.Canceled) {
					b.Errorf("%s: %v", s.name, err)
					return
				}
				took = append(took, time.Since(began))
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	until = time.Now().Add(d)
	close(begin)
	wg.Wait()
	return all
}

// startSupdStore starts three nodes with the binaries in bin; "" are this tree's.
func startSupdStore(b *testing.B, name, bin string) store {
	b.Helper()
	c := startClusterOf(b, bin, 3)
	lead := c.leader(b)
	var pids []int
	for k := range c.apis {
		pids = append(pids, c.pid(b, k+1, "supd.pid"))
	}
	return store{name: name, pids: pids, connect: func(n int) (func(context.Context, string) error, func()) {
		api, err := client.New(c.addr((lead+n)%3+1), client.Options{RequestTimeout: 10 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
		return func(ctx context.Context, text string) error {
			_, w, err := api.PutProgram(ctx, program(fmt.Sprintf("p%d", n), text), client.WriteOptions{})
			if err == nil && w.Result == client.Unchanged {
				return errors.New("a write changed nothing")
			}
			return err
		}, api.Close
	}}
}

// cpuOf is the processor time that processes have used, to 10 ms.
func cpuOf(b *testing.B, pids []int) (sum time.Duration) {
	b.Helper()
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest) // from the third on: utime is the 14th, stime the 15th
		for _, f := range fields[11:13] {
			ticks, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
