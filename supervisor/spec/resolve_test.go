package spec

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func program() *ProgramSpec {
	return &ProgramSpec{
		Command: []string{"/usr/sbin/mysqld"}, Args: []string{"--defaults"},
		Env:  Env{{Name: "A", Value: "program"}, {Name: "B", Value: "program"}},
		User: "mysql", Group: "mysql", Umask: "0077", Output: OutputFile,
		Init:      []InitStep{{Name: "install", Once: true, Exec: Exec{Command: []string{"install"}}}},
		Ports:     []Port{{Name: "sql", Port: 3306, Protocol: ProtocolTCP}},
		Scratch:   []ScratchDir{{Name: "run", MountPath: "/run/mysqld"}},
		Files:     []File{{Path: "/etc/my.cnf", Content: "program"}},
		Readiness: &Probe{TCP: &TCPDial{Port: "sql"}},
		Stop:      Stop{Timeout: ptr(Duration(time.Minute))},
	}
}

func imageSet() StatefulSetSpec {
	s := &StatefulSet{Metadata: Meta{Name: "db"}, Spec: StatefulSetSpec{
		Volumes: []VolumeSpec{{Name: "data"}},
		Init:    []InitStep{{Name: "own", Exec: Exec{Command: []string{"own"}}}},
		Processes: []Process{{
			Name:  "db",
			Exec:  Exec{Image: "mysql:5.7", Env: Env{{Name: "B", Value: "own"}}, Mounts: []Mount{{Volume: "data", MountPath: "/var/lib/mysql"}}},
			Ports: []Port{{Port: 3306}},
		}},
	}}
	Default(s)
	return s.Spec
}

func find(p *ProgramSpec) func(string) *ProgramSpec {
	return func(name string) *ProgramSpec {
		if name == "mysql:5.7" {
			return p
		}
		return nil
	}
}

func TestResolveFillsGaps(t *testing.T) {
	t.Parallel()
	tpl, problems := Resolve(imageSet(), find(program()))
	if len(problems) > 0 {
		t.Fatalf("got %v", problems)
	}
	p := tpl.Processes[0]
	for _, c := range []struct{ name, got, want any }{
		{"command", append(p.Command, p.Args...), []string{"/usr/sbin/mysqld", "--defaults"}},
		{"user", p.User + ":" + p.Group, "mysql:mysql"},
		{"env", p.Env, Env{{Name: "A", Value: "program"}, {Name: "B", Value: "own"}}},
		{"output", p.Output, OutputFile},
		{"ports", p.Ports, []Port{{Name: "sql", Port: 3306, Protocol: ProtocolTCP}}},
		{"stop", *p.Stop.Timeout, Duration(time.Minute)},
		{"period", *p.Readiness.Period, DefaultPeriod},
		{"init", tpl.Init[0].Name + "," + tpl.Init[1].Name, "install,own"},
		{"init user", tpl.Init[0].User, "mysql"},
		{"init mounts", tpl.Init[0].Mounts, p.Mounts},
		{"own init user", tpl.Init[1].User, ""},
		{"scratch", tpl.Scratch, []ScratchDir{{Name: "run", MountPath: "/run/mysqld"}}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestResolveContainerWins(t *testing.T) {
	t.Parallel()
	args := imageSet()
	args.Processes[0].Args = []string{"--own"}
	tpl, _ := Resolve(args, find(program()))
	if got := strings.Join(append(tpl.Processes[0].Command, tpl.Processes[0].Args...), " "); got != "/usr/sbin/mysqld --own" {
		t.Errorf("args of its own: got %q", got)
	}
	command := imageSet()
	command.Processes[0].Command = []string{"/bin/own"}
	command.Processes[0].User = "1000"
	tpl, _ = Resolve(command, find(program()))
	p := tpl.Processes[0]
	if got := strings.Join(append(p.Command, p.Args...), " "); got != "/bin/own" {
		t.Errorf("a command of its own: got %q", got)
	}
	if p.User != "1000" || p.Group != "" {
		t.Errorf("a user of its own: got %s:%s", p.User, p.Group)
	}
}

func TestResolveRefusals(t *testing.T) {
	t.Parallel()
	bad := func(change func(*StatefulSetSpec, *ProgramSpec)) []Problem {
		s, p := imageSet(), program()
		change(&s, p)
		_, problems := Resolve(s, find(p))
		return problems
	}
	for _, c := range []struct {
		name, path, message string
		change              func(*StatefulSetSpec, *ProgramSpec)
	}{
		{"no Program", "spec.processes[0].image", "apply a Program", func(s *StatefulSetSpec, _ *ProgramSpec) { s.Processes[0].Image = "other" }},
		{"no command", "spec.processes[0].image", "no command", func(_ *StatefulSetSpec, p *ProgramSpec) { p.Command = nil }},
		{"once, no volumes", "spec.volumes", "once", func(s *StatefulSetSpec, _ *ProgramSpec) { s.Volumes = nil }},
		{"same step", "spec.init", "two init steps", func(s *StatefulSetSpec, _ *ProgramSpec) { s.Init[0].Name = "install" }},
		{"same scratch", "spec.scratch[0].name", "two are named", func(_ *StatefulSetSpec, p *ProgramSpec) { p.Scratch[0].Name = "data" }},
		{"probe port", "spec.processes[0].readiness.tcp.port", "no port", func(_ *StatefulSetSpec, p *ProgramSpec) { p.Readiness.TCP.Port = "x" }},
		{"mount over mount", "spec.processes[0].mounts[0].mountPath", "already", func(_ *StatefulSetSpec, p *ProgramSpec) { p.Scratch[0].MountPath = "/var/lib/mysql" }},
	} {
		got := bad(c.change)
		found := false
		for _, p := range got {
			found = found || p.Path == c.path && strings.Contains(p.Message, c.message)
		}
		if !found {
			t.Errorf("%s: got %v, want %s: ...%s...", c.name, got, c.path, c.message)
		}
	}
}

// TestResolveSharesNothing: what Resolve gives may be changed without changing the set
// or the Program.
func TestResolveSharesNothing(t *testing.T) {
	t.Parallel()
	s, p := imageSet(), program()
	before, _ := Resolve(s, find(p))
	tpl, _ := Resolve(s, find(p))
	proc := &tpl.Processes[0]
	proc.Command[0], proc.Args[0], proc.Env[0].Value, proc.Env[1].Value = "x", "x", "x", "x"
	proc.Mounts[0].Volume, proc.Ports[0].Name, proc.Files[0].Content = "x", "x", "x"
	*proc.Stop.Timeout, *proc.Readiness.Period, proc.Readiness.TCP.Port = 1, 1, "x"
	tpl.Init[0].Command[0], tpl.Init[0].Mounts[0].Volume, *tpl.Init[0].Timeout, tpl.Init[1].Command[0] = "x", "x", 1, "x"
	*tpl.Init[1].Timeout = 1
	tpl.Scratch[0].Name = "x"
	if after, _ := Resolve(s, find(p)); after.Hash() != before.Hash() || !reflect.DeepEqual(after, before) {
		t.Errorf("changing a template changed what it was made from:\n%+v\n%+v", before, after)
	}
}
