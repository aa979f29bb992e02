package spec

// Names of a process's probes, as definitions have them.
const (
	ProbeStartup   = "startup"
	ProbeReadiness = "readiness"
	ProbeLiveness  = "liveness"
	ProbeRole      = "role"
	ProbeMayStop   = "mayStop"
)

// ProbeAt is a place for a probe; *At is nil where there is none.
type ProbeAt struct {
	Name string
	At   **Probe
}

// Probes are the places of the process's probes, in the order in which they shield
// each other.
func (p *Process) Probes() []ProbeAt {
	return []ProbeAt{
		{ProbeStartup, &p.Startup},
		{ProbeReadiness, &p.Readiness},
		{ProbeLiveness, &p.Liveness},
		{ProbeRole, &p.Role},
		{ProbeMayStop, &p.MayStop},
	}
}

// MayStopFor is the mayStop probe by which a member is asked that runs own, where t is the
// newest of its set: so a change of the question, or its removal, frees at once. nil: the
// member is not asked, as t has no such probe, or own no such process.
func (t Template) MayStopFor(own Template) (process string, p *Probe) {
	for i := range t.Processes {
		if t.Processes[i].MayStop == nil {
			continue
		}
		for j := range own.Processes {
			if own.Processes[j].Name == t.Processes[i].Name {
				return t.Processes[i].Name, t.Processes[i].MayStop
			}
		}
	}
	return "", nil
}
