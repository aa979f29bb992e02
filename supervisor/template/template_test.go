package template

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"supd/supervisor/spec"
)

func facts() *Facts {
	members := []Member{
		{Name: "db-0", Ordinal: 0, IP: "127.64.0.1", FQDN: "db-0.db.default.svc.cluster.local", Node: "n1", Ready: true, Ports: map[string]int{"peer": 2380}},
		{Name: "db-1", Ordinal: 1, IP: "127.64.0.2", FQDN: "db-1.db.default.svc.cluster.local", Node: "n2", Ports: map[string]int{"peer": 2381}},
		{Name: "db-2", Ordinal: 2, IP: "127.64.0.3", FQDN: "db-2.db.default.svc.cluster.local", Node: "n1", Ports: map[string]int{"peer": 2382}},
	}
	me := members[1]
	me.Namespace, me.Set, me.Hostname, me.Epoch, me.Revision, me.Volumes = "default", "db", "db-1", 12, "db-abc", "new"
	me.Ports = map[string]int{"peer": 2381, "http-alt": 8080}
	return &Facts{
		Member: me, Members: members,
		Set:     Set{Name: "db", Replicas: 3, Service: "db", FQDN: "db.default.svc.cluster.local", Formed: true},
		Volumes: map[string]string{"data": "/v/data", "wal-log": "/v/wal"},
		Node:    Node{Name: "n2", Address: "127.0.0.1", Labels: map[string]string{"zone": "a"}},
		Env:     map[string]string{"COLOR": "red", "EMPTY": ""},
		Secret:  map[string]bool{"PASSWORD": true},
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ src, want string }{
		{"", ""},
		{"plain $HOME $(x) %d", "plain $HOME $(x) %d"},
		{"e\u0301 decomposed stays", "e\u0301 decomposed stays"},
		{"$${HOME} %%{x}", "${HOME} %{x}"},
		{"${member.name} ${member.ordinal} ${member.namespace} ${member.set} ${member.ip}", "db-1 1 default db 127.64.0.2"},
		{"${member.hostname} ${member.fqdn} ${member.node} ${member.epoch} ${member.revision}", "db-1 db-1.db.default.svc.cluster.local n2 12 db-abc"},
		{"${member.volumes} ${member.joining} ${member.bootstrap}", "new false false"},
		{"${members[0].name} ${members[2].port.peer} ${members[0].ready}", "db-0 2382 true"},
		{
			`${join(",", [for m in members : "${m.name}=http://${m.ip}:${m.port.peer}"])}`,
			"db-0=http://127.64.0.1:2380,db-1=http://127.64.0.2:2381,db-2=http://127.64.0.3:2382",
		},
		{`${join(" ", peers[*].name)}`, "db-0 db-2"},
		{"${set.name} ${set.replicas} ${set.service} ${set.fqdn} ${set.formed}", "db 3 db db.default.svc.cluster.local true"},
		{"${volume.data} ${volume.wal-log} ${port.peer} ${port.http-alt}", "/v/data /v/wal 2381 8080"},
		{"${node.name} ${node.address} ${node.labels.zone} ${lookup(node.labels, \"rack\", \"none\")}", "n2 127.0.0.1 a none"},
		{"[${env.COLOR}] [${env.EMPTY}]", "[red] []"},
		{"%{ if member.ordinal == 0 }first%{ else }later%{ endif }", "later"},
		{"%{ for p in peers ~}\nserver ${p.ip}\n%{ endfor ~}\n", "server 127.64.0.1\nserver 127.64.0.3\n"},
		{"a\r\n${member.ordinal}\r\nb", "a\r\n1\r\nb"},
		{`${format("%03d", member.ordinal)}${upper("x")}${lower("Y")}${length(members)}`, "001xX"[:3] + "Xy3"},
		{`${jsonencode({a = [1, "x"], b = true})}`, `{"a":[1,"x"],"b":true}`},
		{`${max(1, 3)} ${min(2, 5)} ${join("-", range(3))} ${replace("a.b", ".", "_")}`, "3 2 0-1-2 a_b"},
		{`${contains(["a"], "a")} ${substr("hello", 1, 3)} ${trimspace(" x ")} ${split(",", "a,b")[1]}`, "true ell x b"},
		{`${join(",", concat(["a"], ["b"]))} ${join(",", keys({b=1,a=2}))} ${join(",", values({b=1,a=2}))}`, "a,b a,b 2,1"},
		{`${coalesce("", "x")} ${tostring(5)} ${tonumber("7") + 1} ${length("häß")}`, " 5 8 3"},
		{"${1.50} ${2}", "1.5 2"},
		{"${member.ordinal}", "1"},
		{"${member.joining}", "false"},
		{"a\\n\"b\" \t", "a\\n\"b\" \t"},
		{"a\\n ${member.ordinal} \"b\"", "a\\n 1 \"b\""},
	} {
		got, err := Render(c.src, facts())
		if err != nil || got != c.want {
			t.Errorf("Render(%q) = %q, %v; want %q", c.src, got, err, c.want)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ src, want string }{
		{"${membr.name}", `there is no variable "membr"; did you mean "member"?`},
		{"${member.nme}", `member has no "nme"; did you mean "name"?`},
		{"${volume.dta}", `there is no volume "dta"; did you mean "data"?`},
		{"${port.pier}", `there is no port "pier"; did you mean "peer"?`},
		{"${env.COLOUR}", `there is no environment variable "COLOUR" above this place; did you mean "COLOR"?`},
		{"${env.PASSWORD}", "comes from a file"},
		{"x ${join(\",\", [for m in members : m.fqn])}", `m has no "fqn"; did you mean "fqdn"?`},
		{"x ${members[0].port.pear}", `did you mean "peer"?`},
		{"${node.labels.rack}", "rack"},
		{"${members}", "use join or jsonencode"},
		{"${{a=1}}", "a text is needed"},
		{"${null}", "null"},
		{"${members[7].ip}", "does not identify an element"},
		{"${joins(members)}", "joins"},
		{"${member.name", "no closing brace"},
		{"%{ if true }x", "template"},
		{"${1/0}", "endless number"},
		{"${1e99999999}", "too large"},
		{`${format("%99999999d", 1)}`, "four digits"},
		{`${format("%.99999999f", 1)}`, "four digits"},
		{"${" + strings.Repeat("(", 20000) + "1" + strings.Repeat(")", 20000) + "}", "too long"},
		{"${" + strings.Repeat("!", 20000) + "true}", "too long"},
		{"${member.name}" + strings.Repeat("x", MaxSource), "bytes"},
		{"${env.\xff}", ""},
	} {
		got, err := Render(c.src, facts())
		if err == nil {
			t.Errorf("Render(%.60q) = %.60q, want an error", c.src, got)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Render(%.60q): error %q, want one line with %q", c.src, err, c.want)
		}
	}
}

func TestErrorTellsItsPlace(t *testing.T) {
	t.Parallel()
	_, err := Render("line one\nx = ${member.nme}\n", facts())
	if err == nil || !strings.Contains(err.Error(), "line 2, column 13") {
		t.Errorf("got %v, want line 2, column 13", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, v := range facts().Environment() {
		got[v.Name] = v.Value
	}
	for k, want := range map[string]string{
		"SUP_NAMESPACE": "default", "SUP_SET": "db", "SUP_MEMBER": "db-1", "SUP_ORDINAL": "1", "SUP_REPLICAS": "3",
		"SUP_IP": "127.64.0.2", "SUP_FQDN": "db-1.db.default.svc.cluster.local",
		"SUP_SERVICE_FQDN": "db.default.svc.cluster.local", "SUP_NODE": "n2", "SUP_EPOCH": "12", "SUP_REVISION": "db-abc",
		"SUP_PEERS":       "db-0.db.default.svc.cluster.local,db-2.db.default.svc.cluster.local",
		"SUP_VOLUME_DATA": "/v/data", "SUP_VOLUME_WAL_LOG": "/v/wal", "SUP_PORT_PEER": "2381", "SUP_PORT_HTTP_ALT": "8080",
		"HOSTNAME": "db-1",
	} {
		if got[k] != want {
			t.Errorf("%s = %q, want %q", k, got[k], want)
		}
	}
}

func TestRenderEnv(t *testing.T) {
	t.Parallel()
	f := facts()
	vars, g, err := f.RenderEnv(f.Environment(), spec.Env{
		{Name: "A", Value: "a-${member.ordinal}"},
		{Name: "B", Value: "${env.A}/${env.SUP_SET}"},
		{Name: "HOSTNAME", Value: "mine"},
		{Name: "PW", FromFile: "/etc/supd/secrets/pw"},
	})
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]string{}
	for _, v := range vars {
		if _, twice := last[v.Name]; twice {
			t.Errorf("%s stands twice in the environment", v.Name)
		}
		last[v.Name] = v.Value
	}
	if last["A"] != "a-1" || last["B"] != "a-1/db" || last["HOSTNAME"] != "mine" {
		t.Errorf("got A=%q B=%q HOSTNAME=%q", last["A"], last["B"], last["HOSTNAME"])
	}
	if _, ok := last["PW"]; ok || !g.Secret["PW"] {
		t.Errorf("PW must be known by name only; secret: %v", g.Secret)
	}
	if _, _, err := f.RenderEnv(nil, spec.Env{{Name: "A", Value: "${env.B}"}, {Name: "B", Value: "x"}}); err == nil ||
		!strings.Contains(err.Error(), "env A") {
		t.Errorf("a variable below must not be known: %v", err)
	}
}

func set(replicas int, p spec.Process) (spec.StatefulSetSpec, spec.Template) {
	s := spec.StatefulSetSpec{Replicas: &replicas, ServiceName: "web", Volumes: []spec.VolumeSpec{{Name: "data"}}}
	return s, spec.Template{Processes: []spec.Process{p}}
}

func TestCheckSet(t *testing.T) {
	t.Parallel()
	s, tpl := set(3, spec.Process{
		Name: "main",
		Exec: spec.Exec{
			Command:    []string{"x", "${member.name}", "${membr.name}"},
			Args:       []string{"${env.LATER}"},
			Env:        spec.Env{{Name: "OK", Value: "${volume.data}"}, {Name: "BAD", Value: "${volume.wal}"}},
			WorkingDir: "${volume.data}",
		},
		Ports: []spec.Port{{Name: "http", Port: 0}},
		Files: []spec.File{{Path: "${volume.data}/f", Content: "%{ for m in members }${m.por.http}%{ endfor }"}},
		Readiness: &spec.Probe{HTTP: &spec.HTTPGet{
			Port: "htp", Path: "/${member.x}",
			Headers: map[string]string{"Host": "${member.fqdn}"},
		}},
		Liveness: &spec.Probe{TCP: &spec.TCPDial{Port: "http"}},
	})
	tpl.Init = []spec.InitStep{{Name: "i", Exec: spec.Exec{Command: []string{"${env.SUP_ATTEMPT}", "${node.nam}"}}}}
	got := map[string]string{}
	for _, p := range CheckSet("default", "web", s, tpl, "") {
		if _, twice := got[p.Path]; twice {
			t.Errorf("%s told twice", p.Path)
		}
		got[p.Path] = p.Message
	}
	for path, want := range map[string]string{
		"spec.init[0].command[1]":               `did you mean "name"?`,
		"spec.processes[0].command[2]":          `did you mean "member"?`,
		"spec.processes[0].env[1].value":        `there is no volume "wal"`,
		"spec.processes[0].args[0]":             "LATER",
		"spec.processes[0].readiness.http.port": `did you mean "http"?`,
		"spec.processes[0].files[0].content":    `did you mean "port"?`,
		"spec.processes[0].readiness.http.path": `member has no "x"`,
	} {
		if msg, ok := got[path]; !ok || !strings.Contains(msg, want) {
			t.Errorf("%s: %q, want %q; all: %v", path, msg, want, got)
		}
	}
	tpl.Processes[0].Env = spec.Env{{Name: "OK", Value: "${volume.data}"}}
	got = map[string]string{}
	for _, p := range CheckSet("default", "web", s, tpl, "") {
		got[p.Path] = p.Message
	}
	for path, want := range map[string]string{
		"spec.processes[0].args[0]":             "LATER",
		"spec.processes[0].files[0].content":    `did you mean "port"?`,
		"spec.processes[0].readiness.http.port": `there is no port "htp"; did you mean "http"?`,
		"spec.processes[0].readiness.http.path": `member has no "x"`,
	} {
		if !strings.Contains(got[path], want) {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
	if len(got) != 6 {
		t.Errorf("%d problems, want 6: %v", len(got), got)
	}
}

func TestCheckSetSeesLoopsThatAreNotEnteredYet(t *testing.T) {
	t.Parallel()
	one, tpl := set(1, spec.Process{Name: "main", Exec: spec.Exec{
		Command: []string{"x", "%{ for p in peers }${p.nam}%{ endfor }"},
	}})
	if got := CheckSet("default", "web", one, tpl, ""); len(got) != 1 || !strings.Contains(got[0].Message, `did you mean "name"?`) {
		t.Errorf("got %v, want the unknown name of peers", got)
	}
	tpl.Processes[0].Command = []string{"x", "${length(peers) > 0 ? tonumber(\"x\") : 1}"}
	for _, p := range CheckSet("default", "web", one, tpl, "") {
		t.Logf("told: %v", p)
	}
	zero, tpl := set(0, spec.Process{Name: "main", Exec: spec.Exec{Command: []string{"${members[0].ip}"}}})
	if got := CheckSet("default", "web", zero, tpl, ""); len(got) != 0 {
		t.Errorf("a set of none is tried as one of one: %v", got)
	}
	two, tpl := set(2, spec.Process{Name: "main", Exec: spec.Exec{Command: []string{"${members[2].ip}"}}})
	if got := CheckSet("default", "web", two, tpl, ""); len(got) != 1 {
		t.Errorf("an index out of range is refused: %v", got)
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"", "x", "${member.name}", "$${x}", "%{ if true }a%{ else }b%{ endif }",
		"${join(\",\", [for m in members : m.name])}", "%{ for p in peers ~}\n${p.ip}\n%{ endfor ~}", "${1+2*3}",
		"${{a=1}.a}", "${members[*].ip}", "${[1,2][0]}", "${format(\"%5d\", 3)}", "${jsonencode(member)}", "\"<<EOT",
	} {
		f.Add(s)
	}
	fs := facts()
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 2000 || strings.Count(src, "for") > 2 || strings.Contains(src, "range") {
			t.Skip("bounded for speed")
		}
		watchdog := time.AfterFunc(5*time.Second, func() { panic(fmt.Sprintf("%q takes more than 5 s", src)) })
		defer watchdog.Stop()
		got, err := Render(src, fs)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || err.Error() == "" {
				t.Errorf("the error of %q is not one line: %q", src, err)
			}
			return
		}
		again, err := Render(src, fs)
		if err != nil || again != got {
			t.Errorf("rendering %q twice gave %q and %q, %v", src, got, again, err)
		}
		if !strings.Contains(src, "${") && !strings.Contains(src, "%{") && got != src {
			t.Errorf("plain text %q became %q", src, got)
		}
	})
}

// TestOnlyAfterLeaveKnowsTheLeaver: other hooks that name it are refused when they are applied.
func TestOnlyAfterLeaveKnowsTheLeaver(t *testing.T) {
	t.Parallel()
	two := 2
	for hook, want := range map[string]int{spec.HookAfterLeave: 0, spec.HookOnLeave: 1} {
		tpl := spec.Template{Processes: []spec.Process{{
			Name: "main", Exec: spec.Exec{Command: []string{"x"}}, Ports: []spec.Port{{Name: "peer", Port: 7}},
			Hooks: spec.Hooks{hook: {Command: []string{"drop", "${leaver.name} ${leaver.ip}:${leaver.port.peer} ${member.name}"}}},
		}}}
		got := CheckSet("default", "web", spec.StatefulSetSpec{Replicas: &two, Processes: tpl.Processes}, tpl, "zone")
		if len(got) != want || want == 1 && got[0].Path != "spec.processes[0].hooks.onLeave.command[1]" {
			t.Errorf("%s: %+v, want %d problems", hook, got, want)
		}
	}
}
