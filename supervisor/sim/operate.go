package sim

import (
	"fmt"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// operated is a set as its operators know it.
type operated struct {
	name    string
	kind    string
	version int
	fixed   *spec.StatefulSetSpec // what may not change while the set lives
	hooked  bool                  // its sets have hooks
}

const namespace = "default"

// operate sends one wish, without looking whether it makes sense.
func (w *World) operate() {
	if name := w.missingVolume(); name != "" && w.disks.IntN(3) == 0 {
		w.wish(&state.AbandonVolume{Namespace: namespace, Name: name, Missing: true})
		return
	}
	o := w.ops[w.rng.IntN(len(w.ops))]
	ordinal := w.rng.IntN(5)
	var c state.Command
	n := w.rng.IntN(100)
	if w.check.sets[namespace+"/"+o.name] == nil && n < 60 {
		n = 0
	}
	cur := w.check.sets[namespace+"/"+o.name]
	switch {
	case w.careless && w.chance(0.3): // what leaves stale members behind is rare otherwise
		c = &state.AbandonVolume{Namespace: namespace, Name: w.strandedVolume()}
	case n < 20 && cur != nil && w.chance(0.25):
		c = w.flip(o, cur)
	case n < 20 && cur != nil && !w.narrow && w.chance(0.6):
		if c = w.rollout(o, cur); w.chance(0.5) && !w.plain {
			c = w.reshape(o, cur)
		}
	case n < 20:
		c = w.define(o, []string{kindGood, kindGood, kindGood, kindSlow, kindNever, kindLoop}[w.rng.IntN(6)])
	case n < 50:
		s := &state.ScaleSet{Namespace: namespace, Name: o.name, Replicas: w.rng.IntN(6), Silent: w.silentMembers()}
		if w.chance(0.25) {
			for i := range 5 {
				if w.chance(0.5) {
					s.AcceptUnhealthy = append(s.AcceptUnhealthy, spec.MemberName(o.name, i))
				}
			}
		}
		c = s
	case n < 55:
		r := &state.Restart{Namespace: namespace, Set: o.name}
		if w.chance(0.5) {
			r.Ordinals = []int{ordinal}
		}
		c = r
	case n < 63:
		c = &state.DeleteMember{Namespace: namespace, Set: o.name, Ordinal: ordinal}
	case n < 68:
		c = &state.DeleteSet{Namespace: namespace, Name: o.name}
	case n < 80:
		at := birth.Add(w.now + w.among(-time.Second, 20*time.Second))
		c = &state.ReleaseVolume{Namespace: namespace, Name: w.volume(spec.VolumeRetained), At: at}
	case n < 88:
		c = &state.UndoRelease{Namespace: namespace, Name: w.volume(spec.VolumeReleasing)}
	case n < 89:
		c = w.forget()
	case n < 92:
		c = &state.AbandonVolume{Namespace: namespace, Name: w.strandedVolume()}
	case n < 96:
		host := w.hosts[w.rng.IntN(len(w.hosts))].name
		switch {
		case w.chance(0.4):
			c = &state.DrainNode{Name: host}
		case w.chance(0.1):
			c = &state.LabelNode{Name: host, Set: map[string]string{"rack": fmt.Sprint(ordinal)}}
		default:
			c = &state.CordonNode{Name: host, Cordon: w.chance(0.3)}
		}
	case n < 97:
		c = &state.SetStopping{Stopping: true}
	case n < 98:
		c = &state.SetFrozen{Frozen: w.chance(0.3)}
	default:
		c = &state.SetStopping{Stopping: false}
	}
	w.wish(c)
}

// volume picks one, mostly of the phase that the wish is for.
func (w *World) volume(phase string) string {
	var fit, all []string
	for _, k := range sortedKeys(w.check.volumes) {
		all = append(all, strings.TrimPrefix(k, namespace+"/"))
		if w.check.volumes[k].phase == phase {
			fit = append(fit, all[len(all)-1])
		}
	}
	switch {
	case len(fit) > 0 && w.chance(0.8):
		return fit[w.rng.IntN(len(fit))]
	case len(all) > 0:
		return all[w.rng.IntN(len(all))]
	}
	return "data-none-0"
}

// wish sends an operator's command.
func (w *World) wish(c state.Command) {
	w.send(&message{kind: "wish " + name(c), arrive: func() { w.request("operator", c, nil) }})
}

// silentMembers names members whose node has not answered of late, as the server
// does for a scale-down. It asks the checker's record for who lives where.
func (w *World) silentMembers() (out []string) {
	if w.lead == nil {
		return nil
	}
	silent := w.lead.silent(w)
	for _, id := range sortedKeys(w.check.members) {
		if m := w.check.members[id]; silent(m.node) {
			out = append(out, spec.MemberName(m.set, m.ordinal))
		}
	}
	return out
}

// define makes a definition with defaults, as the server would send it.
func (w *World) define(o *operated, kind string) *state.PutSet {
	o.version++
	o.kind = kind
	if w.check.sets[namespace+"/"+o.name] == nil {
		o.fixed = nil
	}
	if o.fixed == nil {
		o.fixed = &spec.StatefulSetSpec{ServiceName: o.name, Network: spec.Network{Mode: spec.NetworkMember, Resolve: spec.ResolvePrivate}}
		if w.chance(0.7) && !w.plain {
			o.fixed.Volumes = []spec.VolumeSpec{{Name: "data"}}
		}
	}
	s := *o.fixed
	n := w.rng.IntN(6)
	if cur := w.check.sets[namespace+"/"+o.name]; cur != nil && w.chance(0.7) {
		n = cur.replicas
	}
	s.Replicas = &n
	s.PodManagementPolicy = []string{spec.OrderedReady, spec.OrderedReady, spec.OrderedStarted, spec.Parallel}[w.rng.IntN(4)]
	s.UpdateStrategy.Type = []string{spec.RollingUpdate, spec.RollingUpdate, spec.RollingUpdate, spec.OnDelete, spec.Recreate}[w.rng.IntN(5)]
	s.UpdateStrategy.RollingUpdate = &spec.RollingUpdateOptions{MaxUnavailable: spec.IntOrString(fmt.Sprint(1 + w.rng.IntN(2)))}
	if w.chance(0.2) {
		s.UpdateStrategy.RollingUpdate.Partition = w.rng.IntN(4)
	}
	if w.chance(0.3) {
		s.MinReady = spec.Duration(w.among(0, 5*time.Second))
	}
	if w.chance(0.1) {
		s.VolumeRetention = spec.VolumeRetention{WhenScaled: spec.Delete, WhenDeleted: spec.Delete}
	} else {
		s.VolumeRetention = spec.VolumeRetention{WhenScaled: spec.Retain, WhenDeleted: spec.Retain}
	}
	s.OnNodeLoss = spec.Keep
	if w.chance(0.5) {
		s.OnNodeLoss = spec.Fence
	}
	if !w.narrow && w.chance(0.3) {
		deadline := spec.Duration(w.among(5*time.Second, 30*time.Second))
		s.AutoRollback, s.ProgressDeadline = true, &deadline
	}
	version := o.version
	if w.chance(0.4) {
		version = max(1, version-1) // back to the last one
	}
	return w.put(o, &s, kind, version)
}

func (w *World) put(o *operated, s *spec.StatefulSetSpec, kind string, version int) *state.PutSet {
	main := spec.Process{Name: "main", Exec: spec.Exec{Command: []string{kind, fmt.Sprint(version)}}}
	if kind != kindGood || version%3 != 0 {
		period := spec.Duration(100 * time.Millisecond)
		main.Readiness = &spec.Probe{Exec: []string{"true"}, Period: &period}
	}
	if o.hooked {
		main.Hooks = hooks(len(s.Volumes) > 0)
	}
	if version%4 == 2 || w.coy {
		main.MayStop = &spec.Probe{Exec: []string{"may-stop"}}
	}
	s.Processes = []spec.Process{main}
	return &state.PutSet{
		Namespace: namespace, Name: o.name, UID: w.uid("set"), Spec: *s, Template: spec.Template{Processes: s.Processes},
		Silent: w.silentMembers(), Rules: state.RulesNow,
	}
}

// rollout pauses, resumes or undoes one.
func (w *World) rollout(o *operated, cur *setRecord) state.Command {
	if w.chance(0.5) {
		return &state.PauseRollout{Namespace: namespace, Name: o.name, Paused: w.chance(0.5)}
	}
	hashes := sortedKeys(cur.kinds)
	return &state.UndoRollout{Namespace: namespace, Name: o.name, Revision: hashes[w.rng.IntN(len(hashes))]}
}

// reshape adds volumes to a living set and drops others, and changes nothing else.
func (w *World) reshape(o *operated, cur *setRecord) state.Command {
	s := cur.spec
	replicas := cur.replicas
	s.Replicas = &replicas
	s.Volumes = nil
	for _, name := range []string{"data", "logs", "more"} {
		if w.chance(0.6) {
			s.Volumes = append(s.Volumes, spec.VolumeSpec{Name: name})
		}
	}
	o.fixed.Volumes = s.Volumes
	return &state.PutSet{
		Namespace: namespace, Name: o.name, UID: w.uid("set"), Spec: s, Template: spec.Template{Processes: s.Processes},
		Silent: w.silentMembers(), Rules: state.RulesNow,
	}
}

// mend gives every living set a good template, lets all nodes take members and the
// cluster run: what a human would do, and nothing more.
func (w *World) mend() {
	w.wish(&state.SetStopping{Stopping: false})
	w.wish(&state.SetFrozen{})
	for _, h := range w.hosts {
		w.wish(&state.CordonNode{Name: h.name, Cordon: false})
	}
	for _, k := range sortedKeys(w.check.volumes) {
		if v := w.check.volumes[k]; w.check.forgotten[v.node] && v.phase != spec.VolumeAbandoned {
			w.wish(&state.AbandonVolume{Namespace: namespace, Name: strings.TrimPrefix(k, namespace+"/")})
		}
	}
	w.bringBack()
	w.accept()
	for _, o := range w.ops {
		set := w.check.sets[namespace+"/"+o.name]
		if set == nil || set.deleting {
			continue
		}
		if !w.narrow {
			w.wish(&state.PauseRollout{Namespace: namespace, Name: o.name})
		}
		if set.good() && !set.spec.AutoRollback {
			continue
		}
		s := set.spec
		s.AutoRollback = false // what all ran last may be no better than the present
		s.UpdateStrategy = spec.UpdateStrategy{Type: spec.RollingUpdate, RollingUpdate: &spec.RollingUpdateOptions{MaxUnavailable: "1"}}
		o.version++
		c := w.put(o, &s, kindGood, o.version)
		c.Silent = nil
		w.wish(c)
	}
}

// forget names a host for an operator to give up, mostly one that is away, as long as
// most of the cluster is left.
func (w *World) forget() state.Command {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	for _, other := range w.hosts {
		if n := w.check.nodes[other.name]; n != nil && n.state == spec.NodeLost && n.id == other.id && w.chance(0.8) {
			h = other
		}
	}
	if len(w.check.forgotten) >= (len(w.hosts)-1)/2 || w.check.forgotten[h.id] {
		return &state.ForgetNode{Name: "nobody", ID: "nobody.id"}
	}
	return &state.ForgetNode{Name: h.name, ID: h.id}
}

// missingVolume is one that its node, by its last word, does not find, or "". None of a set that needs somebody's data for a
// cold start: with the last of it given up an operator has to say that it goes on without.
func (w *World) missingVolume() string {
	if w.disks == nil {
		return ""
	}
	for _, k := range sortedKeys(w.check.volumes) {
		v := w.check.volumes[k]
		set, _, _ := spec.SplitMember(strings.TrimPrefix(v.identity, namespace+"/"))
		if s := w.check.sets[namespace+"/"+set]; v.missing && !v.given && (s == nil || !s.positions()) {
			return strings.TrimPrefix(k, namespace+"/")
		}
	}
	return ""
}

// strandedVolume picks a volume, mostly one whose node is lost.
func (w *World) strandedVolume() string {
	for _, k := range sortedKeys(w.check.volumes) {
		v := w.check.volumes[k]
		if n := w.check.nodes[v.node]; v.phase != spec.VolumeAbandoned && (n == nil || n.state == spec.NodeLost) && w.chance(0.7) {
			return strings.TrimPrefix(k, namespace+"/")
		}
	}
	return w.volume(spec.VolumeBound)
}

// flip changes what becomes of a live set's members on a lost node, and nothing else.
func (w *World) flip(o *operated, cur *setRecord) state.Command {
	s := cur.spec
	replicas := cur.replicas
	s.Replicas = &replicas
	s.OnNodeLoss = map[string]string{spec.Keep: spec.Fence, spec.Fence: spec.Keep}[s.OnNodeLoss]
	return &state.PutSet{
		Namespace: namespace, Name: o.name, UID: w.uid("set"), Spec: s, Template: spec.Template{Processes: s.Processes},
		Silent: w.silentMembers(), Rules: state.RulesNow,
	}
}
