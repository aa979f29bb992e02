package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"supd/raftstore/state"
)

func scheduled(t *testing.T, said *bytes.Buffer) *snapshots {
	v := state.New()
	v.Index, v.Cluster.ID = 7, "c1"
	return &snapshots{
		dir: filepath.Join(t.TempDir(), "snapshots"), every: 24 * time.Hour, keep: 3, node: "n-1",
		view: func() (*state.View, state.SnapshotMeta) { return v, state.SnapshotMeta{Node: "n-1"} },
		log:  slog.New(slog.NewTextHandler(said, nil)),
	}
}

// files lists a directory, without what the files are dated.
func files(t *testing.T, s *snapshots) (own int, all []string) {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	list, err := ownSnapshots(s.dir, snapshotPrefix("c1", "n-1"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list), all
}

func TestSnapshotsAreScheduled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scheduled(t, new(bytes.Buffer))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx) }()
		after := func(d time.Duration, want int) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if n, all := files(t, s); n != want {
				t.Fatalf("there are %d snapshots, want %d: %q", n, want, all)
			}
		}
		after(2*time.Minute, 1)
		after(23*time.Hour, 1)
		after(4*time.Hour, 2) // a day and at most a tenth
		t.Log("a daemon that starts again writes no earlier than is due")
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		go func() { ended <- s.run(ctx) }()
		after(18*time.Hour, 2)
		after(10*time.Hour, 3)
		t.Log("those too many are removed, others' files never")
		for _, other := range []string{"supd-c1-n-1-x-20000101T000000Z-1.snapshot", "supd-c2-n-1-20000101T000000Z-1.snapshot", "mine.snapshot", "supd-c1-n-1-20000101T000000Z-1.snapshot.bak"} {
			if err := os.WriteFile(filepath.Join(s.dir, other), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		after(10*27*time.Hour, 3)
		if _, all := files(t, s); len(all) != 7 {
			t.Errorf("in the directory are %q", all)
		}
		if age := time.Since(s.newest()); age > 27*time.Hour {
			t.Errorf("the newest is %s old", age)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// Each is whole, private, and what a restore reads.
func TestScheduledSnapshotIsWhole(t *testing.T) {
	t.Parallel()
	s := scheduled(t, new(bytes.Buffer))
	v, meta := s.view()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	if err := s.round(v, meta, now, 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, "supd-c1-n-1-20260301T000000Z-7.snapshot")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	back, m, err := state.ReadFile(bytes.NewReader(b))
	if err != nil || back.Hash() != v.Hash() || !m.Time.Equal(now) {
		t.Errorf("it holds %+v, %v", m, err)
	}
	t.Log("a clock set back writes one more, and what it dated into the future goes first")
	for i := range 3 {
		if err := s.round(v, meta, now.Add(time.Duration(i-5)*48*time.Hour), 0); err != nil {
			t.Fatal(err)
		}
	}
	if n, all := files(t, s); n != 3 || strings.Contains(fmt.Sprint(all), "20260301") {
		t.Errorf("there are %q", all)
	}
}

// A disk that takes nothing is told once, in words that name it, and again when it does.
func TestSnapshotsThatFailAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		said := new(bytes.Buffer)
		s := scheduled(t, said)
		if err := os.WriteFile(s.dir, nil, 0o600); err != nil { // for root too, no directory
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx) }()
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if got := s.trouble(); !strings.Contains(got, s.dir) {
			t.Errorf("trouble: %q", got)
		}
		if err := os.Remove(s.dir); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if n, all := files(t, s); n != 1 || s.trouble() != "" {
			t.Errorf("there are %q, trouble %q", all, s.trouble())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(said.String(), "no scheduled snapshot"); n != 1 {
			t.Errorf("said %d times: %s", n, said)
		}
	})
}
