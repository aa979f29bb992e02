package agent

import (
	"context"
	"log/slog"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// VolumeStep is what to do with a volume that was released.
type VolumeStep struct {
	// Do is the event to report when it is done: Trashed, Restored, Emptied or Marked.
	Do     string
	Volume *state.Volume
}

func (s VolumeStep) String() string { return s.Do + " " + s.Volume.Namespace + "/" + s.Volume.Name() }

// DiffVolume is what to do with one volume of this node, or nil. Only what the log
// says outright is done: a directory is emptied only when Emptying is set, from
// where on the log takes nothing back.
func DiffVolume(vol *state.Volume) *VolumeStep {
	switch {
	case vol.Phase == spec.VolumeAbandoned && !vol.Marked:
		return &VolumeStep{state.VolumeMarked, vol}
	case vol.Phase != spec.VolumeReleasing:
		return nil
	case vol.Emptying:
		return &VolumeStep{state.VolumeEmptied, vol}
	case vol.Undo:
		return &VolumeStep{state.VolumeRestored, vol}
	case !vol.Trashed:
		return &VolumeStep{state.VolumeTrashed, vol}
	}
	return nil
}

// trash carries releases out, one after the other.
type trash struct {
	o     Options
	lease *lease
	said  *reporter

	// Of its goroutine, by uid.
	busyUntil map[string]time.Time
	failures  map[string]int
	forget    func(uid string) error

	found  string    // the recovery for which directories were looked for
	findAt time.Time // not before
}

func (t *trash) run(ctx context.Context) error {
	log := t.o.Logger
	for ctx.Err() == nil {
		if t.lease.gone() != "" {
			t.markAll(ctx)
			<-ctx.Done()
			return nil
		}
		changed := t.o.Views.Changed()
		v, now := t.o.Views.View(), time.Now()
		sleep := time.Minute
		ready := t.lease.fresh(v.Index)
		fresh := ready.Caught && !ready.Forgotten
		if !fresh {
			sleep = 100 * time.Millisecond
		}
		if fresh {
			t.find(v, now)
		}
		seen := map[string]bool{}
		for vol := range v.Volumes("") {
			if vol.Node != t.o.Node || !fresh {
				continue
			}
			step := DiffVolume(vol)
			if step == nil {
				continue
			}
			seen[vol.UID] = true
			if wait := t.busyUntil[vol.UID].Sub(now); wait > 0 {
				sleep = min(sleep, wait)
				continue
			}
			err := t.do(ctx, v, *step)
			if ctx.Err() != nil {
				return nil
			}
			sleep = min(sleep, t.note(log, *step, err))
		}
		for uid := range t.failures {
			if fresh && !seen[uid] {
				delete(t.failures, uid)
				delete(t.busyUntil, uid)
			}
		}
		timer := time.NewTimer(sleep)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

func (t *trash) do(ctx context.Context, v *state.View, s VolumeStep) error {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	c := claimOf(Part{Cluster: &v.Cluster}, s.Volume)
	switch s.Do {
	case state.VolumeTrashed:
		return t.o.Pool.Trash(c)
	case state.VolumeRestored:
		return t.o.Pool.Restore(c)
	case state.VolumeMarked:
		return t.o.Pool.Abandon(c, "abandoned by its name at "+s.Volume.AbandonedAt.Format(time.RFC3339))
	default:
		if err := t.o.Pool.Empty(ctx, c); err != nil {
			return err
		}
		return t.forget(c.UID)
	}
}

// note reports what became of a step and tells when to look again.
func (t *trash) note(log *slog.Logger, s VolumeStep, err error) time.Duration {
	uid := s.Volume.UID
	if err == nil {
		// Until the log has it, it may be done again: each is nothing the second time.
		delete(t.failures, uid)
		delete(t.busyUntil, uid)
		t.said.volume(volumeReport(s.Volume, s.Do, "", nil))
		return time.Minute
	}
	f := failureOf(err)
	t.failures[uid]++
	wait := backoff(t.failures[uid], time.Second, time.Minute)
	t.busyUntil[uid] = time.Now().Add(wait)
	if t.failures[uid] == 1 {
		log.Warn("cannot carry the release of a volume out; it is tried again", "namespace", s.Volume.Namespace,
			"volume", s.Volume.Name(), "step", s.Do, "reason", f.Reason, "err", err)
	}
	t.said.volume(volumeReport(s.Volume, state.VolumeTrouble, "", f))
	return wait
}
