package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// labour is what users do meanwhile: sets are scaled, rolled, deleted, their directories released. Goroutines: one for
// each user, which ends with its context.
type labour struct {
	lab    *lab
	ledger *ledger

	mu     sync.Mutex // guards what follows
	sets   map[string]*chaosSet
	counts map[string]int // "scale ok" and the like
}

// chaosSet is one of the sets, as wanted last.
type chaosSet struct {
	name       string
	policy     string
	volume     bool
	loss       string
	stops      string
	worker     bool
	most       int
	generation int
	broken     bool // the present template can't run
}

func newLabour(l *lab) *labour {
	w := &labour{lab: l, ledger: newLedger(), sets: map[string]*chaosSet{}, counts: map[string]int{}}
	for _, s := range []*chaosSet{
		{name: "keep", policy: spec.OrderedReady, volume: true, stops: stopsSlowly, most: 4},
		{name: "many", policy: spec.Parallel, volume: true, stops: stopsAtOnce, worker: true, most: 6},
		{name: "fence", policy: spec.Parallel, stops: stopsAtOnce, most: 5},
		{name: "slow", policy: spec.OrderedReady, stops: stopsNever, worker: true, most: 3},
		{name: "bound", policy: spec.Parallel, volume: true, loss: spec.Fence, stops: stopsSlowly, most: 3},
	} {
		w.sets[s.name] = s
	}
	return w
}

// define is the set's definition.
func (w *labour) define(s *chaosSet, replicas int) *spec.StatefulSet {
	d := &spec.StatefulSet{
		APIVersion: spec.APIVersion, Kind: spec.KindStatefulSet,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: s.name},
	}
	d.Spec.Replicas, d.Spec.PodManagementPolicy, d.Spec.OnNodeLoss = &replicas, s.policy, s.loss
	if s.volume {
		d.Spec.Volumes = []spec.VolumeSpec{{Name: "data"}}
	}
	role := "start"
	if s.broken {
		role = "fail"
	}
	timeout := spec.Duration(800 * time.Millisecond)
	p := spec.Process{Name: "main", Exec: spec.Exec{
		Command: []string{w.lab.exe, chaosMark, w.lab.id + "/${member.name}", role, "0"},
		Env: spec.Env{
			{Name: "CHAOS_LAB", Value: w.lab.dir}, {Name: "CHAOS_KIND", Value: s.stops}, {Name: "GENERATION", Value: fmt.Sprint(s.generation)},
		},
	}}
	if s.worker {
		p.Env = append(p.Env, spec.EnvVar{Name: "CHAOS_WORKER", Value: "1"})
	}
	p.Stop.Timeout = &timeout
	d.Spec.Processes = []spec.Process{p}
	d.Spec.Network.Resolve = spec.ResolveHost
	spec.Default(d)
	return d
}

// mend makes every template one that runs, as a change.
func (w *labour) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sets {
		s.broken = false
		s.generation++
	}
}

