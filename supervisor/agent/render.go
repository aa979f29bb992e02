package agent

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
	"supd/supervisor/template"
	"supd/volumes"
)

// rendering is a member's definition with all templates resolved: values only,
// nothing was written yet.
type rendering struct {
	starts map[string]keeper.Start
	probes map[string]*probing // by process
	facts  map[string]*template.Facts
	base   *template.Facts
	init   []initStep
	files  []renderedFile
	// hosts and resolv are the member's own /etc files; nil: it sees the host's.
	hosts, resolv []byte
}

type initStep struct {
	spec spec.InitStep
	exec keeper.Exec
}

func (r *rendering) prepared(j job) *prepared {
	p := &prepared{epoch: j.step.Epoch, print: j.print, peers: j.part.peers, revision: j.part.Revision, probes: r.probes}
	for name, s := range r.starts {
		if s.PreStop != nil {
			if p.preStop == nil {
				p.preStop = map[string]*keeper.PreStop{}
			}
			p.preStop[name] = s.PreStop
		}
	}
	return p
}

// factsOf are the facts of the member's templates.
func (j job) factsOf(dirs map[string]volumes.Dir) *template.Facts {
	p := j.part
	m := p.Member
	service := p.Service
	f := &template.Facts{
		Set: template.Set{
			Name: m.Set, Replicas: p.Set.Replicas(), Service: service,
			FQDN: spec.ServiceFQDN(service, m.Namespace, p.Cluster.Zone), Formed: p.Set.Formed,
		},
		Volumes: map[string]string{},
		Node:    template.Node{Name: j.a.o.Node},
	}
	if p.Node != nil {
		f.Node.Address, f.Node.Labels = p.Node.HostIP, p.Node.Labels
	}
	f.Members, _ = j.crowd.all(p.Service)
	f.Member = memberFacts(p.Service, p.Cluster.Zone, m)
	for name, d := range dirs {
		f.Volumes[name] = d.Data
	}
	for _, s := range p.Template.Scratch {
		f.Volumes[s.Name] = j.scratch(s.Name)
	}
	return f
}

// render resolves all templates of the member. It reads the user data base and the
// host's resolv.conf and changes nothing.
func (j job) render(dirs map[string]volumes.Dir) (*rendering, error) {
	r := &rendering{starts: map[string]keeper.Start{}, probes: map[string]*probing{}, facts: map[string]*template.Facts{}, base: j.factsOf(dirs)}
	t := j.part.Template
	shared := j.sharedMounts(dirs)
	if err := j.names(r); err != nil {
		return nil, err
	}
	var mainFiles []keeper.Mount
	for i, proc := range t.Processes {
		x, f, acc, err := j.exec("process "+proc.Name, proc.Exec, proc.Privileges, r, dirs, shared, nil)
		if err != nil {
			return nil, err
		}
		files, mounts, err := j.renderFiles(proc, f, acc, dirs, x.Mounts)
		if err != nil {
			return nil, err
		}
		r.files = append(r.files, files...)
		x.Mounts = append(x.Mounts, mounts...)
		if i == 0 {
			mainFiles = mounts
		}
		if err := applyLimits(&x, proc); err != nil {
			return nil, err
		}
		lock := ""
		if name := j.part.lockVolume(dirs); name != "" {
			lock = dirs[name].Lock(proc.Name)
		}
		start := keeper.Start{
			Member: j.key.String(), Process: proc.Name, Epoch: j.step.Epoch, Exec: x,
			Limits: limitsOf(proc),
			Lock:   lock, LogDir: j.logDir(), Output: proc.Output, Settings: settingsOf(j.part, proc, j.a.o.LogMax),
			Notify: speaksNotify(proc), Watchdog: watchdogOf(proc),
		}
		start.PreStop = keeperPreStop(proc, f)
		r.starts[proc.Name] = start
		r.probes[proc.Name], r.facts[proc.Name] = j.probing(proc, f, start), f
	}
	for _, s := range t.Init {
		x, _, _, err := j.exec("init step "+s.Name, s.Exec, s.Privileges, r, dirs, shared, []template.Var{{Name: "SUP_ATTEMPT", Value: "1"}})
		if err != nil {
			return nil, err
		}
		x.Mounts = append(x.Mounts, mainFiles...)
		r.init = append(r.init, initStep{spec: s, exec: x})
	}
	return r, nil
}

