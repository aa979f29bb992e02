package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

func withInit(steps ...spec.InitStep) func(*spec.StatefulSetSpec, *spec.Template) {
	return func(s *spec.StatefulSetSpec, tpl *spec.Template) {
		withVolume(s, tpl)
		tpl.Init = steps
	}
}

func env(r keeper.Run, name string) string {
	for _, kv := range r.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

func TestInitSteps(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withInit(
			spec.InitStep{Name: "create", Once: true, Retries: 1, Exec: spec.Exec{Command: []string{"create", "${volume.data}", "${env.SUP_MEMBER}"}}},
			spec.InitStep{Name: "check", Exec: spec.Exec{Command: []string{"check"}}},
		), sleeper("main"))
		w.reserve(1)
		var mu sync.Mutex // guards ran
		var ran []string
		w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, r.Argv[0]+" "+env(r, "SUP_ATTEMPT"))
			if r.Argv[0] == "create" && env(r, "SUP_ATTEMPT") != "3" {
				return keeper.RunResult{Code: 4, Output: []byte("working\nno luck\n")}, nil
			}
			return keeper.RunResult{}, nil
		})
		end := w.running(nil)
		w.start(0)
		settle(500 * time.Millisecond)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, InitFailed, "init step create exited with 4: no luck")
		if got := startsOf(w.keeper.did()); len(got) != 0 {
			t.Fatalf("started before init had passed: %v", got)
		}
		settle(3 * time.Second)
		w.want(0, spec.MemberRunning, true)
		if want := []string{"create 1", "create 2", "create 3", "check 1"}; !slices.Equal(ran, want) {
			t.Fatalf("ran %v, want %v", ran, want)
		}
		log, err := os.ReadFile(filepath.Join(w.dir, "logs", "default", "web-0", "init-create.log"))
		if err != nil || string(log) != "working\nno luck\nworking\nno luck\n" {
			t.Errorf("the step's log is %q, %v", log, err)
		}
		mu.Lock()
		ran = nil
		mu.Unlock()
		w.stop(0)
		settle(time.Second)
		end()
		end = w.running(nil)
		w.start(0)
		settle(time.Second)
		w.want(0, spec.MemberRunning, true)
		if !slices.Equal(ran, []string{"check 1"}) {
			t.Errorf("at the second start %v ran, want check alone", ran)
		}
		end()
	})
}

func TestStopCutsInitOff(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withInit(spec.InitStep{Name: "long", Exec: spec.Exec{Command: []string{"long"}}}), sleeper("main"))
		w.reserve(1)
		w.keeper.runs(func(ctx context.Context, _ keeper.Run) (keeper.RunResult, error) {
			<-ctx.Done()
			return keeper.RunResult{}, ctx.Err()
		})
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberStarting, false)
		w.wantReason(0, "Init", "init step long (1 of 1) runs")
		w.stop(0)
		settle(time.Second)
		w.want(0, spec.MemberStopped, false)
		if got := startsOf(w.keeper.did()); len(got) != 0 {
			t.Errorf("started: %v", got)
		}
	})
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	main := func(f func(*spec.Process)) []spec.Process {
		p := sleeper("main")
		f(&p)
		return []spec.Process{p}
	}
	for _, c := range []struct {
		name    string
		procs   []spec.Process
		onStart error
		reason  string
		message string
	}{
		{"exec", main(func(*spec.Process) {}), &keeper.ErrExec{Step: "exec", Err: syscall.ENOENT}, ExecFailed, "no such file"},
		{"secret", main(func(*spec.Process) {}), &keeper.ErrExec{Step: "secret", Err: syscall.ENOENT}, SecretMissing, "secret"},
		{"mount", main(func(*spec.Process) {}), &keeper.ErrExec{Step: "mount", Err: syscall.EPERM}, NeedsRoot, "mount"},
		{"locked", main(func(*spec.Process) {}), fmt.Errorf("%w: by 7", keeper.ErrLocked), StillLocked, "locked"},
		{"down", main(func(*spec.Process) {}), keeper.ErrDown, KeeperDown, "keeper"},
		{"old keeper", main(func(*spec.Process) {}), fmt.Errorf("%w: the keeper speaks version 1, this call needs 2", keeper.ErrProtocol), KeeperRefused, "speaks version 1"},
		{"user", main(func(p *spec.Process) { p.User = "no-such-user" }), nil, UserUnknown, "no-such-user"},
		{"group", main(func(p *spec.Process) { p.Group = "no-such-group" }), nil, UserUnknown, "no-such-group"},
		{"template", main(func(p *spec.Process) { p.Command = []string{"x", "${members[9].ip}"} }), nil, TemplateFailed, "process main"},
		{"env", main(func(p *spec.Process) { p.Env = spec.Env{{Name: "A", Value: "${env.B}"}} }), nil, TemplateFailed, "env A"},
		{"relative", main(func(p *spec.Process) { p.Files = []spec.File{{Path: "x"}} }), nil, FileFailed, "absolute"},
		{"fromFile", main(func(p *spec.Process) { p.Files = []spec.File{{Path: "/etc/x", FromFile: "/nonexistent/x"}} }), nil, SecretMissing, "/nonexistent/x"},
		{"empty", main(func(p *spec.Process) { p.Command = nil }), nil, CannotStart, "no command"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, w *world) {
				w.put(nil, c.procs...)
				w.reserve(1)
				w.keeper.startsWith(c.onStart)
				defer w.running(nil)()
				w.start(0)
				settle(2 * time.Second)
				w.want(0, spec.MemberFailed, false)
				w.wantReason(0, c.reason, c.message)
				w.keeper.did()
				settle(10 * time.Minute)
				if m := w.member(0); m.Epoch != 1 {
					t.Errorf("a start that fails is tried again in its epoch, now there is %d", m.Epoch)
				}
				tries := len(startsOf(w.keeper.did()))
				if c.onStart != nil && (tries < 5 || tries > 200) {
					t.Errorf("%d tries in ten minutes: never given up, ever more rarely", tries)
				}
				if c.onStart != nil {
					w.keeper.startsWith(nil)
					settle(time.Minute)
					w.want(0, spec.MemberRunning, true)
				}
			})
		})
	}
}

