package keeper_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// halt runs supd-keeper halt on the rig's directory.
func (r *rig) halt(args ...string) string {
	r.t.Helper()
	args = append([]string{"halt", "--dir", r.dir}, args...)
	if r.cgroup != "" {
		args = append(args, "--cgroup", r.cgroup)
	}
	out, err := exec.Command("/proc/self/exe", args...).CombinedOutput()
	if err != nil {
		r.t.Errorf("halt: %v\n%s", err, out)
	}
	return string(out)
}

// startSet starts members that note their end in a file, and take a moment for it.
func (r *rig) startSet(t *testing.T, members ...string) (order string) {
	t.Helper()
	order = filepath.Join(t.TempDir(), "order")
	for _, m := range members {
		name := m[strings.IndexByte(m, '/')+1:]
		r.mustStart(r.shell(m, `trap 'sleep 0.1; echo $1 >>$2; exit 0' TERM; : >$2.$1; while :; do sleep 1 & wait $!; done`, name, order))
	}
	within(t, "all have set their traps", func() bool {
		set, err := filepath.Glob(order + ".*")
		return err == nil && len(set) == len(members)
	})
	return order
}

func TestHaltStopsFromTheLastToTheFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		crash bool
		says  string
	}{
		{"with a keeper", false, "all members have stopped"},
		{"without one", true, "halt takes over what it has left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, r *rig) {
				order := r.startSet(t, "d/a-1", "d/a-2", "d/a-0")
				if c.crash {
					r.crash()
				}
				if out := r.halt(); !strings.Contains(out, c.says) {
					t.Errorf("halt says:\n%s", out)
				}
				b, err := os.ReadFile(order)
				if err != nil || string(b) != "a-2\na-1\na-0\n" {
					t.Errorf("stopped in the order %q, %v", b, err)
				}
				if c.crash {
					r.up()
				}
				tab, err := r.List(t.Context(), 0)
				if err != nil || len(tab.Processes) != 3 || !allGone(tab) {
					t.Errorf("afterwards: %+v, %v", tab, err)
				}
			})
		})
	}
}

// One that doesn't stop doesn't keep the others waiting for longer than they are to be in order.
func TestHaltEndsInTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	order := r.startSet(t, "d/a-0", "d/a-1")
	s := r.shell("d/a-2", `trap '' TERM; while :; do sleep 1; done`)
	s.StopTimeout = 3 * time.Second
	r.mustStart(s)
	r.halt("--in-order", "100ms")
	b, err := os.ReadFile(order)
	if err != nil || len(strings.Fields(string(b))) != 2 {
		t.Errorf("stopped: %q, %v", b, err)
	}
	tab, err := r.List(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	stubborn, _ := tab.Find("d/a-2", "main")
	patient, _ := tab.Find("d/a-0", "main")
	if !allGone(tab) || stubborn.LastExit.Signal != "SIGKILL" || !patient.LastExit.At.Before(stubborn.LastExit.At) {
		t.Errorf("afterwards: %+v", tab)
	}
}
