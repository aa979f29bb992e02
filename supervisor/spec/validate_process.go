package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// processes checks processes; raw means that Programs are not merged in yet, so
// what they may fill in is not missed.
func (v *validator) processes(at string, ps []Process, raw bool) {
	if len(ps) == 0 {
		v.bad(at, "at least one process is needed")
	}
	names := map[string]bool{}
	portNames, portNumbers := map[string]string{}, map[string]string{}
	for i := range ps {
		p := fmt.Sprintf("%s[%d]", at, i)
		v.name(p+".name", "process", ps[i].Name, names)
		v.process(p, &ps[i], raw && ps[i].Image != "", portNames, portNumbers)
		if i > 0 {
			v.sideHooks(p+".hooks", ps[i].Hooks, ps[0].Name)
		}
	}
	v.onlyOne(at, ps, ProbeRole)
	v.onlyOne(at, ps, ProbeMayStop)
	for i := range ps {
		if raw && ps[i].Image != "" {
			continue
		}
		v.probePorts(fmt.Sprintf("%s[%d]", at, i), &ps[i], portNames)
	}
}

func (v *validator) process(at string, p *Process, open bool, portNames, portNumbers map[string]string) {
	v.exec(at, &p.Exec, open)
	if p.Output != "" {
		v.oneOf(at+".output", p.Output, OutputFile, OutputPipe)
	}
	v.ports(at+".ports", p.Ports, portNames, portNumbers)
	v.files(at+".files", p.Files)
	for _, k := range p.Probes() {
		v.probe(at+"."+k.Name, k.Name, *k.At)
	}
	v.hooks(at+".hooks", p)
	v.stop(at, p)
	v.limits(at+".limits", p.Limits)
	v.privileges(at, &p.Privileges)
}

func (v *validator) stop(at string, p *Process) {
	v.signal(at+".stop.signal", p.Stop.Signal)
	if t := p.Stop.Timeout; t != nil && *t < 0 {
		v.bad(at+".stop.timeout", "must not be negative")
	}
	b := p.Restart.Backoff
	v.positive(at+".restart.backoff.first", b.First)
	v.positive(at+".restart.backoff.max", b.Max)
	if b.First != nil && b.Max != nil && *b.First > *b.Max {
		v.bad(at+".restart.backoff.max", "%s is less than first (%s)", *b.Max, *b.First)
	}
	for i, c := range p.Restart.NeverOn {
		if c < 0 || c > 255 {
			v.bad(fmt.Sprintf("%s.restart.neverOn[%d]", at, i), "%d is no exit code: 0 to 255", c)
		}
	}
}

func (v *validator) signal(at, name string) {
	if name == "" {
		return
	}
	if _, ok := SignalName(name); !ok {
		v.bad(at, "%q is no signal%s", name, DidYouMean(strings.ToUpper(name), slices.Sorted(maps.Keys(signals))))
	}
}

// leastMemory is the least that a limit may be: below it a unit was forgotten.
const leastMemory = 1 << 20

func (v *validator) limits(at string, l *Limits) {
	if l == nil {
		return
	}
	_, err := CPUMilli(l.CPU)
	v.err(at+".cpu", err)
	switch n, err := l.Memory.Bytes(); {
	case err != nil:
		v.err(at+".memory", err)
	case l.Memory != "" && n < leastMemory:
		v.bad(at+".memory", "%s is less than any program needs (1Mi)", l.Memory)
	}
	if l.Pids < 0 {
		v.bad(at+".pids", "%d is no number of processes and threads", l.Pids)
	}
	if l.IOWeight != 0 && (l.IOWeight < 1 || l.IOWeight > 10000) {
		v.bad(at+".ioWeight", "%d is not between 1 and 10000", l.IOWeight)
	}
	if l.Nice != nil && (*l.Nice < -20 || *l.Nice > 19) {
		v.bad(at+".nice", "%d is not between -20 and 19", *l.Nice)
	}
	if l.OOMScore != nil && (*l.OOMScore < -1000 || *l.OOMScore > 1000) {
		v.bad(at+".oomScore", "%d is not between -1000 and 1000", *l.OOMScore)
	}
	v.rlimits(at, l)
}

// init checks init steps. Retries and timeouts bound one start's attempts.
func (v *validator) init(at string, steps []InitStep) {
	names := map[string]bool{}
	for i := range steps {
		s, p := &steps[i], fmt.Sprintf("%s[%d]", at, i)
		v.name(p+".name", "init step", s.Name, names)
		v.exec(p, &s.Exec, s.Image != "")
		v.privileges(p, &s.Privileges)
		v.positive(p+".timeout", s.Timeout)
		if s.Retries < 0 {
			v.bad(p+".retries", "must not be negative")
		}
		if v.program && s.Image != "" {
			v.bad(p+".image", "a Program's step cannot name another Program")
		}
	}
}

