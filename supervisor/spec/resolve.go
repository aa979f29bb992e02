package spec

import (
	"fmt"
	"slices"
)

// Resolve merges Programs into the processes and init steps that name an image, and
// gives the template with all defaults: what the log keeps with a revision. programs
// returns nil for a name there is no Program of. The set's spec has its defaults
// (Default); it is not changed and shares nothing with the result.
//
// A container's own command and args win over the Program's as Kubernetes has it: a
// command of its own drops the Program's args too. The Program's init steps come
// before the set's, run as the process would (user, environment, mounts), and keep
// their names, for the volumes remember `once` by them.
func Resolve(set StatefulSetSpec, programs func(name string) *ProgramSpec) (Template, []Problem) {
	r := resolver{programs: programs, set: &set}
	t := Template{Scratch: slices.Clone(set.Scratch), Resolve: set.Network.Resolve}
	for _, v := range set.Volumes {
		if v.MountPath != "" {
			if t.VolumeMounts == nil {
				t.VolumeMounts = map[string]string{}
			}
			t.VolumeMounts[v.Name] = v.MountPath
		}
	}
	for i, p := range set.Processes {
		path := fmt.Sprintf("spec.processes[%d]", i)
		p = cloneProcess(p)
		if prog := r.program(path, &p.Exec); prog != nil {
			fill(&p, prog)
			t.Init = append(t.Init, programInit(&p, prog)...)
			t.Scratch = append(t.Scratch, prog.Scratch...)
		}
		defaultProcess(&p)
		t.Processes = append(t.Processes, p)
	}
	for i, s := range set.Init {
		s = cloneInit(s)
		if prog := r.program(fmt.Sprintf("spec.init[%d]", i), &s.Exec); prog != nil {
			fillExec(&s.Exec, prog)
		}
		t.Init = append(t.Init, s)
	}
	for i := range t.Init {
		defaultInit(&t.Init[i])
	}
	r.check(t)
	return t, r.problems
}

// Ports are all ports of the template's processes, each name once.
func (t Template) Ports() []Port {
	var out []Port
	seen := map[string]bool{}
	for _, p := range t.Processes {
		for _, port := range p.Ports {
			if !seen[port.Name] {
				seen[port.Name] = true
				out = append(out, port)
			}
		}
	}
	return out
}

type resolver struct {
	programs func(string) *ProgramSpec
	set      *StatefulSetSpec
	problems []Problem
}

// program finds what e.Image means. Without a Program a command of its own must do.
func (r *resolver) program(path string, e *Exec) *ProgramSpec {
	if e.Image == "" {
		return nil
	}
	var prog *ProgramSpec
	if r.programs != nil {
		prog = r.programs(e.Image)
	}
	switch {
	case prog != nil && len(prog.Command) == 0 && len(e.Command) == 0:
		r.problem(path+".image", "Program %q has no command, and none is given here", e.Image)
	case prog == nil && len(e.Command) == 0:
		r.problem(path+".image", "nothing says what image %q runs on these hosts: apply a Program of that name first, or give a command", e.Image)
	}
	return prog
}

