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

// probe checks one probe of that name.
func (v *validator) probe(at, name string, p *Probe) {
	if p == nil {
		return
	}
	answers := name == ProbeRole || name == ProbeMayStop // its answer is what is asked for
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
	case len(kinds) == 0 && answers:
		v.bad(at, "one of exec or http is needed")
	case len(kinds) == 0:
		v.bad(at, "one of exec, http, tcp, grpc or notify is needed")
	case len(kinds) > 1:
		v.bad(at, "only one of %s may be given", strings.Join(kinds, ", "))
	case answers && kinds[0] != "exec" && kinds[0] != "http":
		v.bad(at+"."+kinds[0], "%s is asked by exec or http only: it needs an answer", name)
	}
	if p.StopTimeout != nil {
		v.positive(at+".stopTimeout", p.StopTimeout)
		if name != ProbeStartup && name != ProbeLiveness {
			v.bad(at+".stopTimeout", "goes with startup and liveness only: no other probe restarts a process")
		}
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
	v.timing(at, name, p)
}

// onlyOne: a member has one role, and one word on whether it may be stopped.
func (v *validator) onlyOne(at string, ps []Process, name string) {
	first := ""
	for i := range ps {
		for _, k := range ps[i].Probes() {
			switch {
			case k.Name != name || *k.At == nil:
			case first == "":
				first = ps[i].Name
			default:
				v.bad(fmt.Sprintf("%s[%d].%s", at, i, name), "process %s has one already, and a member has one %s", first, name)
			}
		}
	}
}

// roleLast: without a role probe no member ever has the role. A Program may bring one.
func (v *validator) roleLast(at string, s *StatefulSetSpec) {
	for i := range s.Processes {
		if s.Processes[i].Role != nil || s.Processes[i].Image != "" {
			return
		}
	}
	v.bad(at, "no process has a role probe that could tell which member is %q", s.UpdateStrategy.RollingUpdate.RoleLast)
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

func (v *validator) timing(at, name string, p *Probe) {
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
	case name != ProbeReadiness && p.SuccessThreshold != 1:
		v.bad(at+".successThreshold", "must be 1 for %s", name)
	}
	if name == ProbeMayStop && p.FailureThreshold > 1 {
		v.bad(at+".failureThreshold", "must be 1 for mayStop: each answer counts")
	}
}

// probePorts checks that ports named by probes and hooks exist in the member.
func (v *validator) probePorts(at string, p *Process, names map[string]string) {
	for _, k := range p.Probes() {
		probe := *k.At
		if probe == nil {
			continue
		}
		if h := probe.HTTP; h != nil {
			v.portRef(at+"."+k.Name+".http.port", h.Port, names)
		}
		if t := probe.TCP; t != nil {
			v.portRef(at+"."+k.Name+".tcp.port", t.Port, names)
		}
		if g := probe.GRPC; g != nil {
			v.portRef(at+"."+k.Name+".grpc.port", g.Port, names)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Hooks)) {
		if h := p.Hooks[name].HTTP; h != nil {
			v.portRef(at+".hooks."+name+".http.port", h.Port, names)
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