// exec resolves what processes and init steps have in common.
func (j job) exec(what string, e spec.Exec, p spec.Privileges, r *rendering, dirs map[string]volumes.Dir, shared []keeper.Mount, more []template.Var) (keeper.Exec, *template.Facts, account, error) {
	bad := func(err error) (keeper.Exec, *template.Facts, account, error) {
		return keeper.Exec{}, nil, account{}, err
	}
	acc, err := j.accounts().find(e.User, e.Group, e.SupplementaryGroups)
	if err != nil {
		return bad(err)
	}
	base := append(template.BaseEnv(acc.Home, acc.Name), append(r.base.Environment(), more...)...)
	env, f, err := r.base.RenderEnv(base, e.Env)
	if err != nil {
		return bad(failf(TemplateFailed, "%s: %v", what, err))
	}
	x := keeper.Exec{SetUser: acc.Set, UID: acc.UID, GID: acc.GID, Groups: acc.Groups, Umask: 0o022, NoNewPrivs: true}
	for _, v := range env {
		x.Env = append(x.Env, v.Name+"="+v.Value)
	}
	for _, v := range e.Env {
		if v.FromFile != "" && f.Secret[v.Name] {
			x.Secrets = append(x.Secrets, keeper.SecretEnv{Name: v.Name, File: v.FromFile})
		}
	}
	for _, src := range append(append([]string{}, e.Command...), e.Args...) {
		s, err := template.Render(src, f)
		if err != nil {
			return bad(failf(TemplateFailed, "the command of %s: %v", what, err))
		}
		x.Argv = append(x.Argv, s)
	}
	if len(x.Argv) == 0 {
		return bad(failf(CannotStart, "%s has no command", what))
	}
	if x.Dir, err = template.Render(e.WorkingDir, f); err != nil {
		return bad(failf(TemplateFailed, "the working directory of %s: %v", what, err))
	}
	if e.Umask != "" {
		n, err := strconv.ParseUint(e.Umask, 8, 9)
		if err != nil {
			return bad(failf(CannotStart, "the umask %q of %s is not octal", e.Umask, what))
		}
		x.Umask = int(n)
	}
	if j.a.o.Root {
		x.Hostname = j.key.Name()
	}
	x.Mounts = append(x.Mounts, shared...)
	own, err := j.ownMounts(what, e.Mounts, dirs)
	if err != nil {
		return bad(err)
	}
	x.Mounts = append(x.Mounts, own...)
	x.Mounts = append(x.Mounts, j.etcMounts(r)...)
	j.confine(&x, p, dirs)
	return x, f, acc, nil
}

// sharedMounts are those that every process and init step sees.
func (j job) sharedMounts(dirs map[string]volumes.Dir) []keeper.Mount {
	var out []keeper.Mount
	t := j.part.Template
	for _, vol := range j.part.Volumes {
		if target := t.VolumeMounts[vol.Template]; target != "" {
			out = append(out, keeper.Mount{Source: dirs[vol.Template].Data, Target: target})
		}
	}
	for _, s := range t.Scratch {
		if s.MountPath != "" {
			out = append(out, keeper.Mount{Source: j.scratch(s.Name), Target: s.MountPath})
		}
	}
	return out
}

// ownMounts are those of one process or init step.
func (j job) ownMounts(what string, mounts []spec.Mount, dirs map[string]volumes.Dir) ([]keeper.Mount, error) {
	var out []keeper.Mount
	for _, m := range mounts {
		root, ok := j.storage(m.Volume, dirs)
		if !ok {
			return nil, failf(CannotStart, "%s mounts %q, which is neither a volume nor a scratch directory", what, m.Volume)
		}
		if m.SubPath != "" && !filepath.IsLocal(m.SubPath) {
			return nil, failf(CannotStart, "the subPath %q of %s leads out of the volume", m.SubPath, what)
		}
		mount := keeper.Mount{Source: filepath.Join(root, m.SubPath), Target: m.MountPath, ReadOnly: m.ReadOnly}
		if m.SubPath != "" {
			mount.Beneath = root
		}
		out = append(out, mount)
	}
	return out, nil
}

// storage is the directory of a volume or scratch directory by name.
func (j job) storage(name string, dirs map[string]volumes.Dir) (string, bool) {
	if d, ok := dirs[name]; ok {
		return d.Data, true
	}
	for _, s := range j.part.Template.Scratch {
		if s.Name == name {
			return j.scratch(name), true
		}
	}
	return "", false
}

// speaksNotify tells whether a probe listens to the process.
func speaksNotify(p spec.Process) bool {
	return slices.ContainsFunc([]*spec.Probe{p.Startup, p.Readiness, p.Liveness}, func(x *spec.Probe) bool { return x != nil && x.Notify })
}

// watchdogOf is how often the process must ping; 0: it need not.
func watchdogOf(p spec.Process) time.Duration {
	if p.Liveness == nil || !p.Liveness.Notify {
		return 0
	}
	return probe.TimingOf(p.Liveness).Period
}

// applyLimits sets what the keeper can limit without cgroups' help.
func applyLimits(x *keeper.Exec, p spec.Process) error {
	if p.Limits == nil {
		return nil
	}
	x.Nice, x.OOMScore = p.Limits.Nice, p.Limits.OOMScore
	x.Rlimits = map[string]uint64{}
	if p.Limits.Nofile > 0 {
		x.Rlimits["nofile"] = p.Limits.Nofile
	}
	if p.Limits.Core != nil {
		x.Rlimits["core"] = *p.Limits.Core
	}
	for _, name := range sortedKeys(p.Limits.Rlimits) {
		n, err := spec.ParseRlimit(p.Limits.Rlimits[name])
		if err != nil {
			return failf(CannotStart, "limit %s of process %s: %v", name, p.Name, err)
		}
		x.Rlimits[name] = n
	}
	return nil
}

// limitsOf are the limits that need cgroups; nil: none.
func limitsOf(p spec.Process) *keeper.Limits {
	if p.Limits == nil {
		return nil
	}
	l := keeper.Limits{PidsMax: p.Limits.Pids, IOWeight: p.Limits.IOWeight}
	// Both were checked when the definition came in.
	l.MemoryMax, _ = p.Limits.Memory.Bytes()
	l.CPUMilli, _ = spec.CPUMilli(p.Limits.CPU)
	if l == (keeper.Limits{}) {
		return nil
	}
	return &l
}

func splitOwner(s string) (userName, group string) {
	userName, group, _ = strings.Cut(s, ":")
	return userName, group
}
