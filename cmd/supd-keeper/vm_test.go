package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	delegated = "/sys/fs/cgroup/system.slice/supd-cgroup.service"
	webPIDs   = `for i in 0 1 2; do supctl get member web-$i -o 'jsonpath={.status.processes[0].pid}'; echo; done`
	webReady  = `supctl wait sts/web --for=ready --timeout 20s`
	data      = `$(echo /var/lib/supd/volumes/default/data-web-%d.*/data)`
)

// TestVirtualMachine installs supd on a Debian 12 as the README says and does to it what happens to hosts. The parts
// build on each other.
func TestVirtualMachine(t *testing.T) {
	needMachine(t)
	m := newMachine(t)
	t.Cleanup(func() { m.keepLogs(t) })
	for _, part := range []struct {
		name string
		run  func(*testing.T, *machine)
	}{
		{"install", install},
		{"units", checkUnits},
		{"members", startMembers},
		{"supd and keeper killed and restarted", killDaemons},
		{"both stopped", stopDaemons},
		{"limits", runLimits},
		{"stop of all members", stopMembers},
		{"shutdown", shutDown},
		{"power cut", powerCut},
		{"holder of the cgroup killed", killHolder},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			m.t = t
			defer func() { m.t = nil }()
			part.run(t, m)
		})
		if !ok {
			return
		}
	}
}

// keepLogs keeps what the machine has printed, if anything went wrong.
func (m *machine) keepLogs(t *testing.T) {
	if !t.Failed() {
		return
	}
	for boot := 1; boot <= m.boots; boot++ {
		b, err := os.ReadFile(filepath.Join(m.dir, fmt.Sprintf("serial-%d.log", boot)))
		if err != nil {
			t.Error(err)
			continue
		}
		kept := filepath.Join(os.TempDir(), fmt.Sprintf("supd-vm-serial-%d.log", boot))
		if err := os.WriteFile(kept, b, 0o644); err != nil {
			t.Error(err)
		}
		lines := strings.Split(string(b), "\n")
		t.Logf("%s ends with:\n%s", kept, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// readmeCommands are those that the README has for a host.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n## Install on a real host\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var commands []string
	for line := range strings.Lines(section) {
		if c, ok := strings.CutPrefix(line, "    # "); ok {
			commands = append(commands, strings.TrimSpace(c))
		}
	}
	if !ok || len(commands) < 3 {
		t.Fatalf("the README's commands to install: %q", commands)
	}
	return commands
}

func install(t *testing.T, m *machine) {
	m.boot()
	for _, c := range readmeCommands(t) {
		t.Log(c, "\n", m.do(c))
	}
	m.until(`supctl get nodes | grep -w Ready`)
	if got := m.do(`stat -c %a:%G /run/supd/supd.sock`); got != "660:supd" {
		t.Errorf("the socket is %s", got)
	}
	// The root file system is new at each boot: what the installation has made is put there again.
	tar, err := base64.StdEncoding.DecodeString(m.do(`tar -C / -c etc/group etc/gshadow etc/supd $(cd / && find etc/systemd/system -name 'supd*' -type l) | base64 -w0`))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "installed.tar"), tar, 0o600); err != nil {
		t.Fatal(err)
	}
	m.host(`mkdir installed && tar -C installed -xf installed.tar`)
	m.layer("installed")
}

func checkUnits(t *testing.T, m *machine) {
	if out, err := m.try(`cd /usr/local/lib/systemd/system && systemd-analyze verify ./supd*.service`); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	t.Log(m.do(`systemd-analyze security --offline=yes /usr/local/lib/systemd/system/supd.service | tail -1`))
	for _, u := range []string{"supd", "supd-keeper", "supd-members", "supd-cgroup"} {
		if got := m.do(`systemctl show -P ActiveState ` + u); got != "active" {
			t.Errorf("%s is %s", u, got)
		}
	}
	if _, err := m.try(`systemctl stop supd-cgroup`); err == nil {
		t.Error("the members' cgroup can be stopped by hand")
	}
}

