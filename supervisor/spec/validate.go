package spec

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Validate says all that is wrong with a set that has its defaults. What this
// version cannot do is a problem too: nothing is ignored. Templates are checked for
// neither syntax nor names (package template does), and what Programs fill in not
// before Resolve. Only problems without Warning refuse the set.
func Validate(s *StatefulSet) []Problem {
	v := &validator{volumes: volumeNames(s.Spec.Volumes, s.Spec.Scratch)}
	v.meta(s.Metadata)
	v.set(s.Metadata.Name, &s.Spec)
	return v.problems
}

// ValidateService says all that is wrong with a service that has its defaults.
func ValidateService(s *Service) []Problem {
	v := &validator{}
	v.meta(s.Metadata)
	v.err("metadata.name", CheckLabel(s.Metadata.Name))
	v.ports("spec.ports", s.Spec.Ports, map[string]string{}, map[string]string{})
	v.labels("spec.selector", s.Spec.Selector)
	return v.problems
}

// ValidateProgram says all that is wrong with a program that has its defaults.
func ValidateProgram(p *Program) []Problem {
	v := &validator{program: true}
	v.meta(p.Metadata)
	v.err("metadata.name", CheckProgramName(p.Metadata.Name))
	s := &p.Spec
	proc := Process{
		Name: "main", Output: s.Output, Ports: s.Ports, Files: s.Files,
		Startup: s.Startup, Readiness: s.Readiness, Liveness: s.Liveness, Role: s.Role, MayStop: s.MayStop, Stop: s.Stop,
		Exec: Exec{
			Command: s.Command, Args: s.Args, Env: s.Env, User: s.User, Group: s.Group,
			SupplementaryGroups: s.SupplementaryGroups, WorkingDir: s.WorkingDir, Umask: s.Umask,
		},
	}
	for _, k := range proc.Probes() {
		*k.At = cloneProbe(*k.At)
	}
	defaultProbes(&proc)
	v.process("spec", &proc, true, map[string]string{}, map[string]string{})
	v.init("spec.init", s.Init)
	v.scratch("spec.scratch", s.Scratch, nil)
	return v.problems
}

// Errors are the problems that refuse a definition.
func Errors(problems []Problem) []Problem {
	var out []Problem
	for _, p := range problems {
		if !p.Warning {
			out = append(out, p)
		}
	}
	return out
}

// validator collects problems.
type validator struct {
	problems []Problem
	volumes  map[string]bool // names that mounts may use
	program  bool            // the set is not known: mounts are taken as they are
}

func (v *validator) bad(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) warn(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Warning: true})
}

func (v *validator) err(path string, err error) {
	if err != nil {
		v.bad(path, "%v", err)
	}
}

func (v *validator) oneOf(path, got string, allowed ...string) {
	if !slices.Contains(allowed, got) {
		v.bad(path, "%q is none of %s%s", got, strings.Join(allowed, ", "), DidYouMean(got, allowed))
	}
}

func (v *validator) positive(path string, d *Duration) {
	if d != nil && *d <= 0 {
		v.bad(path, "must be more than zero, not %s", *d)
	}
}

func (v *validator) meta(m Meta) {
	v.err("metadata.namespace", CheckLabel(m.Namespace))
	v.labels("metadata.labels", m.Labels)
	for _, k := range slices.Sorted(maps.Keys(m.Annotations)) {
		if !labelKey.MatchString(k) {
			v.bad("metadata.annotations", "%q is no annotation key: letters, digits, '-', '_', '.', with an optional domain and '/' before", k)
		}
	}
}

var (
	labelKey   = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// CheckKeyValue tells what keeps a key and a value from being a label of an object, or nil.
func CheckKeyValue(key, value string) error {
	v := &validator{}
	v.labels("labels", map[string]string{key: value})
	if len(v.problems) == 0 {
		return nil
	}
	return errors.New(v.problems[0].Message)
}

func (v *validator) labels(path string, labels map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if !labelKey.MatchString(k) {
			v.bad(path, "%q is no label key: letters, digits, '-', '_', '.', with an optional domain and '/' before", k)
		}
		if !labelValue.MatchString(labels[k]) {
			v.bad(path+"."+k, "%q is no label value: up to 63 letters, digits, '-', '_', '.', beginning and ending with a letter or digit", labels[k])
		}
	}
}

// Bounds that keep arithmetic and the address plan sane.
const (
	maxReplicas = 10000
	maxOrdinal  = 1000000
)

