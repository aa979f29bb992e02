package keeper_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// paths are the three ways on which a program is started.
var paths = []struct {
	name   string
	change func(*keeper.Exec)
}{
	{"direct", func(*keeper.Exec) {}},
	{"thread", func(e *keeper.Exec) { e.Hostname = "web-0" }},
	{"stage", func(e *keeper.Exec) { e.Rlimits = map[string]uint64{"rttime": ^uint64(0)} }},
}

// hostile starts a keeper that has inherited all that its members must not: a priority, an oom score, ignored and blocked
// signals, descriptors, an environment, a low soft limit.
func (r *rig) hostile() {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	script := `echo 500 > /proc/self/oom_score_adj; ulimit -Sn 777; trap "" HUP INT QUIT PIPE CONT TSTP TTIN TTOU USR1 WINCH CHLD URG; exec 7</dev/null 9>&1
		exec nice -n -7 env LEAK=leaked "$0" "$@"`
	r.cmd = exec.Command("/bin/sh", "-c", script, self, "run", "--dir", r.dir)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.answer()
}

func TestNothingOfTheKeeperIsInherited(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r := newRig(t, "")
	r.crash()
	r.hostile()
	const script = `for f in SigBlk SigIgn; do grep ^$f: /proc/self/status; done; grep -E "^Max open" /proc/self/limits | tr -s " " | cut -d" " -f4
		cat /proc/self/oom_score_adj; nice; echo "leak=$LEAK"; umask; pwd; set -- $(cat /proc/$$/stat); test $6 = $$ && echo leader; ls /proc/$$/fd`
	for _, p := range paths {
		for _, member := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s member=%v", p.name, member), func(t *testing.T) {
				if err := os.RemoveAll(r.logs); err != nil {
					t.Fatal(err)
				}
				x := r.shell("default/"+p.name, script+"; echo done; exec sleep 1000")
				p.change(&x.Exec)
				x.Umask = 0o022
				if p.name == "direct" {
					x.Umask = -1
				}
				want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n777\n0\n0\nleak=\n0022\n/\nleader\n0\n1\n2\n"
				var got string
				if member {
					r.mustStart(x)
					within(t, "the program has said all", func() bool { got = r.log(keeper.LogOptions{}); return strings.HasSuffix(got, "done\n") })
					want += "731\ndone\n"
				} else {
					x.Argv[2] = script
					got = r.run(script, func(e *keeper.Exec) { *e = x.Exec })
				}
				if got != want {
					t.Errorf("got %q,\nwant %q", got, want)
				}
			})
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", r.cmd.Process.Pid))
	if err != nil || string(b) != "500\n" {
		t.Errorf("the keeper's own score is %q, %v, want it as it was", b, err)
	}
}

// TestOOMScoreIsLentToOneChild: many at once, each with its own.
func TestOOMScoreIsLentToOneChild(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	ended := make(chan error)
	const n = 24
	for i := range n {
		go func() {
			run := keeper.Run{Member: fmt.Sprint("m", i), Process: "main", Exec: r.shell("", "cat /proc/self/oom_score_adj").Exec}
			want := "0\n"
			if i%3 != 0 {
				run.OOMScore, want = ptr(i), fmt.Sprintf("%d\n", i)
			}
			res, err := r.Run(t.Context(), run)
			if err == nil && string(res.Output) != want {
				err = fmt.Errorf("%q, want %q", res.Output, want)
			}
			ended <- err
		}()
	}
	for range n {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r := newRig(t, "")
	all := capsOf(t, "CapBnd")
	bind := fmt.Sprintf("%016x", 1<<unix.CAP_NET_BIND_SERVICE|1<<unix.CAP_CHOWN)
	const none = "0000000000000000"
	names := []string{"NET_BIND_SERVICE", "CHOWN"}
	for _, p := range paths {
		for _, c := range []struct {
			name   string
			uid    uint32
			set    bool
			list   []string
			inh    string
			prm    string
			bnd    string
			amb    string
			change func(*keeper.Exec)
		}{
			{name: "root", inh: none, prm: all, bnd: all, amb: none},
			{name: "root with a list", set: true, list: names, inh: none, prm: bind, bnd: bind, amb: none},
			{name: "root with none", set: true, inh: none, prm: none, bnd: none, amb: none},
			{name: "user", uid: 65534, inh: none, prm: none, bnd: all, amb: none},
			{name: "user with a list", uid: 65534, set: true, list: names, inh: bind, prm: bind, bnd: bind, amb: bind},
			{name: "user with none", uid: 65534, set: true, inh: none, prm: none, bnd: none, amb: none},
			{
				name: "no_new_privs", uid: 65534, set: true, list: names, inh: bind, prm: bind, bnd: bind, amb: bind,
				change: func(e *keeper.Exec) { e.NoNewPrivs = true },
			},
		} {
			t.Run(p.name+"/"+c.name, func(t *testing.T) {
				got := r.run(`grep ^Cap /proc/self/status; id -u`, func(e *keeper.Exec) {
					p.change(e)
					e.SetUser, e.UID, e.GID = true, c.uid, c.uid
					e.SetCapabilities, e.Capabilities = c.set, c.list
					if c.change != nil {
						c.change(e)
					}
				})
				want := fmt.Sprintf("CapInh:\t%s\nCapPrm:\t%s\nCapEff:\t%s\nCapBnd:\t%s\nCapAmb:\t%s\n%d\n", c.inh, c.prm, c.prm, c.bnd, c.amb, c.uid)
				if got != want {
					t.Errorf("got\n%swant\n%s", got, want)
				}
				if got := r.run(`grep ^CapBnd /proc/self/status`, nil); got != "CapBnd:\t"+all+"\n" {
					t.Errorf("the next one inherits %s", got)
				}
			})
		}
	}
}

func capsOf(t *testing.T, field string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s", field)
	return ""
}
