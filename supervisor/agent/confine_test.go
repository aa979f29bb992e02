package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

func TestPrivileges(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		a, b := sleeper("main"), sleeper("side")
		a.Capabilities, a.ReadOnly, a.PrivateTmp = []string{"cap_net_raw", "KILL"}, []string{"/"}, true
		a.Limits = &spec.Limits{Rlimits: map[string]spec.IntOrString{"memlock": "unlimited", "stack": "8Mi"}}
		b.Capabilities = []string{"NONE"}
		b.NoNewPrivs = new(bool)
		w.put(func(s *spec.StatefulSetSpec, tpl *spec.Template) {
			withVolume(s, tpl)
			tpl.Scratch = []spec.ScratchDir{{Name: "run"}}
		}, a, b)
		w.reserve(1)
		end := w.running(nil)
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		data := w.View().Volume("default", "data-web-0").Path
		run := filepath.Join(w.dir, "run", "default", "web-0")
		tmp := keeper.Mount{Source: run + "/private/tmp", Target: "/tmp"}
		s, side := w.keeper.startOf("default/web-0", "main"), w.keeper.startOf("default/web-0", "side")
		if !s.SetCapabilities || !slices.Equal(s.Capabilities, []string{"NET_RAW", "KILL"}) || !slices.Equal(s.ReadOnlyPaths, []string{"/"}) || !s.NoNewPrivs {
			t.Errorf("main: %+v", s.Exec)
		}
		if s.Rlimits["memlock"] != ^uint64(0) || s.Rlimits["stack"] != 8<<20 {
			t.Errorf("limits %v", s.Rlimits)
		}
		for _, want := range []keeper.Mount{
			tmp,
			{Source: run + "/private/var-tmp", Target: "/var/tmp"},
			{Source: data, Target: data},
			{Source: run + "/scratch/run", Target: run + "/scratch/run"},
		} {
			if !slices.Contains(s.Mounts, want) {
				t.Errorf("mount %v is missing in %v", want, s.Mounts)
			}
		}
		if !side.SetCapabilities || len(side.Capabilities) > 0 || side.NoNewPrivs || slices.Contains(side.Mounts, tmp) || len(side.ReadOnlyPaths) > 0 {
			t.Errorf("side: %+v", side.Exec)
		}
		for path, want := range map[string]os.FileMode{"private": os.ModeDir | 0o700, "private/tmp": os.ModeDir | os.ModeSticky | 0o777} {
			if st, err := os.Stat(filepath.Join(run, path)); err != nil || st.Mode() != want {
				t.Errorf("%s: %v, %v, want %v", path, st.Mode(), err, want)
			}
		}
		file := run + "/private/tmp/x"
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		end()
		defer w.running(nil)()
		settle(time.Second)
		if _, err := os.Stat(file); err != nil {
			t.Errorf("a restart of the daemon emptied it: %v", err)
		}
		w.stop(0)
		settle(time.Second)
		w.start(0)
		settle(time.Second)
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("it is still there after a new start: %v", err)
		}
	})
}

// TestNamesOfKeeperAndSpec: whatever a definition may name, the keeper knows.
func TestNamesOfKeeperAndSpec(t *testing.T) {
	t.Parallel()
	if got, want := keeper.CapabilityNames(), spec.CapabilityNames(); !slices.Equal(got, want) {
		t.Errorf("capabilities: %v, %v", got, want)
	}
	if got, want := keeper.RlimitNames(), spec.RlimitNames(); !slices.Equal(got, want) {
		t.Errorf("limits: %v, %v", got, want)
	}
}

// TestSecretsInOutput: what a program with secrets prints is in no message of the cluster.
func TestSecretsInOutput(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry"
	for _, secret := range []bool{true, false} {
		t.Run(fmt.Sprintf("secret=%v", secret), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, w *world) {
				file := filepath.Join(w.dir, "pw")
				if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
					t.Fatal(err)
				}
				env := spec.Env{{Name: "PW", Value: "plain"}}
				if secret {
					env = spec.Env{{Name: "PW", FromFile: file}}
				}
				second := spec.Duration(time.Second)
				p := sleeper("main")
				p.Env = env
				p.Readiness = &spec.Probe{Exec: []string{"ready"}, Period: &second, FailureThreshold: 1}
				w.put(withInit(spec.InitStep{Name: "prepare", Exec: spec.Exec{Command: []string{"prepare"}, Env: env}}), p)
				w.reserve(1)
				var initOK atomic.Bool
				w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
					if r.Argv[0] == "prepare" && initOK.Load() {
						return keeper.RunResult{}, nil
					}
					return keeper.RunResult{Code: 1, Output: []byte("bad password " + canary + "\n")}, nil
				})
				defer w.running(nil)()
				w.start(0)
				settle(time.Second)
				m := w.want(0, spec.MemberFailed, false)
				if shown := strings.Contains(m.Seen.Message, canary); shown == secret {
					t.Errorf("the step's message is %q", m.Seen.Message)
				}
				if secret && !strings.Contains(m.Seen.Message, "supctl logs web-0 -c init-prepare") {
					t.Errorf("the step's message is %q", m.Seen.Message)
				}
				log, err := os.ReadFile(filepath.Join(w.dir, "logs", "default", "web-0", "init-prepare.log"))
				if err != nil || !strings.Contains(string(log), canary) {
					t.Errorf("the step's log is %q, %v", log, err)
				}
				initOK.Store(true)
				settle(30 * time.Second)
				m = w.want(0, spec.MemberRunning, false)
				if shown := strings.Contains(fmt.Sprintf("%+v", m.Seen), canary); shown == secret {
					t.Errorf("the probe's message: %+v", m.Seen)
				}
			})
		})
	}
}
