package keeper

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTerm(t *testing.T) {
	const s = time.Second
	var m term
	m.look(100 * s)
	if !m.lapsed || m.dead != m.since || m.next() != 0 {
		t.Fatalf("no lease at all: %+v", m)
	}
	none := m.since
	if err := m.renew(100*s, 110*s, 10*s); err != nil || m.lapsed || m.next() != 110*s-10*s/3 {
		t.Fatalf("the first: %+v, %v", m, err)
	}
	for name, c := range map[string]struct{ deadline, length time.Duration }{
		"later than it can be": {120*s + 1, 10 * s}, "no length": {105 * s, 0}, "a second": {101 * s, s},
		"backwards": {105 * s, -10 * s}, "for ever": {1 << 62, 1 << 62},
	} {
		before := m
		if err := m.renew(110*s-10*s/3-1, c.deadline, c.length); !errors.Is(err, ErrInvalid) || m != before {
			t.Errorf("%s: %v, %+v", name, err, m)
		}
	}
	if err := m.renew(101*s, 105*s, 10*s); err != nil || m.deadline != 110*s {
		t.Errorf("late news: %+v, %v", m, err)
	}
	if err := m.renew(102*s, 109*s, 20*s); err != nil || m.length != 10*s {
		t.Errorf("late news of another length: %+v, %v", m, err)
	}
	m.look(110*s - 10*s/3 - 1)
	if m.lapsed {
		t.Error("lapsed with more than a third left")
	}
	m.look(110*s - 10*s/3)
	if !m.lapsed || m.since <= none || m.dead >= m.since || m.next() != 109*s {
		t.Errorf("with a third left: %+v", m)
	}
	lapse := m.since
	if err := m.renew(108*s, 118*s, 10*s); err != nil || m.lapsed || m.since != lapse || m.dead >= lapse {
		t.Errorf("renewed after a lapse: %+v, %v", m, err)
	}
	// Not seen before the next renewal: the keeper was stopped, or the host slept.
	if err := m.renew(300*s, 310*s, 10*s); err != nil || m.lapsed || m.since <= lapse || m.dead != m.since {
		t.Errorf("renewed after its end: %+v, %v", m, err)
	}
	if err := m.renew(302*s, 310*s+1, 20*s); err != nil {
		t.Error(err)
	}
	m.look(310*s + 1 - s)
	if m.dead != m.since {
		t.Errorf("a second before its end: %+v", m)
	}
	// A lapse at the very instant of another is another.
	was := m.since
	m.lapsed = false
	m.deadline = 0
	m.look(was)
	if m.since <= was {
		t.Errorf("got %+v, want a lapse of its own", m)
	}
}

// testClock is a CLOCK_BOOTTIME of the test's own.
type testClock struct{ now time.Duration }

func (c *testClock) read() time.Duration { return c.now }

// TestLeaseIsRead: the deadline is the host's time since boot, whatever the date is.
func TestLeaseIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lease.json")
	clock := &testClock{now: time.Hour}
	open := func(boot string) *lease {
		l, err := openLease(path, boot, clock.read, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		return l
	}
	k := &Keeper{files: files{t.TempDir()}}
	l := open("b1")
	p := &process{k: k, key: key{"a", "main"}}
	if err := l.join(p, 0); !errors.Is(err, ErrNoLease) {
		t.Fatalf("without a lease: %v", err)
	}
	w := Lease{Boot: "b1", Deadline: clock.now + 10*time.Second, Length: 10 * time.Second}
	if err := l.renew(w); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("written though nobody lives by it: %v", err)
	}
	if err := l.join(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.renew(Lease{Boot: "b2", Deadline: clock.now + 10*time.Second, Length: 10 * time.Second}); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another boot: %v", err)
	}

	// The next keeper, in time.
	clock.now += 2 * time.Second
	next := open("b1")
	next.found(p)
	if stop, kill := next.doomed(p); stop || kill {
		t.Errorf("in time: stop %v, kill %v", stop, kill)
	}
	if err := next.join(p, clock.now-1); !errors.Is(err, ErrNoLease) {
		t.Errorf("decided under the keeper before: %v", err)
	}
	clock.now += 5 * time.Second
	if stop, kill := next.doomed(p); !stop || kill {
		t.Errorf("with less than a third left: stop %v, kill %v", stop, kill)
	}
	// One after that, too late; and in another boot.
	for boot, deadline := range map[string]time.Duration{"b1": 2 * time.Second, "b2": 0} {
		clock.now = w.Deadline - time.Second + deadline
		late := open(boot)
		late.found(p)
		if stop, kill := late.doomed(p); !stop || !kill {
			t.Errorf("boot %s: stop %v, kill %v", boot, stop, kill)
		}
		// Renewed only when what is dead is known to be.
		again := Lease{Boot: boot, Deadline: clock.now + 10*time.Second, Length: 10 * time.Second}
		if err := late.renew(again); !errors.Is(err, ErrBusy) {
			t.Errorf("boot %s, before the kill: %v", boot, err)
		}
		if v := late.judge(); len(v.kill) != 1 || len(v.stop) != 1 {
			t.Errorf("boot %s: %+v", boot, v)
		}
		if v := late.judge(); len(v.kill) != 0 || len(v.stop) != 0 {
			t.Errorf("boot %s, a second look: %+v", boot, v)
		}
		if err := late.renew(again); !errors.Is(err, ErrBusy) {
			t.Errorf("boot %s, before the note: %v", boot, err)
		}
		late.noted(p)
		if err := late.renew(again); err != nil {
			t.Errorf("boot %s: %v", boot, err)
		}
		if stop, kill := late.doomed(p); !stop || !kill {
			t.Errorf("boot %s, renewed: stop %v, kill %v", boot, stop, kill)
		}
	}
	// Damaged, or of a deadline that there can't be.
	for _, text := range []string{"", "{", `{"version":9,"boot":"b1"}` + "\n", `{"version":1,"boot":"b1","deadline":99999999999999999,"length":10000000000}` + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := open("b1")
		l.found(p)
		if _, kill := l.doomed(p); !kill {
			t.Errorf("%q is taken for a lease", text)
		}
	}
}
