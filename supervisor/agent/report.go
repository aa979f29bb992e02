package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// How long news that can wait is held back, so that more goes into one log entry.
const (
	holdStart  = 50 * time.Millisecond  // a start that may turn ready meanwhile
	holdSteady = 100 * time.Millisecond // members that have become steady, no more
	sayAgain   = 5 * time.Second        // an accepted report of which the View shows nothing
	pauseRole  = time.Second            // between two changes of a role or mayStop answer: a bad probe must not fill the log
)

// reporter says what has changed. It holds what would be said of each member and
// volume, and sends what the View does not show and was not accepted already.
type reporter struct {
	o     Options
	log   *slog.Logger
	lease *lease
	wake  chan struct{} // holds at most one poke

	mu      sync.Mutex // guards what follows
	members map[Key]*saying
	volumes map[string]*volumeSaying // by uid
	unknown map[string]*foundSaying  // directories that the log does not know, by uid
}

type saying struct {
	obs   state.Observation
	since time.Time // of the last change
	// accepted in run; said anew in another.
	accepted   state.Observation
	run        string
	acceptedAt time.Time
	answeredAt time.Time // when a change of role or mayStop answer was accepted
}

type volumeSaying struct {
	rep        state.VolumeReport
	since      time.Time
	run        string
	acceptedAt time.Time
}

type foundSaying struct {
	rep        state.FoundVolume
	run        string
	acceptedAt time.Time
}

// sayFoundAgain is long: what refuses to be shown is not understood by all nodes yet.
const sayFoundAgain = time.Minute

func newReporter(o Options, l *lease) *reporter {
	return &reporter{
		o: o, log: o.Logger, lease: l, wake: make(chan struct{}, 1),
		members: map[Key]*saying{}, volumes: map[string]*volumeSaying{}, unknown: map[string]*foundSaying{},
	}
}

// member sets what is to be said of a member from now on.
func (r *reporter) member(k Key, obs state.Observation, now time.Time) {
	r.mu.Lock()
	s := r.members[k]
	if s == nil {
		s = &saying{}
		r.members[k] = s
	}
	if s.obs.Epoch == obs.Epoch && same(s.obs, obs) {
		s.obs = obs // messages may differ
		r.mu.Unlock()
		return
	}
	if s.since.IsZero() || s.obs.Epoch != obs.Epoch || urgency(obs) == 0 || s.settled() {
		s.since = now
	}
	s.obs = obs
	r.mu.Unlock()
	r.poke()
}

func (s *saying) settled() bool { return s.accepted.Epoch == s.obs.Epoch && same(s.accepted, s.obs) }

// forget ends what is said of a member.
func (r *reporter) forget(k Key) {
	r.mu.Lock()
	delete(r.members, k)
	r.mu.Unlock()
}

// volume sets what is to be said of a volume from now on.
func (r *reporter) volume(rep state.VolumeReport) {
	r.mu.Lock()
	if old := r.volumes[rep.UID]; old != nil && old.rep == rep {
		r.mu.Unlock()
		return
	}
	r.volumes[rep.UID] = &volumeSaying{rep: rep, since: time.Now()}
	r.mu.Unlock()
	r.poke()
}

// found sets which directories are here that the log does not know.
func (r *reporter) found(list []state.FoundVolume) {
	r.mu.Lock()
	for _, f := range list {
		r.unknown[f.UID] = &foundSaying{rep: f}
	}
	r.mu.Unlock()
	r.poke()
}

// dueFoundLocked are those that the View still lacks.
func (r *reporter) dueFoundLocked(v *state.View, run string, now time.Time) (out []state.FoundVolume) {
	if len(r.unknown) == 0 {
		return nil
	}
	for vol := range v.Volumes("") {
		delete(r.unknown, vol.UID)
	}
	for _, uid := range slices.Sorted(maps.Keys(r.unknown)) {
		if s := r.unknown[uid]; s.run != run || now.Sub(s.acceptedAt) > sayFoundAgain {
			out = append(out, s.rep)
		}
	}
	return out
}