// A start fails since something of the member runs that the keeper does not know; then the keeper adopts it. It is the
// member, though no step of the agent's has succeeded.
func TestAdoptedAfterAFailedStart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		w.keeper.startsWith(fmt.Errorf("%w: process 7 is in its cgroup", keeper.ErrBusy))
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, StillRunning, "process 7")
		w.keeper.set(keeper.Status{Member: "default/web-0", Process: "main", Epoch: 1, PID: 7, State: keeper.Running, StartedAt: time.Now(), Adopted: true})
		settle(2 * time.Second)
		if m := w.want(0, spec.MemberRunning, true); m.Epoch != 1 || m.Seen.Processes[0].PID != 7 {
			t.Errorf("it is %+v, want process 7 with epoch 1", m.Seen)
		}
	})
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		p.Ports = []spec.Port{{Name: "client", Port: l.Addr().(*net.TCPAddr).Port, Protocol: "TCP"}}
		w.put(nil, p)
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(time.Second)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, PortInUse, "port client")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.want(0, spec.MemberRunning, true)
	})
}

func TestLivenessRestartsInPlace(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		ms := spec.Duration(100 * time.Millisecond)
		p.Liveness = &spec.Probe{Exec: []string{"alive"}, Period: &ms, FailureThreshold: 3}
		w.put(nil, p)
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		w.keeper.did()
		pid := w.keeper.pidOf("default/web-0", "main")
		dead := pid
		w.keeper.runs(func(context.Context, keeper.Run) (keeper.RunResult, error) {
			if w.keeper.pidOf("default/web-0", "main") == dead {
				return keeper.RunResult{Code: 1}, nil
			}
			return keeper.RunResult{}, nil
		})
		settle(2 * time.Second)
		restarts := 0
		for _, c := range w.keeper.did() {
			if strings.HasPrefix(c, "restart ") {
				restarts++
			}
		}
		if m := w.want(0, spec.MemberRunning, true); restarts != 1 || m.Seen.Restarts != 1 || m.Epoch != 1 {
			t.Errorf("%d restarts asked, %d reported in epoch %d; want 1, 1, 1", restarts, m.Seen.Restarts, m.Epoch)
		}
	})
}

