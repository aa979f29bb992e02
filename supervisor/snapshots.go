package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"supd/raftstore/state"
)

// snapshots writes a snapshot file of the View now and then. Each node that votes writes
// its own, at a time of its own: a disk that dies takes only its own.
type snapshots struct {
	dir   string
	every time.Duration // 0: none
	keep  int
	node  string
	// view gives what is to be written, and its meta; nil while this node has nothing to write.
	view func() (*state.View, state.SnapshotMeta)
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	last   time.Time
	failed string
}

// snapshotLook is how often the clock is looked at, for it may jump, and how soon a
// snapshot that failed is tried again.
const snapshotLook = time.Minute

// run writes until ctx ends. It never fails: a snapshot that can't be written is told.
func (s *snapshots) run(ctx context.Context) error {
	if s.every <= 0 {
		return nil
	}
	spread := time.Duration(rand.Int64N(int64(s.every)/10 + 1)) // so not all nodes write at once
	first := min(spread, snapshotLook)
	for wait := first; ; wait = min(s.every, snapshotLook) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		v, meta := s.view()
		if v == nil {
			continue
		}
		now := time.Now()
		err := s.round(v, meta, now, spread)
		s.note(err, now)
	}
}

// note keeps how the last round ended, and says it when that is new.
func (s *snapshots) note(err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.failed
	switch s.failed = ""; {
	case err != nil:
		s.failed = err.Error()
		if was != s.failed {
			s.log.Error("no scheduled snapshot", "err", err)
		}
	case was != "":
		s.log.Info("scheduled snapshots are written again", "at", now)
	}
}

// trouble says why the last snapshot is missing, or "".
func (s *snapshots) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == "" {
		return ""
	}
	return "its scheduled snapshot is not written: " + s.failed
}

// newest is when the last snapshot that is there was written.
func (s *snapshots) newest() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// round writes a snapshot if one is due, and then removes those that are too many.
func (s *snapshots) round(v *state.View, meta state.SnapshotMeta, now time.Time, spread time.Duration) error {
	prefix := snapshotPrefix(v.Cluster.ID, s.node)
	have, err := ownSnapshots(s.dir, prefix)
	if err != nil {
		return err
	}
	var last time.Time
	if len(have) > 0 {
		last = have[len(have)-1].at
	}
	s.mu.Lock()
	s.last = last
	s.mu.Unlock()
	// One of the future is of a clock that was wrong: it puts nothing off.
	if !last.IsZero() && !last.After(now) && now.Before(last.Add(s.every+spread)) {
		return nil
	}
	meta.Time = now.UTC().Truncate(time.Millisecond)
	name := prefix + meta.Time.Format(snapshotTime) + fmt.Sprintf("-%d%s", v.Index, snapshotEnd)
	if err := writeSnapshot(s.dir, name, v, meta); err != nil {
		return err
	}
	s.mu.Lock()
	s.last = meta.Time
	s.mu.Unlock()
	s.log.Info("snapshot written", "file", filepath.Join(s.dir, name), "index", v.Index)
	return removeSnapshots(s.dir, surplus(have, name, s.keep, now))
}

// Names of scheduled snapshots: supd-CLUSTER-NODE-TIME-INDEX.snapshot.
const (
	snapshotTime = "20060102T150405Z"
	snapshotEnd  = ".snapshot"
	unfinished   = ".unfinished-"
)

var snapshotRest = regexp.MustCompile(`^(\d{8}T\d{6}Z)-\d+\.snapshot$`)

func snapshotPrefix(cluster, node string) string { return "supd-" + cluster + "-" + node + "-" }

// ownSnapshot is a file that this node wrote for this cluster.
type ownSnapshot struct {
	name string
	at   time.Time
}

// ownSnapshots lists them, the oldest first. Whatever else is in the directory is others'.
func ownSnapshots(dir, prefix string) (out []ownSnapshot, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for snapshots: %w", err)
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		m := snapshotRest.FindStringSubmatch(rest)
		if !ok || m == nil || !e.Type().IsRegular() {
			continue
		}
		if at, err := time.Parse(snapshotTime, m[1]); err == nil {
			out = append(out, ownSnapshot{e.Name(), at})
		}
	}
	slices.SortFunc(out, func(a, b ownSnapshot) int { return a.at.Compare(b.at) })
	return out, nil
}

// surplus are those to remove beside the one just written: those that a wrong clock
// dated into the future first, then the oldest.
func surplus(have []ownSnapshot, written string, keep int, now time.Time) (out []string) {
	have = slices.DeleteFunc(slices.Clone(have), func(o ownSnapshot) bool { return o.name == written })
	slices.SortStableFunc(have, func(a, b ownSnapshot) int {
		switch fa, fb := a.at.After(now), b.at.After(now); {
		case fa == fb:
			return a.at.Compare(b.at)
		case fa:
			return -1
		}
		return 1
	})
	for _, o := range have[:max(0, len(have)-max(keep-1, 0))] {
		out = append(out, o.name)
	}
	return out
}

func removeSnapshots(dir string, names []string) error {
	var errs []error
	for _, n := range names {
		if err := os.Remove(filepath.Join(dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot remove an old snapshot: %w", err))
		}
	}
	return errors.Join(errs...)
}

// writeSnapshot writes a snapshot so that it is there whole or not at all.
func writeSnapshot(dir, name string, v *state.View, meta state.SnapshotMeta) (err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot write a snapshot: %w", err)
		}
		if err := anchor(dir); err != nil {
			return fmt.Errorf("cannot write a snapshot: %w", err)
		}
	}
	var b bytes.Buffer
	if err := v.WriteFile(&b, meta); err != nil {
		return err
	}
	// The same name each time: what a power cut left is written over.
	tmp := filepath.Join(dir, unfinished+snapshotPrefix(v.Cluster.ID, meta.Node)+"tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot write a snapshot: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // through no link that others made
	if err != nil {
		return fmt.Errorf("cannot write a snapshot: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(tmp) // its room may be what others lack
		return fmt.Errorf("cannot write a snapshot: %w", err)
	}
	return syncDir(dir)
}
