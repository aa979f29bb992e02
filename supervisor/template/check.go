package template

import (
	"errors"
	"fmt"
	"slices"

	"supd/supervisor/spec"
)

// CheckSet tries all templates of a set for every ordinal, with stand-in facts,
// and returns each problem once, with the native path of its field. t is the
// set's template with Programs merged in. Call it before a definition, or a
// number of replicas, is proposed.
func CheckSet(namespace, name string, s spec.StatefulSetSpec, t spec.Template, zone string) []spec.Problem {
	in := StandInput{Namespace: namespace, Name: name, Spec: s, Template: t, Zone: zone}
	problems := Check(t, StandIn(in)...)
	if len(problems) > 0 || in.replicas() > 1 {
		return problems
	}
	// With a single member a loop over peers is never entered. Names in it that
	// do not exist would show only after a scale-up.
	in.AtLeast = 2
	c := newChecker(StandIn(in))
	c.unknownOnly = true
	return c.run(t)
}

// Check tries every template string of t with each of the facts and returns what
// is wrong, each problem once. Without facts it parses only.
func Check(t spec.Template, facts ...*Facts) []spec.Problem {
	return newChecker(facts).run(t)
}

type checker struct {
	facts       []*Facts
	unknownOnly bool
	seen        map[spec.Problem]bool
	problems    []spec.Problem
}

func newChecker(facts []*Facts) *checker {
	return &checker{facts: facts, seen: map[spec.Problem]bool{}}
}

func (c *checker) run(t spec.Template) []spec.Problem {
	for i, s := range t.Init {
		path := fmt.Sprintf("spec.init[%d]", i)
		c.exec(path, s.Exec, []Var{{"SUP_ATTEMPT", "1"}})
	}
	for i, p := range t.Processes {
		path := fmt.Sprintf("spec.processes[%d]", i)
		facts := c.exec(path, p.Exec, nil)
		for j, f := range p.Files {
			c.try(fmt.Sprintf("%s.files[%d].path", path, j), f.Path, facts)
			c.try(fmt.Sprintf("%s.files[%d].content", path, j), f.Content, facts)
		}
		for _, k := range p.Probes() {
			c.probe(path+"."+k.Name, *k.At, facts)
		}
		for _, name := range sortedKeys(p.Hooks) {
			for j, arg := range p.Hooks[name].Command {
				c.try(fmt.Sprintf("%s.hooks.%s.command[%d]", path, name, j), arg, hookFacts(name, facts))
			}
			c.http(path+".hooks."+name, p.Hooks[name].HTTP, hookFacts(name, facts))
		}
	}
	return c.problems
}

// hookFacts are those that a hook's templates see.
func hookFacts(hook string, facts []*Facts) []*Facts {
	if hook != spec.HookAfterLeave {
		return facts
	}
	out := make([]*Facts, len(facts))
	for i, f := range facts {
		out[i] = f.WithLeaver(f.Members[len(f.Members)-1])
	}
	return out
}

// exec checks what init steps and processes have in common and returns the facts
// with the environment that their other templates see.
func (c *checker) exec(path string, e spec.Exec, more []Var) []*Facts {
	for i, v := range e.Env {
		if _, err := parse(v.Value); err != nil && !plain(v.Value) {
			c.add(fmt.Sprintf("%s.env[%d].value", path, i), err)
		}
	}
	facts := make([]*Facts, 0, len(c.facts))
	for _, f := range c.facts {
		base := append(BaseEnv("/root", "root"), append(f.Environment(), more...)...)
		env := e.Env
		for range len(e.Env) + 1 {
			_, g, err := f.RenderEnv(base, env)
			if err == nil {
				facts = append(facts, g)
				break
			}
			// The others are tried with something in its place: all errors come at once.
			at := failedVar(env, err)
			c.add(fmt.Sprintf("%s.env[%d].value", path, at), err)
			env = slices.Clone(env)
			for i := range env {
				if env[i].Name == e.Env[at].Name {
					env[i].Value = ""
				}
			}
		}
	}
	for i, a := range e.Command {
		c.try(fmt.Sprintf("%s.command[%d]", path, i), a, facts)
	}
	for i, a := range e.Args {
		c.try(fmt.Sprintf("%s.args[%d]", path, i), a, facts)
	}
	c.try(path+".workingDir", e.WorkingDir, facts)
	return facts
}

// failedVar finds the place of the variable that an EnvError names: the last of
// its name, as only one rendering of a name is kept.
func failedVar(env spec.Env, err error) int {
	var ee *EnvError
	at := 0
	if errors.As(err, &ee) {
		for i, v := range env {
			if v.Name == ee.Name {
				at = i
			}
		}
	}
	return at
}

func (c *checker) probe(path string, p *spec.Probe, facts []*Facts) {
	if p == nil {
		return
	}
	for i, a := range p.Exec {
		c.try(fmt.Sprintf("%s.exec[%d]", path, i), a, facts)
	}
	c.http(path, p.HTTP, facts)
	if p.TCP != nil {
		c.try(path+".tcp.host", p.TCP.Host, facts)
		c.port(path+".tcp.port", p.TCP.Port, facts)
	}
	if p.GRPC != nil {
		c.try(path+".grpc.service", p.GRPC.Service, facts)
		c.port(path+".grpc.port", p.GRPC.Port, facts)
	}
}

// http checks the request of a probe or hook, if it is one.
func (c *checker) http(path string, h *spec.HTTPGet, facts []*Facts) {
	if h == nil {
		return
	}
	c.try(path+".http.path", h.Path, facts)
	c.try(path+".http.host", h.Host, facts)
	for _, k := range sortedKeys(h.Headers) {
		c.try(path+".http.headers."+k, h.Headers[k], facts)
	}
	c.port(path+".http.port", h.Port, facts)
}

// port checks that a probe's port by name is one of the member's.
func (c *checker) port(path string, port spec.IntOrString, facts []*Facts) {
	if len(facts) == 0 {
		return
	}
	if _, err := Port(port, facts[0]); err != nil {
		c.add(path, err)
	}
}

// Port resolves a probe's port: a number, or the name of one of the member's ports.
func Port(port spec.IntOrString, f *Facts) (int, error) {
	n, ok := port.Int()
	if !ok {
		if n, ok = f.Member.Ports[string(port)]; !ok {
			return 0, &Error{Unknown: true, Message: fmt.Sprintf("there is no port %q%s",
				string(port), suggest(string(port), sortedKeys(f.Member.Ports)))}
		}
	}
	if n < 1 || n > 65535 {
		return 0, &Error{Message: fmt.Sprintf("%d is not a port; 1 to 65535 are", n)}
	}
	return n, nil
}

func (c *checker) try(path, src string, facts []*Facts) {
	if plain(src) {
		return
	}
	p, err := parse(src)
	if err != nil {
		c.add(path, err)
		return
	}
	for _, f := range facts {
		if _, err := p.render(f); err != nil {
			c.add(path, err)
			return
		}
	}
}

func (c *checker) add(path string, err error) {
	var ee *EnvError
	if errors.As(err, &ee) {
		err = ee.Err
	}
	var te *Error
	if c.unknownOnly && (!errors.As(err, &te) || !te.Unknown) {
		return
	}
	p := spec.Problem{Path: path, Message: err.Error()}
	if !c.seen[p] {
		c.seen[p] = true
		c.problems = append(c.problems, p)
	}
}