func (r *resolver) problem(path, format string, args ...any) {
	r.problems = append(r.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// check looks for what only the merge can break.
func (r *resolver) check(t Template) {
	seen := map[string]bool{}
	for _, s := range t.Init {
		if seen[s.Name] {
			r.problem("spec.init", "two init steps are named %q (Programs bring their own): `once` is remembered by name; rename one", s.Name)
		}
		seen[s.Name] = true
		if s.Once && len(r.set.Volumes) == 0 {
			r.problem("spec.volumes", "init step %q runs once for its volumes, but the set has none", s.Name)
		}
	}
	v := &validator{volumes: volumeNames(r.set.Volumes, t.Scratch)}
	v.scratch("spec.scratch", t.Scratch, r.set.Volumes)
	v.processes("spec.processes", t.Processes, false)
	v.mountTargets("spec", t, r.set.Volumes)
	for _, p := range v.problems {
		if !p.Warning && !slices.Contains(r.problems, p) {
			r.problems = append(r.problems, p)
		}
	}
}

// fill puts the Program where the process says nothing itself.
func fill(p *Process, prog *ProgramSpec) {
	fillExec(&p.Exec, prog)
	setZero(&p.Output, prog.Output)
	p.Ports = fillPorts(p.Ports, prog.Ports)
	p.Files = fillFiles(p.Files, prog.Files)
	fillProbe(&p.Startup, prog.Startup)
	fillProbe(&p.Readiness, prog.Readiness)
	fillProbe(&p.Liveness, prog.Liveness)
	fillProbe(&p.Role, prog.Role)
	fillProbe(&p.MayStop, prog.MayStop)
	setZero(&p.Stop.Signal, prog.Stop.Signal)
	if p.Stop.Timeout == nil {
		p.Stop.Timeout = clonePtr(prog.Stop.Timeout)
	}
}

func fillExec(e *Exec, prog *ProgramSpec) {
	switch {
	case len(e.Command) > 0:
	case len(e.Args) > 0:
		e.Command = slices.Clone(prog.Command)
	default:
		e.Command, e.Args = slices.Clone(prog.Command), slices.Clone(prog.Args)
	}
	e.Env = fillEnv(e.Env, prog.Env)
	if e.User == "" { // the Program's groups belong to the Program's user
		e.User = prog.User
		setZero(&e.Group, prog.Group)
		if len(e.SupplementaryGroups) == 0 {
			e.SupplementaryGroups = slices.Clone(prog.SupplementaryGroups)
		}
	}
	setZero(&e.WorkingDir, prog.WorkingDir)
	setZero(&e.Umask, prog.Umask)
}

// fillEnv puts the Program's variables first, so that the container's may use them,
// but for those that the container sets itself.
func fillEnv(own, prog Env) Env {
	var out Env
	for _, v := range prog {
		if !slices.ContainsFunc(own, func(o EnvVar) bool { return o.Name == v.Name }) {
			out = append(out, v)
		}
	}
	return append(out, own...)
}

// fillPorts adds the Program's ports. A port that the container lists by number only
// is the Program's of that number and takes its name.
func fillPorts(own, prog []Port) []Port {
	for _, p := range prog {
		i := slices.IndexFunc(own, func(o Port) bool {
			return o.Name == p.Name || o.Port == p.Port && p.Port != 0 && o.Protocol == p.Protocol
		})
		switch {
		case i < 0:
			own = append(own, p)
		case own[i].Port != 0 && own[i].Name == AutoPortName(own[i].Port):
			own[i].Name = p.Name
		}
	}
	defaultPorts(own)
	return own
}

func fillFiles(own, prog []File) []File {
	var out []File
	for _, f := range prog {
		if !slices.ContainsFunc(own, func(o File) bool { return o.Path == f.Path }) {
			out = append(out, f)
		}
	}
	return append(out, own...)
}

func fillProbe(own **Probe, prog *Probe) {
	if *own == nil && prog != nil {
		*own = cloneProbe(prog)
	}
}

// programInit are the Program's init steps, run as the process would be.
func programInit(p *Process, prog *ProgramSpec) []InitStep {
	var out []InitStep
	for _, s := range prog.Init {
		s = cloneInit(s)
		e := &s.Exec
		if e.User == "" {
			e.User, e.Group = p.User, p.Group
			e.SupplementaryGroups = slices.Clone(p.SupplementaryGroups)
		}
		e.Env = fillEnv(e.Env, p.Env)
		setZero(&e.WorkingDir, p.WorkingDir)
		setZero(&e.Umask, p.Umask)
		if len(e.Mounts) == 0 {
			e.Mounts = slices.Clone(p.Mounts)
		}
		out = append(out, s)
	}
	return out
}