func (r *reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) run(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		changed := r.o.Views.Changed()
		rep, wait := r.due(r.o.Views.View(), time.Now())
		if rep != nil {
			if err := r.send(ctx, rep); err != nil {
				failures++
				r.log.Debug("a report was not accepted", "err", err)
				if !pause(ctx, backoff(failures, 100*time.Millisecond, 2*time.Second)) {
					return nil
				}
				continue
			}
			failures = 0
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// send sends a report and notes what was accepted.
func (r *reporter) send(ctx context.Context, rep *state.Report) error {
	cctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := r.o.Leader.Report(cctx, *rep)
	var refused *spec.Error
	if errors.As(err, &refused) && (refused.Code == spec.CodeConflict || refused.Code == spec.CodeNotFound) {
		r.lease.refused(rep.Run)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range rep.Members {
		if s := r.members[Key{m.Namespace, m.Set, m.Ordinal}]; s != nil {
			if s.accepted.Epoch == m.Seen.Epoch && (s.accepted.Role != m.Seen.Role || answer(s.accepted) != answer(m.Seen)) {
				s.answeredAt = now
			}
			s.accepted, s.run, s.acceptedAt = m.Seen, rep.Run, now
		}
	}
	for _, v := range rep.Volumes {
		if s := r.volumes[v.UID]; s != nil && s.rep == v {
			s.run, s.acceptedAt = rep.Run, now
		}
	}
	for _, f := range rep.Found {
		if s := r.unknown[f.UID]; s != nil {
			s.run, s.acceptedAt = rep.Run, now
		}
	}
	return nil
}

// due makes the report that is to be sent now, or tells how long to wait.
func (r *reporter) due(v *state.View, now time.Time) (*state.Report, time.Duration) {
	const idle = 10 * time.Second
	run, ok := r.lease.current()
	if !ok || !r.lease.fresh(v.Index).Caught {
		return nil, 100 * time.Millisecond
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := &state.Report{Node: r.o.Node, Run: run}
	wait, urgent := idle, false
	note := func(since time.Time, hold time.Duration) {
		left := since.Add(hold).Sub(now)
		urgent = urgent || left <= 0
		wait = min(wait, left)
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.members), compareKeys) {
		s := r.members[k]
		if !s.unsaid(v, k, r.o.Node, run, now) {
			s.since = time.Time{}
		} else {
			rep.Members = append(rep.Members, state.MemberReport{
				Namespace: k.Namespace, Set: k.Set, Ordinal: k.Ordinal, Seen: s.obs,
			})
			note(s.since, s.hold(v, k))
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(r.volumes)) {
		s := r.volumes[uid]
		switch vol := v.Volume(s.rep.Namespace, s.rep.Name); {
		case vol == nil || vol.UID != uid || vol.Node != r.o.Node || shows(vol, s.rep):
			if !s.acceptedAt.IsZero() || now.Sub(s.since) > sayAgain {
				delete(r.volumes, uid) // said and done
			}
		case s.run != run || now.Sub(s.acceptedAt) > sayAgain:
			rep.Volumes = append(rep.Volumes, s.rep)
			hold := time.Duration(0)
			if s.rep.Event == state.VolumeMade {
				hold = holdStart
			}
			note(s.since, hold)
		}
	}
	if rep.Found = r.dueFoundLocked(v, run, now); len(rep.Found) > 0 {
		rep.Rules = state.FoundRulesNow
		urgent = true
	}
	if !urgent {
		return nil, max(wait, time.Millisecond)
	}
	rep.Seq = r.lease.next(run)
	return rep, 0
}

// allSaid tells whether nothing is to be said of members.
func (r *reporter) allSaid(v *state.View, now time.Time) bool {
	run, _ := r.lease.current()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.members {
		if s.unsaid(v, k, r.o.Node, run, now) {
			return false
		}
	}
	return true
}

// unsaid tells whether the View and the log lack what is to be said.
func (s *saying) unsaid(v *state.View, k Key, node, run string, now time.Time) bool {
	m := v.Member(k.Namespace, k.Set, k.Ordinal)
	if m == nil || m.Node != node || m.Epoch != s.obs.Epoch {
		return false // of another epoch: it would be passed over
	}
	if m.Seen.Epoch == s.obs.Epoch && (same(m.Seen, s.obs) || m.Seen.Phase == spec.MemberStopped) {
		return false
	}
	accepted := s.run == run && s.accepted.Epoch == s.obs.Epoch && same(s.accepted, s.obs)
	return !accepted || now.Sub(s.acceptedAt) > sayAgain
}

// hold is how long the news may wait for more.
func (s *saying) hold(v *state.View, k Key) time.Duration {
	m := v.Member(k.Namespace, k.Set, k.Ordinal)
	if m != nil && m.Seen.Epoch == s.obs.Epoch {
		seen := m.Seen
		if seen.Steady != s.obs.Steady && s.obs.Steady {
			seen.Steady = true
			if same(seen, s.obs) {
				return holdSteady
			}
		}
	}
	if m != nil && m.Seen.Epoch == s.obs.Epoch {
		seen := m.Seen
		seen.Role, seen.MayStop = s.obs.Role, s.obs.MayStop
		if same(seen, s.obs) { // the first change at once, the next after a pause
			return s.answeredAt.Add(pauseRole).Sub(s.since)
		}
	}
	if urgency(s.obs) == 0 {
		return 0
	}
	return holdStart
}

// urgency is 0 for what somebody may wait for.
func urgency(obs state.Observation) int {
	if obs.Phase == spec.MemberStarting || obs.Phase == spec.MemberRunning && !obs.Ready {
		return 1
	}
	return 0
}

// shows tells whether the View already has what the report says.
func shows(vol *state.Volume, r state.VolumeReport) bool {
	switch r.Event {
	case state.VolumeMade:
		return vol.Made && vol.Path == r.Path && vol.Reason == ""
	case state.VolumeTrashed:
		return vol.Trashed || vol.Phase != spec.VolumeReleasing
	case state.VolumeRestored:
		return vol.Phase != spec.VolumeReleasing
	case state.VolumeMarked:
		return vol.Marked || vol.Phase != spec.VolumeAbandoned
	case state.VolumeTrouble:
		return vol.Reason == r.Reason && vol.Message == r.Message
	}
	return false
}

func compareKeys(a, b Key) int {
	switch {
	case a.Namespace != b.Namespace:
		if a.Namespace < b.Namespace {
			return -1
		}
		return 1
	case a.Set != b.Set:
		if a.Set < b.Set {
			return -1
		}
		return 1
	}
	return a.Ordinal - b.Ordinal
}