// A program that dies at once passes a careless probe between two deaths.
func TestFirstRestartIsNotSteadyAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		p := sleeper("main")
		period := spec.Duration(100 * time.Millisecond)
		p.Readiness = &spec.Probe{Exec: []string{"true"}, Period: &period, FailureThreshold: 3}
		w.put(nil, p)
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(10 * time.Millisecond)
		if !w.want(0, spec.MemberRunning, true).Seen.Steady {
			t.Error("with a probe and no crash a member is steady as soon as it is ready")
		}
		if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
			t.Fatal(err)
		}
		settle(300 * time.Millisecond)
		if w.want(0, spec.MemberRunning, true).Seen.Steady {
			t.Error("steady at once after a crash")
		}
		settle(time.Second)
		if !w.member(0).Seen.Steady {
			t.Error("not steady a second after its restart")
		}
		for range 2 {
			if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
				t.Fatal(err)
			}
			settle(3 * time.Second)
		}
		if m := w.member(0); !m.Seen.DiedYoung || m.Seen.Steady {
			t.Errorf("three deaths in its first minute: %+v, want died young", m.Seen)
		}
		settle(time.Minute)
		if m := w.member(0); m.Seen.DiedYoung || !m.Seen.Steady {
			t.Errorf("a minute later: %+v, want steady, no more died young", m.Seen)
		}
		for range 3 {
			if err := w.keeper.crash("default/web-0", "main", 0); err != nil {
				t.Fatal(err)
			}
			settle(3 * time.Second)
		}
		if m := w.member(0); m.Seen.DiedYoung {
			t.Errorf("it dies after a good minute: %+v, want not died young", m.Seen)
		}
	})
}

func TestCrashLoopIsNotSteady(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		for range 2 {
			if err := w.keeper.crash("default/web-0", "main", 3*time.Second); err != nil {
				t.Fatal(err)
			}
			settle(3 * time.Second)
			w.want(0, spec.MemberRunning, false)
			w.wantReason(0, "CrashLoop", "exited with 1")
			w.keeper.again("default/web-0", "main")
			settle(2 * time.Second)
			if w.want(0, spec.MemberRunning, true).Seen.Steady {
				t.Error("steady before it was ready for as long as the back-off")
			}
		}
		settle(7 * time.Second)
		if w.member(0).Seen.Steady {
			t.Error("steady nine seconds after a second crash, want ten")
		}
		settle(2 * time.Second)
		if !w.member(0).Seen.Steady {
			t.Error("not steady eleven seconds after the last crash")
		}
	})
}

func TestExitForGood(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.keeper.set(keeper.Status{
			Member: "default/web-0", Process: "main", Epoch: 1, State: keeper.Failed,
			LastExit: keeper.Exit{Code: 78, At: time.Now()},
		})
		w.keeper.did()
		settle(time.Minute)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, ExitedForGood, "exited with 78")
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("the agent did %v", got)
		}
	})
}

func TestSettingsAreFollowedWithoutRestart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(nil, sleeper("main"))
		w.reserve(1)
		defer w.running(nil)()
		w.start(0)
		settle(2 * time.Second)
		w.keeper.did()
		p := sleeper("main")
		long := spec.Duration(77 * time.Second)
		p.Stop.Timeout = &long
		w.put(nil, p)
		settle(2 * time.Second)
		if got := w.keeper.did(); !slices.Equal(got, []string{"update default/web-0 main 1m17s"}) {
			t.Errorf("the agent did %v, want one update", got)
		}
	})
}

