package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// observer looks at all processes of this machine, over and over, and judges by their arguments alone which lives of a
// member there are. It asks neither supd nor the keeper.
type observer struct {
	mark string // of the processes it is interested in
	rest int    // who has not been one of them is looked at again in every so many looks

	strangers map[int]bool // of the one that looks

	mu     sync.Mutex                          // guards what follows
	lives  map[string]map[string][]lifeProcess // word to life to processes, of the latest look
	looks  int
	breach []string
}

// lifeProcess is one process of a member.
type lifeProcess struct {
	pid        int
	word, life string
	role       string
}

var theObserver = sync.OnceValue(func() *observer {
	o := newObserver(matrixMark, 1)
	go o.run(context.Background()) // ends with the test binary
	return o
})

func newObserver(mark string, rest int) *observer {
	return &observer{mark: mark, rest: rest, strangers: map[int]bool{}}
}

func (o *observer) run(ctx context.Context) {
	for ctx.Err() == nil {
		o.look()
		<-time.After(2 * time.Millisecond) // all others want to run too
	}
}

// lifeOf reads whose process a pid is. One that has ended, also one that awaits its burial, has no arguments.
func lifeOf(pid int, mark string) (lifeProcess, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(b, []byte(mark)) {
		return lifeProcess{}, false
	}
	args := strings.Split(string(b), "\x00")
	for i, a := range args {
		if a == mark && i+3 < len(args) {
			p := lifeProcess{pid: pid, word: args[i+1], role: args[i+2], life: args[i+3]}
			if p.role == "start" {
				p.life = strconv.Itoa(pid)
			}
			return p, true
		}
	}
	return lifeProcess{}, false
}

func (o *observer) look() {
	o.mu.Lock()
	turn := o.looks % o.rest
	o.mu.Unlock()
	lives := map[string]map[string][]lifeProcess{}
	strangers := map[int]bool{}
	for _, pid := range allPids() {
		if o.strangers[pid] && pid%o.rest != turn {
			strangers[pid] = true
			continue
		}
		p, ok := lifeOf(pid, o.mark)
		if !ok {
			strangers[pid] = true
			continue
		}
		if lives[p.word] == nil {
			lives[p.word] = map[string][]lifeProcess{}
		}
		lives[p.word][p.life] = append(lives[p.word][p.life], p)
	}
	o.strangers = strangers
	var breach []string
	for word, l := range lives {
		if len(l) > 1 {
			if b := o.twoAtOnce(word, l); b != "" {
				breach = append(breach, b)
			}
		}
	}
	o.mu.Lock()
	o.lives = lives
	for _, b := range breach {
		if !slices.Contains(o.breach, b) {
			o.breach = append(o.breach, b)
		}
	}
	o.looks++
	o.mu.Unlock()
}

// twoAtOnce looks again, since the look took a while: who is still there was there when the others were seen.
func (o *observer) twoAtOnce(word string, l map[string][]lifeProcess) string {
	still := map[string]string{}
	for life, ps := range l {
		for _, seen := range ps {
			if p, ok := lifeOf(seen.pid, o.mark); ok && p.word == word && p.life == life {
				still[life] = fmt.Sprintf("process %d (%s) of life %s", p.pid, p.role, life)
			}
		}
	}
	if len(still) < 2 {
		return ""
	}
	return word + ": " + strings.Join(slices.Sorted(maps.Values(still)), " and ") + " at once"
}

// of gives the lives of a member and their processes, by a look begun after the call.
func (o *observer) of(word string) map[string][]lifeProcess { return o.now()[word] }

// now gives all members' lives and their processes, by a look begun after the call.
func (o *observer) now() map[string]map[string][]lifeProcess {
	o.mu.Lock()
	from := o.looks
	o.mu.Unlock()
	for {
		o.mu.Lock()
		if o.looks >= from+2 {
			l := o.lives
			o.mu.Unlock()
			return l
		}
		o.mu.Unlock()
		<-time.After(time.Millisecond)
	}
}

// locked asks the kernel whether anybody holds the lock of a file.
func locked(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false, err
	}
	st := info.Sys().(*syscall.Stat_t)
	mark := fmt.Sprintf(" %02x:%02x:%d ", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " FLOCK ") && strings.Contains(line, mark) {
			return true, nil
		}
	}
	return false, nil
}

// breaches are the members with this word that were seen twice at once.
func (o *observer) breaches(word string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found []string
	for _, b := range o.breach {
		if strings.HasPrefix(b, word) {
			found = append(found, b)
		}
	}
	return found
}

// checkJournal judges a member's journal: the lives in it follow each other.
func checkJournal(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("the journal: %v", err)
		return
	}
	seen := map[string]bool{}
	last := ""
	for line := range strings.Lines(string(b)) {
		life, _, _ := strings.Cut(line, " ")
		if life == last {
			continue
		}
		if seen[life] {
			t.Errorf("%s: life %s wrote again after life %s had begun", path, life, last)
		}
		seen[life], last = true, life
	}
}

// checkLog judges the logs of a chatty member, all that are kept: of each life every line is there, whole and in order,
// up to the last one that the journal knows of.
func checkLog(t *testing.T, logs []string, journal string) {
	t.Helper()
	noted := map[string]int{}
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Errorf("the journal: %v", err)
		return
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[1] != kindChatty {
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil {
			t.Errorf("journal line %q", line)
			continue
		}
		noted[f[0]] = n*50 + 49
	}
	for _, path := range logs {
		if strings.HasSuffix(path, ".idx") {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("the log: %v", err)
			continue
		}
		life, next := "", 0
		for line := range strings.Lines(string(b)) {
			if word, ok := strings.CutPrefix(line, "begin "); ok {
				life, next = strings.TrimSpace(word), 0
				continue
			}
			if line == fmt.Sprintf("%s %d\n", life, next) {
				next++
				continue
			}
			if !strings.HasSuffix(line, "\n") {
				break // the writer was killed within it
			}
			t.Errorf("%s: got %q where line %d of life %s should be", path, line, next, life)
			break
		}
		if want, ok := noted[life]; ok && next <= want {
			t.Errorf("%s: life %s printed up to line %d, the log ends before line %d", path, life, want, next)
		}
	}
}