func (v *validator) set(name string, s *StatefulSetSpec) {
	v.setNames(name, s)
	if s.ServiceName != name {
		v.err("spec.serviceName", CheckLabel(s.ServiceName))
	}
	v.oneOf("spec.podManagementPolicy", s.PodManagementPolicy, OrderedReady, OrderedStarted, Parallel)
	v.updateStrategy(s)
	if s.MinReady < 0 {
		v.bad("spec.minReady", "must not be negative")
	}
	v.positive("spec.progressDeadline", s.ProgressDeadline)
	if s.RevisionHistoryLimit != nil && *s.RevisionHistoryLimit < 0 {
		v.bad("spec.revisionHistoryLimit", "must not be negative")
	}
	v.oneOf("spec.volumeRetention.whenScaled", s.VolumeRetention.WhenScaled, Retain, Delete)
	v.oneOf("spec.volumeRetention.whenDeleted", s.VolumeRetention.WhenDeleted, Retain, Delete)
	v.oneOf("spec.onNodeLoss", s.OnNodeLoss, Keep, Fence)
	if s.Network.Mode != "" {
		v.oneOf("spec.network.mode", s.Network.Mode, NetworkMember, NetworkNode)
	}
	v.oneOf("spec.network.resolve", s.Network.Resolve, ResolvePrivate, ResolveHost)
	v.labels("spec.placement.nodeSelector", s.Placement.NodeSelector)
	if s.Placement.MaxPerNode < 0 {
		v.bad("spec.placement.maxPerNode", "must not be negative")
	}
	if sp := s.Placement.Spread; sp != DefaultSpread && !labelKey.MatchString(sp) {
		v.bad("spec.placement.spread", "%q is neither \"node\" nor the key of a node label", sp)
	}
	v.volumeSpecs("spec.volumes", s.Volumes)
	v.scratch("spec.scratch", s.Scratch, s.Volumes)
	v.init("spec.init", s.Init)
	for i, step := range s.Init {
		if step.Once && len(s.Volumes) == 0 {
			v.bad(fmt.Sprintf("spec.init[%d].once", i), "once is remembered by the volumes, but the set has none; add a volume or drop once")
		}
	}
	v.processes("spec.processes", s.Processes, true)
	if (Template{Processes: s.Processes}).Hooked(HookPosition) && len(s.Volumes) == 0 {
		v.bad("spec.processes[0].hooks."+HookPosition, "it tells how new the data in the member's volumes is, but the set has none")
	}
	v.mountTargets("spec", Template{Init: s.Init, Processes: s.Processes, Scratch: s.Scratch}, s.Volumes)
	v.fence(s)
}

// fence warns where a fenced member will be killed before its stop timeout.
func (v *validator) fence(s *StatefulSetSpec) {
	if s.OnNodeLoss != Fence {
		return
	}
	if len(s.Volumes) > 0 {
		v.warn("spec.onNodeLoss", "with volumes a fenced member ends when its node is cut off, but is not started elsewhere: its data is on the lost node")
	}
	for i, p := range s.Processes {
		if t := p.Stop.Timeout; t != nil && *t > FenceGrace && *t != DefaultStopTimeout {
			v.warn(fmt.Sprintf("spec.processes[%d].stop.timeout", i),
				"with onNodeLoss Fence a member on a cut-off node gets a third of the node's lease less 1s to stop (%s with the default lease), not %s",
				FenceGrace, *t)
		}
	}
}

func (v *validator) updateStrategy(s *StatefulSetSpec) {
	const at = "spec.updateStrategy"
	v.oneOf(at+".type", s.UpdateStrategy.Type, RollingUpdate, OnDelete, Recreate)
	o := s.UpdateStrategy.RollingUpdate
	if o == nil {
		return
	}
	if s.UpdateStrategy.Type != RollingUpdate {
		v.bad(at+".rollingUpdate", "goes with type RollingUpdate only, not %s", s.UpdateStrategy.Type)
	}
	if o.Partition < 0 {
		v.bad(at+".rollingUpdate.partition", "must not be negative")
	}
	if o.RoleLast != "" {
		v.err(at+".rollingUpdate.roleLast", CheckLabel(o.RoleLast))
		v.roleLast(at+".rollingUpdate.roleLast", s)
	}
	if o.MaxUnavailable == "" {
		return
	}
	if n, ok := o.MaxUnavailable.Int(); ok && n < 1 || o.MaxUnavailable == "0%" {
		v.bad(at+".rollingUpdate.maxUnavailable", "must be at least 1, or no member could ever be updated")
	} else if _, err := o.MaxUnavailable.Of(100); err != nil {
		v.err(at+".rollingUpdate.maxUnavailable", err)
	}
}

