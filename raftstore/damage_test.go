package raftstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"supd/raftstore"
)

// damageSeeds is how many stores are damaged; SUPD_DAMAGE_SEEDS asks for more.
func damageSeeds(t *testing.T) uint64 {
	s := os.Getenv("SUPD_DAMAGE_SEEDS")
	if s == "" {
		return 300
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal("SUPD_DAMAGE_SEEDS: ", err)
	}
	return n
}

// kept is all that a store must give back, or be refused.
type kept struct {
	hash    string // of the View with all entries
	terms   [2]uint64
	servers string
}

// keptIn opens a store and reads what it keeps.
func keptIn(dir, id string) (k kept, err error) {
	err = opened(dir, id, func(s *raftstore.Store) error {
		v, err := s.Whole()
		if err != nil {
			return fmt.Errorf("opened, and then: %w", err)
		}
		k.hash, k.terms = v.Hash(), [2]uint64{s.Stable("CurrentTerm"), s.Stable("LastVoteTerm")}
		return nil
	})
	if err != nil {
		return k, err
	}
	in, err := raftstore.Inspect(raftstore.Options{Dir: dir, ID: id})
	k.servers = fmt.Sprint(in.Servers)
	return k, err
}

// damagedStore makes a store with a snapshot and entries behind it, which is copied and damaged.
func damagedStore(t *testing.T) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	a := alone(t, dir)
	a.fill(t, 0, 60)
	a.snapshot(t)
	a.fill(t, 100, 15)
	a.end()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			files[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// spoil damages one of the files, and says how.
func spoil(r *rand.Rand, files map[string][]byte) string {
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	name := "raft.db"
	if r.IntN(4) == 0 {
		name = names[r.IntN(len(names))]
	}
	b := bytes.Clone(files[name])
	files[name] = b
	const block = 512
	at := r.IntN(len(b))
	switch how := r.IntN(10); {
	case how < 5:
		b[at] ^= 1 << r.IntN(8)
		return fmt.Sprintf("%s: one bit flipped at %d", name, at)
	case how == 5:
		at = at / 4096 * 4096
		end := min(at+4096, len(b))
		for range 1 + r.IntN(30) {
			b[at+r.IntN(end-at)] ^= 1 << r.IntN(8)
		}
		return fmt.Sprintf("%s: bits flipped in the page at %d", name, at)
	case how == 6:
		at = at / block * block
		clear(b[at:min(at+block, len(b))])
		return fmt.Sprintf("%s: sector at %d zero", name, at)
	case how == 7:
		from := r.IntN(len(b)) / 4096 * 4096
		at = at / 4096 * 4096
		copy(b[at:min(at+4096, len(b))], bytes.Clone(b[from:]))
		return fmt.Sprintf("%s: page at %d is that of %d", name, at, from)
	case how == 8:
		if r.IntN(3) == 0 {
			at = 0
		}
		files[name] = b[:at]
		return fmt.Sprintf("%s: cut to %d bytes", name, at)
	}
	delete(files, name)
	return name + ": gone"
}

// Whatever a disk does to a store: it is refused as damaged, or nothing of it is missing or another.
func TestDamageIsSaidOrHarmless(t *testing.T) {
	t.Parallel()
	files := damagedStore(t)
	dir := filepath.Join(t.TempDir(), "good")
	writeFiles(t, dir, files)
	want, err := keptIn(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	base := rand.Uint64()
	if s := os.Getenv("SUPD_DAMAGE_SEED"); s != "" {
		if base, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal("SUPD_DAMAGE_SEED: ", err)
		}
	}
	refused := 0
	n := damageSeeds(t)
	for seed := base; seed < base+n; seed++ {
		spoiled := map[string][]byte{}
		for name, b := range files {
			spoiled[name] = b
		}
		how := spoil(rand.New(rand.NewPCG(seed, 1)), spoiled)
		dir := filepath.Join(t.TempDir(), "spoiled")
		writeFiles(t, dir, spoiled)
		got, err := keptIn(dir, "a")
		switch {
		case errors.Is(err, raftstore.ErrDamaged) || err != nil && strings.Contains(err.Error(), "is empty"):
			refused++
		case err != nil:
			t.Errorf("SUPD_DAMAGE_SEED=%d: %s: %v, want ErrDamaged", seed, how, err)
		case got != want:
			t.Errorf("SUPD_DAMAGE_SEED=%d: %s: not seen; it has %+v, want %+v", seed, how, got, want)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seeds %d to %d: %d of %d refused, the rest whole", base, base+n-1, refused, n)
}
