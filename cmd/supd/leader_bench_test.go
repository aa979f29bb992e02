package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// BenchmarkLeaderKilled kills the leading supd (kill -9) and measures the time to
// the next accepted write through another node. Run it with -benchtime=20x.
func BenchmarkLeaderKilled(b *testing.B) {
	bin, err := binaries()
	if err != nil {
		b.Fatal(err)
	}
	p := startDev(b, b.TempDir(), "--nodes", "3")
	var apis []*client.Client
	for k := 1; k <= 3; k++ {
		apis = append(apis, dial(b, "unix://"+filepath.Join(p.dir, nodeName(k), "supd.sock")))
	}
	program := &spec.Program{
		APIVersion: spec.APIVersion, Kind: spec.KindProgram,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: "p"},
		Spec:     spec.ProgramSpec{Command: []string{"/bin/true"}},
	}
	var took []time.Duration
	for b.Loop() {
		st, err := apis[0].Cluster(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		lead := slices.IndexFunc([]string{"node-1", "node-2", "node-3"}, func(n string) bool { return n == st.Leader })
		other := apis[(lead+1)%3]
		pid := p.pid(b, lead+1, "supd.pid")
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		program.Spec.Command = []string{"/bin/echo", began.String()}
		for {
			if _, _, err = other.PutProgram(b.Context(), program, client.WriteOptions{}); err == nil {
				break
			}
			if time.Since(began) > 30*time.Second {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(began))
		back := exec.Command(filepath.Join(bin, "supd"), "run", "--config", filepath.Join(p.dir, nodeName(lead+1), "supd.yaml"))
		if err := back.Start(); err != nil {
			b.Fatal(err)
		}
		go func() { _ = back.Wait() }() // ends when it is killed, or ended by supd dev
		until(b, "all well again", func() error {
			for _, api := range apis {
				if err := api.Ready(b.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds(), "s/median")
	b.ReportMetric(took[len(took)-1].Seconds(), "s/max")
	b.Log(took)
}
