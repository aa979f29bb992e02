package powertest

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Life is a program whose power is cut again and again.
type Life struct {
	// Child is the test that works on the disk; Env is for it.
	Child string
	Env   []string
	// Cuts is how many states are made of it (SUPD_POWER_CUTS instead), PerLife how many of one run: the next run then begins
	// with one of them.
	Cuts, PerLife int
	// KillWithin is how many operations a run has about; the kill -9 that comes before every other run is within them.
	KillWithin int
	// Check looks at what a cut has left below dir, where it may write; said is all that was acknowledged, in earlier lives too.
	Check func(dir string, said []string) error
}

// Lives runs l. The seed is printed; SUPD_POWER_SEED repeats the cuts, though not what the program did meanwhile, so what a
// failing cut has left is kept.
func Lives(t *testing.T, l Life) {
	t.Helper()
	seed := uint64(number(t, "SUPD_POWER_SEED", int(time.Now().UnixNano()>>10)))
	cuts := number(t, "SUPD_POWER_CUTS", l.Cuts)
	t.Logf("SUPD_POWER_SEED=%d, %d cuts", seed, cuts)
	rng := rand.New(rand.NewPCG(seed, 0))
	var begin *Tree
	var before, next []string // acknowledged
	for life, done := 1, 0; done < cuts; life++ {
		d := Mount(t, begin)
		if rng.IntN(2) == 0 { // a kill -9 loses nothing by itself, but what it has left unsynced nobody may think safe
			d.Kill(t, l.Child, 1+rng.IntN(l.KillWithin), l.Env...)
		}
		d.Run(t, l.Child, l.Env...)
		r := d.Record()
		d.unmount(t)
		most := l.PerLife
		if life == 1 {
			most = max(most, cuts/2)
		}
		for n := 0; n < most && done < cuts; n++ {
			at := rng.IntN(r.Len() + 1)
			if life == 1 { // the making of things has few operations and many ways to fail: each in turn
				at = 1 + n%min(r.Len(), making)
			}
			tree := r.Cut(at, rng.Uint64())
			said := append(before[:len(before):len(before)], r.Said(at)...)
			if err := l.look(t, tree, said); err != nil {
				t.Fatalf("life %d, %v, after %d acknowledged: %v", life, tree, len(said), err)
			}
			done++
			begin, next = tree, said
		}
		before = next
	}
}

// making is how many operations at the beginning are cut one by one.
const making = 100

// look writes a tree and checks it.
func (l Life) look(t *testing.T, tree *Tree, said []string) error {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "supd-power-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(dir, said); err != nil {
		keep(t, tree)
		return err
	}
	return nil
}

// memory is where states are looked at: in memory if that can be, since here no sync matters.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// keep leaves a failing state for whoever looks for the cause, if SUPD_POWER_KEEP says where.
func keep(t *testing.T, tree *Tree) {
	t.Helper()
	at := os.Getenv("SUPD_POWER_KEEP")
	if at == "" {
		return
	}
	dir, err := os.MkdirTemp(at, "cut-")
	if err == nil {
		err = tree.Write(dir)
	}
	t.Logf("the failing state is kept in %s (%v)", dir, err)
}