func (v *validator) exec(at string, e *Exec, open bool) {
	switch {
	case len(e.Command) > 0 && strings.TrimSpace(e.Command[0]) == "":
		v.bad(at+".command[0]", "the program's name is empty")
	case len(e.Command) == 0 && !open:
		v.bad(at+".command", "a command is needed")
	}
	for _, list := range []struct {
		name string
		args []string
	}{{"command", e.Command}, {"args", e.Args}} {
		for i, a := range list.args {
			v.noNUL(fmt.Sprintf("%s.%s[%d]", at, list.name, i), a)
		}
	}
	if e.Image != "" {
		v.err(at+".image", CheckProgramName(e.Image))
	}
	v.env(at+".env", e.Env)
	v.accounts(at, e)
	if e.Umask != "" {
		v.octal(at+".umask", e.Umask, 0o777)
	}
	if d := e.WorkingDir; d != "" && !strings.HasPrefix(d, "/") && !strings.HasPrefix(d, "${") {
		v.bad(at+".workingDir", "%q is not an absolute path", d)
	}
	for i, m := range e.Mounts {
		p := fmt.Sprintf("%s.mounts[%d]", at, i)
		if !v.program && !v.volumes[m.Volume] {
			v.bad(p+".volume", "no volume is named %q%s", m.Volume, DidYouMean(m.Volume, slices.Sorted(maps.Keys(v.volumes))))
		}
		v.err(p+".mountPath", checkTarget(m.MountPath))
		if m.SubPath != "" {
			v.err(p+".subPath", checkSubPath(m.SubPath))
		}
	}
}

func (v *validator) accounts(at string, e *Exec) {
	if e.User != "" {
		v.err(at+".user", checkAccount(e.User))
		if e.User == "root" || e.User == "0" {
			v.warn(at+".user", "runs as root: any fault in it is the host's; give it a user of its own")
		}
	}
	if e.Group != "" {
		v.err(at+".group", checkAccount(e.Group))
	}
	for i, g := range e.SupplementaryGroups {
		v.err(fmt.Sprintf("%s.supplementaryGroups[%d]", at, i), checkAccount(g))
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func (v *validator) env(at string, env Env) {
	seen := map[string]bool{}
	for i, e := range env {
		p := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case !envName.MatchString(e.Name):
			v.bad(p+".name", "%q is no name of a variable: letters, digits and '_', not beginning with a digit", e.Name)
		case strings.HasPrefix(e.Name, "SUP_"):
			v.bad(p+".name", "names beginning with SUP_ are set by supd itself")
		case seen[e.Name]:
			v.bad(p+".name", "%s is set twice", e.Name)
		}
		seen[e.Name] = true
		v.noNUL(p+".value", e.Value)
		v.fromFile(p, e.FromFile, e.Value != "", "value")
	}
}

func (v *validator) fromFile(at, file string, other bool, otherName string) {
	if file == "" {
		return
	}
	if other {
		v.bad(at+".fromFile", "%s and fromFile exclude each other", otherName)
	}
	if err := checkAbsolute(file); err != nil {
		v.err(at+".fromFile", err)
	}
}

func (v *validator) ports(at string, ports []Port, names, numbers map[string]string) {
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", at, i)
		v.oneOf(at+".protocol", p.Protocol, ProtocolTCP, ProtocolUDP)
		if p.Port < 0 || p.Port > 65535 {
			v.bad(at+".port", "%d is no port: 0 (one is chosen and kept) to 65535", p.Port)
		}
		if p.Name == "" {
			v.bad(at+".name", "a port that is to be chosen needs a name")
			continue
		}
		if err := CheckLabel(p.Name); err != nil {
			v.err(at+".name", err)
			continue
		}
		if _, taken := names[p.Name]; taken {
			v.bad(at+".name", "%q names another port of the member already", p.Name)
			continue
		}
		names[p.Name] = at
		if p.Port == 0 {
			continue
		}
		key := p.Protocol + "/" + strconv.Itoa(p.Port)
		if _, taken := numbers[key]; taken {
			v.bad(at+".port", "%d is the number of another port of the member already", p.Port)
		}
		numbers[key] = at
	}
}

func (v *validator) files(at string, files []File) {
	seen := map[string]bool{}
	for i, f := range files {
		p := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case f.Path == "":
			v.bad(p+".path", "a path is needed")
		case seen[f.Path]:
			v.bad(p+".path", "two files have the path %q", f.Path)
		case !strings.HasPrefix(f.Path, "/") && !strings.HasPrefix(f.Path, "${"):
			v.bad(p+".path", "%q is not an absolute path", f.Path)
		}
		seen[f.Path] = true
		v.noNUL(p+".path", f.Path)
		if f.Mode != "" {
			v.octal(p+".mode", f.Mode, 0o7777)
		}
		v.fromFile(p, f.FromFile, f.Content != "", "content")
	}
}
