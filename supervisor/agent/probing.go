package agent

import (
	"errors"

	"supd/supervisor/keeper"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// probing is what a process's probes are made from, again at each exec: their templates, rendered once. The facts they
// were rendered from name all members of the set, and are not kept for it.
type probing struct {
	texts  map[string]string // by template
	ports  map[spec.IntOrString]int
	errs   map[probe.Kind]error
	host   string
	secret bool
	runner runner // of exec probes
	// mayStop is of the set's newest definition, which may have changed since; nil: there was none.
	mayStop *spec.Probe
}

// probing renders the templates of a process's probes; nil without any.
func (j job) probing(proc spec.Process, f *template.Facts, s keeper.Start) *probing {
	p := &probing{
		texts: map[string]string{}, ports: map[spec.IntOrString]int{}, errs: map[probe.Kind]error{}, host: f.Member.IP,
		secret: knowsSecret(proc.Exec, proc.Files),
		runner: runner{keeper: j.a.o.Keeper, run: keeper.Run{
			Member: s.Member, Process: s.Process, MaxOutput: probe.MaxBody, Fence: s.Fence,
		}},
	}
	r := probe.Resolve{
		Text: func(src string) (string, error) {
			text, err := template.Render(src, f)
			p.texts[src] = text
			return text, err
		},
		Port: func(v spec.IntOrString) (int, error) {
			n, err := template.Port(v, f)
			p.ports[v] = n
			return n, err
		},
		Host: p.host,
	}
	all := j.part.probesOf(proc)
	p.mayStop = all[probe.MayStop]
	for kind, pr := range all {
		if len(pr.Exec) > 0 {
			p.runner.run.Exec, p.runner.env = s.Exec, keeper.PackEnv(s.Env)
			p.runner.run.Env = nil
		}
		r.Kind = kind
		if _, err := probe.New(pr, r); err != nil {
			p.errs[kind] = err
		}
	}
	if len(all) == 0 {
		return nil
	}
	return p
}

// check makes one of the process's probes.
func (p *probing) check(kind probe.Kind, pr *spec.Probe) (probe.Check, error) {
	if p == nil {
		return nil, errors.New("the process was prepared without probes")
	}
	if err := p.errs[kind]; err != nil {
		return nil, err
	}
	return probe.New(pr, probe.Resolve{
		Text: func(src string) (string, error) { return p.texts[src], nil },
		Port: func(v spec.IntOrString) (int, error) { return p.ports[v], nil },
		Host: p.host, Kind: kind, Secret: p.secret, Runner: p.runner,
	})
}
