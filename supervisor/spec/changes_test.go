package spec

import (
	"strings"
	"testing"
	"time"
)

// What members follow with a restart is in the hash and named by Changes; what they follow
// as it is, is neither.
func TestChanges(t *testing.T) {
	t.Parallel()
	base := func() Template {
		return Template{
			Init:         []InitStep{{Name: "make", Exec: Exec{Command: []string{"make"}}}},
			Processes:    []Process{{Name: "main", Exec: Exec{Command: []string{"a"}}}, {Name: "side", Exec: Exec{Command: []string{"b"}}}},
			VolumeMounts: map[string]string{"data": "/d"}, Resolve: ResolvePrivate,
			Shape: &Shape{Service: "web", Volumes: []VolumeSpec{{Name: "data", Size: "1Gi"}, {Name: "logs"}}},
		}
	}
	long := Duration(time.Minute)
	for _, c := range []struct {
		change func(*Template)
		want   string
	}{
		{func(*Template) {}, ""},
		{func(t *Template) { t.Processes[0].Readiness = &Probe{Exec: []string{"x"}} }, ""},
		{func(t *Template) { t.Processes[0].Startup, t.Processes[1].Liveness = &Probe{}, &Probe{} }, ""},
		{func(t *Template) { t.Processes[0].Stop = Stop{Signal: "SIGINT", Timeout: &long} }, ""},
		{func(t *Template) { t.Processes[0].Restart.NeverOn = []int{3} }, ""},
		{func(t *Template) { t.Processes[0].Hooks = Hooks{"postStart": {Command: []string{"x"}}} }, ""},
		{func(t *Template) { t.Shape.Volumes[0].Size, t.Shape.Volumes[1].Mode = "2Gi", "0755" }, ""},
		{func(t *Template) { t.Shape.Volumes[0], t.Shape.Volumes[1] = t.Shape.Volumes[1], t.Shape.Volumes[0] }, ""},
		{func(t *Template) { t.Processes[0].Command, t.Processes[0].User = []string{"x"}, "u" }, "process main: command, user"},
		{func(t *Template) { t.Processes[1].Env = Env{{Name: "A"}} }, "process side: env"},
		{func(t *Template) { t.Processes = t.Processes[:1] }, "process side is gone"},
		{func(t *Template) { t.Processes = append(t.Processes, Process{Name: "new"}) }, "process new is new"},
		{func(t *Template) { t.Processes[0], t.Processes[1] = t.Processes[1], t.Processes[0] }, "the order of each process"},
		{func(t *Template) { t.Init[0].Once = true }, "init step make: once"},
		{func(t *Template) { t.VolumeMounts = nil }, "mount paths of volumes"},
		{func(t *Template) { t.Resolve = ResolveHost }, "network.resolve"},
		{func(t *Template) { t.Scratch = []ScratchDir{{Name: "tmp"}} }, "scratch"},
		{func(t *Template) { t.Shape.Volumes = t.Shape.Volumes[:1] }, "volumes"},
		{func(t *Template) { t.Shape.Service = "front" }, "serviceName"},
		{func(t *Template) { t.Shape = nil }, "volumes or serviceName"},
	} {
		was, is := base(), base()
		c.change(&is)
		if got := strings.Join(was.Changes(is), "; "); got != c.want {
			t.Errorf("changes are %q, want %q", got, c.want)
		}
		if (was.Hash() == is.Hash()) != (c.want == "") {
			t.Errorf("%q: hashes %s and %s", c.want, was.Hash(), is.Hash())
		}
	}
}
