package keeper_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// TestDamagedAnyhow: records and lives cut short at any byte, and with bytes turned. No member is killed, none started twice,
// and a damaged life alone loses nothing: the lock leads to the process.
func TestDamagedAnyhow(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	both(t, func(t *testing.T, r *rig) {
		const members = 24
		rnd := rand.New(rand.NewPCG(seed, 0))
		name := func(i int) string { return fmt.Sprintf("m-%d", i) }
		pids := map[string]int{}
		words := map[string]string{}
		for i := range members {
			words[name(i)] = uniqueWord()
			s := r.shell(name(i), "while :; do sleep 1000; done", words[name(i)])
			s.LogDir = filepath.Join(r.logs, name(i))
			pids[name(i)] = r.mustStart(s).PID
		}
		r.crash()
		whole := func(path string) []byte {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		harmed := map[string]bool{} // whose record can't be believed
		for i := range members {
			ext := []string{".json", ".life"}[i%2]
			path := filepath.Join(r.dir, "records", name(i)+"@main"+ext)
			b := whole(path)
			line := strings.IndexByte(string(b), '\n')
			switch (i / 2) % 4 {
			case 0: // cut within the line
				b = b[:rnd.IntN(line+1)]
			case 1: // a byte turned into another that JSON takes as well
				for {
					at := rnd.IntN(line)
					if c := b[at]; c >= '0' && c <= '9' {
						b[at] = '0' + (c-'0'+1+byte(rnd.IntN(9)))%10
						break
					}
				}
			case 2:
				for range 1 + rnd.IntN(8) {
					b[rnd.IntN(line)] ^= byte(1 + rnd.IntN(255))
				}
			case 3: // a newer keeper's, or another member's
				if ext == ".json" && rnd.IntN(2) == 0 {
					b = whole(filepath.Join(r.dir, "records", name((i+2)%members)+"@main"+ext))
				} else {
					b = append([]byte(`{"version":99,"what":[]}`), '\n')
				}
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			harmed[name(i)] = ext == ".json"
		}
		r.up()
		for i := range members {
			m := name(i)
			if !harmed[m] {
				if got := r.seeState(m, keeper.Running); got.PID != pids[m] || !got.Adopted {
					t.Errorf("%s, life damaged (case %d): got %+v, want process %d adopted", m, (i/2)%4, got, pids[m])
				}
				continue
			}
			got := r.seeState(m, keeper.Failed)
			if !strings.Contains(got.Message, "can't be read") {
				t.Errorf("%s, record damaged (case %d): got %+v", m, (i/2)%4, got)
			}
			s := r.shell(m, "while :; do sleep 1000; done", words[m])
			s.Epoch = 2
			if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrBusy) && !errors.Is(err, keeper.ErrLocked) {
				t.Errorf("%s: start beside it: %v", m, err)
			}
			if err := r.GiveUp(t.Context(), m, 1); !errors.Is(err, keeper.ErrBusy) {
				t.Errorf("%s: given up beside it: %v", m, err)
			}
		}
		run := copiesOf(t, slices.Collect(maps.Values(words))...)
		for m, pid := range pids {
			if got := run[words[m]]; len(got) != 1 || got[0] != pid {
				t.Errorf("%s: %v run, want %d", m, got, pid)
			}
			if harmed[m] && r.cgroup == "" { // nobody stops those
				if err := unix.Kill(-pid, unix.SIGKILL); err != nil {
					t.Error(err)
				}
				within(t, "it is given up when it is gone", func() bool { return r.GiveUp(t.Context(), m, 1) == nil })
				if err := r.Forget(t.Context(), m, "main"); err != nil {
					t.Errorf("%s: forgotten when it is gone: %v", m, err)
				}
			}
		}
	})
}

// TestDamagedEpochs: what says which epochs were given up is damaged: nothing is started.
func TestDamagedEpochs(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	if err := r.GiveUp(t.Context(), "a", 7); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "epochs", "a.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		strings.Replace(string(good), `"epoch":7`, `"epoch":1`, 1), string(good[:10]), "", strings.Replace(string(good), `"a"`, `"b"`, 1),
	} {
		r.crash()
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		r.up()
		s := r.shell("a", "exec sleep 1000")
		s.Epoch = 9
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
			t.Errorf("started with %q: %v", bad, err)
		}
	}
	r.crash()
	if err := os.WriteFile(path, []byte(strings.SplitAfter(string(good), "\n")[0]), 0o600); err != nil { // an older keeper's
		t.Fatal(err)
	}
	r.up()
	s := r.shell("a", "exec sleep 1000")
	if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrGivenUp) {
		t.Errorf("started in an epoch given up: %v", err)
	}
	s.Epoch = 8
	r.mustStart(s)
}

// TestLockRemoved: the lock's name is removed while it is held, and so is all else that leads to the process.
func TestLockRemoved(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string][]string{
		"lock alone": {"locks"}, "lock and life": {"locks", "records/a@main.life"}, "lock and record": {"locks", "records"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, r *rig) {
				word := uniqueWord()
				s := r.shell("a", "while :; do sleep 1000; done", word)
				st := r.mustStart(s)
				r.crash()
				for _, f := range remove {
					if err := os.RemoveAll(filepath.Join(r.dir, f)); err != nil {
						t.Fatal(err)
					}
				}
				r.up()
				s.Epoch = 2
				if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrBusy) && !errors.Is(err, keeper.ErrLocked) {
					t.Errorf("start beside it: %v", err)
				}
				err := r.GiveUp(t.Context(), "a", 1, filepath.Join(r.dir, "locks", "a@main.lock"))
				if !errors.Is(err, keeper.ErrBusy) {
					t.Errorf("given up beside it: %v", err)
				}
				if got := copies(t, word); len(got) != 1 || got[0] != st.PID {
					t.Errorf("%v run, want %d", got, st.PID)
				}
				if _, err := os.Stat(filepath.Join(r.dir, "records", "a@main.json")); err == nil {
					if got := r.seeState("a", keeper.Running); got.PID != st.PID {
						t.Errorf("got %+v, want %d adopted", got, st.PID)
					}
					return
				}
				if !strings.Contains(fmt.Sprint(err), fmt.Sprint(st.PID)) {
					t.Errorf("whom it waits for is not told: %v", err)
				}
				if err := unix.Kill(-st.PID, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				within(t, "a start when it has gone", func() bool { return r.Start(t.Context(), s) == nil })
			})
		})
	}
}
