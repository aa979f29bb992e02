package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// verdict is what a condition says of an object as it is now: done, or what is
// still missing.
type verdict struct {
	done bool
	note string
}

// follower waits for a condition of one object, by a watch stream that is opened
// again whenever it ends.
type follower struct {
	kind     kindOf
	ns, name string
	what     string // "ready": for messages
	minIndex uint64
	timeout  time.Duration
	// judge looks at the object; raw is nil when there is none (or none any more).
	judge func(raw json.RawMessage) (verdict, error)
	// progress tells how far it is; nil: silent.
	progress *progress
}

// follow returns when the condition holds. Running out of time is CodeTimeout, with
// what was missing; Ctrl-C only stops following.
func (a *app) follow(ctx context.Context, c *client.Client, f follower) error {
	last := ""
	began, heard := time.Now(), false
	for {
		note, done, err := f.once(ctx, c)
		if note != "" {
			last, heard = note, true
		}
		if done {
			f.progress.end()
			return nil
		}
		if ctx.Err() != nil {
			f.progress.end()
			return f.stopped(ctx, last)
		}
		// A daemon that answered may be away for a while; one that never did is not there.
		again := isGone(err) && (heard || time.Since(began) < a.requestTimeout)
		if err != nil && !again && spec.CodeOf(err) != spec.CodeConflict {
			f.progress.end()
			return err
		}
		if err != nil && last == "" {
			last = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

func (f *follower) stopped(ctx context.Context, last string) error {
	if last == "" {
		last = "nothing was heard of it"
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return spec.Errorf(spec.CodeTimeout, "%s/%s is not %s after %s: %s; look with supctl explain %s", f.kind.word, f.name, f.what, f.timeout, last, f.name)
	}
	return spec.Errorf(spec.CodeInternal, "stopped following %s/%s before it was %s (%s); what was asked for goes on", f.kind.word, f.name, f.what, last)
}

// once follows one stream to its end.
func (f *follower) once(ctx context.Context, c *client.Client) (note string, done bool, err error) {
	w, err := c.Watch(ctx, f.kind.resource, f.name, 0, client.ReadOptions{Namespace: f.ns, MinIndex: f.minIndex})
	if err != nil {
		return "", false, err
	}
	defer w.Close()
	var object json.RawMessage
	complete := false
	for {
		ev, err := w.Next()
		if err != nil {
			return note, false, err
		}
		switch ev.Type {
		case client.WatchAdded, client.WatchModified:
			object = ev.Object
		case client.WatchDeleted, client.WatchReset:
			object = nil
		case client.WatchBookmark: // from the second on, nothing has changed but the time
			complete = true
		}
		if !complete {
			continue // the stream's beginning is not there yet: what is missing may follow
		}
		v, err := f.judge(object)
		if err != nil || v.done {
			return v.note, v.done, err
		}
		if v.note != note {
			note = v.note
			f.progress.say(f.kind.word + "/" + f.name + ": " + note)
		}
	}
}

// setReady: the newest generation is seen, replicas = ready = updated (at or above
// the partition) = wanted, nobody is stopping, and nothing is left to be done or noted.
func setReady(s *spec.StatefulSet, generation uint64) verdict {
	st := s.Status
	if st == nil || st.ObservedGeneration < max(generation, s.Metadata.Generation) {
		return verdict{note: "its newest generation has not been seen yet"}
	}
	wanted := wantedOf(s)
	note := fmt.Sprintf("%d of %d ready, %d updated", st.ReadyReplicas, wanted, st.UpdatedReplicas)
	if len(st.WaitsFor) > 0 {
		note += "; " + st.WaitsFor[0].Subject + " " + st.WaitsFor[0].Message
	}
	// "nothing left to do" is more than the numbers: it also counts restarts that
	// were asked for, reservations that go, and members under way.
	progressing := conditionOf(s, spec.ConditionProgressing)
	busy := progressing == nil || progressing.Status == "True" && progressing.Reason != "MembersNotAvailable"
	if busy && progressing != nil && len(st.WaitsFor) == 0 {
		note += "; " + progressing.Message
	}
	// The leader's notes of what has been reached come a moment later; they are the
	// last that changes the object.
	noted := st.Formed && (st.UpdatedReplicas < wanted || st.CurrentRevision == st.UpdateRevision)
	if wanted > 0 && st.AvailableReplicas == wanted && !noted {
		busy = true
	}
	ok := st.Replicas == wanted && st.ReadyReplicas == wanted && st.UpdatedReplicas >= updatedWanted(s, wanted) && !busy
	return verdict{done: ok, note: note}
}

// updatedWanted is how many members must be on the newest revision: those at or above
// the partition; none by themselves with OnDelete.
func updatedWanted(s *spec.StatefulSet, wanted int) int {
	if s.Spec.UpdateStrategy.Type == spec.OnDelete {
		return 0
	}
	start, partition := 0, 0
	if s.Spec.Ordinals != nil {
		start = s.Spec.Ordinals.Start
	}
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil {
		partition = r.Partition
	}
	return max(0, min(wanted, start+wanted-partition))
}

// deletedWhile is the answer when an object that is waited for is gone.
func deletedWhile(word, name string) error {
	return spec.Errorf(spec.CodeNotFound, "there is no %s %s (any more)", word, name)
}

func decodeJudge[T any](word, name string, judge func(*T) (verdict, error)) func(json.RawMessage) (verdict, error) {
	return func(raw json.RawMessage) (verdict, error) {
		if raw == nil {
			return verdict{}, deletedWhile(word, name)
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return verdict{}, spec.Errorf(spec.CodeInternal, "cannot read an object of the answer: %v", err)
		}
		return judge(&v)
	}
}

func judgeGone(raw json.RawMessage) (verdict, error) {
	return verdict{done: raw == nil, note: "it is still there"}, nil
}

// followSet follows a set until it is ready as of a write, or stalls.
func (a *app) followSet(ctx context.Context, c *client.Client, s *spec.StatefulSet, wrote client.Written, timeout time.Duration) error {
	name := s.Metadata.Name
	generation := s.Metadata.Generation
	w := stallBefore(s, wrote.Result != client.Unchanged)
	return a.follow(ctx, c, follower{
		kind: kindTable[0], ns: s.Metadata.Namespace, name: name, what: "ready", minIndex: wrote.Index, timeout: timeout, progress: a.progress(),
		judge: decodeJudge("statefulset", name, func(now *spec.StatefulSet) (verdict, error) {
			v := setReady(now, generation)
			if v.done && s.Status != nil { // ready, but perhaps not what was asked for
				if err := wentBack(now, s.Status.UpdateRevision); err != nil {
					return verdict{}, err
				}
			}
			if !v.done && now.Status != nil {
				if err := w.judge(now, a.now()); err != nil {
					return verdict{}, err
				}
			}
			return v, nil
		}),
	})
}
