// Package template renders and checks the templates of definitions (command,
// env, files, probes, init steps) over one member's facts, in HCL's template
// language. It is pure: no clock, no files, no network.
package template

import (
	"slices"
	"strconv"
	"strings"

	"supd/supervisor/spec"
)

// Facts are all that the templates of one start of a member may name.
type Facts struct {
	Member Member
	// Members are all of the set by ordinal, this one included.
	Members []Member
	Set     Set
	// Volumes are directories by name, as this member's processes see them:
	// volumes and scratch directories.
	Volumes map[string]string
	Node    Node
	// Leaver is the member that is gone, for afterLeave; nil for all other templates.
	Leaver *Member
	// Env is the environment of the process the template belongs to. A variable
	// that comes from a file of the node is not in it, but in Secret.
	Env    map[string]string
	Secret map[string]bool
}

// Member is what a template may know of a member. Of others than the member
// itself only Name, Ordinal, IP, FQDN, Node, Ready and Ports are shown.
type Member struct {
	Name      string
	Namespace string
	Set       string
	Ordinal   int
	IP        string
	Hostname  string
	FQDN      string
	Node      string
	Epoch     uint64
	Revision  string
	// Volumes is "new" or "returned".
	Volumes   string
	Joining   bool
	Bootstrap bool
	Ready     bool
	Ports     map[string]int
}

// Set is what a template may know of the set.
type Set struct {
	Name     string
	Replicas int
	Service  string
	FQDN     string // of the service
	Formed   bool
}

// Node is what a template may know of the member's host.
type Node struct {
	Name    string
	Address string
	Labels  map[string]string
}

// Var is one variable of an environment.
type Var struct{ Name, Value string }

// Peers are the members but this one.
func (f *Facts) Peers() []Member {
	out := make([]Member, 0, len(f.Members))
	for _, m := range f.Members {
		if m.Name != f.Member.Name {
			out = append(out, m)
		}
	}
	return out
}

// Environment is what every process and init step of the member gets: SUP_* and
// HOSTNAME, in a fixed order.
func (f *Facts) Environment() []Var {
	names := make([]string, 0, len(f.Members))
	for i := range f.Members {
		if f.Members[i].Name != f.Member.Name {
			names = append(names, f.Members[i].FQDN)
		}
	}
	vars := []Var{
		{"SUP_NAMESPACE", f.Member.Namespace},
		{"SUP_SET", f.Set.Name},
		{"SUP_MEMBER", f.Member.Name},
		{"SUP_ORDINAL", strconv.Itoa(f.Member.Ordinal)},
		{"SUP_REPLICAS", strconv.Itoa(f.Set.Replicas)},
		{"SUP_IP", f.Member.IP},
		{"SUP_FQDN", f.Member.FQDN},
		{"SUP_SERVICE_FQDN", f.Set.FQDN},
		{"SUP_NODE", f.Node.Name},
		{"SUP_EPOCH", strconv.FormatUint(f.Member.Epoch, 10)},
		{"SUP_REVISION", f.Member.Revision},
		{"SUP_PEERS", strings.Join(names, ",")},
	}
	for _, n := range sortedKeys(f.Volumes) {
		vars = append(vars, Var{"SUP_VOLUME_" + envName(n), f.Volumes[n]})
	}
	for _, n := range sortedKeys(f.Member.Ports) {
		vars = append(vars, Var{"SUP_PORT_" + envName(n), strconv.Itoa(f.Member.Ports[n])})
	}
	return append(vars, Var{"HOSTNAME", f.Member.Hostname})
}

// WithEnv returns a copy of the facts with another environment, for the
// templates of one process.
func (f *Facts) WithEnv(env map[string]string, secret map[string]bool) *Facts {
	c := *f
	c.Env, c.Secret = env, secret
	return &c
}

// WithLeaver returns a copy of the facts for an afterLeave hook.
func (f *Facts) WithLeaver(m Member) *Facts {
	c := *f
	c.Leaver = &m
	return &c
}

// RenderEnv renders the variables of a process on top of base, in order: a
// variable may use those above it. Variables from files are left out of the
// result (the caller passes them by name). The facts returned know the whole
// environment.
func (f *Facts) RenderEnv(base []Var, env spec.Env) ([]Var, *Facts, error) {
	out := slices.Clone(base)
	known, secret := make(map[string]string, len(base)+len(env)), map[string]bool{}
	for _, v := range base {
		known[v.Name] = v.Value
	}
	g := f.WithEnv(known, secret)
	for _, e := range env {
		if e.FromFile != "" {
			secret[e.Name] = true
			delete(known, e.Name)
			out = slices.DeleteFunc(out, func(v Var) bool { return v.Name == e.Name })
			continue
		}
		val, err := Render(e.Value, g)
		if err != nil {
			return nil, nil, &EnvError{Name: e.Name, Err: err}
		}
		known[e.Name] = val
		delete(secret, e.Name)
		out = slices.DeleteFunc(out, func(v Var) bool { return v.Name == e.Name })
		out = append(out, Var{e.Name, val})
	}
	return out, g, nil
}

// EnvError names the variable whose template failed.
type EnvError struct {
	Name string
	Err  error
}

func (e *EnvError) Error() string { return "env " + e.Name + ": " + e.Err.Error() }

func (e *EnvError) Unwrap() error { return e.Err }

// envName turns a name into what may stand in an environment variable's:
// "data-dir" becomes "DATA_DIR".
func envName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
