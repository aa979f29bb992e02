package spec

import (
	"maps"
	"slices"
)

// Clone is a deep copy: changing it changes nothing of s.
func (s StatefulSetSpec) Clone() StatefulSetSpec {
	s.Replicas = clonePtr(s.Replicas)
	s.Ordinals = clonePtr(s.Ordinals)
	s.ProgressDeadline = clonePtr(s.ProgressDeadline)
	s.RevisionHistoryLimit = clonePtr(s.RevisionHistoryLimit)
	s.UpdateStrategy.RollingUpdate = clonePtr(s.UpdateStrategy.RollingUpdate)
	s.Placement.NodeSelector = maps.Clone(s.Placement.NodeSelector)
	s.Volumes = slices.Clone(s.Volumes)
	s.Scratch = slices.Clone(s.Scratch)
	s.Init = slices.Clone(s.Init)
	for i := range s.Init {
		s.Init[i] = cloneInit(s.Init[i])
	}
	s.Processes = slices.Clone(s.Processes)
	for i := range s.Processes {
		s.Processes[i] = cloneProcess(s.Processes[i])
	}
	return s
}

// Clone is a deep copy.
func (p ProgramSpec) Clone() ProgramSpec {
	p.Command, p.Args, p.Env = slices.Clone(p.Command), slices.Clone(p.Args), slices.Clone(p.Env)
	p.SupplementaryGroups = slices.Clone(p.SupplementaryGroups)
	p.Init = slices.Clone(p.Init)
	for i := range p.Init {
		p.Init[i] = cloneInit(p.Init[i])
	}
	p.Files, p.Ports, p.Scratch = slices.Clone(p.Files), slices.Clone(p.Ports), slices.Clone(p.Scratch)
	for _, probe := range []**Probe{&p.Startup, &p.Readiness, &p.Liveness, &p.Role, &p.MayStop} {
		*probe = cloneProbe(*probe)
	}
	p.Stop.Timeout = clonePtr(p.Stop.Timeout)
	return p
}

func cloneInit(s InitStep) InitStep {
	s.Exec = cloneExec(s.Exec)
	s.Timeout = clonePtr(s.Timeout)
	s.Privileges = clonePrivileges(s.Privileges)
	return s
}

func clonePrivileges(p Privileges) Privileges {
	p.Capabilities, p.ReadOnly = slices.Clone(p.Capabilities), slices.Clone(p.ReadOnly)
	p.NoNewPrivs = clonePtr(p.NoNewPrivs)
	return p
}

func cloneExec(e Exec) Exec {
	e.Command, e.Args = slices.Clone(e.Command), slices.Clone(e.Args)
	e.Env, e.Mounts = slices.Clone(e.Env), slices.Clone(e.Mounts)
	e.SupplementaryGroups = slices.Clone(e.SupplementaryGroups)
	return e
}

func cloneProcess(p Process) Process {
	p.Exec = cloneExec(p.Exec)
	p.Ports, p.Files = slices.Clone(p.Ports), slices.Clone(p.Files)
	for _, k := range p.Probes() {
		*k.At = cloneProbe(*k.At)
	}
	p.Hooks = maps.Clone(p.Hooks)
	for name, h := range p.Hooks {
		h.Command, h.HTTP, h.Timeout = slices.Clone(h.Command), cloneHTTP(h.HTTP), clonePtr(h.Timeout)
		p.Hooks[name] = h
	}
	p.Stop.Timeout = clonePtr(p.Stop.Timeout)
	p.Restart.Backoff.First = clonePtr(p.Restart.Backoff.First)
	p.Restart.Backoff.Max = clonePtr(p.Restart.Backoff.Max)
	p.Restart.NeverOn = slices.Clone(p.Restart.NeverOn)
	if p.Limits != nil {
		l := *p.Limits
		l.Core, l.Nice, l.OOMScore = clonePtr(l.Core), clonePtr(l.Nice), clonePtr(l.OOMScore)
		l.Rlimits = maps.Clone(l.Rlimits)
		p.Limits = &l
	}
	p.Privileges = clonePrivileges(p.Privileges)
	return p
}

func cloneProbe(p *Probe) *Probe {
	if p == nil {
		return nil
	}
	c := *p
	c.Exec = slices.Clone(p.Exec)
	c.TCP, c.GRPC, c.HTTP = clonePtr(p.TCP), clonePtr(p.GRPC), cloneHTTP(p.HTTP)
	c.Period, c.Timeout, c.StopTimeout = clonePtr(p.Period), clonePtr(p.Timeout), clonePtr(p.StopTimeout)
	return &c
}

func cloneHTTP(h *HTTPGet) *HTTPGet {
	c := clonePtr(h)
	if c != nil {
		c.Headers = maps.Clone(c.Headers)
	}
	return c
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
