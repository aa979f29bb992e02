package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ledger is the test's own record of directories: those it has seen, and those that a release it asked for may have taken.
type ledger struct {
	mu       sync.Mutex                   // guards what follows
	released map[string]bool              // NAME.UID8: a release was accepted, or may have been
	seen     map[string]map[string]string // host to NAME.UID8 to what was in it
}

func newLedger() *ledger {
	return &ledger{released: map[string]bool{}, seen: map[string]map[string]string{}}
}

func (l *ledger) setReleased(volume string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released[volume] = yes
}

func (l *ledger) isReleased(volume string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released[volume]
}

// compare notes what is on a host's disk and tells what is missing there though nobody released it.
func (l *ledger) compare(h string, now map[string]string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now == nil {
		return nil
	}
	if l.seen[h] == nil {
		l.seen[h] = map[string]string{}
	}
	var missing []string
	for _, v := range slices.Sorted(maps.Keys(l.seen[h])) {
		got, there := now[v]
		switch was := l.seen[h][v]; {
		case l.released[v]:
		case !there:
			missing = append(missing, fmt.Sprintf("directory %s on %s is gone, and nobody released it", v, h))
		case was != "" && got != was:
			missing = append(missing, fmt.Sprintf("directory %s on %s held %q, now %q", v, h, was, got))
		}
	}
	for v, what := range now {
		if what != "" || l.seen[h][v] == "" {
			l.seen[h][v] = what
		}
	}
	return missing
}

// readLives reads the records of all lives, by member and in order of their starts.
func readLives(dir string) (map[string][]lifeRecord, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return nil, err
	}
	out := map[string][]lifeRecord{}
	for _, p := range paths {
		if strings.HasSuffix(p, ".new") {
			continue // killed before its first word
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		last, text, ok := strings.Cut(string(b), "\n")
		var r lifeRecord
		if ok {
			if err = json.Unmarshal([]byte(text), &r); err == nil {
				r.Last, err = strconv.ParseInt(last, 10, 64)
			}
		}
		if err != nil || !ok {
			return nil, fmt.Errorf("%s: %q: %w", p, b, err)
		}
		out[r.Member] = append(out[r.Member], r)
	}
	for _, rs := range out {
		slices.SortFunc(rs, func(a, b lifeRecord) int { return cmp.Compare(a.Start, b.Start) })
	}
	return out, nil
}

func (r lifeRecord) String() string {
	return fmt.Sprintf("process %d on %s (epoch %d, %.3fs to %.3fs)", r.PID, r.Host, r.Epoch, float64(r.Start)/1e9, float64(r.Last)/1e9)
}

// judgeLives tells what is wrong with lives: two at once of a member or in a directory, an epoch that went back, a
// directory whose contents are another's or went away unreleased.
func judgeLives(lives map[string][]lifeRecord, released func(volume string) bool) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	dirs := map[string]lifeRecord{} // volume to the first that named it
	for _, m := range slices.Sorted(maps.Keys(lives)) {
		var before, housed *lifeRecord
		for i := range lives[m] {
			r := &lives[m][i]
			if r.Twice {
				say("%s: %v found another alive: %s", m, *r, r.Trouble)
			}
			if before != nil && before.Last >= r.Start && !r.Twice {
				say("%s: %v began while %v lived", m, *r, *before)
			}
			if before != nil && before.Epoch > r.Epoch {
				say("%s: %v has a lower epoch than %v before it", m, *r, *before)
			}
			if before == nil || before.Last < r.Last {
				before = r
			}
			if r.Dir == "" {
				continue
			}
			if housed != nil && housed.Volume != r.Volume && !released(housed.Volume) {
				say("%s: %v has directory %s; %s, of %v, was not released", m, *r, r.Volume, housed.Volume, *housed)
			}
			housed = r
			switch first, known := dirs[r.Volume]; {
			case !known:
				dirs[r.Volume] = *r
			case first.Dir != r.Dir:
				say("%s: %v found %q in directory %s, %v %q", m, *r, r.Dir, r.Volume, first, first.Dir)
			case r.Fresh:
				say("%s: %v found directory %s empty, which %v had before", m, *r, r.Volume, first)
			}
			if !strings.HasPrefix(r.Dir, m+" ") {
				say("%s: %v found %q in directory %s", m, *r, r.Dir, r.Volume)
			}
		}
	}
	return wrong
}

// TestChaosJudge tries the judge against histories that are wrong in each way.
func TestChaosJudge(t *testing.T) {
	t.Parallel()
	life := func(start, last int64, epoch uint64) lifeRecord {
		return lifeRecord{Member: "a-0", Start: start, Last: last, Epoch: epoch, Volume: "data-a-0.1", Dir: "a-0 x"}
	}
	change := func(r lifeRecord, f func(*lifeRecord)) lifeRecord { f(&r); return r }
	released := func(v string) bool { return v == "data-a-0.0" }
	for name, c := range map[string]struct {
		lives []lifeRecord
		want  string
	}{
		"well":           {[]lifeRecord{change(life(1, 5, 3), func(r *lifeRecord) { r.Fresh = true }), life(6, 9, 3), life(12, 13, 7)}, ""},
		"released":       {[]lifeRecord{change(life(1, 5, 3), func(r *lifeRecord) { r.Volume, r.Dir = "data-a-0.0", "a-0 y" }), life(6, 9, 3)}, ""},
		"no disk":        {[]lifeRecord{life(1, 5, 3), change(life(6, 6, 4), func(r *lifeRecord) { r.Dir, r.Trouble = "", "disk full" }), life(7, 9, 4)}, ""},
		"overlap":        {[]lifeRecord{life(1, 5, 3), life(5, 9, 4)}, "began while"},
		"overlap of two": {[]lifeRecord{life(1, 9, 3), life(10, 20, 4), life(15, 16, 4)}, "began while"},
		"lock":           {[]lifeRecord{life(1, 5, 3), change(life(4, 4, 4), func(r *lifeRecord) { r.Twice, r.Dir = true, "" })}, "found another alive"},
		"epoch":          {[]lifeRecord{life(1, 5, 3), life(6, 9, 2)}, "lower epoch"},
		"another volume": {[]lifeRecord{change(life(1, 5, 3), func(r *lifeRecord) { r.Volume = "data-a-0.2" }), life(6, 9, 3)}, "was not released"},
		"emptied":        {[]lifeRecord{life(1, 5, 3), change(life(6, 9, 3), func(r *lifeRecord) { r.Fresh = true })}, "empty"},
		"changed":        {[]lifeRecord{life(1, 5, 3), change(life(6, 9, 3), func(r *lifeRecord) { r.Dir = "a-0 z" })}, "found \"a-0 z\""},
		"another's":      {[]lifeRecord{change(life(1, 5, 3), func(r *lifeRecord) { r.Dir = "b-0 x" })}, "found \"b-0 x\""},
	} {
		got := judgeLives(map[string][]lifeRecord{"a-0": c.lives}, released)
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) == 0 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
	l := newLedger()
	l.compare("h1", map[string]string{"a": "1", "b": "2", "c": "3"})
	l.setReleased("a", true)
	if got := l.compare("h1", map[string]string{"b": "2", "c": "4"}); len(got) != 1 || !strings.Contains(got[0], "c on h1") {
		t.Errorf("got %v", got)
	}
	if got := l.compare("h1", map[string]string{"c": "3"}); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