func startMembers(t *testing.T, m *machine) {
	m.until(`supctl apply -f /vm/web.hcl --wait --timeout 80s`)
	for _, pid := range strings.Fields(m.do(webPIDs)) {
		if at := m.do(`cut -d: -f3 /proc/` + pid + `/cgroup`); !strings.HasPrefix("/sys/fs/cgroup"+at, delegated+"/") {
			t.Errorf("process %s is in %s", pid, at)
		}
		if env := m.do(`tr '\0' '\n' </proc/` + pid + `/environ`); strings.Contains(env, "NOTIFY_SOCKET") || strings.Contains(env, "WATCHDOG") {
			t.Errorf("a member inherits what systemd told the keeper:\n%s", env)
		}
		if got := m.do(`cat /proc/` + pid + `/oom_score_adj`); got != "0" {
			t.Errorf("a member's oom score is %s", got)
		}
	}
}

func killDaemons(t *testing.T, m *machine) {
	pids := m.do(webPIDs)
	for _, c := range []struct {
		name, unit, script string
		same               bool // the unit's process stays
	}{
		{"kill -9 supd", "supd", `systemctl kill -s KILL supd`, false},
		{"kill -9 keeper", "supd-keeper", `systemctl kill -s KILL supd-keeper`, false},
		{"restart supd", "supd", `systemctl restart supd`, false},
		{"restart keeper", "supd-keeper", `systemctl restart supd-keeper`, false},
		{"reload keeper", "supd-keeper", `systemctl reload supd-keeper`, true},
		{"hung keeper", "supd-keeper", `kill -STOP $(systemctl show -P MainPID supd-keeper)`, false},
		{"hung supd", "supd", `systemctl kill -s STOP supd`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.t = t
			before := m.do(`systemctl show -P MainPID ` + c.unit)
			m.do(c.script)
			if c.same {
				m.until(`[ $(systemctl show -P MainPID ` + c.unit + `) = ` + before + ` ] && systemctl is-active ` + c.unit)
			} else {
				m.until(`p=$(systemctl show -P MainPID ` + c.unit + `); [ $p != 0 ] && [ $p != ` + before + ` ] && systemctl is-active ` + c.unit)
			}
			m.until(webReady)
			if now := m.do(webPIDs); now != pids {
				t.Errorf("members' processes were\n%s\nand are\n%s", pids, now)
			}
		})
	}
	m.t = t
	if got := m.do(`wc -l < ` + fmt.Sprintf(data, 0) + `/epochs`); got != "1" {
		t.Errorf("web-0 was started %s times", got)
	}
}

func stopDaemons(t *testing.T, m *machine) {
	pids := m.do(webPIDs)
	m.do(`systemctl stop supd supd-keeper`)
	for _, pid := range strings.Fields(pids) {
		if _, err := m.try(`kill -0 ` + pid); err != nil {
			t.Errorf("systemctl stop supd supd-keeper has stopped process %s", pid)
		}
	}
	m.do(`systemctl start supd`) // wants the keeper
	m.until(webReady)
	if now := m.do(webPIDs); now != pids {
		t.Errorf("members' processes were\n%s\nand are\n%s", pids, now)
	}
}

