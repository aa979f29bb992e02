package keeper_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
)

// fresh is a client with a connection of its own.
func (r *rig) fresh() *keeper.Client { return keeper.Dial(filepath.Join(r.dir, "keeper.sock")) }

// answersAnew waits until the running keeper takes new connections.
func (r *rig) answersAnew() {
	r.t.Helper()
	within(r.t, "the same keeper answers on a new connection", func() bool {
		c := r.fresh()
		i, err := c.Hello(r.t.Context())
		return err == nil && i.PID == r.cmd.Process.Pid && c.Close() == nil
	})
}

// secondKeeper tells how one ends that is started beside the first.
func (r *rig) secondKeeper() (string, error) {
	c := exec.Command("/proc/self/exe", "run", "--dir", r.dir)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, "/notify/") {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// TestHomeTidiedUp: somebody removes what the keeper has in its directory, all or a part of it, while it runs. It goes on, can
// be reached, lets no second one in, and a kill -9 after that loses nothing.
func TestHomeTidiedUp(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"socket": func(dir string) error { return os.Remove(filepath.Join(dir, "keeper.sock")) },
		"socket replaced": func(dir string) error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, nil, 0o600), os.Rename(other, filepath.Join(dir, "keeper.sock")))
		},
		"lock":    func(dir string) error { return os.Remove(filepath.Join(dir, "keeper.lock")) },
		"records": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "records")) },
		"a record and the epochs": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "records", "a@main.json")), os.Remove(filepath.Join(dir, "epochs", "b.json")))
		},
		"all": func(dir string) (err error) {
			for range 100 { // the keeper makes anew what was removed, meanwhile too
				if err = os.RemoveAll(dir); err == nil {
					return nil
				}
			}
			return err
		},
		"moved": func(dir string) error { return os.Rename(dir, dir+".away") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "")
			s := r.shell("a", "exec sleep 1000")
			s.Lock = filepath.Join(t.TempDir(), "lock")
			st := r.mustStart(s)
			if err := r.GiveUp(t.Context(), "b", 3); err != nil {
				t.Fatal(err)
			}
			want := tree(t, r.dir)
			if err := remove(r.dir); err != nil {
				t.Fatal(err)
			}
			within(t, "all is there again", func() bool {
				return strings.Join(tree(t, r.dir), " ") == strings.Join(want, " ")
			})
			r.answersAnew()
			if out, err := r.secondKeeper(); err == nil || !strings.Contains(out, "another keeper works on") {
				t.Errorf("a second keeper: %v: %s", err, out)
			}
			r.crash()
			r.up()
			if got := r.seeState("a", keeper.Running); got.PID != st.PID || !got.Adopted {
				t.Errorf("got %+v, want process %d adopted", got, st.PID)
			}
			b := r.shell("b", "exec sleep 1000")
			b.Epoch = 3
			if err := r.Start(t.Context(), b); !errors.Is(err, keeper.ErrGivenUp) {
				t.Errorf("a start in an epoch given up: %v", err)
			}
		})
	}
}

// TestSuperseded: a second keeper has taken the directory while the first stood still. The first starts nothing more and ends;
// its members run on.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig) {
		word := uniqueWord()
		s := r.shell("a", "while :; do sleep 1000; done", word)
		s.Lock = filepath.Join(t.TempDir(), "lock")
		st := r.mustStart(s)
		first := r.cmd
		if err := first.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r.Client, r.out = r.fresh(), new(bytes.Buffer) // the first one writes to the other
		r.up()
		if err := first.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := first.Wait(); err == nil {
			t.Error("the first keeper ended well")
		}
		if !alive(st.PID) {
			t.Error("the member died with it")
		}
		if _, err := os.Stat(filepath.Join(r.dir, "keeper.sock")); err != nil {
			t.Errorf("the second keeper's socket: %v", err)
		}
		s.Epoch = 2
		if err := r.Start(t.Context(), s); !errors.Is(err, keeper.ErrBusy) && !errors.Is(err, keeper.ErrLocked) {
			t.Errorf("a start beside it: %v", err)
		}
		if err := r.GiveUp(t.Context(), "a", 1, s.Lock); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("giving up beside it: %v", err)
		}
		if got := copies(t, word); len(got) != 1 {
			t.Errorf("%v run", got)
		}
		if err := unix.Kill(-st.PID, unix.SIGKILL); err != nil { // its shell has a child
			t.Fatal(err)
		}
		within(t, "a start when it has gone", func() bool { return r.Start(t.Context(), s) == nil })
	})
}
