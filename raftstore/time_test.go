package raftstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
)

// TestTimeGoesOnAfterAWrongClock has a leader write with a clock that is ahead, which then is put right.
func TestTimeGoesOnAfterAWrongClock(t *testing.T) {
	t.Parallel()
	var wrong atomic.Int64
	o := options(t.TempDir(), "a")
	o.Now = func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }
	s := start(t, o, "127.0.0.1:0")
	if err := s.Bootstrap(t.Context(), []raftstore.Server{{ID: "a", Addr: s.addr, Voter: true}}); err != nil {
		t.Fatal(err)
	}
	leader(t, s)
	initCluster(t, s)
	n := 0
	write := func() time.Time {
		t.Helper()
		n++
		cmd := &state.PutService{Namespace: "default", Name: "x", Labels: map[string]string{"n": fmt.Sprint(n)}}
		if res, err := s.Propose(within(t), state.Entry{At: time.Now(), Who: "test", Cmd: cmd}); err != nil || res.Err != nil {
			t.Fatal(err, res.Err)
		}
		return s.View().Cluster.Now
	}
	wrong.Store(int64(20 * time.Hour))
	if ahead := write(); ahead.Before(time.Now().Add(19 * time.Hour)) {
		t.Fatalf("the log's time is %v", ahead)
	}
	wrong.Store(0)
	last := s.Now() // as planners and readers ask all the time
	for range 5 {
		<-time.After(10 * time.Millisecond) // of the time that is measured
		now := write()
		if d := now.Sub(last); d < 5*time.Millisecond || d > 15*time.Hour {
			t.Errorf("10ms and more later the log's time has gone on by %v", d)
		}
		last = now
	}
}
