package volumes_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"supd/volumes"
)

// faults makes the nth change on disk fail, and all after it when crash is set.
type faults struct {
	err   error
	crash bool
	at    int64 // 0: none
	n     atomic.Int64
	op    atomic.Value
}

func (f *faults) fault(op, path string) error {
	n := f.n.Add(1)
	if f.at == 0 || n < f.at || n > f.at && !f.crash {
		return nil
	}
	if n == f.at {
		f.op.Store(op + " " + filepath.Base(path))
	}
	return f.err
}

var errCrash = errors.New("the machine went away")

// change on disk: what comes before, the operation, and what must hold after it
// whatever happened in between. Doing it again must always succeed.
type operation struct {
	before func(t *testing.T, p *volumes.Pool)
	do     func(t *testing.T, p *volumes.Pool) error
	held   func(t *testing.T, p *volumes.Pool, dir string)
	after  func(t *testing.T, p *volumes.Pool, dir string)
}

var sample = claim(0, "aaaaaaaa")

func withRow(t *testing.T, p *volumes.Pool) {
	write(t, ensure(t, p, sample).Data+"/row", "1")
	must(t, p.Take(sample, 3, "n1"))
	must(t, p.OnceDone(sample, "first"))
}

func trashedRow(t *testing.T, p *volumes.Pool) {
	withRow(t, p)
	must(t, p.Trash(sample))
}

// rowSomewhere: the row is in exactly one place.
func rowSomewhere(t *testing.T, _ *volumes.Pool, dir string) {
	t.Helper()
	found, err := filepath.Glob(dir + "/*/*/data/row")
	must(t, err)
	trash, err := filepath.Glob(dir + "/.trash/*/*/data/row")
	must(t, err)
	if all := append(found, trash...); len(all) != 1 || read(t, all[0]) != "1" {
		t.Fatalf("the row is in %q", all)
	}
}

var operations = map[string]operation{
	"Ensure": {
		do: func(t *testing.T, p *volumes.Pool) error {
			_, err := p.Ensure(t.Context(), sample)
			return err
		},
		held: func(t *testing.T, p *volumes.Pool, dir string) {
			// Never a container that is not whole.
			for _, f := range listed(t, p) {
				if f.Foreign || f.Why != "" || !exists(t, f.Path+"/data") {
					t.Fatalf("half made: %+v", f)
				}
			}
		},
		after: func(t *testing.T, p *volumes.Pool, dir string) {
			must(t, p.Take(made(sample), 1, "n1"))
			ensure(t, p, made(sample))
		},
	},
	"Take": {
		before: withRow,
		do:     func(t *testing.T, p *volumes.Pool) error { return p.Take(sample, 9, "n1") },
		held: func(t *testing.T, p *volumes.Pool, dir string) {
			if f := listed(t, p)[0]; f.Epoch != 3 && f.Epoch != 9 {
				t.Fatalf("claim: %+v", f)
			}
		},
		after: func(t *testing.T, p *volumes.Pool, dir string) {
			wants(t, p.Take(sample, 8, "n1"), volumes.ErrOldEpoch)
		},
	},
	"OnceDone": {
		before: withRow,
		do:     func(t *testing.T, p *volumes.Pool) error { return p.OnceDone(sample, "second") },
		held: func(t *testing.T, p *volumes.Pool, dir string) {
			if steps, err := p.Once(sample); err != nil || len(steps) == 0 || steps[0] != "first" {
				t.Fatalf("steps %q, %v", steps, err)
			}
		},
		after: func(t *testing.T, p *volumes.Pool, dir string) {
			if steps, err := p.Once(sample); err != nil || len(steps) != 2 {
				t.Fatalf("steps %q, %v", steps, err)
			}
		},
	},
	"Trash": {
		before: withRow,
		do:     func(t *testing.T, p *volumes.Pool) error { return p.Trash(made(sample)) },
		held:   rowSomewhere,
		after:  rowSomewhere,
	},
	"Restore": {
		before: trashedRow,
		do:     func(t *testing.T, p *volumes.Pool) error { return p.Restore(sample) },
		held:   rowSomewhere,
		after: func(t *testing.T, p *volumes.Pool, dir string) {
			ensure(t, p, made(sample))
		},
	},
	"Empty": {
		before: trashedRow,
		do:     func(t *testing.T, p *volumes.Pool) error { return p.Empty(t.Context(), made(sample)) },
		held: func(t *testing.T, p *volumes.Pool, dir string) {
			for _, f := range listed(t, p) {
				if f.Place == volumes.PlaceLive {
					t.Fatalf("back in place: %+v", f)
				}
			}
		},
		after: func(t *testing.T, p *volumes.Pool, dir string) {
			if left := listed(t, p); len(left) != 0 {
				t.Fatalf("left %+v", left)
			}
		},
	},
}

func listed(t *testing.T, p *volumes.Pool) []volumes.Found {
	t.Helper()
	found, err := p.List()
	must(t, err)
	return found
}

// TestCrashAnywhere stops the machine before every single change on disk, starts
// it again and does the same once more.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweep(t, op, func(at int64) *faults { return &faults{err: errCrash, crash: true, at: at} },
				func(t *testing.T, err error) {
					if !errors.Is(err, errCrash) {
						t.Fatalf("got %v", err)
					}
				})
		})
	}
}

// TestDiskErrorAnywhere fails every single change on disk, alone.
func TestDiskErrorAnywhere(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]volumes.Reason{
		syscall.ENOSPC: volumes.ErrFull, syscall.EDQUOT: volumes.ErrFull, syscall.EROFS: volumes.ErrReadOnly,
		syscall.EIO: volumes.ErrDisk, syscall.EACCES: volumes.ErrPermission,
	} {
		for name, op := range operations {
			if errno != syscall.ENOSPC && name != "Take" && name != "Trash" {
				continue // the way is the same for all, and syncs take time
			}
			t.Run(fmt.Sprintf("%s/%s", name, errno), func(t *testing.T) {
				t.Parallel()
				sweep(t, op, func(at int64) *faults { return &faults{err: errno, at: at} },
					func(t *testing.T, err error) { wants(t, err, want) })
			})
		}
	}
}

func sweep(t *testing.T, op operation, make func(at int64) *faults, check func(*testing.T, error)) {
	for at := int64(1); ; at++ {
		dir := filepath.Join(t.TempDir(), "volumes")
		good := open(t, volumes.Options{Dir: dir})
		if op.before != nil {
			op.before(t, good)
		}
		f := make(at)
		err := op.do(t, open(t, volumes.Options{Dir: dir, Fault: f.fault}))
		if f.n.Load() < at {
			must(t, err)
			if at < 3 {
				t.Fatalf("only %d changes seen", at)
			}
			return
		}
		where := f.op.Load().(string)
		t.Logf("fault at %d: %s: %v", at, where, err)
		check(t, err)
		if strings.Contains(err.Error(), "cannot :") {
			t.Errorf("bad text: %v", err)
		}
		op.held(t, good, dir)
		if err := op.do(t, good); err != nil {
			t.Fatalf("after a fault at %s: %v", where, err)
		}
		op.after(t, good, dir)
		if left, _ := filepath.Glob(dir + "/*/.*"); len(left) > 0 && !strings.Contains(dir, ".trash") {
			for _, l := range left {
				if !strings.HasSuffix(l, "/.gone") {
					t.Errorf("after a fault at %s: left %s", where, l)
				}
			}
		}
	}
}
