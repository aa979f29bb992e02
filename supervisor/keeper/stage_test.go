package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

func ptr[T any](v T) *T { return &v }

// run runs a script beside a member that needs not exist, and returns its output.
func (r *rig) run(script string, change func(*keeper.Exec)) string {
	r.t.Helper()
	run := keeper.Run{Member: "default/web-0", Process: "main", Exec: r.shell("", script).Exec, Timeout: patience}
	if change != nil {
		change(&run.Exec)
	}
	res, err := r.Run(r.t.Context(), run)
	if err != nil {
		r.t.Fatalf("run: %v", err)
	}
	if res.Code != 0 {
		r.t.Fatalf("run: %+v: %s", res, res.Output)
	}
	return string(res.Output)
}

func TestPrivateView(t *testing.T) {
	t.Parallel()
	needRoot(t)
	both(t, func(t *testing.T, r *rig) {
		dir := t.TempDir()
		data, hosts := filepath.Join(dir, "data"), filepath.Join(dir, "hosts")
		target := filepath.Join(dir, "built/in/path")
		if err := errors.Join(os.Mkdir(data, 0o755), os.WriteFile(hosts, []byte("private hosts\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		s := r.shell("default/web-0", `hostname; cat /etc/hosts; echo row > "$1/table"; cat /etc/hosts.supd-test-new
			(echo x > /etc/hosts) 2>/dev/null || echo read-only; exec sleep 1000`, target)
		s.Hostname = "web-0"
		s.Mounts = []keeper.Mount{
			{Source: data, Target: target},
			{Source: hosts, Target: "/etc/hosts", ReadOnly: true},
			{Source: hosts, Target: filepath.Join(dir, "new/file")},
		}
		s.Argv[2] = strings.ReplaceAll(s.Argv[2], "/etc/hosts.supd-test-new", filepath.Join(dir, "new/file"))
		r.mustStart(s)
		r.logHas("read-only")
		if got, want := r.log(keeper.LogOptions{}), "web-0\nprivate hosts\nprivate hosts\nread-only\n"; got != want {
			t.Errorf("log is %q, want %q", got, want)
		}
		if b, err := os.ReadFile(filepath.Join(data, "table")); err != nil || string(b) != "row\n" {
			t.Errorf("what it wrote: %q, %v", b, err)
		}
		if b, err := os.ReadFile(filepath.Join(target, "table")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its view is seen outside: %q, %v", b, err)
		}
		if h, err := os.Hostname(); err != nil || h == "web-0" {
			t.Errorf("the host's name is %q, %v", h, err)
		}
	})
}

func TestWhatAProgramIsGiven(t *testing.T) {
	t.Parallel()
	needRoot(t)
	script := `id -u; id -g; id -G; umask; pwd; grep NoNewPrivs /proc/self/status | cut -f2
		echo $SECRET; grep -E "^Sig(Blk|Ign)" /proc/self/status | cut -f2; ps -o pid=,sid= -p $$ | awk '{print $1 == $2}'`
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, staged := range []bool{false, true} {
		t.Run(fmt.Sprintf("staged=%v", staged), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "")
			got := r.run(script, func(e *keeper.Exec) {
				e.SetUser, e.UID, e.GID, e.Groups = true, 65534, 65533, []uint32{65533, 1234}
				e.Umask, e.Dir, e.NoNewPrivs = 0o027, "/tmp", true
				e.Secrets = []keeper.SecretEnv{{Name: "SECRET", File: secret}}
				if staged {
					e.Rlimits = map[string]uint64{"core": 0}
				}
			})
			want := "65534\n65533\n65533 1234\n0027\n/tmp\n1\nhush hush\n0000000000000000\n0000000000000000\n1\n"
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := r.run("umask; grep NoNewPrivs /proc/self/status | cut -f2", nil); got != fmt.Sprintf("%04o\n0\n", umask()) {
				t.Errorf("the next one inherits from the keeper %q", got)
			}
		})
	}
	t.Run("limits", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, "")
		got := r.run("ulimit -n; ulimit -c; nice; cat /proc/self/oom_score_adj", func(e *keeper.Exec) {
			e.Rlimits = map[string]uint64{"nofile": 321, "core": 0}
			e.Nice, e.OOMScore = ptr(5), ptr(77)
		})
		if want := "321\n0\n5\n77\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func umask() int {
	m := unix.Umask(0o022)
	unix.Umask(m)
	return m
}

// TestDescriptors: a member has 0-2 and the lock, what runs beside it 0-2, and the keeper's raised limit reaches neither.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		r.crash()
		r.soft = 600 // less than the number of the lock's descriptor
		r.up()
		list := "ls /proc/$$/fd; ulimit -Sn"
		r.mustStart(r.shell("a", list+"; echo done; exec sleep 1000"))
		r.logHas("done")
		if got, want := r.log(keeper.LogOptions{}), "0\n1\n2\n731\n600\ndone\n"; got != want {
			t.Errorf("a member's: %q, want %q", got, want)
		}
		if got, want := r.run(list, nil), "0\n1\n2\n600\n"; got != want {
			t.Errorf("a probe's: %q, want %q", got, want)
		}
		if got, want := r.run(list, func(e *keeper.Exec) { e.Rlimits = map[string]uint64{"core": 0} }), "0\n1\n2\n600\n"; got != want {
			t.Errorf("a staged probe's: %q, want %q", got, want)
		}
	})
}

func TestStartErrorsNameTheStep(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	plain := filepath.Join(dir, "plain")
	err := errors.Join(os.WriteFile(script, []byte("#!/no/such/shell -x\n"), 0o755), os.WriteFile(plain, nil, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*keeper.Start)
		step   string
		is     error
		text   string
	}{
		{"no program", func(s *keeper.Start) { s.Argv = []string{"/no/such/thing"} }, "exec", unix.ENOENT, "/no/such/thing"},
		{"not in PATH", func(s *keeper.Start) { s.Argv = []string{"nothing-like-it"} }, "exec", unix.ENOENT, "PATH (/usr/bin:/bin)"},
		{"no interpreter", func(s *keeper.Start) { s.Argv = []string{script} }, "exec", unix.ENOENT, "/no/such/shell"},
		{"not executable", func(s *keeper.Start) {
			s.Argv, s.SetUser, s.UID, s.GID = []string{plain}, true, 65534, 65534
		}, "exec", unix.EACCES, "user 65534"},
		{"no directory", func(s *keeper.Start) { s.Dir = "/no/such/dir" }, "chdir", unix.ENOENT, "/no/such/dir"},
		{"no secret", func(s *keeper.Start) {
			s.Secrets = []keeper.SecretEnv{{Name: "A", File: "/no/such/secret"}}
		}, "secret", nil, "/no/such/secret"},
		{"no mount source", func(s *keeper.Start) {
			s.Mounts = []keeper.Mount{{Source: "/no/such/source", Target: "/mnt"}}
		}, "mount", unix.ENOENT, "/no/such/source"},
		{"staged, no program", func(s *keeper.Start) {
			s.Argv, s.Hostname = []string{"/no/such/thing"}, "a"
		}, "exec", unix.ENOENT, "/no/such/thing"},
		{"staged, no directory", func(s *keeper.Start) { s.Dir, s.Hostname = "/no/such/dir", "a" }, "chdir", unix.ENOENT, "/no/such/dir"},
		{"limit", func(s *keeper.Start) { s.Rlimits = map[string]uint64{"nofile": 1 << 40} }, "rlimit", unix.EPERM, "nofile"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, r *rig) {
				s := r.shell("a", "exec sleep 1000")
				c.change(&s)
				err := r.Start(t.Context(), s)
				var ex *keeper.ErrExec
				if !errors.As(err, &ex) || ex.Step != c.step || !strings.Contains(err.Error(), c.text) || c.is != nil && !errors.Is(err, c.is) {
					t.Fatalf("got %v, want it to fail at %s with %v and name %s", err, c.step, c.is, c.text)
				}
				if st := r.seeState("a", keeper.Stopped); !strings.Contains(st.Message, c.text) {
					t.Errorf("status is %+v", st)
				}
				// Nothing is left that keeps the next try from its turn, in the same epoch.
				within(t, "a good start", func() bool { return r.Start(t.Context(), r.shell("a", "exec sleep 1000")) == nil })
			})
		})
	}
}

func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	for name, change := range map[string]func(*keeper.Start){
		"no command":    func(s *keeper.Start) { s.Argv = nil },
		"no member":     func(s *keeper.Start) { s.Member = "" },
		"long member":   func(s *keeper.Start) { s.Member = strings.Repeat("m", 200) },
		"no epoch":      func(s *keeper.Start) { s.Epoch = 0 },
		"signal":        func(s *keeper.Start) { s.StopSignal = "SIGNOTHING" },
		"timeout":       func(s *keeper.Start) { s.StopTimeout = -1 },
		"limit":         func(s *keeper.Start) { s.Rlimits = map[string]uint64{"openfiles": 1} },
		"directory":     func(s *keeper.Start) { s.Dir = "relative" },
		"zero byte":     func(s *keeper.Start) { s.Env = []string{"A=\x00"} },
		"mount":         func(s *keeper.Start) { s.Mounts = []keeper.Mount{{Source: "a", Target: "/b"}} },
		"secret's name": func(s *keeper.Start) { s.Secrets = []keeper.SecretEnv{{Name: "A=B", File: "/x"}} },
	} {
		s := r.shell("a", "exit 1")
		change(&s)
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if tab, err := r.List(t.Context(), 0); err != nil || len(tab.Processes) != 0 {
		t.Errorf("they left %+v, %v", tab, err)
	}
}

func TestRunTimeoutKillsTheTree(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		run := keeper.Run{Member: "a", Process: "main", Timeout: 100 * time.Millisecond}
		run.Exec = r.shell("", `trap "" TERM; echo out; sh -c 'while :; do sleep 1000; done' "$1" & wait`, word).Exec
		began := time.Now()
		res, err := r.Run(t.Context(), run)
		if err != nil || !res.TimedOut || string(res.Output) != "out\n" || res.Signal != "SIGKILL" {
			t.Errorf("got %+v, %v", res, err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("took %s", d)
		}
		within(t, "its children are gone", func() bool { return len(copies(t, word)) == 0 })
	})
}

func TestRunResult(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		run := keeper.Run{Member: "a", Process: "main", Exec: r.shell("", "echo out; echo err >&2; exit 9").Exec}
		if res, err := r.Run(t.Context(), run); err != nil || res.Code != 9 || string(res.Output) != "out\nerr\n" {
			t.Errorf("got %+v, %v", res, err)
		}
		run.Argv[2], run.MaxOutput = "head -c 1000000 /dev/zero | tr '\\0' x", 100
		if res, err := r.Run(t.Context(), run); err != nil || res.Code != 0 || len(res.Output) != 100 || !res.Truncated {
			t.Errorf("got %d bytes, %+v, %v", len(res.Output), res, err)
		}
		run.Argv[2] = "sleep 1000 & echo left one"
		if res, err := r.Run(t.Context(), run); err != nil || string(res.Output) != "left one\n" || res.TimedOut {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// TestRestartEmptiesAux: a probe that hangs doesn't hold up the restart, and is gone after it.
func TestRestartEmptiesAux(t *testing.T) {
	t.Parallel()
	r := newCgroupRig(t)
	st := r.mustStart(r.shell("a", "exec sleep 1000"))
	word := uniqueWord()
	ended := make(chan keeper.RunResult, 1)
	go func() {
		run := keeper.Run{Member: "a", Process: "main", Exec: r.shell("", "while :; do sleep 1000; done", word).Exec}
		res, err := r.Run(t.Context(), run)
		if err != nil {
			t.Error(err)
		}
		ended <- res
	}()
	within(t, "the probe runs", func() bool { return len(copies(t, word)) == 1 })
	if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.see("a", "a restart", func(s keeper.Status) bool { return s.State == keeper.Running && s.Restarts == 1 })
	if res := <-ended; res.Signal != "SIGKILL" {
		t.Errorf("the probe: %+v", res)
	}
}