func TestWhatAProcessIsGiven(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		secret := filepath.Join(w.dir, "secret")
		if err := os.WriteFile(secret, []byte("hidden\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := sleeper("main")
		p.Command = []string{"prog", "--name=${member.name}", "--peers=${join(\",\", peers[*].fqdn)}"}
		p.Args = []string{"${env.WHERE}"}
		p.User, p.Umask, p.WorkingDir = "daemon", "0077", "${volume.data}"
		p.Env = spec.Env{{Name: "WHERE", Value: "${volume.data}/sub"}, {Name: "PW", FromFile: secret}}
		p.Files = []spec.File{
			{Path: "${volume.data}/conf/app.conf", Content: "port=${port.client}\n", Mode: "0640"},
			{Path: "/etc/app/main.conf", Content: "ip=${member.ip}\n"},
			{Path: "/srv/data/seen.conf", Content: "mounted\n"},
			{Path: "${volume.tmp}/part/one.conf", Content: "one\n"},
		}
		p.Ports = []spec.Port{{Name: "client", Port: 39017, Protocol: "TCP"}}
		core := uint64(0)
		p.Limits = &spec.Limits{Nofile: 4096, Core: &core}
		w.put(func(s *spec.StatefulSetSpec, tpl *spec.Template) {
			withVolume(s, tpl)
			tpl.VolumeMounts = map[string]string{"data": "/srv/data"}
			tpl.Scratch = []spec.ScratchDir{{Name: "tmp", MountPath: "/scratch"}}
			tpl.Resolve = spec.ResolvePrivate
			tpl.Processes[0].Mounts = []spec.Mount{
				{Volume: "data", MountPath: "/sub", SubPath: "deep/er", ReadOnly: true},
				{Volume: "tmp", MountPath: "/etc/one.conf", SubPath: "part/one.conf", ReadOnly: true},
				{Volume: "tmp", MountPath: "/part", SubPath: "part"},
			}
		}, p)
		w.reserve(2)
		defer w.running(func(o *Options) { o.MemberDNS = "127.0.0.9" })()
		w.start(0)
		settle(2 * time.Second)
		w.want(0, spec.MemberRunning, true)
		data := w.View().Volume("default", "data-web-0").Path
		run := filepath.Join(w.dir, "run", "default", "web-0")
		s := w.keeper.startOf("default/web-0", "main")

		if want := []string{"prog", "--name=web-0", "--peers=web-1.web.default.svc.cluster.local", data + "/sub"}; !slices.Equal(s.Argv, want) {
			t.Errorf("argv %q, want %q", s.Argv, want)
		}
		if !s.SetUser || s.UID == 0 || s.Umask != 0o077 || s.Dir != data || s.Hostname != "web-0" || !s.NoNewPrivs {
			t.Errorf("user %v %d, umask %o, dir %q, host name %q, noNewPrivs %v", s.SetUser, s.UID, s.Umask, s.Dir, s.Hostname, s.NoNewPrivs)
		}
		if s.Rlimits["nofile"] != 4096 {
			t.Errorf("rlimits %v", s.Rlimits)
		}
		for _, want := range []string{
			"SUP_MEMBER=web-0", "SUP_EPOCH=1", "SUP_VOLUME_DATA=" + data, "SUP_PORT_CLIENT=39017",
			"SUP_VOLUME_TMP=" + run + "/scratch/tmp", "HOSTNAME=web-0", "WHERE=" + data + "/sub", "USER=daemon",
		} {
			if !slices.Contains(s.Env, want) {
				t.Errorf("the environment lacks %s: %v", want, s.Env)
			}
		}
		if strings.Contains(fmt.Sprint(s), "hidden") || len(s.Secrets) != 1 || s.Secrets[0] != (keeper.SecretEnv{Name: "PW", File: secret}) {
			t.Errorf("secrets %v", s.Secrets)
		}
		for _, want := range []keeper.Mount{
			{Source: data, Target: "/srv/data"},
			{Source: run + "/scratch/tmp", Target: "/scratch"},
			{Source: data + "/deep/er", Target: "/sub", ReadOnly: true, Beneath: data},
			{Source: run + "/scratch/tmp/part/one.conf", Target: "/etc/one.conf", ReadOnly: true, Beneath: run + "/scratch/tmp"},
			{Source: run + "/files/main.1", Target: "/etc/app/main.conf"},
			{Source: run + "/hosts", Target: "/etc/hosts"},
			{Source: run + "/resolv.conf", Target: "/etc/resolv.conf"},
		} {
			if !slices.Contains(s.Mounts, want) {
				t.Errorf("mount %v is missing in %v", want, s.Mounts)
			}
		}
		if s.Lock != filepath.Dir(data)+"/lock.main" || s.LogDir != filepath.Join(w.dir, "logs", "default", "web-0") {
			t.Errorf("lock %q, logs %q", s.Lock, s.LogDir)
		}
		for path, want := range map[string]string{data + "/conf/app.conf": "port=39017\n", run + "/files/main.1": "ip=127.0.0.1\n", data + "/seen.conf": "mounted\n", run + "/scratch/tmp/part/one.conf": "one\n"} {
			b, err := os.ReadFile(path)
			st, statErr := os.Stat(path)
			if err != nil || statErr != nil || string(b) != want {
				t.Errorf("%s holds %q (%v), want %q", path, b, err, want)
			} else if st.Sys().(*syscall.Stat_t).Uid != s.UID {
				t.Errorf("%s belongs to %d, want %d", path, st.Sys().(*syscall.Stat_t).Uid, s.UID)
			}
		}
		hosts, err := os.ReadFile(run + "/hosts")
		if err != nil || !strings.Contains(string(hosts), "127.0.0.2\tweb-1.web.default.svc.cluster.local web-1.web web-1") {
			t.Errorf("hosts: %s, %v", hosts, err)
		}
		// Another member appears: the very same file is written again.
		before, err := os.Stat(run + "/hosts")
		if err != nil {
			t.Fatal(err)
		}
		w.keeper.did()
		set := w.View().Set("default", "web")
		w.apply(&state.Reserve{Namespace: "default", Set: "web", IfGeneration: set.Meta.Generation, Slots: []state.Slot{
			{Ordinal: 2, UID: "m2", Node: "n1", IP: "127.0.0.3", Ports: map[string]int{"client": 39017}, VolumeUIDs: map[string]string{"data": "bbbbbbbb-2"}},
		}})
		settle(time.Second)
		hosts, err = os.ReadFile(run + "/hosts")
		after, statErr := os.Stat(run + "/hosts")
		if err != nil || statErr != nil || !strings.Contains(string(hosts), "web-2.web") || !os.SameFile(before, after) {
			t.Errorf("hosts: %s, %v, the same file: %v", hosts, err, os.SameFile(before, after))
		}
		if got := w.keeper.did(); len(got) != 0 {
			t.Errorf("the agent did %v", got)
		}
	})
}

