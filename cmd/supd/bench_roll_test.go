package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// BenchmarkRoll restarts 100 ordered members on three nodes with maxUnavailable 1 and 10, by turns with the program alone: as many
// of it at once by plain fork and exec, each until it has said that it is ready, then ended. What a member costs above that is
// supd's; by turns with it, that of SUPD_BENCH_BESIDE, if set. The program is ready as soon as it runs and says so (sd_notify): without
// any word of its own readiness a member must have run a second before the next is touched, and that is for safety.
func BenchmarkRoll(b *testing.B) {
	const members, rounds = 100, 3
	exe := filepath.Join(b.TempDir(), "ready")
	if out, err := exec.Command("go", "build", "-o", exe, "./testdata/ready").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	s := set(members)
	s.Spec.Volumes, s.Spec.PodManagementPolicy = nil, spec.Parallel
	s.Spec.Processes[0].Command = []string{exe}
	s.Spec.Processes[0].Readiness = &spec.Probe{Notify: true}
	spec.Default(s)
	names, clusters := []string{"supd"}, []*cluster{startCluster(b, 3)}
	if dir := beside(); dir != "" {
		names, clusters = append(names, "beside"), append(clusters, startClusterOf(b, dir, 3))
	}
	for _, c := range clusters {
		c.rolls(b, s, nil)
	}
	for _, at := range []int{1, 10} {
		b.Run(fmt.Sprintf("maxUnavailable=%d", at), func(b *testing.B) {
			s.Spec.PodManagementPolicy = spec.OrderedReady
			s.Spec.UpdateStrategy.RollingUpdate = &spec.RollingUpdateOptions{MaxUnavailable: spec.IntOrString(strconv.Itoa(at))}
			took := make([]time.Duration, len(clusters))
			var own time.Duration
			for _, c := range clusters {
				c.rolls(b, s, nil)
			}
			for range rounds {
				own += alone(b, exe, at, members)
				for i, c := range clusters {
					took[i] += c.rolls(b, s, c.restart(b, s))
				}
			}
			each := func(d time.Duration) float64 { return d.Seconds() * 1000 / members / rounds }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(each(own), "own-ms/member")
			line := fmt.Sprintf("%d members, %d at once, the program alone %.1f ms each;", members, at, each(own))
			for i, name := range names {
				b.ReportMetric(each(took[i]-own), name+"-ms/member-above")
				line += fmt.Sprintf(" %s %.1f ms each, %.1f above it;", name, each(took[i]), each(took[i]-own))
				if i > 0 {
					ratio := float64(took[0]) / float64(took[i])
					b.ReportMetric(ratio, names[0]+"/"+name)
					line += fmt.Sprintf(" %s/%s %.2f", names[0], name, ratio)
				}
			}
			b.Log(line)
		})
	}
}

// restart is the restart of a set.
func (c *cluster) restart(b *testing.B, s *spec.StatefulSet) func() error {
	return func() error {
		_, err := c.apis[0].RestartSet(b.Context(), spec.DefaultNS, s.Metadata.Name, client.RestartRequest{}, client.WriteOptions{})
		return err
	}
}

// rolls puts a set, does what makes it roll, and waits until all of it is as wished; it tells how long that took.
func (c *cluster) rolls(b *testing.B, s *spec.StatefulSet, begin func() error) time.Duration {
	b.Helper()
	written, _, err := c.apis[0].PutStatefulSet(b.Context(), s, client.WriteOptions{})
	if err != nil {
		b.Fatal(err)
	}
	w, err := c.apis[0].Watch(b.Context(), client.StatefulSets, s.Metadata.Name, 0, client.ReadOptions{Namespace: spec.DefaultNS})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	began, rolling := time.Now(), begin == nil
	if begin != nil {
		if err := begin(); err != nil {
			b.Fatal(err)
		}
	}
	for {
		ev, err := w.Next()
		if err != nil {
			b.Fatal(err)
		}
		if len(ev.Object) == 0 { // a bookmark
			continue
		}
		var now spec.StatefulSet
		if err := json.Unmarshal(ev.Object, &now); err != nil {
			b.Fatal(err)
		}
		if now.Metadata.Generation < written.Metadata.Generation {
			continue
		}
		going := isTrue(&now, spec.ConditionProgressing)
		if rolling = rolling || going; rolling && !going && now.Status.ReadyReplicas == *s.Spec.Replicas {
			return time.Since(began)
		}
	}
}

func isTrue(s *spec.StatefulSet, kind string) bool {
	for _, c := range s.Status.Conditions {
		if c.Type == kind {
			return c.Status == "True"
		}
	}
	return false
}

// alone runs a program so many times, batch by batch, and tells how long that took.
func alone(b *testing.B, exe string, batch, times int) time.Duration {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	for range times / batch {
		var cmds []*exec.Cmd
		for range batch {
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			cmds = append(cmds, cmd)
		}
		word := make([]byte, 64)
		for range cmds {
			if n, err := l.Read(word); err != nil || !strings.HasPrefix(string(word[:n]), "READY=1") {
				b.Fatalf("%q, %v", word[:n], err)
			}
		}
		for _, cmd := range cmds {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				b.Fatal(err)
			}
		}
		for _, cmd := range cmds {
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	}
	return time.Since(began)
}
