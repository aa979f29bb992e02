package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// stroke is one fault: it begins at a time of the schedule and lasts a while.
type stroke struct {
	at, last time.Duration
	do       string
	host     int      // 0: whoever leads then
	ways     [][2]int // of links
	ports    []string
	pace     time.Duration // of flapping
	step     time.Duration // of a clock
}

func (s stroke) String() string {
	out := fmt.Sprintf("%7.3fs %-14s %6.3fs", s.at.Seconds(), s.do, s.last.Seconds())
	switch {
	case len(s.ways) > 0:
		out += fmt.Sprint(" ", s.ways)
	case len(s.ports) > 0:
		out += " " + strings.Join(s.ports, " ")
	case s.step != 0:
		out += fmt.Sprintf(" %v on h%d", s.step, s.host)
	case s.do != doBlackout && s.do != doKillAll:
		out += fmt.Sprintf(" h%d", s.host)
	}
	return strings.Replace(out, " h0", " the leader", 1)
}

// What strokes do.
const (
	doCut     = "cut"     // ways lose all
	doRefuse  = "refuse"  // ways answer that there is none
	doUnplug  = "unplug"  // ports lose their carrier
	doFlap    = "flap"    // ports lose it again and again
	doIsolate = "isolate" // all ways from and to a host lose all

	doKillSupd   = "kill-supd"
	doTermSupd   = "term-supd"
	doStopSupd   = "stop-supd" // SIGSTOP
	doLeaveSupd  = "leave-supd"
	doKillKeeper = "kill-keeper"
	doStopKeeper = "stop-keeper"
	doNewKeeper  = "new-keeper" // SIGHUP: it becomes the binary on disk, in place
	doKillBoth   = "kill-both"
	doKillMember = "kill-members"
	doFreeze     = "freeze" // the whole host stands still
	doPower      = "power"
	doBlackout   = "blackout" // no host has power
	doKillAll    = "kill-all" // of all hosts the daemon

	doFill  = "fill"
	doBreak = "break-disk"

	doClock = "clock" // a host's CLOCK_REALTIME is wrong, if the daemons were built for it
)

// stands is how long a keeper may stand still at most: so short that its host's fenced members end in time all the same.
const stands = 1500 * time.Millisecond

// drawn is a fault with its weight and how long it lasts.
type drawn struct {
	do          string
	weight      int
	short, long time.Duration
}

const sec = time.Second

// Four tracks run beside each other, each with one fault at a time.
var (
	linkTrack = []drawn{
		{doIsolate, 5, sec / 2, 14 * sec},
		{doCut, 6, sec / 2, 14 * sec},
		{doRefuse, 2, sec / 2, 8 * sec},
		{doUnplug, 3, sec / 2, 12 * sec},
		{doFlap, 3, 2 * sec, 8 * sec},
	}
	hostTrack = []drawn{
		{doKillSupd, 4, 0, 0},
		{doTermSupd, 2, 0, 0},
		{doLeaveSupd, 3, sec, 12 * sec},
		{doStopSupd, 4, sec / 5, 12 * sec},
		{doKillKeeper, 4, 0, 0},
		{doStopKeeper, 2, sec / 10, stands},
		{doNewKeeper, 2, 0, 0},
		{doKillBoth, 3, 0, 0},
		{doKillMember, 3, 0, 0},
		{doFreeze, 2, sec / 10, stands},
		{doPower, 5, sec / 2, 14 * sec},
		{doBlackout, 1, sec / 2, 5 * sec},
		{doKillAll, 1, 0, 0},
	}
	diskTrack  = []drawn{{doFill, 3, sec, 8 * sec}, {doBreak, 1, sec, 6 * sec}}
	clockTrack = []drawn{{doClock, 1, sec, 25 * sec}}
)

// clockSteps are by how much clocks go wrong: a little, an hour, and beyond what certificates last.
var clockSteps = []time.Duration{2 * sec, 90 * sec, time.Hour, 20 * time.Hour, 40 * 24 * time.Hour, 400 * 24 * time.Hour}

