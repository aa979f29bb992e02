package spec

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

// sound is a set that nothing is wrong with; tests break one thing of it.
func sound() *StatefulSet {
	return &StatefulSet{
		Metadata: Meta{Name: "web"},
		Spec: StatefulSetSpec{
			Replicas: ptr(3),
			Volumes:  []VolumeSpec{{Name: "data", Size: "1Gi"}},
			Scratch:  []ScratchDir{{Name: "tmp", MountPath: "/tmp"}},
			Init:     []InitStep{{Name: "prepare", Once: true, Exec: Exec{Command: []string{"true"}}}},
			Processes: []Process{{
				Name:      "web",
				Exec:      Exec{Command: []string{"/bin/web"}, Mounts: []Mount{{Volume: "data", MountPath: "/data"}}},
				Ports:     []Port{{Name: "http", Port: 80}},
				Readiness: &Probe{HTTP: &HTTPGet{Port: "http"}},
			}},
		},
	}
}

func TestSoundSetHasNoProblems(t *testing.T) {
	t.Parallel()
	s := sound()
	Default(s)
	if got := Validate(s); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	main := func(s *StatefulSet) *Process { return &s.Spec.Processes[0] }
	for _, c := range []struct {
		name, path, message string
		spoil               func(*StatefulSet)
		warning             bool
	}{
		{"bad name", "metadata.name", "DNS label", func(s *StatefulSet) { s.Metadata.Name = "Web" }, false},
		{"long member name", "metadata.name", "shorten the name by 3", func(s *StatefulSet) {
			s.Metadata.Name = strings.Repeat("a", 63)
			s.Spec.Replicas, s.Spec.Volumes, s.Spec.Init = ptr(12), nil, nil
			s.Spec.Processes[0].Mounts = nil
		}, false},
		{"long claim name", "spec.volumes[0].name", "shorten", func(s *StatefulSet) { s.Metadata.Name = strings.Repeat("a", 58) }, false},
		{"namespace", "metadata.namespace", "DNS label", func(s *StatefulSet) { s.Metadata.Namespace = "a.b" }, false},
		{"label value", "metadata.labels.a", "label value", func(s *StatefulSet) { s.Metadata.Labels = map[string]string{"a": "b c"} }, false},
		{"replicas", "spec.replicas", "between", func(s *StatefulSet) { s.Spec.Replicas = ptr(-1) }, false},
		{"policy", "spec.podManagementPolicy", `did you mean "Parallel"?`, func(s *StatefulSet) { s.Spec.PodManagementPolicy = "Paralel" }, false},
		{"maxUnavailable", "spec.updateStrategy.rollingUpdate.maxUnavailable", "at least 1", func(s *StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &RollingUpdateOptions{MaxUnavailable: "0"}
		}, false},
		{"size", "spec.volumes[0].size", "not a size", func(s *StatefulSet) { s.Spec.Volumes[0].Size = "10GB" }, false},
		{"mode", "spec.volumes[0].mode", "octal", func(s *StatefulSet) { s.Spec.Volumes[0].Mode = "0789" }, false},
		{"owner", "spec.volumes[0].owner", "neither", func(s *StatefulSet) { s.Spec.Volumes[0].Owner = "a b" }, false},
		{"mount over etc", "spec.volumes[0].mountPath", "/etc", func(s *StatefulSet) { s.Spec.Volumes[0].MountPath = "/etc/." }, false},
		{"two mounts", "spec.processes[0].mounts[0].mountPath", "mounted already", func(s *StatefulSet) { s.Spec.Volumes[0].MountPath = "/data" }, false},
		{"same volume name", "spec.scratch[0].name", "two are named", func(s *StatefulSet) { s.Spec.Scratch[0].Name = "data" }, false},
		{"once without volumes", "spec.init[0].once", "none", func(s *StatefulSet) { s.Spec.Volumes, main(s).Mounts = nil, nil }, false},
		{"no process", "spec.processes", "at least one", func(s *StatefulSet) { s.Spec.Processes = nil }, false},
		{"no command", "spec.processes[0].command", "needed", func(s *StatefulSet) { main(s).Command = nil }, false},
		{"umask", "spec.processes[0].umask", "more than", func(s *StatefulSet) { main(s).Umask = "7777" }, false},
		{"root", "spec.processes[0].user", "root", func(s *StatefulSet) { main(s).User = "root" }, true},
		{"unknown volume", "spec.processes[0].mounts[0].volume", `did you mean "data"?`, func(s *StatefulSet) { main(s).Mounts[0].Volume = "dat" }, false},
		{"subPath", "spec.processes[0].mounts[0].subPath", "..", func(s *StatefulSet) { main(s).Mounts[0].SubPath = "a/../../b" }, false},
		{"reserved env", "spec.processes[0].env[0].name", "SUP_", func(s *StatefulSet) { main(s).Env = Env{{Name: "SUP_IP"}} }, false},
		{"env twice", "spec.processes[0].env[1].name", "twice", func(s *StatefulSet) { main(s).Env = Env{{Name: "A"}, {Name: "A"}} }, false},
		{"value and file", "spec.processes[0].env[0].fromFile", "exclude", func(s *StatefulSet) { main(s).Env = Env{{Name: "A", Value: "x", FromFile: "/x"}} }, false},
		{"port", "spec.processes[0].ports[0].port", "no port", func(s *StatefulSet) { main(s).Ports[0].Port = 65536 }, false},
		{"unnamed port", "spec.processes[0].ports[0].name", "name", func(s *StatefulSet) { main(s).Ports[0] = Port{}; main(s).Readiness = nil }, false},
		{"port taken", "spec.processes[0].ports[1].port", "already", func(s *StatefulSet) { main(s).Ports = append(main(s).Ports, Port{Name: "x", Port: 80}) }, false},
		{"probe port", "spec.processes[0].readiness.http.port", `did you mean "http"?`, func(s *StatefulSet) { main(s).Readiness.HTTP.Port = "htp" }, false},
		{"two kinds", "spec.processes[0].readiness", "only one", func(s *StatefulSet) { main(s).Readiness.Exec = []string{"x"} }, false},
		{"no kind", "spec.processes[0].liveness", "needed", func(s *StatefulSet) { main(s).Liveness = &Probe{} }, false},
		{"liveness successes", "spec.processes[0].liveness.successThreshold", "must be 1", func(s *StatefulSet) {
			main(s).Liveness = &Probe{TCP: &TCPDial{Port: "80"}, SuccessThreshold: 2}
		}, false},
		{"period", "spec.processes[0].readiness.period", "more than zero", func(s *StatefulSet) { main(s).Readiness.Period = ptr(Duration(0)) }, false},
		{"expect", "spec.processes[0].readiness.expect", "regular expression", func(s *StatefulSet) { main(s).Readiness.Expect = "[" }, false},
		{"notify", "spec.processes[0].liveness.failureThreshold", "at most 100", func(s *StatefulSet) {
			main(s).Startup = &Probe{Notify: true, FailureThreshold: 101} // takes as long as it takes
			main(s).Liveness = &Probe{Notify: true, FailureThreshold: 101}
		}, false},
		{"notify with expect", "spec.processes[0].readiness.expect", "exec and http only", func(s *StatefulSet) {
			main(s).Readiness = &Probe{Notify: true, Expect: "x"}
		}, false},
		{"no hook", "spec.processes[0].hooks.preStp", "did you mean \"preStop\"", func(s *StatefulSet) { main(s).Hooks = Hooks{"preStp": {Command: []string{"x"}}} }, false},
		{"hook without command", "spec.processes[0].hooks.preStop.command", "needed", func(s *StatefulSet) { main(s).Hooks = Hooks{"preStop": {}} }, false},
		{"hook's name", "spec.processes[0].hooks.preStop.command[0]", "empty", func(s *StatefulSet) { main(s).Hooks = Hooks{"preStop": {Command: []string{" "}}} }, false},
		{"hook's retries", "spec.processes[0].hooks.postStart.retries", "negative", func(s *StatefulSet) { main(s).Hooks = Hooks{"postStart": {Command: []string{"x"}, Retries: -1}} }, false},
		{"a side process's onLeave", "spec.processes[1].hooks.onLeave", "belongs to the main process", func(s *StatefulSet) {
			side := *main(s)
			side.Name, side.Ports, side.Hooks = "side", nil, Hooks{"onLeave": {Command: []string{"x"}}}
			s.Spec.Processes = append(s.Spec.Processes, side)
		}, false},
		{"signal of another hook", "spec.processes[0].hooks.preStop.signal", "only onPeersChanged", func(s *StatefulSet) { main(s).Hooks = Hooks{"preStop": {Signal: "SIGHUP"}} }, false},
		{"signal of a hook", "spec.processes[0].hooks.onPeersChanged.signal", "no signal", func(s *StatefulSet) { main(s).Hooks = Hooks{"onPeersChanged": {Signal: "SIGHPU"}} }, false},
		{"signal and command", "spec.processes[0].hooks.onPeersChanged.signal", "exclude each other", func(s *StatefulSet) {
			main(s).Hooks = Hooks{"onPeersChanged": {Signal: "SIGHUP", Command: []string{"x"}}}
		}, false},
		{"slow preStop", "spec.processes[0].hooks.preStop.timeout", "within stop.timeout", func(s *StatefulSet) {
			d := Duration(time.Hour)
			main(s).Hooks = Hooks{"preStop": {Command: []string{"x"}, Timeout: &d}}
		}, true},
		{"grpc port", "spec.processes[0].readiness.grpc.port", `did you mean "http"?`, func(s *StatefulSet) { main(s).Readiness = &Probe{GRPC: &GRPCCall{Port: "htp"}} }, false},
		{"stop timeout of readiness", "spec.processes[0].readiness.stopTimeout", "startup and liveness only", func(s *StatefulSet) {
			main(s).Readiness.StopTimeout = ptr(Duration(time.Second))
		}, false},
		{"no stop timeout", "spec.processes[0].liveness.stopTimeout", "more than zero", func(s *StatefulSet) {
			main(s).Liveness = &Probe{TCP: &TCPDial{Port: "80"}, StopTimeout: ptr(Duration(0))}
		}, false},
		{"role by tcp", "spec.processes[0].role.tcp", "needs an answer", func(s *StatefulSet) { main(s).Role = &Probe{TCP: &TCPDial{Port: "80"}} }, false},
		{"role by nothing", "spec.processes[0].role", "one of exec or http", func(s *StatefulSet) { main(s).Role = &Probe{} }, false},
		{"two roles", "spec.processes[1].role", "process web has one already", func(s *StatefulSet) {
			main(s).Role = &Probe{Exec: []string{"x"}}
			s.Spec.Processes = append(s.Spec.Processes, Process{Name: "side", Exec: Exec{Command: []string{"x"}}, Role: &Probe{Exec: []string{"x"}}})
		}, false},
		{"mayStop counts", "spec.processes[0].mayStop.failureThreshold", "each answer counts", func(s *StatefulSet) {
			main(s).MayStop = &Probe{Exec: []string{"x"}, FailureThreshold: 3}
		}, false},
		{"role last of none", "spec.updateStrategy.rollingUpdate.roleLast", "no process has a role probe", func(s *StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &RollingUpdateOptions{RoleLast: "leader"}
		}, false},
		{"no role", "spec.updateStrategy.rollingUpdate.roleLast", "", func(s *StatefulSet) {
			main(s).Role = &Probe{Exec: []string{"x"}}
			s.Spec.UpdateStrategy.RollingUpdate = &RollingUpdateOptions{RoleLast: "the leader"}
		}, false},
		{"signal", "spec.processes[0].stop.signal", "no signal", func(s *StatefulSet) { main(s).Stop.Signal = "SIGFOO" }, false},
		{"memory", "spec.processes[0].limits.memory", "not a size", func(s *StatefulSet) { main(s).Limits = &Limits{Memory: "1GB"} }, false},
		{"little memory", "spec.processes[0].limits.memory", "1Mi", func(s *StatefulSet) { main(s).Limits = &Limits{Memory: "512"} }, false},
		{"cpu", "spec.processes[0].limits.cpu", "500m", func(s *StatefulSet) { main(s).Limits = &Limits{CPU: "2 cores"} }, false},
		{"no cpu", "spec.processes[0].limits.cpu", "500m", func(s *StatefulSet) { main(s).Limits = &Limits{CPU: "0"} }, false},
		{"pids", "spec.processes[0].limits.pids", "-1", func(s *StatefulSet) { main(s).Limits = &Limits{Pids: -1} }, false},
		{"ioWeight", "spec.processes[0].limits.ioWeight", "10000", func(s *StatefulSet) { main(s).Limits = &Limits{IOWeight: 10001} }, false},
		{"capability", "spec.processes[0].capabilities[1]", `did you mean "NET_RAW"?`, func(s *StatefulSet) { main(s).Capabilities = []string{"cap_chown", "CAP_NETRAW"} }, false},
		{"all capabilities", "spec.processes[0].capabilities[0]", "name those", func(s *StatefulSet) { main(s).Capabilities = []string{"ALL"} }, false},
		{"none and one", "spec.processes[0].capabilities[0]", "alone", func(s *StatefulSet) { main(s).Capabilities = []string{"NONE", "CHOWN"} }, false},
		{"capability of a step", "spec.init[0].capabilities[0]", "no capability", func(s *StatefulSet) { s.Spec.Init[0].Capabilities = []string{"X"} }, false},
		{"read-only path", "spec.processes[0].readOnlyPaths[0]", "absolute", func(s *StatefulSet) { main(s).ReadOnly = []string{"etc"} }, false},
		{"read-only twice", "spec.processes[0].readOnlyPaths[1]", "twice", func(s *StatefulSet) { main(s).ReadOnly = []string{"/etc", "/etc"} }, false},
		{"private and mounted", "spec.processes[0].privateTmp", "mounted already", func(s *StatefulSet) { main(s).PrivateTmp = true }, false},
		{"unknown limit", "spec.processes[0].limits.rlimits.memlok", `did you mean "memlock"?`, func(s *StatefulSet) {
			main(s).Limits = &Limits{Rlimits: map[string]IntOrString{"memlok": "1"}}
		}, false},
		{"limit's value", "spec.processes[0].limits.rlimits.stack", "8Mi", func(s *StatefulSet) {
			main(s).Limits = &Limits{Rlimits: map[string]IntOrString{"stack": "lots"}}
		}, false},
		{"limit twice", "spec.processes[0].limits.rlimits.nofile", "already", func(s *StatefulSet) {
			main(s).Limits = &Limits{Nofile: 5, Rlimits: map[string]IntOrString{"nofile": "6"}}
		}, false},
		{"files without limit", "spec.processes[0].limits.rlimits.nofile", "nr_open", func(s *StatefulSet) {
			main(s).Limits = &Limits{Rlimits: map[string]IntOrString{"nofile": "infinity"}}
		}, false},
		{"backoff", "spec.processes[0].restart.backoff.max", "less than first", func(s *StatefulSet) {
			main(s).Restart.Backoff = Backoff{First: ptr(Duration(time.Minute)), Max: ptr(Duration(time.Second))}
		}, false},
		{"file path", "spec.processes[0].files[0].path", "absolute", func(s *StatefulSet) { main(s).Files = []File{{Path: "a"}} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := sound()
			c.spoil(s)
			Default(s)
			got := Validate(s)
			for _, p := range got {
				if p.Path == c.path && strings.Contains(p.Message, c.message) && p.Warning == c.warning {
					return
				}
			}
			t.Errorf("got %v, want %s: ...%s...", got, c.path, c.message)
		})
	}
}

