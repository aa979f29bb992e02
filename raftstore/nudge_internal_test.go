package raftstore

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A follower that is told of a commit before it has the entry is told again soon: it would
// wait for raft's own 50 to 100 ms, and with it every step of an ordered start or rollout on
// its node. A newer commit takes the older one's place; one that lacks the entry for longer
// is left to raft.
func TestFollowerBehindIsToldAgain(t *testing.T) {
	t.Parallel()
	type told struct {
		index uint64
		at    time.Duration
	}
	for name, c := range map[string]struct {
		has    map[uint64]time.Duration // when the follower has an entry
		commit map[uint64]time.Duration
		want   []told
	}{
		"has it": {
			has: map[uint64]time.Duration{1: 0}, commit: map[uint64]time.Duration{1: 0},
			want: []told{{1, 0}},
		},
		"has it soon": {
			has: map[uint64]time.Duration{1: 2 * time.Millisecond}, commit: map[uint64]time.Duration{1: 0},
			want: []told{{1, 0}, {1, time.Millisecond}, {1, 3 * time.Millisecond}},
		},
		"a newer one": {
			has:    map[uint64]time.Duration{1: time.Hour, 2: 10 * time.Millisecond},
			commit: map[uint64]time.Duration{1: 0, 2: 10 * time.Millisecond},
			want:   []told{{1, 0}, {1, time.Millisecond}, {1, 3 * time.Millisecond}, {1, 7 * time.Millisecond}, {2, 10 * time.Millisecond}},
		},
		"never": {
			has: map[uint64]time.Duration{1: time.Hour}, commit: map[uint64]time.Duration{1: 0},
			want: []told{
				{1, 0},
				{1, time.Millisecond},
				{1, 3 * time.Millisecond},
				{1, 7 * time.Millisecond},
				{1, 15 * time.Millisecond},
				{1, 31 * time.Millisecond},
				{1, 63 * time.Millisecond},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var got []told
				ch := make(chan commit, 1)
				for index, at := range c.commit {
					time.AfterFunc(at, func() { ch <- commit{at: position{Index: index, Term: 1}} })
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				tellCommits(ctx, ch, func(x commit) bool {
					got = append(got, told{x.at.Index, time.Since(began)})
					return time.Since(began) < c.has[x.at.Index]
				})
				if !slices.Equal(got, c.want) {
					t.Errorf("told %v, want %v", got, c.want)
				}
			})
		})
	}
}