// calmEvery and calm: so often the room is left alone for so long, that things may get done.
const calmEvery, calm = 50 * sec, 10 * sec

// schedule draws all faults of a run. It is a pure function of the seed and the length.
func schedule(seed uint64, total time.Duration) []stroke {
	var all []stroke
	for track, kinds := range [][]drawn{linkTrack, hostTrack, diskTrack, clockTrack} {
		r := rand.New(rand.NewPCG(seed, uint64(track+1)))
		pause := func() time.Duration {
			base := []time.Duration{4 * sec, 4 * sec, 14 * sec, 10 * sec}[track]
			return base/4 + time.Duration(r.Int64N(int64(base)))
		}
		for at := pause(); at < total; {
			s := draw(r, kinds)
			s.at = at
			at += s.last + pause()
			if s.at%calmEvery+s.last >= calmEvery-calm {
				continue // it would reach into the calm
			}
			if s.at+s.last < total {
				all = append(all, s)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b stroke) int { return cmp.Compare(a.at, b.at) })
	return all
}

func draw(r *rand.Rand, kinds []drawn) stroke {
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	n := r.IntN(sum)
	i := 0
	for ; n >= kinds[i].weight; i++ {
		n -= kinds[i].weight
	}
	k := kinds[i]
	s := stroke{do: k.do, last: k.short}
	if k.long > k.short {
		// Short ones more often than long ones.
		f := r.Float64()
		s.last += time.Duration(f * f * float64(k.long-k.short))
	}
	if r.IntN(3) > 0 { // the leader is the most interesting one
		s.host = 1 + r.IntN(chaosHosts)
	}
	order := r.Perm(chaosHosts)
	for i := range order {
		order[i]++
	}
	switch k.do {
	case doCut, doRefuse:
		switch r.IntN(4) {
		case 0: // 2|3
			s.ways = between(order[:2], order[2:], true)
		case 1: // one way only
			s.ways = between(order[:2], order[2:], false)
		case 2: // some single ways
			for range 1 + r.IntN(6) {
				p := r.Perm(chaosHosts)
				s.ways = append(s.ways, [2]int{p[0] + 1, p[1] + 1})
			}
		case 3: // nobody hears, or is heard by, one
			s.ways = between(order[:1], order[1:], false)
			if r.IntN(2) == 0 {
				s.ways = between(order[1:], order[:1], false)
			}
		}
	case doClock:
		s.step, s.host = clockSteps[r.IntN(len(clockSteps))], order[0]
		if r.IntN(2) == 0 {
			s.step = -s.step
		}
	case doUnplug:
		s.ports = []string{"br0"}
		if r.IntN(3) > 0 {
			s.ports = nil
			for _, n := range order[:1+r.IntN(2)] {
				s.ports = append(s.ports, fmt.Sprintf("p%d", n))
			}
		}
	case doFlap:
		for _, n := range order[:1+r.IntN(chaosHosts)] {
			s.ports = append(s.ports, fmt.Sprintf("p%d", n))
		}
		s.pace = 50*time.Millisecond + time.Duration(r.Int64N(int64(800*time.Millisecond)))
	}
	return s
}

func TestChaosScheduleIsOfItsSeed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		a, b := schedule(seed, 10*time.Minute), schedule(seed, 10*time.Minute)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("seed %d: two schedules", seed)
		}
		kinds := map[string]int{}
		for _, s := range a {
			kinds[s.do]++
			if s.at+s.last >= 10*time.Minute || s.last < 0 {
				t.Errorf("seed %d: %v is not within the run", seed, s)
			}
			if s.at%calmEvery+s.last >= calmEvery-calm {
				t.Errorf("seed %d: %v breaks the calm", seed, s)
			}
		}
		if len(a) < 100 || len(kinds) < 14 {
			t.Errorf("seed %d: %d strokes of %d kinds: %v", seed, len(a), len(kinds), kinds)
		}
	}
}