func runLimits(t *testing.T, m *machine) {
	m.until(`supctl apply -f /vm/hog.hcl`)
	m.until(`supctl get member hog-0 -o yaml | grep OOMKilled`)
	m.until(`supctl get sts hog || exit 0; supctl delete sts hog --wait --timeout 60s`)
	// The tests' keepers each get a part of what was delegated, controllers and all.
	out, err := m.tryWithin(4*vmWait, `echo "+memory +cpu +pids +io" >`+delegated+`/cgroup.subtree_control && KEEPER_TEST_NEED_LIMITS=1 KEEPER_TEST_CGROUP_ROOT=`+delegated+` TMPDIR=/tmp /vm/keeper.test -test.v -test.parallel 1 -test.run '^TestLimits'`)
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(strings.TrimSpace(line), "--- ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// stops reads what members have noted of their latest stop: times in ns, in order.
func stops(t *testing.T, m *machine) (order []string, at map[string]int) {
	t.Helper()
	at = map[string]int{}
	for i := range 3 {
		for line := range strings.Lines(m.do(`tail -n 2 ` + fmt.Sprintf(data, i) + `/stops`)) {
			f := strings.Fields(line)
			if len(f) != 3 {
				t.Fatalf("web-%d noted %q", i, line)
			}
			n, err := strconv.Atoi(f[2])
			if err != nil {
				t.Fatal(err)
			}
			what := f[0] + " " + f[1]
			order, at[what] = append(order, what), n
		}
	}
	slices.SortFunc(order, func(a, b string) int { return at[a] - at[b] })
	return order, at
}

// checkStops asks that members stopped from the last to the first, and that the slow one had its time.
func checkStops(t *testing.T, m *machine) {
	t.Helper()
	order, at := stops(t, m)
	want := "term web-2, done web-2, term web-1, done web-1, term web-0, done web-0"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("members stopped like this: %s", got)
	}
	if slow := at["done web-1"] - at["term web-1"]; slow < 5e9 {
		t.Errorf("web-1 had %d ms to stop", slow/1e6)
	}
}

func stopMembers(t *testing.T, m *machine) {
	m.do(`systemctl stop supd-members`)
	checkStops(t, m)
	if got := m.do(`systemctl is-active supd supd-keeper || true`); got != "inactive\nactive" {
		t.Errorf("supd and its keeper are %q", got)
	}
	m.do(`systemctl start supd`)
	m.until(webReady)
}

func shutDown(t *testing.T, m *machine) {
	epoch := m.number(`tail -n 1 ` + fmt.Sprintf(data, 0) + `/epochs`)
	dirs := m.do(`ls -d /var/lib/supd/volumes/default/*`)
	m.tell(`systemctl poweroff`)
	m.off()
	last := m.console()
	if i, j := strings.LastIndex(last, "supd ends; members run on"), strings.LastIndex(last, "all members have stopped"); i < 0 || j < i {
		t.Error("supd did not end before the members")
	}
	m.boot()
	checkStops(t, m)
	m.comeBack(0, epoch)
	m.until(webReady)
	if now := m.do(`ls -d /var/lib/supd/volumes/default/*`); now != dirs {
		t.Errorf("directories were\n%s\nand are\n%s", dirs, now)
	}
}

// comeBack waits until a member has started in a higher epoch. Until this node's agent has reported, what the cluster shows
// is what was true before the boot.
func (m *machine) comeBack(ordinal, epoch int) {
	m.t.Helper()
	m.until(fmt.Sprintf(`[ "$(tail -n 1 `+data+`/epochs)" -gt %d ]`, ordinal, epoch))
}

func powerCut(t *testing.T, m *machine) {
	var epochs, synced [3]int
	dirs := m.do(`ls -d /var/lib/supd/volumes/default/*`)
	const writes = 8
	put := `printf 'apiVersion: supd/v1\nkind: Program\nmetadata: {name: "p%d"}\nspec: {command: [/bin/true]}\n' | supctl apply -f -`
	for i := range writes {
		m.until(fmt.Sprintf(put, i))
	}
	for i := range 3 {
		epochs[i] = m.number(`tail -n 1 ` + fmt.Sprintf(data, i) + `/epochs`)
		synced[i] = m.number(`cat ` + fmt.Sprintf(data, i) + `/synced`)
	}
	// One more write is under way when the plug is pulled.
	m.tell(fmt.Sprintf(put, writes))
	m.cut()
	m.boot()
	for i := range 3 {
		m.comeBack(i, epochs[i])
	}
	m.until(webReady)
	for i := range writes {
		if _, err := m.try(fmt.Sprintf(`supctl get program p%d`, i)); err != nil {
			t.Errorf("an acknowledged write is lost: %v", err)
		}
	}
	if now := m.do(`ls -d /var/lib/supd/volumes/default/*`); now != dirs {
		t.Errorf("directories were\n%s\nand are\n%s", dirs, now)
	}
	for i := range 3 {
		if _, err := m.try(fmt.Sprintf(`[ "$(sed -n %dp `+data+`/numbers)" = %d ]`, synced[i], i, synced[i])); err != nil {
			t.Errorf("web-%d has lost what it had synced, up to %d", i, synced[i])
		}
	}
}

// killHolder kills the process that holds the members' cgroup: its unit is restarted, and only that.
func killHolder(t *testing.T, m *machine) {
	pids := m.do(webPIDs)
	m.do(`systemctl kill -s KILL --kill-who=main supd-cgroup`)
	m.until(`[ $(systemctl show -P NRestarts supd-cgroup) -ge 1 ]`)
	m.do(`systemctl restart supd`)
	m.until(webReady)
	if now := m.do(webPIDs); now != pids {
		t.Errorf("members' processes were\n%s\nand are\n%s", pids, now)
	}
	if got := m.do(`systemctl is-active supd-keeper`); got != "active" {
		t.Errorf("the keeper is %s", got)
	}
	m.do(`systemctl stop supd-members`)
	checkStops(t, m)
	m.do(`systemctl start supd`)
	m.until(`systemctl is-active supd-cgroup`)
	m.until(webReady)
	m.tell(`systemctl poweroff`)
	m.off()
}