func TestDefaultIsIdempotent(t *testing.T) {
	t.Parallel()
	s := sound()
	Default(s)
	once := s.Spec.Clone()
	hash, _ := Resolve(once, nil)
	Default(s)
	again, _ := Resolve(s.Spec, nil)
	if hash.Hash() != again.Hash() {
		t.Errorf("a second Default changes the template: %+v, then %+v", hash, again)
	}
}

func TestProgramNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"mysql:5.7": true, "mysql": true, "registry.example:5000/db/mysql@sha256:12ab": true, "a/b_c:1.0-rc.1": true,
		"": false, "/mysql": false, "a//b": false, "a b": false, "../x": false, "a/..": false, "mysql:": false, "ä": false,
	} {
		if err := CheckProgramName(name); (err == nil) != ok {
			t.Errorf("%q: got %v, want ok %v", name, err, ok)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"replicas", "serviceName", "volumes", "namespace"}
	for got, want := range map[string]string{
		"replcas": "replicas", "Replicas": "replicas", "servicename": "serviceName", "volume": "volumes",
		"relpicas": "replicas", "xyz": "", "": "",
	} {
		if n := Nearest(got, names); n != want {
			t.Errorf("%q: got %q, want %q", got, n, want)
		}
	}
}

func TestPrivilegesAndLimits(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"NET_RAW": "NET_RAW", "cap_net_raw": "NET_RAW", "CAP_BPF": "BPF", "NONE": "", "net-raw": "", "": ""} {
		if got, ok := CapabilityName(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q, %v", in, got, ok)
		}
	}
	for in, want := range map[IntOrString]uint64{"0": 0, "4096": 4096, "8Mi": 8 << 20, "unlimited": math.MaxUint64, "Infinity": math.MaxUint64} {
		if got, err := ParseRlimit(in); err != nil || got != want {
			t.Errorf("%q: got %d, %v", in, got, err)
		}
	}
	for _, in := range []IntOrString{"", "-1", "x"} {
		if got, err := ParseRlimit(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
	for _, c := range []struct {
		in    []string
		want  []string
		given bool
	}{{nil, nil, false}, {[]string{"NONE"}, nil, true}, {[]string{"cap_chown", "CHOWN", "kill"}, []string{"CHOWN", "KILL"}, true}} {
		got, given := Privileges{Capabilities: c.in}.CapabilityList()
		if !slices.Equal(got, c.want) || given != c.given {
			t.Errorf("%v: got %v, %v", c.in, got, given)
		}
	}
}