func TestFilesAreNeverWrittenThroughLinks(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func() error{
		"file":   func() error { return os.Symlink(victim, filepath.Join(dir, "a.conf")) },
		"parent": func() error { return os.Symlink(outside, filepath.Join(dir, "etc")) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		rel := map[string]string{"file": "a.conf", "parent": "etc/victim"}[name]
		f := renderedFile{Name: rel, Base: dir, Rel: rel, Content: []byte("new"), Mode: 0o600, UID: -1, GID: -1}
		err := f.write()
		if name == "parent" && err == nil {
			t.Error("a file below a link out of the volume was written")
		}
		if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
			t.Fatalf("%s: the file outside now holds %q, %v", name, b, err)
		}
	}
	if err := makeSubPath(dir, "etc/sub", -1, -1); !errors.As(err, new(*Failure)) {
		t.Errorf("a subPath through a link: %v, want it refused", err)
	}
}

func TestScratchIsFreshAtEachStart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(func(_ *spec.StatefulSetSpec, tpl *spec.Template) { tpl.Scratch = []spec.ScratchDir{{Name: "tmp"}} }, sleeper("main"))
		w.reserve(1)
		end := w.running(nil)
		w.start(0)
		settle(time.Second)
		file := filepath.Join(w.dir, "run", "default", "web-0", "scratch", "tmp", "x")
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

// What had failed is told until it has succeeded; then it is told what is under way.
func TestInitStepAfterAFailedOne(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *world) {
		w.put(withInit(
			spec.InitStep{Name: "create", Exec: spec.Exec{Command: []string{"create"}}},
			spec.InitStep{Name: "warm", Exec: spec.Exec{Command: []string{"warm"}}},
		), sleeper("main"))
		w.reserve(1)
		ran := map[string]int{} // by one step at a time
		w.keeper.runs(func(_ context.Context, r keeper.Run) (keeper.RunResult, error) {
			ran[r.Argv[0]]++
			switch first := ran[r.Argv[0]] == 1; {
			case r.Argv[0] == "create" && first:
				return keeper.RunResult{Code: 4, Output: []byte("no luck\n")}, nil
			case r.Argv[0] == "create":
				takes(time.Minute)
			case first:
				takes(time.Minute)
				return keeper.RunResult{Code: 5, Output: []byte("cold\n")}, nil
			}
			return keeper.RunResult{}, nil
		})
		defer w.running(nil)()
		w.start(0)
		settle(30 * time.Second)
		w.want(0, spec.MemberFailed, false)
		w.wantReason(0, InitFailed, "init step create exited with 4: no luck") // and runs again
		settle(time.Minute)
		w.want(0, spec.MemberStarting, false)
		w.wantReason(0, "Init", "init step warm (2 of 2) runs")
		settle(time.Minute)
		w.want(0, spec.MemberFailed, false)
		w.said()
		settle(30 * time.Second)
		w.wantReason(0, InitFailed, "init step warm exited with 5: cold") // while create runs anew
		if got := w.said(); len(got) > 0 {
			t.Errorf("the same failure is said again: %+v", got)
		}
		settle(2 * time.Minute)
		w.want(0, spec.MemberRunning, true)
	})
}