// setNames checks that the longest member and claim names are DNS labels.
func (v *validator) setNames(name string, s *StatefulSetSpec) {
	replicas, start := 1, 0
	if s.Replicas != nil {
		replicas = *s.Replicas
	}
	if s.Ordinals != nil {
		start = s.Ordinals.Start
	}
	if replicas < 0 || replicas > maxReplicas {
		v.bad("spec.replicas", "%d is not between 0 and %d", replicas, maxReplicas)
		replicas = 1
	}
	if start < 0 || start > maxOrdinal {
		v.bad("spec.ordinals.start", "%d is not between 0 and %d", start, maxOrdinal)
		start = 0
	}
	if err := CheckLabel(name); err != nil {
		v.err("metadata.name", err)
		return
	}
	last := start + max(replicas, 1) - 1
	if m := MemberName(name, last); len(m) > MaxLabel {
		v.bad("metadata.name", "the member name %q has %d characters, %d are allowed: shorten the name by %d", m, len(m), MaxLabel, len(m)-MaxLabel)
	}
	for i, vol := range s.Volumes {
		if c := VolumeName(vol.Name, name, last); len(c) > MaxLabel {
			v.bad(fmt.Sprintf("spec.volumes[%d].name", i), "the claim name %q has %d characters, %d are allowed: shorten the volume's or the set's name by %d", c, len(c), MaxLabel, len(c)-MaxLabel)
		}
	}
}

func volumeNames(vols []VolumeSpec, scratch []ScratchDir) map[string]bool {
	names := map[string]bool{}
	for _, vol := range vols {
		names[vol.Name] = true
	}
	for _, s := range scratch {
		names[s.Name] = true
	}
	return names
}

func (v *validator) volumeSpecs(at string, vols []VolumeSpec) {
	seen := map[string]bool{}
	for i, vol := range vols {
		p := fmt.Sprintf("%s[%d]", at, i)
		v.name(p+".name", "volume", vol.Name, seen)
		if n, err := vol.Size.Bytes(); err != nil {
			v.err(p+".size", err)
		} else if vol.Size != "" && n == 0 {
			v.bad(p+".size", "must be more than zero")
		}
		v.octal(p+".mode", vol.Mode, 0o7777)
		if vol.MountPath != "" {
			v.err(p+".mountPath", checkTarget(vol.MountPath))
		}
		if vol.Owner != "" {
			user, group, both := strings.Cut(vol.Owner, ":")
			v.err(p+".owner", checkAccount(user))
			if both {
				v.err(p+".owner", checkAccount(group))
			}
		}
	}
}

func (v *validator) scratch(at string, dirs []ScratchDir, vols []VolumeSpec) {
	seen := map[string]bool{}
	for _, vol := range vols {
		seen[vol.Name] = true
	}
	for i, d := range dirs {
		p := fmt.Sprintf("%s[%d]", at, i)
		v.name(p+".name", "volume or scratch directory", d.Name, seen)
		if d.MountPath != "" {
			v.err(p+".mountPath", checkTarget(d.MountPath))
		}
	}
}

// name checks a DNS label that must be the only one of its kind.
func (v *validator) name(path, kind, name string, seen map[string]bool) {
	if err := CheckLabel(name); err != nil {
		v.err(path, err)
		return
	}
	if seen[name] {
		v.bad(path, "two are named %q; the name of a %s must be the only one of its kind", name, kind)
	}
	seen[name] = true
}

// mountTargets checks that nothing is mounted over something else.
func (v *validator) mountTargets(at string, t Template, vols []VolumeSpec) {
	common := map[string]string{}
	for i, vol := range vols {
		if vol.MountPath != "" {
			v.target(fmt.Sprintf("%s.volumes[%d].mountPath", at, i), vol.Name, vol.MountPath, common)
		}
	}
	for i, s := range t.Scratch {
		if s.MountPath != "" {
			v.target(fmt.Sprintf("%s.scratch[%d].mountPath", at, i), s.Name, s.MountPath, common)
		}
	}
	own := func(at string, mounts []Mount, p Privileges) {
		seen := maps.Clone(common)
		if p.PrivateTmp {
			v.target(at+".privateTmp", "the private /tmp", "/tmp", seen)
			v.target(at+".privateTmp", "the private /tmp", "/var/tmp", seen)
		}
		for i, m := range mounts {
			v.target(fmt.Sprintf("%s.mounts[%d].mountPath", at, i), m.Volume, m.MountPath, seen)
		}
	}
	for i, s := range t.Init {
		own(fmt.Sprintf("%s.init[%d]", at, i), s.Mounts, s.Privileges)
	}
	for i, p := range t.Processes {
		own(fmt.Sprintf("%s.processes[%d]", at, i), p.Mounts, p.Privileges)
	}
}

func (v *validator) target(at, volume, target string, seen map[string]string) {
	target = path.Clean(target)
	if other, taken := seen[target]; taken {
		v.bad(at, "%s is where %q is mounted already", target, other)
		return
	}
	seen[target] = volume
}