// applyAll wants all sets at once, with at least that many replicas: fewer than there are would be refused while any is sick.
func (w *labour) applyAll(ctx context.Context, api *client.Client, replicas int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.sets)) {
		n := replicas
		now, _, err := client.Get[spec.StatefulSet](ctx, api, client.StatefulSets, spec.DefaultNS, name, client.ReadOptions{Consistent: true})
		if err != nil && spec.CodeOf(err) != spec.CodeNotFound {
			return fmt.Errorf("set %s: %w", name, err)
		}
		if err == nil && now.Spec.Replicas != nil {
			n = max(n, *now.Spec.Replicas)
		}
		if _, _, err := api.PutStatefulSet(ctx, w.define(w.sets[name], n), client.WriteOptions{}); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// note counts how something went.
func (w *labour) note(what string, err error) {
	how := "ok"
	if err != nil {
		how = string(spec.CodeOf(err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what+" "+how]++
}

// tally tells how often what was done.
func (w *labour) tally() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, k := range slices.Sorted(maps.Keys(w.counts)) {
		out = append(out, fmt.Sprintf("%s %d", k, w.counts[k]))
	}
	return strings.Join(out, ", ")
}

// user does one thing after the other until ctx ends.
func (w *labour) user(ctx context.Context, r *rand.Rand) {
	for pause(ctx, 100*time.Millisecond+time.Duration(r.Int64N(int64(1500*time.Millisecond)))) {
		api := w.lab.anyAPI(r)
		if api == nil {
			continue
		}
		s := w.pick(r)
		member := fmt.Sprintf("%s-%d", s.name, r.IntN(s.most))
		switch n := r.IntN(100); {
		case n < 35:
			w.scale(ctx, api, s, r)
		case n < 50:
			w.roll(ctx, api, s, r)
		case n < 62:
			_, err := api.Delete(ctx, client.Members, spec.DefaultNS, member, client.WriteOptions{})
			w.note("delete-member", err)
		case n < 70:
			_, err := api.RestartMember(ctx, spec.DefaultNS, member, client.WriteOptions{})
			w.note("restart-member", err)
		case n < 75:
			_, err := api.RestartSet(ctx, spec.DefaultNS, s.name, client.RestartRequest{}, client.WriteOptions{})
			w.note("restart", err)
		case n < 80:
			_, err := api.Delete(ctx, client.StatefulSets, spec.DefaultNS, s.name, client.WriteOptions{})
			w.note("delete-set", err)
		case n < 85:
			_, err := api.Cordon(ctx, fmt.Sprintf("h%d", 1+r.IntN(chaosHosts)), client.WriteOptions{})
			w.note("cordon", err)
		case n < 90:
			_, err := api.Drain(ctx, fmt.Sprintf("h%d", 1+r.IntN(chaosHosts)), client.WriteOptions{})
			w.note("drain", err)
		case n < 92:
			_, err := api.Freeze(ctx, client.WriteOptions{})
			w.note("freeze", err)
		case n < 94:
			_, err := api.TransferLeader(ctx, "", client.WriteOptions{})
			w.note("transfer-leader", err)
		default:
			w.note("at-ease", w.atEase(ctx, api))
		}
	}
}

// atEase takes off what keeps the cluster as a whole, or a node, from being used.
func (w *labour) atEase(ctx context.Context, api *client.Client) error {
	_, err := api.Unfreeze(ctx, client.WriteOptions{})
	for _, h := range w.lab.hosts {
		_, uerr := api.Uncordon(ctx, h.name, client.WriteOptions{})
		err = errors.Join(err, uerr)
	}
	return err
}

func (w *labour) pick(r *rand.Rand) *chaosSet {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := slices.Sorted(maps.Keys(w.sets))
	return w.sets[names[r.IntN(len(names))]]
}

// scale wants another number of members; sometimes it accepts those as lost that were named.
func (w *labour) scale(ctx context.Context, api *client.Client, s *chaosSet, r *rand.Rand) {
	n := r.IntN(s.most + 1)
	_, _, err := api.Scale(ctx, spec.DefaultNS, s.name, client.ScaleRequest{Replicas: &n}, client.WriteOptions{})
	w.note("scale", err)
	if spec.CodeOf(err) != spec.CodeRefused || r.IntN(2) == 0 {
		return
	}
	ms, _, err := client.List[spec.Member](ctx, api, client.Members, client.ReadOptions{Namespace: spec.DefaultNS})
	if err != nil {
		return
	}
	var sick []string
	for _, m := range ms {
		if m.Spec.Set == s.name && !m.Status.Healthy {
			sick = append(sick, m.Metadata.Name)
		}
	}
	_, _, err = api.Scale(ctx, spec.DefaultNS, s.name, client.ScaleRequest{Replicas: &n, AcceptUnhealthy: sick}, client.WriteOptions{})
	w.note("scale-accepting", err)
}

// roll wants another template, now and then one that can't run; a set that was deleted comes back so.
func (w *labour) roll(ctx context.Context, api *client.Client, s *chaosSet, r *rand.Rand) {
	n := 1 + r.IntN(s.most)
	w.mu.Lock()
	s.generation++
	s.broken = r.IntN(5) == 0
	d := w.define(s, n)
	w.mu.Unlock()
	if old, _, err := client.Get[spec.StatefulSet](ctx, api, client.StatefulSets, spec.DefaultNS, s.name, client.ReadOptions{}); err == nil {
		d.Spec.Replicas = old.Spec.Replicas
	}
	_, _, err := api.PutStatefulSet(ctx, d, client.WriteOptions{})
	w.note("roll", err)
}

// keeperOfVolumes is the one user who releases directories and brings them back, so that the ledger knows.
func (w *labour) keeperOfVolumes(ctx context.Context, r *rand.Rand) {
	for pause(ctx, 300*time.Millisecond+time.Duration(r.Int64N(int64(2*time.Second)))) {
		api := w.lab.anyAPI(r)
		if api == nil {
			continue
		}
		vs, _, err := client.List[spec.Volume](ctx, api, client.Volumes, client.ReadOptions{Namespace: spec.DefaultNS})
		if err != nil || len(vs) == 0 {
			continue
		}
		v := vs[r.IntN(len(vs))]
		at := containerOf(&v)
		// This very volume: there may be another of its name by now.
		o := client.WriteOptions{IfVersion: v.Metadata.ResourceVersion}
		switch v.Status.Phase {
		case spec.VolumeReleasing:
			back, _, err := api.UndoRelease(ctx, spec.DefaultNS, v.Metadata.Name, client.WriteOptions{})
			w.note("undo-release", err)
			if err == nil {
				w.ledger.setReleased(containerOf(back), false)
			}
		default: // one that is in use must be refused
			was := w.ledger.isReleased(at)
			w.ledger.setReleased(at, true)
			req := client.ReleaseRequest{}
			if r.IntN(4) == 0 {
				req = client.ReleaseRequest{Now: true, Confirm: v.Metadata.Name}
			}
			_, _, err := api.ReleaseVolume(ctx, spec.DefaultNS, v.Metadata.Name, req, o)
			w.note("release-"+strings.ToLower(v.Status.Phase), err)
			if err == nil && v.Status.Phase == spec.VolumeBound {
				w.lab.t.Errorf("the release of %s was accepted while it was in use", at)
			}
			if c := spec.CodeOf(err); err != nil && (c == spec.CodeRefused || c == spec.CodeConflict || c == spec.CodeNotFound || c == spec.CodeInvalid) {
				w.ledger.setReleased(at, was)
			}
		}
	}
}

// containerOf is the name of a volume's container on disk.
func containerOf(v *spec.Volume) string { return v.Metadata.Name + "." + v.Metadata.UID[:8] }
