package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// maxNotifyFailures is how many missed pings the keeper counts.
const maxNotifyFailures = 100

// probe checks one probe; single says that one success must be enough.
func (v *validator) probe(at string, p *Probe, single bool) {
	if p == nil {
		return
	}
	var kinds []string
	for _, k := range []struct {
		name string
		set  bool
	}{{"exec", len(p.Exec) > 0}, {"http", p.HTTP != nil}, {"tcp", p.TCP != nil}, {"grpc", p.GRPC != nil}, {"notify", p.Notify}} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	switch {
	case len(kinds) == 0:
		v.bad(at, "one of exec, http, tcp or notify is needed")
	case len(kinds) > 1:
		v.bad(at, "only one of %s may be given", strings.Join(kinds, ", "))
	}
	if p.GRPC != nil {
		v.unsupported(at+".grpc", "grpc probes are")
	}
	if p.Notify && strings.HasSuffix(at, ".liveness") && p.FailureThreshold > maxNotifyFailures {
		v.bad(at+".failureThreshold", "must be at most %d with notify: so many missed pings are counted", maxNotifyFailures)
	}
	if len(p.Exec) > 0 && strings.TrimSpace(p.Exec[0]) == "" {
		v.bad(at+".exec[0]", "the program's name is empty")
	}
	for i, a := range p.Exec {
		v.noNUL(fmt.Sprintf("%s.exec[%d]", at, i), a)
	}
	if p.HTTP != nil {
		v.http(at+".http", p.HTTP)
	}
	v.expect(at, p)
	v.timing(at, p, single)
}

func (v *validator) http(at string, h *HTTPGet) {
	if h.Scheme != "" {
		v.oneOf(at+".scheme", strings.ToLower(h.Scheme), "http", "https")
	}
	if h.Path != "" && !strings.HasPrefix(h.Path, "/") && !strings.HasPrefix(h.Path, "${") {
		v.bad(at+".path", "%q does not begin with '/'", h.Path)
	}
}

func (v *validator) expect(at string, p *Probe) {
	if p.Expect == "" {
		return
	}
	if _, err := regexp.Compile(p.Expect); err != nil {
		v.bad(at+".expect", "not a regular expression: %v", err)
	}
	if len(p.Exec) == 0 && p.HTTP == nil {
		v.bad(at+".expect", "goes with exec and http only: there is no output to look at")
	}
}

func (v *validator) timing(at string, p *Probe, single bool) {
	if p.InitialDelay < 0 {
		v.bad(at+".initialDelay", "must not be negative")
	}
	v.positive(at+".period", p.Period)
	v.positive(at+".timeout", p.Timeout)
	if p.FailureThreshold < 1 {
		v.bad(at+".failureThreshold", "must be at least 1")
	}
	switch {
	case p.SuccessThreshold < 1:
		v.bad(at+".successThreshold", "must be at least 1")
	case single && p.SuccessThreshold != 1:
		v.bad(at+".successThreshold", "must be 1 for startup and liveness")
	}
}

// probePorts checks that ports named by probes exist in the member.
func (v *validator) probePorts(at string, p *Process, names map[string]string) {
	for _, x := range []struct {
		name  string
		probe *Probe
	}{{"startup", p.Startup}, {"readiness", p.Readiness}, {"liveness", p.Liveness}} {
		if x.probe == nil {
			continue
		}
		if h := x.probe.HTTP; h != nil {
			v.portRef(at+"."+x.name+".http.port", h.Port, names)
		}
		if t := x.probe.TCP; t != nil {
			v.portRef(at+"."+x.name+".tcp.port", t.Port, names)
		}
	}
}

func (v *validator) portRef(at string, ref IntOrString, names map[string]string) {
	if n, ok := ref.Int(); ok {
		if n < 1 || n > 65535 {
			v.bad(at, "%d is no port: 1 to 65535", n)
		}
		return
	}
	switch {
	case ref == "":
		v.bad(at, "a port is needed: a number, or the name of one of the member's ports")
	case names[string(ref)] == "":
		v.bad(at, "no port of the member is named %q%s", string(ref), DidYouMean(string(ref), slices.Sorted(maps.Keys(names))))
	}
}
