package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Benchmarks of this package are of a fixed size, whatever -benchtime says, and start the real binaries. Each logs one
// line for people. They prove nothing: no figure is asserted. SUPD_BENCH_BESIDE names a directory with another build of supd and
// supd-keeper, which some measure by turns with this one.

// beside is a directory with supd and supd-keeper of another build, to be measured by turns with this one; "": none.
func beside() string { return os.Getenv("SUPD_BENCH_BESIDE") }

// cluster is a supd dev and a client for each of its nodes.
type cluster struct {
	*devProcess
	bin  string // where its supd is
	apis []*client.Client
}

func startCluster(b *testing.B, nodes int) *cluster {
	b.Helper()
	return startClusterOf(b, "", nodes)
}

// startClusterOf starts the binaries in bin; "" are this tree's.
func startClusterOf(b *testing.B, bin string, nodes int) *cluster {
	b.Helper()
	if bin == "" {
		var err error
		if bin, err = binaries(); err != nil {
			b.Fatal(err)
		}
	}
	c := &cluster{devProcess: startDevOf(b, bin, 0, b.TempDir(), "--nodes", fmt.Sprint(nodes)), bin: bin}
	for k := 1; k <= nodes; k++ {
		c.apis = append(c.apis, dial(b, c.addr(k)))
	}
	return c
}

func (c *cluster) addr(k int) string {
	return "unix://" + filepath.Join(c.dir, nodeName(k), "supd.sock")
}

// leader is the index of the leading node.
func (c *cluster) leader(b *testing.B) (lead int) {
	b.Helper()
	until(b, "a leader", func() error {
		st, err := c.apis[0].Cluster(b.Context())
		if err != nil {
			return err
		}
		for lead = range c.apis {
			if nodeName(lead+1) == st.Leader {
				return nil
			}
		}
		return fmt.Errorf("%q leads", st.Leader)
	})
	return lead
}

func (c *cluster) wellAgain(b *testing.B) {
	b.Helper()
	until(b, "all well again", func() error {
		for _, api := range c.apis {
			if err := api.Ready(b.Context()); err != nil {
				return err
			}
		}
		return nil
	})
}

// apply puts a set of members that are ready as soon as they run, and waits until all are.
func (c *cluster) apply(b *testing.B, replicas int, policy string) time.Duration {
	b.Helper()
	s := set(replicas)
	s.Spec.PodManagementPolicy, s.Spec.Volumes = policy, nil
	w, err := c.apis[0].Watch(b.Context(), client.StatefulSets, "", 0, client.ReadOptions{Namespace: spec.DefaultNS})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	began := time.Now()
	if _, _, err := c.apis[0].PutStatefulSet(b.Context(), s, client.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	for {
		ev, err := w.Next()
		if err != nil {
			b.Fatal(err)
		}
		var now spec.StatefulSet
		if err := json.Unmarshal(ev.Object, &now); err == nil && now.Status.ReadyReplicas == replicas {
			return time.Since(began)
		}
	}
}

// program is a small object: a write.
func program(name, text string) *spec.Program {
	return &spec.Program{
		APIVersion: spec.APIVersion, Kind: spec.KindProgram,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: name},
		Spec:     spec.ProgramSpec{Command: []string{"/bin/echo", text}},
	}
}

// BenchmarkOrderedStart applies a set of 50 ordered members, each ready at once, and waits until all are ready.
func BenchmarkOrderedStart(b *testing.B) {
	const members = 50
	for _, nodes := range []int{1, 3} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := startCluster(b, nodes)
			took := c.apply(b, members, spec.OrderedReady)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(took.Seconds(), "s")
			b.ReportMetric(took.Seconds()/members*1000, "ms/member")
			b.Logf("%d ordered members on %d nodes, from apply to all ready: %.2f s, %.1f ms each",
				members, nodes, took.Seconds(), took.Seconds()/members*1000)
		})
	}
}

// BenchmarkMemory reports what supd and its keeper hold with no members, 100 and 1000 on one node, at rest; and what an etcd of
// three holds, idle.
func BenchmarkMemory(b *testing.B) {
	if e := startEtcd(b); e != nil {
		m := memoryOf(b, e.cmds[e.leader()].Process.Pid)
		b.ReportMetric(m.rss, "etcd-RSS-MiB")
		b.Logf("the leading etcd of three, idle: RSS %.1f MiB, PSS %.1f", m.rss, m.pss)
	}
	c := startCluster(b, 1)
	supd, keeper := c.pid(b, 1, "supd.pid"), c.pid(b, 1, "keeper.pid")
	before := memoryOf(b, keeper)
	b.ReportMetric(0, "ns/op")
	for _, members := range []int{0, 100, 1000} {
		var took time.Duration
		if members > 0 {
			took = c.apply(b, members, spec.Parallel)
			<-time.After(8 * time.Second) // both give back what the starts have needed
		}
		s, k := memoryOf(b, supd), memoryOf(b, keeper)
		b.ReportMetric(s.pss, fmt.Sprintf("supd-PSS-MiB-with-%d", members))
		b.ReportMetric(k.pss, fmt.Sprintf("keeper-PSS-MiB-with-%d", members))
		line := fmt.Sprintf("%d members on one node (all ready %.2f s after apply): supd RSS %.1f MiB, PSS %.1f (private %.1f); keeper RSS %.1f MiB, PSS %.1f (private %.1f)",
			members, took.Seconds(), s.rss, s.pss, s.private, k.rss, k.pss, k.private)
		if members > 0 {
			each := (k.private - before.private) * 1024 / float64(members)
			b.ReportMetric(each, fmt.Sprintf("keeper-KiB/member-with-%d", members))
			line += fmt.Sprintf(", %.1f KiB for each member", each)
		}
		b.Log(line)
	}
}

// BenchmarkIdle reports the CPU time that three idle nodes use, beside those of SUPD_BENCH_BESIDE and three etcd, at the same time.
func BenchmarkIdle(b *testing.B) {
	const round = 20 * time.Second
	stores := []store{startSupdStore(b, "supd", "")}
	if dir := beside(); dir != "" {
		stores = append(stores, startSupdStore(b, "beside", dir))
	}
	if e := startEtcd(b); e != nil {
		stores = append(stores, e.store())
	}
	used := make([]time.Duration, len(stores))
	for i, s := range stores {
		used[i] = -cpuOf(b, s.pids)
	}
	<-time.After(round)
	for i, s := range stores {
		used[i] += cpuOf(b, s.pids)
	}
	b.ReportMetric(0, "ns/op")
	line := fmt.Sprintf("CPU of 3 idle nodes together in %s:", round)
	for i, s := range stores {
		perSecond := float64(used[i].Milliseconds()) / round.Seconds()
		b.ReportMetric(perSecond, s.name+"-ms/s")
		line += fmt.Sprintf(" %s %.1f ms/s;", s.name, perSecond)
	}
	b.Log(line)
}

// memory is in MiB.
type memory struct{ rss, pss, private float64 }

func memoryOf(b *testing.B, pid int) (m memory) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var word string
		var kib float64
		if n, _ := fmt.Sscan(line, &word, &kib); n != 2 {
			continue // the head
		}
		switch word {
		case "Rss:":
			m.rss = kib / 1024
		case "Pss:":
			m.pss = kib / 1024
		case "Private_Clean:", "Private_Dirty:":
			m.private += kib / 1024
		}
	}
	return m
}
